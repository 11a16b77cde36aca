"""How decoded latents spread: mean, signal and noise of predictions of trials left out of the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from bids_recon.decoders.single_trial_noise import single_trial_noise
from bids_recon.decoders.targets import Targets, chunks, read_columns
from bids_recon.errors import DataError

# With fewer repeats than these (trials less stimuli) the variance between them is too uncertain to be used.
FEWEST_REPEATS = 20
FEWEST_STIMULI = 3
ARRAYS = ("mean", "signal_variance", "noise_variance", "target_mean", "target_std")
# A chunk is in memory in double precision, about so many times at once.
COPIES = 4
_DOUBLE = np.dtype(np.float64)


@dataclass(frozen=True)
class PredictionMoments:
    """Moments of out-of-fold predictions and of true latents, each per latent, all stimuli counting alike.

    A prediction is taken as mean + signal of the stimulus + noise of the trial. Averaged over r trials of one
    stimulus its variance over stimuli is signal_variance + noise_variance / r.

    Attributes
    ----------
    mean : ndarray (n_latents,) float64
        Of predictions.
    signal_variance, noise_variance : ndarray (n_latents,) float64
        Between stimuli, and of one trial. Neither is below zero.
    target_mean, target_std : ndarray (n_latents,) float64
        Of true latents; the deviation with n in its denominator.
    n_stimuli : int
    from_repeats : bool
        Whether noise was measured between repeats of stimuli; else by `single_trial_noise`.
    """

    mean: NDArray[np.float64]
    signal_variance: NDArray[np.float64]
    noise_variance: NDArray[np.float64]
    target_mean: NDArray[np.float64]
    target_std: NDArray[np.float64]
    n_stimuli: int
    from_repeats: bool

    def deviation(self, n_trials: float, part: slice = slice(None)) -> NDArray[np.float64]:
        """Deviation over stimuli (n_latents,) of predictions that are each averaged over so many trials.

        It has two floors, with n stimuli. A signal of less than 1/n of the variance cannot be told from
        none, so at least that much is assumed: averaging then lowers the deviation √n-fold at most. And
        no prediction is taken to vary less than the mean of the other n - 1 latents does, target_std / n:
        nothing is stretched more than n-fold.
        """
        signal, noise = self.signal_variance[part], self.noise_variance[part]
        signal = np.maximum(signal, (signal + noise) / self.n_stimuli)
        return np.maximum(np.sqrt(signal + noise / n_trials), self.target_std[part] / self.n_stimuli)

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that rebuild these moments."""
        counts = np.array([self.n_stimuli, int(self.from_repeats)], dtype=np.int64)
        return {name: getattr(self, name) for name in ARRAYS} | {"counts": counts}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> PredictionMoments:
        """Rebuild moments.

        Raises
        ------
        DataError
            When an array is missing.
        """
        try:
            n_stimuli, from_repeats = (int(count) for count in state["counts"])
            mean, signal, noise, target_mean, target_std = (state[name] for name in ARRAYS)
        except KeyError as error:
            raise DataError(f"the saved moments of predictions lack the array {error}") from error
        return cls(mean, signal, noise, target_mean, target_std, n_stimuli, bool(from_repeats))


def prediction_moments(
    predicted: Any,
    Y: Targets,
    stimulus: NDArray[np.integer],
    of_targets: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> PredictionMoments:
    """Moments of out-of-fold predictions.

    Where stimuli were shown repeatedly, a one-way random-effects analysis of variance: the noise is the
    variance of trials around the mean of their stimulus; the signal is the variance of these means less the
    share of noise in it, noise / (harmonic mean of the numbers of trials). All stimuli count alike, however
    often they were shown (the analysis of unweighted means; Searle, Casella & McCulloch 1992, Variance
    Components). With r trials of each, the deviation for r trials is that of the averaged predictions.

    With fewer than `FEWEST_REPEATS` repeats, the noise is that of `single_trial_noise`, which says what is
    assumed then.

    Parameters
    ----------
    predicted : array (n_trials, n_latents) of float
        Out-of-fold predictions, or whatever gives columns by `predicted[:, part]`; read in chunks.
    Y : array or RepeatedRows (n_trials, n_latents)
        True latents of the same trials, equal for trials of one stimulus.
    stimulus : ndarray (n_trials,) of int
        Code of each trial's stimulus, 0 to n_stimuli - 1.
    of_targets : pair of ndarray (n_latents,), optional
        `target_moments` of more stimuli, where they are known.

    Raises
    ------
    DataError
        When there are fewer than three stimuli.
    ValueError
        When shapes do not fit, or a value is not finite.
    """
    n_trials, n_latents = predicted.shape
    if (n_trials, n_latents) != tuple(Y.shape) or stimulus.shape != (n_trials,):
        raise ValueError(
            f"predictions {predicted.shape}, latents {Y.shape} and stimuli {stimulus.shape} do not fit"
        )
    counts = np.bincount(stimulus)
    n_stimuli = len(counts)
    if n_stimuli < FEWEST_STIMULI:
        raise DataError(
            f"the spread of predictions cannot be measured on {n_stimuli} training stimuli",
            remedy=f"Give {FEWEST_STIMULI} at least, or decode without rescaling.",
        )
    repeats = n_trials - n_stimuli
    averaging = scipy.sparse.csr_array(
        (1.0 / counts[stimulus], (stimulus, np.arange(n_trials))), shape=(n_stimuli, n_trials)
    )
    mean, between, within = np.empty(n_latents), np.empty(n_latents), np.empty(n_latents)
    for part in chunks(n_latents, n_trials, COPIES * _DOUBLE.itemsize):
        trials = read_columns(predicted, part, _DOUBLE)
        stimuli = averaging @ trials
        mean[part], between[part] = stimuli.mean(axis=0), stimuli.var(axis=0, ddof=1)
        if repeats >= FEWEST_REPEATS:
            within[part] = ((trials - stimuli[stimulus]) ** 2).sum(axis=0) / repeats
    from_repeats = repeats >= FEWEST_REPEATS
    share = float((1.0 / counts).mean())
    # A single trial has no more noise than it has variance.
    noise = within if from_repeats else np.minimum(single_trial_noise(predicted, Y), between / share)
    signal = np.maximum(between - noise * share, 0.0)
    known = target_moments(Y, stimulus) if of_targets is None else of_targets
    return PredictionMoments(mean, signal, noise, *known, n_stimuli, from_repeats)


def target_moments(
    Y: Targets, stimulus: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation (n_latents,), n in its denominator, of the latents of distinct stimuli.

    Parameters
    ----------
    Y : array or RepeatedRows (n_trials, n_latents)
        Equal for trials of one stimulus; read in chunks.
    stimulus : ndarray (n_trials,) of int
    """
    first = np.unique(stimulus, return_index=True)[1]
    mean, deviation = np.empty(Y.shape[1]), np.empty(Y.shape[1])
    for part in chunks(Y.shape[1], len(Y), COPIES * _DOUBLE.itemsize):
        latents = read_columns(Y, part, _DOUBLE)[first]
        mean[part], deviation[part] = latents.mean(axis=0), latents.std(axis=0)
    return mean, deviation
