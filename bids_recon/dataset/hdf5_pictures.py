"""Pictures that are rows of one data set in an HDF5 file, read one at a time."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bids_recon.dataset.annex import is_fetched, not_fetched
from bids_recon.errors import DataError, MissingInputError


def read_brick_picture(file: Path, dataset: str, row: int) -> NDArray[np.uint8]:
    """Read one picture.

    The file stays open for the next picture, in each process for itself: handles do not survive a fork.

    Parameters
    ----------
    file : Path
    dataset : str
        Data set (n, height, width, 3) uint8.
    row : int
        Counted from 0.

    Returns
    -------
    ndarray (height, width, 3) uint8

    Raises
    ------
    MissingInputError
        When the file is not there, or its content was not fetched.
    DataError
        When it is not HDF5, lacks the data set or the row, or holds no pictures.
    """
    if not file.exists() and not file.is_symlink():
        raise MissingInputError("there is no such file of pictures", file=file)
    if not is_fetched(file):
        raise not_fetched([file])
    state = file.stat()
    try:
        brick = _opened(file, os.getpid(), (state.st_ino, state.st_mtime_ns)).get(dataset)
        if not isinstance(brick, h5py.Dataset):
            raise DataError(f"has no data set '{dataset}'", file=file)
        if brick.ndim != 4 or brick.shape[3] != 3 or brick.dtype != np.uint8:
            raise DataError(
                f"the data set '{dataset}' is {brick.shape} {brick.dtype}",
                file=file,
                remedy="Pictures are (n, height, width, 3) uint8.",
            )
        if not 0 <= row < len(brick):
            raise DataError(f"has {len(brick)} pictures, and number {row + 1} was asked for", file=file)
        return np.asarray(brick[row])
    except OSError as error:
        raise DataError(
            f"cannot be read as HDF5 ({error})",
            file=file,
            remedy="The file is damaged or incomplete; fetch it again.",
        ) from error


@functools.lru_cache(maxsize=4)
def _opened(file: Path, _process: int, _state: tuple[int, int]) -> Any:
    """The open file; the others tell a process, and a file that was replaced, from another."""
    # Many file systems of clusters refuse locks, and nobody writes to these files.
    return h5py.File(file, "r", locking=False)
