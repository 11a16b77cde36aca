"""Head motion, and the way from one run's reference to another's, by least squares.

A run is aligned twice, as in SPM's realignment: to one of its volumes, then to the mean of the volumes so
aligned, whose noise is low. Each time a smoothed reference and few voxels find the movement roughly, then the
voxels of strong gradient find it precisely (`bids_recon.preprocess.gauss_newton`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.preprocess.gauss_newton import RADIUS, Fit, Level, Target
from bids_recon.preprocess.head_region import field_of_view, finite, head_centre, head_mask, surroundings
from bids_recon.preprocess.resampling import points_at_a_time, resample_voxels
from bids_recon.preprocess.rigid import mean_displacement
from bids_recon.preprocess.volume_threads import in_order
from bids_recon.rois.grids import Volume

VOLUMES_AVERAGED = 32
"""Volumes of a run, evenly spread, whose mean is its reference; more cost time and gain no precision."""

_COARSE = Level(fwhm=8, spacing=6, tolerance=0.1)
# A single volume's gradients are noisy where they are small.
_NOISY = Level(fwhm=3, spacing=0, tolerance=0.03)
_FINE = Level(fwhm=0, spacing=0, tolerance=0.01)
_FAR = (
    Level(fwhm=24, spacing=10, tolerance=0.5, steps=30),
    Level(fwhm=14, spacing=8, tolerance=0.2, steps=20),
)

# The voxels to compare are chosen anew when the head has moved by so much, in mm.
_POINTS_HOLD_FOR = 1.0
_FEWEST_POINTS = 64
_WEIGHT_OUTSIDE = np.float32(1e-4)


@dataclass(frozen=True)
class Realignment:
    """Where the head was in each volume.

    Attributes
    ----------
    pull : ndarray (n, 4, 4) float64
        Maps points of the reference to where they are found in each volume, in mm.
    residual : ndarray (n,) float64
        Standard deviation of what the reference leaves unexplained, relative to that of the volume.
    converged : ndarray (n,) bool
        Whether the search came to rest.
    """

    pull: NDArray[np.float64]
    residual: NDArray[np.float64]
    converged: NDArray[np.bool_]


def check_series(volumes: NDArray[np.generic]) -> None:
    """Make sure that an array is a series in which a head can move.

    Raises
    ------
    DataError
        When it has not four dimensions, only one volume, or none.
    """
    if volumes.ndim == 3 or (volumes.ndim == 4 and volumes.shape[3] == 1):
        raise DataError(
            f"this is one volume, of shape {volumes.shape}: there is nothing to realign, a series is needed",
            remedy="Leave out the run, or correct its suffix if it is no bold.",
        )
    if volumes.ndim != 4 or 0 in volumes.shape:
        raise DataError(
            f"this array has the shape {volumes.shape}; a run has four dimensions, x, y, z and volumes",
            remedy="Convert the images again, or leave out the run.",
        )


def realign(
    volumes: NDArray[np.generic],
    affine: NDArray[np.float64],
    reference: Volume,
    *,
    mask: NDArray[np.bool_] | None = None,
    start: NDArray[np.float64] | None = None,
    device: str = "cpu",
) -> Realignment:
    """Find where the head of a reference lies in each volume of a series.

    Voxels count that lie within the field of view of both. Brightness may differ by a factor and an offset,
    which are estimated for each volume.

    Parameters
    ----------
    volumes : ndarray (x, y, z, n)
        Series of any numeric type; what is not finite counts as 0. Planes of one value at the faces of a
        volume were not measured and do not count.
    affine : ndarray (4, 4)
        Voxels of `volumes` to scanner coordinates, in mm.
    reference : Volume
        Of the same contrast; on any grid.
    mask : ndarray bool, optional
        Brain on the grid of the reference; by default what is bright. The background nearest to it
        is compared too.
    start : ndarray (4, 4) or (n, 4, 4), optional
        Pull to start from; the identity by default. Movements of a centimetre from there are found.
    device : str
        Where torch computes.

    Returns
    -------
    Realignment

    Raises
    ------
    DataError
        When an array has the wrong dimensions, a volume holds one value only, or it and the reference do
        not overlap.
    """
    if volumes.ndim != 4 or 0 in volumes.shape or reference.data.ndim != 3:
        raise DataError(
            f"a series of shape {volumes.shape} cannot be aligned to a reference of shape {reference.shape}",
            remedy="A series has four dimensions, x, y, z and volumes, a reference three.",
        )
    if mask is not None and mask.shape != reference.shape:
        raise DataError(f"a mask of shape {mask.shape} does not fit a reference of shape {reference.shape}")
    pull = np.eye(4) if start is None else np.asarray(start, dtype=np.float64)
    if pull.shape not in ((4, 4), (volumes.shape[3], 4, 4)):
        raise ValueError(f"starts of shape {pull.shape} do not fit a series of shape {volumes.shape}")
    pull = np.broadcast_to(pull, (volumes.shape[3], 4, 4))
    fit = _align(volumes, affine, reference, mask, pull, (_COARSE, _FINE), device)
    return Realignment(fit.pull, fit.residual, fit.converged)


def realign_run(
    volumes: NDArray[np.generic], affine: NDArray[np.float64], *, device: str = "cpu"
) -> tuple[Realignment, NDArray[np.float32]]:
    """Find the head's movement during a run.

    Parameters
    ----------
    volumes : ndarray (x, y, z, n)
        One run; see `realign`.
    affine : ndarray (4, 4)
        Voxels to scanner coordinates, in mm.
    device : str
        Where torch computes.

    Returns
    -------
    realignment : Realignment
        Relative to the mean volume.
    mean : ndarray (x, y, z) float32
        Mean of at most `VOLUMES_AVERAGED` aligned volumes, with the head as it lies in the middle volume.

    Raises
    ------
    DataError
        As `check_series` and `realign`.
    """
    check_series(volumes)
    n = volumes.shape[3]
    first = Volume(_checked(volumes[..., n // 2], n // 2), affine)
    still = np.broadcast_to(np.eye(4), (n, 4, 4))
    pull = _align(volumes, affine, first, None, still, (_COARSE,), device).pull
    some = np.unique([n // 2, *np.linspace(0, n - 1, min(n, VOLUMES_AVERAGED)).round().astype(int)])
    pull[some] = _align(volumes, affine, first, None, pull, (_NOISY,), device, some).pull
    # What a smoothed volume finds for itself is its own error, which all volumes share.
    pull = pull @ np.linalg.inv(pull[n // 2])
    mean = Volume(_mean(volumes, affine, pull, some, device), affine)
    fit = _align(volumes, affine, mean, None, pull, (_FINE,), device)
    return Realignment(fit.pull, fit.residual, fit.converged), mean.data


def align_references(
    moving: Volume, fixed: Volume, *, start: NDArray[np.float64] | None = None, device: str = "cpu"
) -> tuple[NDArray[np.float64], float]:
    """Bring the reference of one run to that of another, perhaps of another session and on another grid.

    Parameters
    ----------
    moving, fixed : Volume
        Of the same contrast. The head may lie some centimetres and 10 degrees apart.
    start : ndarray (4, 4), optional
        Pull to start from, beside the identity and the shift between the centres of mass.
    device : str
        Where torch computes.

    Returns
    -------
    pull : ndarray (4, 4) float64
        Maps points of `fixed` to points of `moving`, in mm.
    correlation : float
        Of the two over the voxels that were compared, once aligned.

    Raises
    ------
    DataError
        As `realign`.
    """
    if moving.data.ndim != 3 or fixed.data.ndim != 3:
        raise DataError(f"volumes have three dimensions, not the shapes {moving.shape} and {fixed.shape}")
    series = moving.data[..., None]
    centres = np.eye(4)
    centres[:3, 3] = head_centre(moving) - head_centre(fixed)
    starts = (
        [np.eye(4), centres] if start is None else [np.asarray(start, dtype=np.float64), np.eye(4), centres]
    )
    fits = [_align(series, moving.affine, fixed, None, one[None], (*_FAR, _COARSE), device) for one in starts]
    best = min(fits, key=lambda fit: float(fit.residual[0]))
    fit = _align(series, moving.affine, fixed, None, best.pull, (_FINE,), device)
    return fit.pull[0], float(np.sqrt(max(0.0, 1 - fit.residual[0] ** 2)))


def _align(
    volumes: NDArray[np.generic],
    affine: NDArray[np.float64],
    reference: Volume,
    mask: NDArray[np.bool_] | None,
    start: NDArray[np.float64],
    levels: Sequence[Level],
    device: str,
    numbers: NDArray[np.int64] | None = None,
) -> Fit:
    """Pass through the levels with the volumes of these `numbers`, or all; `start` (n, 4, 4) has all."""
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
    values = _checked(volume[tuple(points)], number)
    return (values - values.mean()) / values.std()


def _checked(values: NDArray[np.generic], number: int) -> NDArray[np.float32]:
    """Finite values of a volume, or of its head, which is not empty."""
    checked = finite(values)
    if not np.ptp(checked) > 0:
        raise DataError(
            f"volume {number} (counted from 0) holds one value only where the head should be",
            remedy="Leave out the run: it is damaged.",
        )
    return checked


def _mean(
    volumes: NDArray[np.generic],
    affine: NDArray[np.float64],
    pull: NDArray[np.float64],
    numbers: NDArray[np.int64],
    device: str,
) -> NDArray[np.float32]:
    """Mean of aligned volumes, at each voxel over those that measured it."""
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
