"""Block averages: a trial's response is the mean of the volumes recorded while its block lasted.

Horikawa & Kamitani, "Generic decoding of seen and imagined objects using hierarchical visual features",
Nature Communications 8:15037 (2017), Methods, "fMRI data preprocessing": nuisance regressors are removed
from each run by least squares, amplitudes are taken relative to the mean of the run, and the volumes of each
stimulus block are averaged after a shift for the haemodynamic delay: 3 s there (9-s blocks, TR 3 s), 4 s in
Shen et al., "Deep image reconstruction from human brain activity" (2019; 8-s blocks, TR 2 s). The latter
divides by the mean of the first rest period and clips at three deviations instead; that is not done here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.glm.percent_change import nuisance_basis, percent_of_mean

# Onsets and repetition times come rounded from text and float32 headers; a volume that is due exactly when
# a window opens must not drop out of it for that.
TIME_TOLERANCE = 1e-3


def trial_volumes(
    onset: float,
    duration: float,
    n_volumes: int,
    repetition_time: float,
    *,
    shift: float = 4.0,
    start_time: float = 0.0,
) -> NDArray[np.int64]:
    """Volumes over which the response of one trial is averaged.

    Volume k stands for the time ``k * repetition_time + start_time``. The window is
    ``[onset + shift, onset + shift + duration)``. When no volume falls into it, as with events shorter than
    the repetition time, the volume nearest to its middle is taken.

    Parameters
    ----------
    onset, duration : float
        Of the trial, in s from the start of the first volume.
    n_volumes : int
        Length of the run.
    repetition_time, shift, start_time : float
        In s; `start_time` is when the first volume's reference slice was recorded (`StartTime` in BIDS), and
        later by whole repetition times where volumes were dropped at the start.

    Returns
    -------
    ndarray (n,) int64, n >= 1

    Raises
    ------
    DataError
        When the whole window lies outside the run, or onset or duration is not a number.
    """
    if not (np.isfinite(onset) and np.isfinite(duration) and duration >= 0):
        raise DataError(
            f"a trial has onset {onset:g} s and duration {duration:g} s",
            remedy="Give every trial an onset and a duration of zero or more in events.tsv.",
        )
    begin = onset + shift
    end = begin + duration
    # Volumes may have been dropped at the start; what is left begins later by whole repetition times.
    opens = repetition_time * np.floor(start_time / repetition_time + TIME_TOLERANCE)
    closes = opens + n_volumes * repetition_time
    if begin >= closes - TIME_TOLERANCE or end < opens - TIME_TOLERANCE:
        lasts = f"lasts {closes:g} s" if opens == 0 else f"lasts from {opens:g} to {closes:g} s"
        raise DataError(
            f"the trial with onset {onset:g} s has its response window ({begin:g} to {end:g} s) outside the"
            f" run, which {lasts} ({n_volumes} volumes)",
            remedy="Volumes before the steady state were dropped: exclude the trial, or keep them with"
            " --preprocess none."
            if end < opens
            else "Check onsets and RepetitionTime, or exclude the run if its recording was cut short.",
        )
    times = np.arange(n_volumes) * repetition_time + start_time
    inside = np.flatnonzero((times >= begin - TIME_TOLERANCE) & (times < end - TIME_TOLERANCE))
    if inside.size:
        return inside
    return np.array([np.argmin(np.abs(times - (begin + end) / 2))])


def block_average(
    bold: NDArray[np.floating],
    trials: pd.DataFrame,
    repetition_time: float,
    *,
    shift: float = 4.0,
    start_time: float = 0.0,
    nuisance: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Single-trial responses of one run, in percent of each voxel's mean over the run.

    Parameters
    ----------
    bold : ndarray (n_volumes, n_voxels) float32
        One run.
    trials : DataFrame
        Columns `onset` and `duration` (s, from the start of the first volume).
    repetition_time : float
        In s.
    shift : float
        Haemodynamic delay in s.
    start_time : float
        Time in s that the first volume stands for.
    nuisance : ndarray (n_volumes, n_regressors), optional
        Removed by least squares together with the mean of the run.

    Returns
    -------
    ndarray (n_trials, n_voxels) float32
        NaN for the voxels that are not `usable_voxels`.

    Raises
    ------
    DataError
        When a trial's window lies outside the run (see `trial_volumes`), or the regressors leave nothing.
    """
    n_volumes = len(bold)
    averaging = np.zeros((len(trials), n_volumes))
    for row, (onset, duration) in enumerate(zip(trials["onset"], trials["duration"], strict=True)):
        chosen = trial_volumes(
            float(onset), float(duration), n_volumes, repetition_time, shift=shift, start_time=start_time
        )
        averaging[row, chosen] = 1 / len(chosen)
    basis = nuisance_basis(n_volumes, nuisance)
    # Averaging and the removal of nuisance are both linear in time: one small matrix does both, and the
    # cleaned time courses never exist.
    weights = averaging - (averaging @ basis) @ basis.T
    return percent_of_mean(weights, bold)
