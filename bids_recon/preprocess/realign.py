"""Head motion, and the way from one run's reference to another's, by least squares.

A run is aligned twice, as in SPM's realignment: to one of its volumes, then to the mean of the volumes so
aligned, whose noise is low. Each time a smoothed reference and few voxels find the movement roughly, then the
voxels of strong gradient find it precisely (`bids_recon.preprocess.gauss_newton`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.preprocess.gauss_newton import Fit, Level
from bids_recon.preprocess.head_region import head_centre
from bids_recon.preprocess.series_alignment import align, aligned_mean, checked
from bids_recon.rois.grids import Volume

VOLUMES_AVERAGED = 32
"""Volumes of a run, evenly spread, whose mean is its reference; more cost time and gain no precision."""

SPOILT = 2.0
"""Volumes with a residual of so many times the median stay out of the mean."""

_COARSE = Level(fwhm=8, spacing=6, tolerance=0.1)
# A single volume's gradients are noisy where they are small.
_NOISY = Level(fwhm=3, spacing=0, tolerance=0.03)
_FINE = Level(fwhm=0, spacing=0, tolerance=0.01)
_FAR = (
    Level(fwhm=24, spacing=10, tolerance=0.5, steps=30),
    Level(fwhm=14, spacing=8, tolerance=0.2, steps=20),
)


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
    fit = align(volumes, affine, reference, mask, pull, (_COARSE, _FINE), device)
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
        Mean of at most `VOLUMES_AVERAGED` aligned volumes, without those that are `SPOILT`; the head lies as
        in the middle volume.

    Raises
    ------
    DataError
        As `check_series` and `realign`.
    """
    check_series(volumes)
    n = volumes.shape[3]
    first = Volume(checked(volumes[..., n // 2], n // 2), affine)
    still = np.broadcast_to(np.eye(4), (n, 4, 4))
    pull = align(volumes, affine, first, None, still, (_COARSE,), device).pull
    some = np.unique([n // 2, *np.linspace(0, n - 1, min(n, VOLUMES_AVERAGED)).round().astype(int)])
    fit = align(volumes, affine, first, None, pull, (_NOISY,), device, some)
    pull[some] = fit.pull
    # What a smoothed volume finds for itself is its own error, which all volumes share.
    pull = pull @ np.linalg.inv(pull[n // 2])
    # The volume that is the reference explains itself better than any other.
    sound = fit.residual <= SPOILT * np.median(fit.residual[some != n // 2])
    mean = Volume(aligned_mean(volumes, affine, pull, some[sound], device), affine)
    fit = align(volumes, affine, mean, None, pull, (_FINE,), device)
    return Realignment(fit.pull, fit.residual, fit.converged), mean.data


def align_references(
    moving: Volume, fixed: Volume, *, start: NDArray[np.float64] | None = None, device: str = "cpu"
) -> tuple[NDArray[np.float64], float]:
    """Bring the reference of one run to that of another, perhaps of another session and on another grid.

    Parameters
    ----------
    moving, fixed : Volume
        Of the same contrast. The heads may lie some centimetres and 10 degrees apart.
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
    for volume in (moving, fixed):
        checked(volume.data, 0)
    series = moving.data[..., None]
    centres = np.eye(4)
    centres[:3, 3] = head_centre(moving) - head_centre(fixed)
    starts = [np.eye(4), centres, *([] if start is None else [np.asarray(start, dtype=np.float64)])]
    fits: list[Fit] = []
    for number, one in enumerate(starts):
        try:
            fits.append(align(series, moving.affine, fixed, None, one[None], (*_FAR, _COARSE), device))
        except DataError:
            # From one place they may not overlap, and from the next they do.
            if number == len(starts) - 1 and not fits:
                raise
    best = min(fits, key=lambda fit: float(fit.residual[0]))
    fit = align(series, moving.affine, fixed, None, best.pull, (_FINE,), device)
    return fit.pull[0], float(np.sqrt(max(0.0, 1 - fit.residual[0] ** 2)))
