"""Positive definite systems, batches of them: Cholesky factor, solution, diagonal of the inverse.

On the CPU these are LAPACK's own routines, called where scipy keeps them for other compiled code
(`scipy.linalg.cython_lapack`). ctypes lets go of Python's global lock meanwhile, which `scipy.linalg` does
not, and scipy's OpenBLAS is a third faster at this size than the MKL of torch. Elsewhere `torch.linalg` does
the same.

Matrices are stored row by row with their upper triangles filled. LAPACK, which counts column by column,
takes them as lower triangles.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from scipy.linalg import cython_lapack

PREFIX = {torch.float32: "s", torch.float64: "d"}
# Their arguments are all pointers: of characters, of 32-bit integers or of numbers.
N_ARGUMENTS = {"posv": 8, "potri": 5}


@cache
def _routine(name: str, dtype: torch.dtype) -> Any | None:
    """LAPACK's routine as a function of pointers; None where scipy was built with other integers."""
    capsule = cython_lapack.__pyx_capi__[PREFIX[dtype] + name]
    text = ctypes.pythonapi.PyCapsule_GetName
    text.restype, text.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = text(capsule)
    if not signature.startswith(b"void (char *, int *, "):
        return None
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * N_ARGUMENTS[name])(address(capsule, signature))


def _call(routine: Any, *arguments: int | torch.Tensor) -> None:
    lower, info = ctypes.c_char(b"L"), ctypes.c_int(0)
    held = [ctypes.c_int(one) if isinstance(one, int) else one for one in arguments]
    pointers = [one.data_ptr() if isinstance(one, torch.Tensor) else ctypes.byref(one) for one in held]
    routine(ctypes.byref(lower), *pointers, ctypes.byref(info))
    if info.value:
        raise torch.linalg.LinAlgError(f"the system is not positive definite (info {info.value})")


def solve(systems: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve each of a batch of systems.

    Parameters
    ----------
    systems : tensor (n, k, k), contiguous, float32 or float64
        Upper triangles are read. It may be overwritten.
    right : tensor (n, n_sides, k), contiguous
        Right sides as rows. It may be overwritten.

    Returns
    -------
    solution : tensor (n, n_sides, k)
    factor : tensor (n, k, k)
        For `inverse_diagonal`.

    Raises
    ------
    torch.linalg.LinAlgError
        When a matrix is not positive definite.
    """
    _, n_sides, k = right.shape
    posv = _routine("posv", systems.dtype) if systems.device.type == "cpu" else None
    if posv is None:
        factor = torch.linalg.cholesky(systems.mT)
        return torch.cholesky_solve(right.mT, factor).mT, factor
    for matrix, sides in zip(systems, right, strict=True):
        _call(posv, k, n_sides, matrix, max(1, k), sides, max(1, k))
    return right, systems.mT


def inverse_diagonal(factor: torch.Tensor) -> torch.Tensor:
    """Diagonals (n, k) of the inverses of the systems that `solve` factorised; may overwrite the factors."""
    potri = _routine("potri", factor.dtype) if factor.device.type == "cpu" else None
    if potri is None:
        return torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1)
    for matrix in factor.mT:
        _call(potri, factor.shape[-1], matrix, max(1, factor.shape[-1]))
    return factor.diagonal(dim1=-2, dim2=-1)
