"""Percent signal change of one run: which voxels have one, what is removed, and weighted sums of volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bids_recon.errors import DataError

# Double precision for a few voxels at a time: a mean near 10 000 leaves float32 few digits for an effect of
# 0.1 %.
_VOXELS_AT_A_TIME = 2048


def usable_voxels(bold: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Find the voxels for which percent signal change has a meaning.

    Parameters
    ----------
    bold : ndarray (n_volumes, n_voxels)
        One run.

    Returns
    -------
    ndarray (n_voxels,) bool
        False where a sample is NaN or infinite, where all samples are equal, and where the mean of the run
        is not positive. Combine the runs of a person with a logical and.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        # One bad sample makes the mean bad: a mask of the size of the run is not needed.
        mean = bold.mean(axis=0, dtype=np.float64)
        return np.isfinite(mean) & (mean > 0) & (bold.max(axis=0) > bold.min(axis=0))


def nuisance_basis(n_volumes: int, nuisance: NDArray[np.floating] | None) -> NDArray[np.float64]:
    """Orthonormal basis (n_volumes, rank) of the constant and the nuisance regressors.

    Parameters
    ----------
    n_volumes : int
        Length of the run.
    nuisance : ndarray (n_volumes, n_regressors) or None
        With or without a constant; redundant columns do no harm.

    Raises
    ------
    DataError
        When they leave nothing of the run.
    """
    constant = np.full((n_volumes, 1), n_volumes**-0.5)
    if nuisance is None or nuisance.shape[1] == 0:
        return constant
    if nuisance.shape[0] != n_volumes:
        raise ValueError(f"nuisance has {nuisance.shape[0]} rows, the run {n_volumes} volumes")
    if not np.isfinite(nuisance).all():
        raise ValueError("nuisance holds NaN or infinite values")
    centred = nuisance - nuisance.mean(axis=0, dtype=np.float64)
    basis = np.hstack([constant, linalg.orth(centred)])
    if basis.shape[1] >= n_volumes:
        raise DataError(
            f"{nuisance.shape[1]} nuisance regressors leave nothing of a run of {n_volumes} volumes",
            remedy="Use fewer regressors.",
        )
    return basis


def percent_of_mean(weights: NDArray[np.float64], bold: NDArray[np.floating]) -> NDArray[np.float32]:
    """Weighted sums of volumes, in percent of each voxel's mean over the run.

    Parameters
    ----------
    weights : ndarray (n_rows, n_volumes) float64
    bold : ndarray (n_volumes, n_voxels)
        One run.

    Returns
    -------
    ndarray (n_rows, n_voxels) float32
        NaN for the voxels that are not `usable_voxels`.
    """
    found = np.full((len(weights), bold.shape[1]), np.nan, dtype=np.float32)
    usable = np.flatnonzero(usable_voxels(bold))
    for begin in range(0, len(usable), _VOXELS_AT_A_TIME):
        columns = usable[begin : begin + _VOXELS_AT_A_TIME]
        samples = bold[:, columns].astype(np.float64)
        found[:, columns] = 100 * (weights @ samples) / samples.mean(axis=0)
    return found
