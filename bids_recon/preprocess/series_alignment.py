"""Volumes of a series aligned to a reference, level by level, and the mean of what has been aligned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.preprocess.gauss_newton import RADIUS, Fit, Level, Target
from bids_recon.preprocess.head_region import field_of_view, finite, head_mask, surroundings
from bids_recon.preprocess.resampling import points_at_a_time, resample_voxels
from bids_recon.preprocess.rigid import mean_displacement
from bids_recon.preprocess.volume_threads import in_order
from bids_recon.rois.grids import Volume

# The voxels to compare are chosen anew when the head has moved by so much, in mm.
_POINTS_HOLD_FOR = 1.0
_FEWEST_POINTS = 64
_WEIGHT_OUTSIDE = np.float32(1e-4)


def align(
    volumes: NDArray[np.generic],
    affine: NDArray[np.float64],
    reference: Volume,
    mask: NDArray[np.bool_] | None,
    start: NDArray[np.float64],
    levels: Sequence[Level],
    device: str,
    numbers: NDArray[np.int64] | None = None,
) -> Fit:
    """Find where the head of a reference lies in volumes.

    Parameters
    ----------
    volumes : ndarray (x, y, z, n)
        Series of any numeric type; what is not finite counts as 0.
    affine : ndarray (4, 4)
        Of the series.
    reference : Volume
        Of the same contrast.
    mask : ndarray bool or None
        Brain on the grid of the reference; what is bright if there is none.
    start : ndarray (n, 4, 4)
        Pull of each volume to start from.
    levels : sequence of Level
        Passed through one after the other, each from where the one before has ended.
    device : str
        Where torch computes.
    numbers : ndarray (k,) int, optional
        The volumes that are aligned; all by default.

    Returns
    -------
    Fit
        Of the volumes that were aligned.

    Raises
    ------
    DataError
        When a volume or the reference holds one value only, the mask is empty, or they do not overlap.
    """
    numbers = np.arange(volumes.shape[3]) if numbers is None else numbers
    data = finite(reference.data)
    if not np.ptp(data) > 0:
        raise DataError(
            f"the reference of shape {data.shape} holds one value only, there is no head to align to"
        )
    compared = surroundings(head_mask(data, reference.affine) if mask is None else mask, reference.affine)
    low, high = field_of_view(data)
    part = tuple(slice(one, other + 1) for one, other in zip(low, high, strict=True))
    corner = np.array(reference.affine, dtype=np.float64)
    corner[:3, 3] += corner[:3, :3] @ low
    pull = start[numbers].copy()
    field = np.array([field_of_view(volumes[..., number]) for number in numbers])
    for level in levels:
        target = Target(Volume(data[part], corner), compared[part], level, torch.device(device))
        fit = _fit(target, volumes, affine, numbers, field, pull)
        pull = fit.pull
    return fit


def _fit(
    target: Target,
    volumes: NDArray[np.generic],
    affine: NDArray[np.float64],
    numbers: NDArray[np.int64],
    field: NDArray[np.int64],
    start: NDArray[np.float64],
) -> Fit:
    """Find volumes at one level, some at a time."""

    def found(group: tuple[slice, NDArray[np.int64]]) -> Fit:
        part, points = group
        values = np.stack([_at(volumes[..., number], number, points) for number in numbers[part]])
        low, high = field[part, :, :, None].swapaxes(0, 1)
        measured = ((points >= low) & (points <= high)).all(axis=1)
        tensors = torch.from_numpy(values).to(target.device), torch.from_numpy(measured).to(target.device)
        return target.fit(*tensors, points, affine, start[part])

    groups = _groups(target, volumes.shape[:3], affine, numbers, start)
    fits = list(in_order(found, groups, target.device))
    return Fit(
        np.concatenate([fit.pull for fit in fits]),
        np.concatenate([fit.residual for fit in fits]),
        np.concatenate([fit.converged for fit in fits]),
    )


def _groups(
    target: Target,
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    numbers: NDArray[np.int64],
    start: NDArray[np.float64],
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Volumes that are worked on together, and their voxels (3, n_points) that are compared."""
    probes = target.centre + RADIUS * np.vstack([np.eye(3), -np.eye(3)])
    chosen_for: NDArray[np.float64] | None = None
    begin = 0
    while begin < len(start):
        if chosen_for is None or mean_displacement(chosen_for, start[begin], probes) > _POINTS_HOLD_FOR:
            chosen_for = start[begin]
            points = target.points(shape, affine, chosen_for)
            if points.shape[1] < _FEWEST_POINTS:
                raise DataError(
                    f"volume {numbers[begin]} (counted from 0) does not overlap with the reference",
                    remedy="Check the affines of the images.",
                )
        end = min(len(start), begin + max(1, points_at_a_time(target.device) // points.shape[1]))
        yield slice(begin, end), points
        begin = end


def _at(volume: NDArray[np.generic], number: int, points: NDArray[np.int64]) -> NDArray[np.float32]:
    """Standardised values of a volume at points (3, n)."""
    values = checked(volume[tuple(points)], number)
    return (values - values.mean()) / values.std()


def checked(values: NDArray[np.generic], number: int) -> NDArray[np.float32]:
    """Finite values (float32) of a volume, or of some of its voxels.

    Raises
    ------
    DataError
        When they are all the same; it names the `number` of the volume.
    """
    checked = finite(values)
    if not np.ptp(checked) > 0:
        raise DataError(
            f"volume {number} (counted from 0) holds one value only where the head should be",
            remedy="Leave out the run: it is damaged.",
        )
    return checked


def aligned_mean(
    volumes: NDArray[np.generic],
    affine: NDArray[np.float64],
    pull: NDArray[np.float64],
    numbers: NDArray[np.int64],
    device: str,
) -> NDArray[np.float32]:
    """Mean (x, y, z) float32 of the volumes of these `numbers`, at each voxel over those that measured it.

    Parameters
    ----------
    volumes : ndarray (x, y, z, n)
        Series.
    affine : ndarray (4, 4)
        Of the series, and of the mean.
    pull : ndarray (n, 4, 4)
        Maps points of the mean to points of each volume of the series, in mm.
    numbers : ndarray (k,) int
        Volumes that are averaged.
    device : str
        Where torch computes.
    """
    shape = volumes.shape[:3]
    place = torch.device(device)

    def aligned(number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        volume = volumes[..., number]
        low, high = field_of_view(volume)
        part = volume[tuple(slice(one, other + 1) for one, other in zip(low, high, strict=True))]
        corner = np.array(affine, dtype=np.float64)
        corner[:3, 3] += corner[:3, :3] @ low
        to_source = np.linalg.inv(corner) @ pull[number] @ affine
        inside = resample_voxels(np.ones(part.shape, np.float32), to_source, shape, 0, "zero", place)
        # What nobody measured takes the value at the nearest edge, which hardly counts elsewhere.
        weight = np.maximum(inside, _WEIGHT_OUTSIDE)
        return weight * resample_voxels(part, to_source, shape, 3, "nearest", place), weight

    total, count = np.zeros((2, *shape[::-1]), dtype=np.float32).transpose(0, 3, 2, 1)
    for weighted, weight in in_order(aligned, numbers.tolist(), place):
        total += weighted
        count += weight
    return total / count
