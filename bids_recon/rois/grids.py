"""Reading of mask volumes, and their transfer to the grid of the responses."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nilearn.image import resample_to_img
from numpy.typing import NDArray

from bids_recon.dataset.annex import is_fetched, not_fetched
from bids_recon.errors import DataError, InputOutputError, MissingInputError

AFFINE_TOLERANCE = 1e-3
"""Affines that differ by no more than this (mm) in any element are those of one grid."""


class Grid(Protocol):
    """Anything with a shape and an affine, as an image of nibabel has."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis; those after the third are ignored."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel to scanner coordinates (4, 4), in mm."""


@dataclass(frozen=True)
class Volume:
    """A three-dimensional array and where it lies.

    Attributes
    ----------
    data : ndarray (x, y, z)
    affine : ndarray (4, 4) float64
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis."""
        return self.data.shape


@contextmanager
def reading_nifti(path: Path) -> Iterator[None]:
    """Turn what nibabel and gzip raise on damaged files into an error that names the file.

    Raises
    ------
    DataError
        If the file is damaged or no NIfTI file.
    InputOutputError
        If the system refuses to read it.
    """
    try:
        yield
    except (
        ImageFileError,
        HeaderDataError,
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        struct.error,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputOutputError(f"cannot be read ({error.strerror})", file=path) from error
        raise DataError(
            f"cannot be read as NIfTI ({str(error).rstrip('.') or type(error).__name__})",
            file=path,
            remedy="The file is damaged or incomplete; fetch or make it again.",
        ) from error


def open_image(path: Path, *, keep_file_open: bool = False) -> Any:
    """Open a NIfTI file, of which only the header is read.

    Raises
    ------
    MissingInputError
        If it is not there, or is in git-annex and has not been fetched.
    DataError
        If it is no NIfTI file.
    InputOutputError
        If the system refuses to read it.
    """
    if not path.exists() and not path.is_symlink():
        raise MissingInputError("there is no such file", file=path)
    if not is_fetched(path):
        raise not_fetched([path])
    with reading_nifti(path):
        image = nibabel.load(path, keep_file_open=keep_file_open)
    if not isinstance(image, nibabel.spatialimages.SpatialImage) or image.affine is None:
        raise DataError("is not an image volume", file=path, remedy="Give a NIfTI file.")
    return image


def read_array(image: Any, path: Path, volumes: slice = slice(None)) -> NDArray[Any]:
    """Read the values of an open image: all of them, or those of some `volumes` of a series."""
    with reading_nifti(path):
        return np.asanyarray(image.dataobj[..., volumes] if len(image.shape) > 3 else image.dataobj)


def read_volume(path: Path) -> Volume:
    """Read a mask or segmentation.

    Parameters
    ----------
    path : Path
        NIfTI file of one volume.

    Returns
    -------
    Volume
        float32; what is not finite is 0.

    Raises
    ------
    MissingInputError
        If it is not there, or is in git-annex and has not been fetched.
    DataError
        If it cannot be read, or holds a series.
    """
    image = open_image(path)
    if math.prod(image.shape[3:]) != 1:
        raise DataError(f"holds {math.prod(image.shape[3:])} volumes, a mask has one", file=path)
    shape = (*image.shape, 1, 1, 1)[:3]
    data = read_array(image, path).astype(np.float32).reshape(shape)
    return Volume(np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0), np.asarray(image.affine, dtype=float))


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether two volumes have the same shape and, within `AFFINE_TOLERANCE`, the same affine."""
    return tuple(one.shape[:3]) == tuple(other.shape[:3]) and np.allclose(
        one.affine, other.affine, rtol=0, atol=AFFINE_TOLERANCE
    )


def to_grid(volume: Volume, grid: Grid) -> Volume:
    """Bring a mask or segmentation to another grid, each voxel taking the value of its nearest neighbour.

    The two are taken to be aligned; outside the field of view of `volume` the result is 0.
    """
    if same_grid(volume, grid):
        return volume
    target = nibabel.Nifti1Image(np.zeros(grid.shape[:3], dtype=np.uint8), grid.affine)
    with warnings.catch_warnings():
        # A mask outside the field of view is found out, and told, by the caller.
        warnings.simplefilter("ignore")
        moved = resample_to_img(
            nibabel.Nifti1Image(volume.data, volume.affine),
            target,
            interpolation="nearest",
            force_resample=True,
            copy_header=True,
        )
    return Volume(np.asarray(moved.dataobj).reshape(grid.shape[:3]), np.asarray(grid.affine, dtype=float))


def describe_grid(grid: Grid) -> str:
    """Shape and voxel size in words, as `64x64x50 voxels of 3x3x3 mm`."""
    sizes = np.linalg.norm(np.asarray(grid.affine)[:3, :3], axis=0)
    return f"{'x'.join(map(str, grid.shape[:3]))} voxels of {'x'.join(f'{size:.3g}' for size in sizes)} mm"
