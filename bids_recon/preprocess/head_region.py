"""Where a volume shows a head, and where it shows anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_recon.errors import DataError
from bids_recon.rois.grids import Volume

BRIGHT_FRACTION = 0.2
"""Voxels brighter than this part of the 98th percentile of a smoothed volume are head."""

BACKGROUND = 6.0
"""Width of the background around the head that is compared too, in mm."""

FWHM = 2.3548200450309493
"""Full width at half maximum of a Gaussian of deviation 1."""


def finite(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Values as float32, with 0 for what is not finite."""
    return np.nan_to_num(np.asarray(values, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def field_of_view(volume: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last voxel (3,) along each axis, without the planes of one value at the faces."""
    low, high = np.zeros(3, dtype=np.int64), np.array(volume.shape) - 1
    for axis in range(3):
        planes = np.moveaxis(volume, axis, 0)
        while low[axis] < high[axis] and _is_constant(planes[low[axis]]):
            low[axis] += 1
        while low[axis] < high[axis] and _is_constant(planes[high[axis]]):
            high[axis] -= 1
    return low, high


def head_mask(data: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the head, or the brain where nothing else is shown: what is bright once smoothed.

    Parameters
    ----------
    data : ndarray (x, y, z) float32
        Finite values.
    affine : ndarray (4, 4)
        Voxels to mm.

    Returns
    -------
    ndarray (x, y, z) bool
    """
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(data, BACKGROUND / FWHM / sizes, mode="nearest")
    return smooth > BRIGHT_FRACTION * np.quantile(smooth, 0.98)


def surroundings(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The mask (x, y, z) and the background nearest to it, where the edges of the brain move.

    Raises
    ------
    DataError
        When the mask is empty.
    """
    if not mask.any():
        raise DataError("the brain mask is empty, there is no head to align to")
    distance = ndimage.distance_transform_edt(~mask, sampling=np.linalg.norm(affine[:3, :3], axis=0))
    return distance <= BACKGROUND


def head_centre(volume: Volume) -> NDArray[np.float64]:
    """Centre (3,) of the head, in mm."""
    centre = ndimage.center_of_mass(head_mask(finite(volume.data), volume.affine))
    return (np.asarray(volume.affine, dtype=np.float64) @ [*centre, 1])[:3]


def _is_constant(plane: NDArray[np.generic]) -> bool:
    """Whether all finite values are equal."""
    values = finite(plane)
    return bool((values == values.flat[0]).all())
