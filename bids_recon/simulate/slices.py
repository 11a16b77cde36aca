"""Slices that are taken one after the other, so that each shows the brain at its own time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, spline_filter1d

from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate.motion import voxel_pull

# Coefficients of cubic splines fall by a factor of 3.7 a voxel: what is left beyond is a ten-thousandth.
SPLINE_REACH = 7


def slice_times(n_slices: int, repetition_time: float) -> NDArray[np.float64]:
    """When each slice is taken, in seconds after the volume began, (n_slices,).

    Interleaved: every other slice from the first on, then those between. Rounded to microseconds, as they are
    written.
    """
    order = np.concatenate([np.arange(0, n_slices, 2), np.arange(1, n_slices, 2)])
    times = np.empty(n_slices)
    times[order] = np.arange(n_slices) * repetition_time / n_slices
    return times.round(6)


def add_late_signal(
    volumes: NDArray[np.float32],
    late: Callable[[float], NDArray[np.float64]],
    times: NDArray[np.float64],
    voxels: VoxelSelection,
    poses: NDArray[np.float64],
    affine: NDArray[np.float64],
) -> None:
    """Bring the slices of volumes from the beginning of each volume to their own time, in place.

    Parameters
    ----------
    volumes : ndarray (n_volumes, x, y, z) float32
        All slices as they were when the volume began.
    late : callable
        Change of the signal (n_volumes, n_voxels) within some seconds from the beginning of each volume, in
        units of `volumes`.
    times : ndarray (z,)
        When each slice is taken, in seconds.
    voxels : VoxelSelection
        Where the signal arises, in the head at rest.
    poses, affine : ndarray (n_volumes, 4, 4), ndarray (4, 4)
        Where the head and the slices are (see `bids_recon.simulate.motion.seen`).
    """
    position = np.stack(np.unravel_index(voxels.indices, voxels.shape))
    # Only the part of the volume that holds the voxels is looked at: the rest does not change.
    first = position.min(axis=1) - SPLINE_REACH
    part = tuple(int(size) for size in position.max(axis=1) + SPLINE_REACH + 1 - first)
    inside = tuple(position - first[:, None])
    pulls = np.stack([voxel_pull(voxels.affine, pose, affine) for pose in poses])
    pulls[:, :3, 3] -= first
    for number, time in enumerate(times):
        if time == 0:
            continue
        change = np.zeros((len(volumes), *part), dtype=np.float32)
        change[:, *inside] = late(float(time))
        for axis in (1, 2, 3):
            change = spline_filter1d(change, order=3, axis=axis, output=np.float32, mode="mirror")
        for volume, spline, pull in zip(volumes, change, pulls, strict=True):
            volume[:, :, number] += affine_transform(
                spline,
                pull[:3, :3],
                pull[:3, 3] + pull[:3, 2] * number,
                output_shape=(*volume.shape[:2], 1),
                order=3,
                prefilter=False,
            )[..., 0]
