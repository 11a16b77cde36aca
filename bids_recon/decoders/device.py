"""Where solvers run."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.errors import UsageError

DEVICES = ("auto", "cpu", "cuda")


def find_device(name: str) -> torch.device:
    """Device by name; `auto` is the GPU when there is one.

    Raises
    ------
    UsageError
        When there is no such device.
    """
    if name not in DEVICES:
        raise UsageError(f"the device is one of {DEVICES}, not '{name}'")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU can be used by this installation of torch", remedy="Use --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def numpy_dtype(kind: torch.dtype) -> np.dtype[np.floating]:
    """The numpy type of float32 or float64 tensors."""
    return np.dtype(np.float64 if kind == torch.float64 else np.float32)


def to_device(array: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """Tensor of an array; on the CPU both share their memory where the array may be written to."""
    # torch warns of arrays that may not be written to, though nothing here writes to its input.
    writeable = array if array.flags.writeable else array.copy()
    return torch.from_numpy(np.ascontiguousarray(writeable)).to(device)
