"""Noise of predictions whose stimuli were shown once, from how they follow the true latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from bids_recon.decoders.targets import Targets, chunks, read_columns

# Signal can be spread over the directions of latent space as their variance to one of these powers: 1 when
# responses follow latents in their units, 0 when all directions are coded alike.
EXPONENTS = (1.0, 0.75, 0.5, 0.25, 0.0)
SIGNAL_TO_NOISE = tuple(float(ratio) for ratio in np.logspace(-3, 3, 13))
# Latents that the distribution of the models is learnt from, and steps of learning it.
PRIOR_LATENTS = 2048
PRIOR_STEPS = 100
# Directions with a smaller share of the largest variance are rounding errors.
RANK_TOLERANCE = 1e-10
# A chunk is in memory in double precision, about so many times at once.
COPIES = 6
_DOUBLE = np.dtype(np.float64)


@dataclass(frozen=True)
class LinearSignalModels:
    """Models of a prediction as signal that is linear in the true latents, plus white noise.

    With K the Gram matrix of the centred latents of n trials, its eigenvalues k scaled to a mean of one over
    the n - 1 directions that remain after centring, a model says that a centred prediction has the covariance
    σ² (I + ρ K^γ). Each has its own exponent γ and its own ratio ρ of signal to noise; σ² is fitted.

    Attributes
    ----------
    directions : ndarray (n_trials, n_trials - 1)
        Orthonormal, and orthogonal to the constant.
    precisions : ndarray (n_models, n_trials - 1)
        1 / (1 + ρ k^γ).
    log_determinants : ndarray (n_models,)
    """

    directions: NDArray[np.float64]
    precisions: NDArray[np.float64]
    log_determinants: NDArray[np.float64]

    @classmethod
    def of(cls, Y: Targets) -> LinearSignalModels:
        """Models for the latents Y (n_trials, n_latents) of the trials."""
        n_trials, n_latents = Y.shape
        gram = np.zeros((n_trials, n_trials))
        for part in chunks(n_latents, n_trials, COPIES * _DOUBLE.itemsize):
            block = read_columns(Y, part, _DOUBLE)
            block = block - block.mean(axis=0)
            gram += block @ block.T
        # The constant gets the largest eigenvalue, so that the other eigenvectors are orthogonal to it.
        values, vectors = scipy.linalg.eigh(gram + (1.0 + 2.0 * np.trace(gram)) / n_trials)
        values, directions = np.maximum(values[:-1], 0.0), vectors[:, :-1]
        real = values > RANK_TOLERANCE * max(values[-1], np.finfo(np.float64).tiny)
        precisions = [np.ones(n_trials - 1)]
        if real.any():
            for exponent in EXPONENTS:
                shape = np.where(real, np.where(real, values / values[-1], 1.0) ** exponent, 0.0)
                precisions += [1.0 / (1.0 + ratio * shape / shape.mean()) for ratio in SIGNAL_TO_NOISE]
        stacked = np.array(precisions)
        return cls(directions, stacked, -np.log(stacked).sum(axis=1))

    def log_noise(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log of σ² (n_models, n_latents) of predictions (n_trials, n_latents), by restricted likelihood."""
        squares = (self.directions.T @ predicted) ** 2
        noise = self.precisions @ squares / squares.shape[0]
        return np.log(np.maximum(noise, np.finfo(np.float64).tiny))

    def posterior(self, log_noise: NDArray[np.floating], prior: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability (n_models, n_latents) of each model, given what σ² it needs and a prior (n_models,)."""
        degrees = self.precisions.shape[1]
        log_likelihood = -0.5 * (degrees * log_noise.astype(np.float64) + self.log_determinants[:, None])
        weighed = prior[:, None] * np.exp(log_likelihood - log_likelihood.max(axis=0))
        return weighed / weighed.sum(axis=0)

    def learn_prior(self, log_noise: NDArray[np.floating]) -> NDArray[np.float64]:
        """Distribution of models (n_models,) over latents, by expectation-maximisation."""
        prior = np.full(len(self.precisions), 1.0 / len(self.precisions))
        for _ in range(PRIOR_STEPS):
            prior = self.posterior(log_noise, prior).mean(axis=1)
        return prior


def single_trial_noise(predicted: Any, Y: Targets) -> NDArray[np.float64]:
    """Noise variance (n_latents,) of out-of-fold predictions of trials whose stimuli were shown once.

    Without repeats, signal and noise are told apart by the true latents: what a linear decoder makes of the
    signal in a response is, as far as the response is linear in the latents, linear in the latents. The
    prediction of a latent is a mixture of all of them and not of its own alone, and there may be more latents
    than trials, so that no plain regression tells them apart. Each prediction is therefore given random
    effects with covariance ρ K^γ (`LinearSignalModels`), fitted by restricted maximum likelihood (Patterson &
    Thompson 1971, Biometrika 58:545). ρ and γ of one latent are uncertain: their distribution over all
    latents is estimated first (empirical Bayes with a discrete prior; Laird 1978, JASA 73:805), and the noise
    variance is the mean over what it leaves possible for the latent.

    Signal that is not linear in the latents, and signal in directions where the latents hardly vary, counts
    as noise. The deviation of averaged predictions is then taken for smaller than it is, and rescaled latents
    spread more than true ones. In simulations of linear codes, this came nearer to the truth than the
    residual variance of a ridge smoother with its penalty by generalised cross-validation, and than ordinary
    least squares where latents are many.

    Parameters
    ----------
    predicted : array (n_trials, n_latents)
        Or whatever gives columns by `predicted[:, part]`; read once, in chunks of columns.
    Y : array or RepeatedRows (n_trials, n_latents)
        True latents; read once.

    Raises
    ------
    ValueError
        When a latent or a prediction is not finite.
    """
    models = LinearSignalModels.of(Y)
    n_trials, n_latents = predicted.shape
    log_noise = np.empty((len(models.precisions), n_latents), dtype=np.float32)
    for part in chunks(n_latents, n_trials, COPIES * _DOUBLE.itemsize):
        log_noise[:, part] = models.log_noise(read_columns(predicted, part, _DOUBLE))
    some = np.unique(np.linspace(0, n_latents - 1, min(n_latents, PRIOR_LATENTS)).astype(np.intp))
    prior = models.learn_prior(log_noise[:, some])
    noise = np.empty(n_latents)
    for part in chunks(n_latents, len(log_noise), COPIES * _DOUBLE.itemsize):
        values = log_noise[:, part]
        noise[part] = (models.posterior(values, prior) * np.exp(values.astype(np.float64))).sum(axis=0)
    return noise
