"""Where the head of one volume lies in another of the same person, as the reference of BOLD in the T1w."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from bids_recon.errors import DataError, UsageError
from bids_recon.preprocess.mutual_information import MutualInformation
from bids_recon.preprocess.rigid import matrices
from bids_recon.preprocess.volume_pair import VolumePair
from bids_recon.rois.grids import Volume

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "ants", "dipy")

SEARCH_SIZE = 8.0
"""Voxel size in mm of the volumes on which starts are compared; smoothed by half of it."""

ENGINE_SIZE, FINEST_SIZE = 3.0, 2.0
"""Least voxel size in mm of the volumes that the backend and the last search see."""

TRUST_IN_HEADER = 1.1
"""The start by the headers is left only for one with this many times its mutual information."""

# Far enough apart to reach 15 degrees, near enough for one of them to lead to the maximum.
_TILT = np.radians(12.0)
_RIVALS = 2
_SEARCH_POINTS, _REFINE_POINTS = 2000, 100_000
# Rotations are measured by how far they move a point at this distance from the centre, in mm.
_RADIUS = 60.0


@dataclass(frozen=True)
class RigidRegistration:
    """Where the head of one volume lies in another.

    Attributes
    ----------
    pull : ndarray (4, 4) float64
        Maps points of the fixed volume's space to points of the moving volume's space, in mm.
    metric : float
        Mutual information of the two, in nats, at voxels of about the size of the coarser one.
    backend : str
        `ants` or `dipy`.
    """

    pull: NDArray[np.float64]
    metric: float
    backend: str


def register_rigid(
    moving: Volume,
    fixed: Volume,
    *,
    moving_mask: NDArray[np.bool_] | None = None,
    fixed_mask: NDArray[np.bool_] | None = None,
    start: NDArray[np.float64] | None = None,
    backend: str = "auto",
    seed: int = 0,
) -> RigidRegistration:
    """Align two volumes of one head, of any contrast, by mutual information.

    The headers of the data set are where the search starts. On coarse copies it is compared with turned
    starts and with starts from the centres of mass, which count only if they are clearly better
    (`TRUST_IN_HEADER`). From there the backend finds the maximum on voxels of the coarser volume's size, and
    a search without derivatives (Powell) on points between voxels makes sure of it. Mutual information
    as criterion: Maes et al., IEEE Trans. Med. Imaging 16, 1997, 187-198.

    Parameters
    ----------
    moving, fixed : Volume
        Three-dimensional, of any voxel size and orientation.
    moving_mask, fixed_mask : ndarray (x, y, z) bool, optional
        The brain. Points are taken within the mask, and `MASK_MARGIN` (`volume_pair.py`), of the volume that
        has one. If both or neither have, they are taken from the one with the smaller field of view; the mask
        of the other one only helps to find its centre.
    start : ndarray (4, 4), optional
        Pull to start from; the identity (what the headers say) by default.
    backend : {"auto", "ants", "dipy"}
        `auto` is ANTs where `antspyx` is installed, else DIPY.
    seed : int
        Of the points. The result depends on nothing else that is drawn.

    Returns
    -------
    RigidRegistration

    Raises
    ------
    UsageError
        If the backend is not known or not installed.
    DataError
        If a volume is constant, or no start makes the two overlap.
    ValueError
        If a volume is not three-dimensional, or a mask has another shape than its volume.
    """
    _check(moving, moving_mask, "moving")
    _check(fixed, fixed_mask, "fixed")
    name, engine = choose_backend(backend)
    begin = np.eye(4) if start is None else np.asarray(start, dtype=np.float64)
    if (moving_mask is None) == (fixed_mask is None):
        # Points of the smaller field of view lie within the larger one.
        swapped = _extent(moving) <= _extent(fixed)
    else:
        swapped = moving_mask is not None
    if swapped:
        pair = VolumePair(moving, fixed, moving_mask, fixed_mask, seed)
        begin = np.asarray(np.linalg.inv(begin), dtype=np.float64)
    else:
        pair = VolumePair(fixed, moving, fixed_mask, moving_mask, seed)
    pull: NDArray[np.float64] = _search(pair, begin)
    criterion = pair.criterion(*pair.copies(FINEST_SIZE), _REFINE_POINTS)
    here, there = pair.copies(ENGINE_SIZE)
    try:
        found = engine.linear(here, there, pull, fixed_mask=pair.mask_on(here), kind="rigid", seed=seed)
    except RuntimeError as error:
        logger.warning("%s could not align the volumes (%s); its step is left out.", name, error)
    else:
        found = _rigid(found)
        if criterion(found) > criterion(pull):
            pull = np.asarray(found, dtype=np.float64)
    for step in (1.0, 0.2):
        pull = _climb(criterion, pull, pair.centre, step)
    result = np.asarray(np.linalg.inv(pull) if swapped else pull, dtype=np.float64)
    return RigidRegistration(result, criterion(pull), name)


def register_by_way_of(
    boldref: Volume,
    inplane: Volume,
    t1w: Volume,
    *,
    boldref_mask: NDArray[np.bool_] | None = None,
    t1w_mask: NDArray[np.bool_] | None = None,
    backend: str = "auto",
    seed: int = 0,
) -> RigidRegistration:
    """Align BOLD with the T1w through a T2w recorded in the same session, with the slices of BOLD.

    Parameters
    ----------
    boldref, inplane, t1w : Volume
        Reference of BOLD, inplane T2w, T1w. The headers of the first two, of one session, are where
        the search for their alignment starts.
    boldref_mask, t1w_mask : ndarray (x, y, z) bool, optional
        The brain.
    backend : {"auto", "ants", "dipy"}
    seed : int

    Returns
    -------
    RigidRegistration
        Its `pull` maps points of the T1w's space to points of BOLD's; its `metric` is the lower one of
        the two steps.

    Raises
    ------
    UsageError, DataError, ValueError
        As `register_rigid`.
    """
    to_inplane = register_rigid(boldref, inplane, moving_mask=boldref_mask, backend=backend, seed=seed)
    to_t1w = register_rigid(inplane, t1w, fixed_mask=t1w_mask, backend=backend, seed=seed)
    metric = min(to_inplane.metric, to_t1w.metric)
    return RigidRegistration(to_inplane.pull @ to_t1w.pull, metric, to_t1w.backend)


def choose_backend(backend: str) -> tuple[str, ModuleType]:
    """Name and module of a backend; see `register_rigid`.

    Raises
    ------
    UsageError
        If it is not known, or not installed.
    """
    from bids_recon.preprocess import registration_ants, registration_dipy

    if backend not in BACKENDS:
        raise UsageError(
            f"the registration backend {backend!r} is not known", remedy=f"Use {', '.join(BACKENDS)}."
        )
    if backend == "dipy" or (backend == "auto" and not registration_ants.available()):
        return "dipy", registration_dipy
    if not registration_ants.available():
        raise UsageError(
            "the registration backend ants is not installed", remedy="Install antspyx, or use dipy."
        )
    return "ants", registration_ants


def _search(pair: VolumePair, begin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best of several starts on coarse copies, each of them improved."""
    criterion = pair.criterion(*pair.copies(SEARCH_SIZE, SEARCH_SIZE / 2), _SEARCH_POINTS)
    best = _climb(criterion, begin, pair.centre, 4.0, tolerance=0.3)
    value = criterion(best)
    centred, *turned = _starts(begin, pair.centre, pair.other_centre)
    promising = [centred, *sorted(turned, key=criterion, reverse=True)[:_RIVALS]]
    rival = max(
        (_climb(criterion, start, pair.centre, 4.0, tolerance=0.3) for start in promising), key=criterion
    )
    if max(value, criterion(rival)) <= 0:
        raise DataError(
            "two volumes cannot be aligned: they are empty or do not overlap",
            remedy="Check that they show the same head, and their orientation in the header.",
        )
    if criterion(rival) <= TRUST_IN_HEADER * value:
        return best
    moved = np.linalg.norm(_apply(rival, pair.centre) - _apply(best, pair.centre))
    logger.info("The headers do not align the volumes: another start, %.0f mm from theirs, is used.", moved)
    return rival


