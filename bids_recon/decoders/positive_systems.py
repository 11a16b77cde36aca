"""Positive definite systems, batches of them: Cholesky factor, solution, diagonal of the inverse.

On the CPU these are routines of LAPACK and BLAS, called where scipy keeps them for other compiled code
(`scipy.linalg.cython_lapack`, `cython_blas`). ctypes lets go of Python's global lock meanwhile, which
`scipy.linalg` does not, and scipy's OpenBLAS is a third faster at this size than the MKL of torch. Elsewhere
`torch.linalg` does the same.

Matrices are stored row by row with their upper triangles filled. LAPACK, which counts column by column,
takes them as lower triangles.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from scipy.linalg import cython_blas, cython_lapack

PREFIX = {torch.float32: "s", torch.float64: "d"}
# Arguments of each routine, all pointers: to characters, to 32-bit integers or to numbers.
ROUTINES = {"potrf": (cython_lapack, 5), "potri": (cython_lapack, 5), "trsv": (cython_blas, 8)}


@cache
def _routine(name: str, dtype: torch.dtype) -> Any | None:
    """A routine as a function of pointers; None where scipy was built with other integers."""
    module, n_arguments = ROUTINES[name]
    capsule = module.__pyx_capi__[PREFIX[dtype] + name]
    text = ctypes.pythonapi.PyCapsule_GetName
    text.restype, text.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = text(capsule)
    if "int *" not in signature.decode() or "long" in signature.decode():
        return None
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(address(capsule, signature))


def _call(routine: Any, *arguments: bytes | int | torch.Tensor) -> None:
    """Call a routine with characters, whole numbers and tensors."""
    held = [
        one
        if isinstance(one, torch.Tensor)
        else (ctypes.c_char(one) if isinstance(one, bytes) else ctypes.c_int(one))
        for one in arguments
    ]
    routine(*[one.data_ptr() if isinstance(one, torch.Tensor) else ctypes.byref(one) for one in held])


def _factorise(routine: Any, k: int, matrix: torch.Tensor) -> None:
    """Call potrf or potri on a matrix (k, k)."""
    info = torch.zeros(1, dtype=torch.int32)
    _call(routine, b"L", k, matrix, max(1, k), info)
    if int(info):
        raise torch.linalg.LinAlgError(f"the system is not positive definite (info {int(info)})")


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
    k = right.shape[-1]
    potrf, trsv = (
        _routine(name, systems.dtype) if systems.device.type == "cpu" else None for name in ("potrf", "trsv")
    )
    if potrf is None or trsv is None:
        factor = torch.linalg.cholesky(systems.mT)
        return torch.cholesky_solve(right.mT, factor).mT, factor
    for matrix, sides in zip(systems, right, strict=True):
        _factorise(potrf, k, matrix)
        # A right side at a time: faster than LAPACK's potrs, which is made for many.
        for side in sides:
            for transposed in (b"N", b"T"):
                _call(trsv, b"L", transposed, b"N", k, matrix, max(1, k), side, 1)
    return right, systems.mT


def inverse_diagonal(factor: torch.Tensor) -> torch.Tensor:
    """Diagonals (n, k) of the inverses of the systems that `solve` factorised; may overwrite the factors."""
    potri = _routine("potri", factor.dtype) if factor.device.type == "cpu" else None
    if potri is None:
        return torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1)
    for matrix in factor.mT:
        _factorise(potri, factor.shape[-1], matrix)
    return factor.diagonal(dim1=-2, dim2=-1)
