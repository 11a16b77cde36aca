"""How much of a voxel's single-trial responses could be explained: noise ceiling and reliability.

Allen et al., "A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence", Nature
Neuroscience 25:116 (2022), Methods, on the noise ceiling: a response is a signal, which depends on the
picture, and noise, which does not. The variance of noise is the variance of responses to the same picture;
that of the signal is what is left of the variance between pictures. In the paper all pictures have as many
repetitions; here both variances are estimated by a one-way analysis of variance, which allows for unequal
numbers (Searle, Casella & McCulloch, Variance Components, 1992, section 3.6).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import DataError

# Double precision for a few voxels at a time.
_VOXELS_AT_A_TIME = 4096


def noise_ceiling(
    responses: NDArray[np.floating], stimulus_ids: NDArray[np.generic], n_averaged: int = 1
) -> NDArray[np.float32]:
    """Percent of the variance of responses that a perfect model of the pictures could explain.

    Parameters
    ----------
    responses : ndarray (n_trials, n_voxels)
        Single trials; NaN where there is none.
    stimulus_ids : ndarray (n_trials,)
        Picture of each trial. Pictures shown once do not count.
    n_averaged : int
        Number of trials whose mean is to be explained.

    Returns
    -------
    ndarray (n_voxels,) float32
        From 0 to 100; NaN for voxels without variance or with fewer than two repeated pictures.

    Raises
    ------
    DataError
        When fewer than two pictures were shown more than once.
    """
    if n_averaged < 1:
        raise ValueError(f"the mean of {n_averaged} trials")
    signal, noise = variances(responses, stimulus_ids)
    signal = np.maximum(signal, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * signal / (signal + noise / n_averaged), dtype=np.float32)


def reliability(responses: NDArray[np.floating], stimulus_ids: NDArray[np.generic]) -> NDArray[np.float32]:
    """Correlation to expect between single responses to the same pictures, to rank voxels by.

    The intraclass correlation ICC(1) of Shrout & Fleiss, Psychological Bulletin 86:420 (1979): the variance
    of the signal over that of signal and noise. Unlike a noise ceiling it can be negative, so that voxels
    without a signal are not all equal; unlike a correlation of halves it depends on no split.

    Parameters
    ----------
    responses, stimulus_ids
        See `noise_ceiling`.

    Returns
    -------
    ndarray (n_voxels,) float32
        At most 1; NaN where `noise_ceiling` is.

    Raises
    ------
    DataError
        When fewer than two pictures were shown more than once.
    """
    signal, noise = variances(responses, stimulus_ids)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(signal / (signal + noise), dtype=np.float32)


def variances(
    responses: NDArray[np.floating], stimulus_ids: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances of signal, which may come out negative, and noise.

    Parameters
    ----------
    responses, stimulus_ids
        See `noise_ceiling`.

    Returns
    -------
    signal, noise : ndarrays (n_voxels,) float64
        Without bias; NaN for voxels with fewer than two repeated pictures.

    Raises
    ------
    DataError
        When fewer than two pictures were shown more than once.
    """
    if len(responses) != len(stimulus_ids):
        raise ValueError(f"{len(stimulus_ids)} stimulus ids for {len(responses)} responses")
    pictures, counts = np.unique(stimulus_ids, return_counts=True)
    repeated = pictures[counts > 1]
    if len(repeated) < 2:
        raise DataError(
            "fewer than two pictures were shown more than once, so that noise cannot be told from signal",
            remedy="A noise ceiling, and a choice of reliable voxels, need repeated pictures.",
        )
    rows = np.flatnonzero(np.isin(stimulus_ids, repeated))
    # Trials of a picture side by side, to be summed in one go.
    rows = rows[np.argsort(np.searchsorted(repeated, stimulus_ids[rows]), kind="stable")]
    first = np.cumsum(counts[counts > 1]) - counts[counts > 1]
    n_voxels = responses.shape[1]
    signal, noise = np.empty((2, n_voxels))
    for begin in range(0, n_voxels, _VOXELS_AT_A_TIME):
        part = slice(begin, begin + _VOXELS_AT_A_TIME)
        signal[part], noise[part] = _analysis(responses[rows, part].astype(np.float64), first)
    return signal, noise


def _analysis(
    responses: NDArray[np.float64], first: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances of some voxels; trials of a picture begin at the rows `first`."""
    there = np.isfinite(responses)
    numbers = np.add.reduceat(there, first, axis=0, dtype=np.int64)
    # A picture of which one response is left says nothing of noise, nor does it count for the signal.
    numbers = np.where(numbers > 1, numbers, 0)
    sizes = np.diff(np.append(first, len(responses)))
    there &= np.repeat(numbers > 0, sizes, axis=0)
    kept = np.where(there, responses, 0)
    n_trials, n_pictures = numbers.sum(axis=0), (numbers > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = np.where(there, kept - kept.sum(axis=0) / n_trials, 0)
        means = np.add.reduceat(kept, first, axis=0) / np.maximum(numbers, 1)
        between = (numbers * means**2).sum(axis=0) / (n_pictures - 1)
        within = (np.where(there, kept - np.repeat(means, sizes, axis=0), 0) ** 2).sum(axis=0)
        noise = within / (n_trials - n_pictures)
        # Repetitions a picture, as they count where their numbers differ.
        size = (n_trials - (numbers**2).sum(axis=0) / n_trials) / (n_pictures - 1)
        signal = (between - noise) / size
    enough = n_pictures > 1
    return np.where(enough, signal, np.nan), np.where(enough, noise, np.nan)
