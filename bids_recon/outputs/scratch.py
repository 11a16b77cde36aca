"""Arrays that may be larger than memory, for as long as the program runs."""

from __future__ import annotations

import errno
import math
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bids_recon.errors import from_os_error

LARGE = 1 << 23
"""Bytes from which an array need not be held in memory."""


def scratch_array(
    shape: tuple[int, ...], folder: Path | None, dtype: DTypeLike = np.float32
) -> NDArray[np.float32]:
    """Array of zeros; a large one is the map of a file without a name, which goes with the array.

    Parameters
    ----------
    shape : tuple of int
    folder : Path or None
        Where the file is; None keeps everything in memory.
    dtype : dtype

    Raises
    ------
    ReconError
        When the folder cannot be written to, or has no room.
    """
    if folder is None or math.prod(shape) * np.dtype(dtype).itemsize < LARGE:
        return np.zeros(shape, dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            _reserve(file.fileno(), math.prod(shape) * np.dtype(dtype).itemsize)
            return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
    except OSError as error:
        raise from_os_error(error, folder) from error


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Take the room on the disk now: a map that finds none later ends the program without a message."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
