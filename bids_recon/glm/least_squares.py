"""Least squares, all trials at once (LSA) or one at a time (LSS), with the canonical response.

Rissman, Gazzaley & D'Esposito, NeuroImage 23:752 (2004) give every trial a regressor of its own in one model
(LSA). Mumford, Turner, Ashby & Poldrack, NeuroImage 59:2636 (2012) fit one model a trial, with a regressor
for the trial and one for all others of the run (LSS), which is steadier when trials follow one another
quickly. Their variant with a regressor for each condition among the others is not offered: a picture is its
own condition.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.glm.design import trial_regressors
from bids_recon.glm.percent_change import nuisance_basis, percent_of_mean

# Smallest singular value, relative to the largest, at which trials count as told apart. Onsets are known to
# about a millisecond; two trials that differ by less are one.
_LEAST_DIFFERENCE = 1e-4


def lsa(
    bold: NDArray[np.floating],
    trials: pd.DataFrame,
    repetition_time: float,
    *,
    shift: float = 0.0,
    start_time: float = 0.0,
    nuisance: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Single-trial responses of one run by ordinary least squares with one regressor a trial.

    Parameters
    ----------
    bold : ndarray (n_volumes, n_voxels) float32
        One run.
    trials : DataFrame
        Columns `onset` and `duration` (s, from the start of the run).
    repetition_time : float
        In s.
    shift : float
        Not used: the canonical response has its own delay.
    start_time : float
        Time in s that the first volume stands for.
    nuisance : ndarray (n_volumes, n_regressors), optional
        Regressors of no interest, in the same model; a constant is added.

    Returns
    -------
    ndarray (n_trials, n_voxels) float32
        Percent of the mean of the run; NaN for the voxels that are not `usable_voxels`.

    Raises
    ------
    DataError
        When a response lies outside the run, regressors leave nothing, or trials cannot be told apart.
    """
    del shift
    regressors = _free_of_nuisance(bold.shape[0], trials, repetition_time, start_time, nuisance)
    if regressors.shape[1]:
        # Frisch-Waugh-Lovell: the same weights as those of the trials in the model with nuisance.
        left, values, right = np.linalg.svd(regressors, full_matrices=False)
        if len(values) < regressors.shape[1] or values[-1] < _LEAST_DIFFERENCE * values[0]:
            raise _inseparable(trials, np.abs(right[-1]).argmax())
        weights = (right.T / values) @ left.T
    else:
        weights = regressors.T
    return percent_of_mean(weights, bold)


def lss(
    bold: NDArray[np.floating],
    trials: pd.DataFrame,
    repetition_time: float,
    *,
    shift: float = 0.0,
    start_time: float = 0.0,
    nuisance: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Single-trial responses of one run, each from a model of that trial against the sum of all others.

    The models are not fitted one by one: each is a system of two unknowns once nuisance is removed.

    Parameters
    ----------
    bold, trials, repetition_time, shift, start_time, nuisance
        See `lsa`.

    Returns
    -------
    ndarray (n_trials, n_voxels) float32
        See `lsa`.

    Raises
    ------
    DataError
        When a response lies outside the run, or regressors leave nothing of it or of a trial.
    """
    del shift
    one = _free_of_nuisance(bold.shape[0], trials, repetition_time, start_time, nuisance)
    others = one.sum(axis=1, keepdims=True) - one
    energy, energy_of_others = (one**2).sum(axis=0), (others**2).sum(axis=0)
    overlap = (one * others).sum(axis=0)
    # A single trial has no others: its model has one regressor.
    ratio = np.divide(overlap, energy_of_others, out=np.zeros_like(overlap), where=energy_of_others > 0)
    unique = energy - ratio * overlap
    # The share that is the trial's own; squares, as the difference of `lsa` is one of amplitudes.
    if len(unique) and (unique / energy).min() < _LEAST_DIFFERENCE**2:
        raise _inseparable(trials, (unique / energy).argmin())
    weights = (one - ratio * others) / unique
    return percent_of_mean(weights.T, bold)


def _free_of_nuisance(
    n_volumes: int,
    trials: pd.DataFrame,
    repetition_time: float,
    start_time: float,
    nuisance: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    """Trial regressors (n_volumes, n_trials) with constant and nuisance projected out."""
    regressors = trial_regressors(trials, n_volumes, repetition_time, start_time=start_time)
    basis = nuisance_basis(n_volumes, nuisance)
    free = regressors - basis @ (basis.T @ regressors)
    kept = np.linalg.norm(free, axis=0) / np.linalg.norm(regressors, axis=0)
    if len(kept) and kept.min() < _LEAST_DIFFERENCE:
        raise _inseparable(trials, kept.argmin())
    return free


def _inseparable(trials: pd.DataFrame, row: np.intp) -> DataError:
    onset = float(trials["onset"].to_numpy()[row])
    return DataError(
        f"the response to the trial with onset {onset:g} s cannot be told from those to other trials and from"
        " nuisance regressors",
        remedy="Check that no trial is listed twice and that trials are further apart than volumes; use fewer"
        " nuisance regressors, or --glm block-average.",
    )