def _starts(
    begin: NDArray[np.float64], centre: NDArray[np.float64], other_centre: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """Starts turned about the centre, by the headers and with the centres of mass on one another."""
    centred = begin.copy()
    centred[:3, 3] += other_centre - _apply(begin, centre)
    tilts = [axis * sign * _TILT for axis in np.eye(3) for sign in (-1, 1)]
    for base, turns in ((centred, [np.zeros(3), *tilts]), (begin, tilts)):
        for turn in turns:
            yield base @ matrices([0, 0, 0, *turn], centre)


def _climb(
    criterion: MutualInformation,
    pull: NDArray[np.float64],
    centre: NDArray[np.float64],
    step: float,
    *,
    tolerance: float = 0.01,
) -> NDArray[np.float64]:
    """Local maximum near `pull`, by Powell's method; `step` and `tolerance` in mm."""
    units = np.array([1.0, 1.0, 1.0, _RADIUS, _RADIUS, _RADIUS])

    def loss(parameters: NDArray[np.float64]) -> float:
        return -criterion(pull @ matrices(parameters / units, centre))

    found = minimize(
        loss,
        np.zeros(6),
        method="Powell",
        options={"direc": step * np.eye(6), "xtol": tolerance / step, "ftol": 1e-5, "maxfev": 1000},
    )
    if -found.fun <= criterion(pull):
        return pull
    return np.asarray(pull @ matrices(found.x / units, centre))


def _rigid(pull: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rigid transform nearest to one that is rigid up to rounding."""
    left, _, right = np.linalg.svd(pull[:3, :3])
    result = pull.copy()
    result[:3, :3] = left @ right
    return result


def _apply(matrix: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix[:3, :3] @ point + matrix[:3, 3])


def _extent(volume: Volume) -> float:
    """Size of the field of view, in mm³."""
    return float(np.prod(volume.shape) * abs(np.linalg.det(volume.affine[:3, :3])))


def _check(volume: Volume, mask: NDArray[np.bool_] | None, which: str) -> None:
    if len(volume.shape) != 3:
        raise ValueError(f"the {which} volume has the shape {volume.shape}")
    if mask is not None and mask.shape != volume.shape:
        raise ValueError(f"the mask of the {which} volume has the shape {mask.shape}, not {volume.shape}")
    data = np.asarray(volume.data)
    if not np.nanmax(data) > np.nanmin(data):
        raise DataError(f"the {which} volume of a registration holds one value only")
