"""Series of volumes on disk, of which only some voxels are held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.outputs.atomic import atomic_path
from bids_recon.rois.grids import open_image, reading_nifti
from bids_recon.rois.selection import VoxelSelection

# Header and sidecar state the same repetition time up to rounding.
_TR_TOLERANCE = 1e-3
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def open_series(file: Path) -> nib.Nifti1Image:
    """Open a NIfTI file without reading its data.

    Raises
    ------
    MissingInputError
        When it is not there, or is in git-annex and its content has not been fetched.
    DataError
        When it is not a NIfTI image.
    InputOutputError
        When the system refuses to read it.
    """
    # Without an open handle, every volume of a .nii.gz would be unpacked from the start of the file.
    image = open_image(file, keep_file_open=True)
    if not isinstance(image, nib.Nifti1Pair):
        raise DataError("is not a NIfTI image", file=file, remedy="Convert it to .nii.gz.")
    return image


def repetition_time(image: nib.Nifti1Image, file: Path, stated: float | None) -> tuple[float, list[str]]:
    """Repetition time in s, from the sidecar (`stated`) or else the header, and a warning where they differ.

    Raises
    ------
    DataError
        When it is not a positive number.
    """
    unit = image.header.get_xyzt_units()[1]
    in_header = float(image.header.get_zooms()[3]) * _SECONDS.get(unit, 1.0)
    chosen = in_header if stated is None else float(stated)
    if not (np.isfinite(chosen) and chosen > 0):
        origin = "header" if stated is None else "sidecar"
        raise DataError(
            f"the repetition time in its {origin} is {chosen:g} s",
            file=file,
            remedy="State RepetitionTime, in seconds, in the JSON sidecar.",
        )
    # A header without the repetition time says nothing against the sidecar.
    if stated is not None and in_header > 0 and abs(in_header - chosen) > _TR_TOLERANCE:
        return chosen, [
            f"{file}: the sidecar's repetition time of {chosen:g} s is used, the header says {in_header:g} s."
        ]
    return chosen, []


def iterate_volumes(image: nib.Nifti1Image, file: Path) -> Iterator[NDArray[np.generic]]:
    """Give one flattened volume (x * y * z,) after the other, in the order of storage (first axis fastest).

    Raises
    ------
    DataError
        When the file, which is named in the message, is cut short or damaged.
    """
    for number in range(image.shape[3]):
        with reading_nifti(file):
            volume = np.asarray(image.dataobj[..., number])
        yield volume.ravel(order="F")


def read_series(image: nib.Nifti1Image, file: Path, first: int = 0) -> NDArray[np.float32]:
    """Read the volumes of a series from number `first` on.

    Parameters
    ----------
    image : NIfTI image (x, y, z, n_volumes)
        As from `open_series`.
    file : Path
        Named in errors.
    first : int
        Volumes before it are left out.

    Returns
    -------
    ndarray (x, y, z, n_volumes - first) float32
        What is not finite is 0. Each volume is contiguous in memory, in the order of storage.

    Raises
    ------
    DataError
        When the file is cut short or damaged.
    """
    x, y, z, n = image.shape
    stored = np.empty((n - first, z, y, x), dtype=np.float32)
    for number in range(first, n):
        # One volume at a time: nibabel scales in double precision.
        with reading_nifti(file), np.errstate(over="ignore", invalid="ignore"):
            volume = np.asarray(image.dataobj[..., number]).astype(np.float32)
        np.nan_to_num(volume.T, nan=0.0, posinf=0.0, neginf=0.0, copy=False)
        stored[number - first] = volume.T
    return stored.transpose(3, 2, 1, 0)


def read_voxels(
    image: nib.Nifti1Image, file: Path, indices: NDArray[np.int64], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Read some voxels of all volumes.

    Parameters
    ----------
    image : NIfTI image (x, y, z, n_volumes)
        As from `open_series`.
    file : Path
        Named in errors.
    indices : ndarray (n_voxels,) int64
        Positions in the flattened volume, C order.
    out : ndarray (n_volumes, n_voxels) float32, optional
        Filled instead of a new array.

    Returns
    -------
    ndarray (n_volumes, n_voxels) float32

    Raises
    ------
    DataError
        When the file is cut short or damaged.
    """
    shape = image.shape[:3]
    if out is None:
        out = np.empty((image.shape[3], len(indices)), dtype=np.float32)
    # Positions in the order of storage spare a copy of every volume.
    stored = np.ravel_multi_index(np.unravel_index(indices, shape), shape, order="F")
    for number, volume in enumerate(iterate_volumes(image, file)):
        with np.errstate(over="ignore"):
            out[number] = volume[stored]
    return out


def write_series(path: Path, rows: NDArray[np.float32], voxels: VoxelSelection) -> Path:
    """Write a NIfTI image (x, y, z, n_rows) float32, zero outside the voxels, volume by volume.

    Parameters
    ----------
    path : Path
        Ending in `.nii.gz` or `.nii`.
    rows : ndarray (n_rows, n_voxels) float32
        One volume each.
    voxels : VoxelSelection
        Where the columns lie.
    """
    # The whole series may be many times larger than the voxels of interest: a stand-in without memory of its
    # own has its shape and gets nibabel to fill in the header.
    stand_in = np.broadcast_to(np.float32(0), (*voxels.shape, len(rows)))
    header = nib.Nifti1Image(stand_in, voxels.affine).header
    header.set_xyzt_units("mm")
    header.set_data_offset(header.single_vox_offset)
    with atomic_path(path) as temporary, Opener(temporary, "wb", compresslevel=1) as stream:
        stream.write(header.binaryblock + bytes(header.single_vox_offset - header.sizeof_hdr))
        for row in rows:
            stream.write(voxels.volume(row).astype("=f4").tobytes(order="F"))
    return path
