"""Coarser copies of volumes, on which registration finds its way quickly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bids_recon.rois.grids import Volume


def voxel_sizes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance between neighbouring voxels along each axis, (3,), in mm."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def coarsened(volume: Volume, size: float, *, smoothing: float = 0.0) -> Volume:
    """Average blocks of voxels so that voxels are about `size` mm, and smooth the result.

    Parameters
    ----------
    volume : Volume
        Of any type.
    size : float
        Voxel size in mm. Along each axis, the whole number of voxels that comes nearest is averaged;
        larger voxels are left as they are.
    smoothing : float
        Standard deviation in mm of a Gaussian that is applied afterwards.

    Returns
    -------
    Volume
        float32, at the same place in space; 0 where a value that is not finite was averaged.
    """
    factors = np.maximum(1, np.rint(size / voxel_sizes(volume.affine))).astype(int)
    factors = np.minimum(factors, volume.shape)
    data = np.asarray(volume.data, dtype=np.float32)
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        whole = data.shape[axis] // factor
        kept = np.moveaxis(data, axis, 0)[: whole * factor]
        data = np.moveaxis(kept.reshape(whole, factor, *kept.shape[1:]).mean(axis=1), 0, axis)
    data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    affine = np.array(volume.affine, dtype=np.float64)
    affine[:3, 3] += affine[:3, :3] @ ((factors - 1) / 2)
    affine[:3, :3] *= factors
    if smoothing > 0:
        data = gaussian_filter(data, smoothing / voxel_sizes(affine))
    return Volume(np.ascontiguousarray(data), affine)
