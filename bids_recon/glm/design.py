"""Design of one run: a regressor for each trial."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.glm.hrf import CANONICAL

HRF_MODEL = "glover"

# A trial of which the run holds less than this share of the peak is not estimated: what is left of it would
# be multiplied by more than twenty.
_LEAST_RESPONSE = 0.05
# nilearn's grid: bins a volume, and s before the first volume.
_OVERSAMPLING, _EARLIEST = 50, -24.0


def trial_regressors(
    trials: pd.DataFrame, n_volumes: int, repetition_time: float, *, start_time: float = 0.0
) -> NDArray[np.float64]:
    """One canonical regressor a trial, by nilearn's `make_first_level_design_matrix`.

    Parameters
    ----------
    trials : DataFrame
        Columns `onset` and `duration` (s, from the start of the run).
    n_volumes : int
        Length of the run.
    repetition_time : float
        In s.
    start_time : float
        Time in s that the first volume stands for; more than a repetition time when volumes were dropped.

    Returns
    -------
    ndarray (n_volumes, n_trials) float64
        Glover's response to each trial, which tends to one while a long trial goes on.

    Raises
    ------
    DataError
        When onset or duration is not a number, or the response lies outside the run.
    """
    from nilearn.glm.first_level import make_first_level_design_matrix

    onsets, durations = check_times(trials, n_volumes, repetition_time, start_time)
    if not len(trials):
        return np.empty((n_volumes, 0))
    names = [f"trial{number:06d}" for number in range(len(trials))]
    with warnings.catch_warnings():
        # More trials than volumes are no matter for LSS, and LSA refuses them itself.
        warnings.filterwarnings("ignore", message="Matrix is singular")
        matrix = make_first_level_design_matrix(
            np.arange(n_volumes) * repetition_time + start_time,
            pd.DataFrame({"onset": onsets, "duration": durations, "trial_type": names}),
            hrf_model=HRF_MODEL,
            drift_model=None,
            min_onset=min(_EARLIEST, np.floor(onsets.min() - start_time)),
            oversampling=_OVERSAMPLING,
        )
    return matrix[names].to_numpy(dtype=np.float64)


def check_times(
    trials: pd.DataFrame, n_volumes: int, repetition_time: float, start_time: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Onsets and durations (n_trials,) in s, of trials whose responses a run holds.

    Raises
    ------
    DataError
        When one is not a number, or a response does not reach a twentieth of its peak in the run.
    """
    onsets = trials["onset"].to_numpy(dtype=np.float64)
    durations = trials["duration"].to_numpy(dtype=np.float64)
    times = np.arange(n_volumes) * repetition_time + start_time
    for onset, duration in zip(onsets, durations, strict=True):
        if not (np.isfinite(onset) and np.isfinite(duration) and duration >= 0):
            raise DataError(
                f"a trial has onset {onset:g} s and duration {duration:g} s",
                remedy="Give every trial an onset and a duration of zero or more in events.tsv.",
            )
        response = CANONICAL.block(times - onset, duration)
        if np.abs(response).max(initial=0) < _LEAST_RESPONSE * CANONICAL.peak(duration):
            raise DataError(
                f"the trial with onset {onset:g} s has its response outside the run, whose {n_volumes}"
                f" volumes stand for {times[0]:g} to {times[-1]:g} s",
                remedy="Check onsets and RepetitionTime, or exclude the run if its recording was cut short.",
            )
    return onsets, durations
