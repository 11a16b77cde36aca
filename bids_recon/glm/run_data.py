"""Runs of one person whose time courses lie on disk, as models that see several runs at once take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from bids_recon.errors import DataError
from bids_recon.glm.design import check_times
from bids_recon.glm.hrf import LIBRARY, DoubleGamma, library_span
from bids_recon.glm.percent_change import nuisance_basis

# A run whose regressors of no interest leave less than this share of its volumes tunes nothing.
_LEAST_FREEDOM = 0.1
# Nor does one whose baseline cannot be told from responses to test trials: this share of it must be its own.
_LEAST_OWN_CONSTANT = 0.02


@dataclass(frozen=True)
class RunData:
    """One run.

    Attributes
    ----------
    timecourses : ndarray or memory map (n_voxels, n_volumes) float32
        BOLD, a voxel's samples side by side.
    trials : DataFrame
        Columns `onset`, `duration` (s, from the start of the run) and `stimulus_id`.
    repetition_time, start_time : float
        In s; `start_time` is what the first volume stands for.
    nuisance : ndarray (n_volumes, n_regressors)
        Drift, motion and the like, without a constant.
    training : ndarray (n_trials,) bool
        Trials that may tune something.
    """

    timecourses: NDArray[np.float32]
    trials: pd.DataFrame
    repetition_time: float
    start_time: float
    nuisance: NDArray[np.floating]
    training: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.training.shape != (len(self.trials),):
            raise ValueError(f"{self.training.shape} training flags for {len(self.trials)} trials")
        if self.nuisance.shape[0] != self.timecourses.shape[1]:
            raise ValueError(
                f"nuisance has {self.nuisance.shape[0]} rows for {self.timecourses.shape[1]} volumes"
            )

    @property
    def n_volumes(self) -> int:
        """Length of the run."""
        return int(self.timecourses.shape[1])

    @property
    def n_voxels(self) -> int:
        """Number of time courses."""
        return int(self.timecourses.shape[0])


@dataclass(frozen=True)
class RunModel:
    """What is modelled in one run: some trials, and a space of no interest that is projected out.

    Attributes
    ----------
    run : RunData
        Where the data are.
    rows : ndarray (n_modelled,) int64
        Positions of the modelled trials among those of the run.
    onsets, durations : ndarray (n_modelled,) float64
        In s.
    confounds : ndarray (n_volumes, rank) float64
        Orthonormal; spans the constant.
    baseline : ndarray (n_volumes,) float64
        Weights whose sum over volumes is a voxel's baseline: its mean, freed of what `confounds` spans.
    """

    run: RunData
    rows: NDArray[np.int64]
    onsets: NDArray[np.float64]
    durations: NDArray[np.float64]
    confounds: NDArray[np.float64]
    baseline: NDArray[np.float64]

    @property
    def times(self) -> NDArray[np.float64]:
        """What each volume stands for, s."""
        steps = np.arange(self.run.n_volumes, dtype=np.float64)
        return steps * self.run.repetition_time + self.run.start_time

    def percent_change(self, voxels: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Change from baseline (n_chosen, n_volumes) in percent; zero for voxels without a signal."""
        samples = np.asarray(self.run.timecourses[voxels], dtype=np.float32)
        baseline = self.baselines(samples)
        usable = np.isfinite(baseline)
        safe = np.where(usable, baseline, 1.0).astype(np.float32)[:, None]
        change = samples - safe
        change *= 100 / safe
        change[~usable] = 0
        return change

    def baselines(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """Baseline (n_voxels,) of samples (n_voxels, n_volumes); NaN for voxels without a signal.

        A signal is finite, varies, and has a positive baseline.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            baseline: NDArray[np.float64] = samples.astype(np.float64) @ self.baseline
            usable = np.isfinite(baseline) & (baseline > 0) & (samples.max(axis=1) > samples.min(axis=1))
        baseline[~usable] = np.nan
        return baseline


def whole_model(run: RunData) -> RunModel:
    """Model of all trials of a run.

    Raises
    ------
    DataError
        When a response lies outside the run, or nuisance leaves nothing of it.
    """
    onsets, durations = check_times(run.trials, run.n_volumes, run.repetition_time, run.start_time)
    basis = nuisance_basis(run.n_volumes, run.nuisance)
    mean = np.full(run.n_volumes, 1 / run.n_volumes)
    return RunModel(run, np.arange(len(onsets)), onsets, durations, basis, mean)


def tuning_model(whole: RunModel) -> RunModel | None:
    """Model of the training trials of a run, blind for responses to its other trials.

    For every other trial the space of no interest holds the six components that span the library: whatever
    such a trial evoked, the model and all that is chosen with it stay the same. Where a run is too short for
    that, four must do (0.04 and 1.6 % of a response are left).

    Parameters
    ----------
    whole : RunModel
        Of all trials of the run (`whole_model`).

    Returns
    -------
    RunModel or None
        The same where all trials are for training. None when the run has no training trials, or too
        little is left of it.
    """
    run = whole.run
    if not run.training.any():
        return None
    if run.training.all():
        return whole
    return _blind(whole, 6) or _blind(whole, 4)


def _blind(whole: RunModel, n_components: int) -> RunModel | None:
    """Model of the training trials without the span of the others; None when too little is left."""
    run = whole.run
    evoked = [
        np.stack([hrf.block(whole.times - onset, duration) for hrf in LIBRARY], axis=1)
        @ library_span(float(duration), n_components)
        for onset, duration in zip(whole.onsets[~run.training], whole.durations[~run.training], strict=True)
    ]
    excluded = np.hstack([run.nuisance - run.nuisance.mean(axis=0), *evoked])
    try:
        confounds = nuisance_basis(run.n_volumes, excluded)
    except DataError:
        return None
    left = run.n_volumes - confounds.shape[1] - int(run.training.sum())
    # What the constant has of its own beside nuisance and evoked responses.
    others = linalg.orth(excluded)
    own = 1 - others @ others.sum(axis=0)
    if left < _LEAST_FREEDOM * run.n_volumes or own.mean() < _LEAST_OWN_CONSTANT:
        return None
    rows = np.flatnonzero(run.training)
    return RunModel(run, rows, whole.onsets[rows], whole.durations[rows], confounds, own / own.sum())


def regressors(
    hrf: DoubleGamma, times: NDArray[np.float64], onsets: NDArray[np.float64], durations: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Responses (n_volumes, n_trials) float64 to trials, at `times` in s."""
    return hrf.block(times[:, None] - onsets, np.broadcast_to(durations, (len(times), len(onsets))))
