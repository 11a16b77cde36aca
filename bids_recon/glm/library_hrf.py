"""Choice of the response: which of the library a voxel has, weighed against all other voxels.

GLMsingle (Prince et al., eLife 11:e77599, 2022) takes the response whose single-trial design explains most
variance. With as many regressors as trials, differences of explained variance are small against noise, most
of all when trials follow one another at a steady pace, and a response one interval too late fits nearly as
well. Here the evidence of the design is compared instead, which knows that single trials scatter about the
voxel's mean response:

    y = μ X1 + X δ + e,    δ ~ N(0, σ²/λ),    e ~ N(0, σ²) after whitening,

with λ spread evenly over a few values, σ at its maximum, and for μ the prior that is worth one volume
(Zellner's g-prior with g = n; Kass & Wasserman, Journal of the American Statistical Association 90:928,
1995). Voxels of one person have similar responses: how often each occurs, and how often none, is estimated
from all voxels (empirical Bayes, by expectation and maximisation), and a voxel takes the response that is
most probable given both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.glm.library_design import RunDesign, read_change
from bids_recon.glm.run_data import RunModel

# Noise variance over the variance of single trials about the mean, in units of the regressors' peak.
VARIANCE_RATIOS = (0.1, 0.3, 1.0, 3.0, 10.0)
_ITERATIONS = 40
_VOXELS_AT_A_TIME = 2048


def evidence(
    models: Sequence[RunModel], designs: Sequence[RunDesign], voxels: slice, device: torch.device
) -> torch.Tensor:
    """Logarithm of the evidence of every response against none.

    Parameters
    ----------
    models, designs : sequences of RunModel and RunDesign
        One a run.
    voxels : slice
        Which to look at.
    device : torch.device
        Where the designs are.

    Returns
    -------
    tensor (n_chosen, 20) float32
        Zero for voxels without a signal.
    """
    ratios = torch.tensor(VARIANCE_RATIOS, device=device)
    energy = fitted = overlap = mean_energy = log_determinant = torch.zeros((), device=device)
    for model, design in zip(models, designs, strict=True):
        change = read_change(model, voxels, device)
        energy = energy + design.energy(change)
        # (H, n_voxels, k): coordinates along the directions of each design.
        along = torch.matmul(change, design.project)
        # (H, k, L): share of a direction's variance that is noise.
        noise = 1 / (1 + design.values[:, :, None] ** 2 / ratios)
        weighted = design.mean[:, :, None] * noise
        overlap = overlap + along @ weighted
        mean_energy = mean_energy + (design.mean[:, :, None] * weighted).sum(dim=1)
        fitted = fitted + along.square_() @ (1 - noise)
        log_determinant = log_determinant - noise.log().sum(dim=1)
    n = sum(design.freedom for design in designs)
    fitted = fitted + n / (1 + n) * overlap**2 / mean_energy[:, None, :]
    # (H, n_voxels, L): residual over energy, above rounding; voxels without a signal have no energy.
    left = (1 - fitted / energy[None, :, None].clamp_min(1e-30)).clamp_min(1e-6)
    logarithm = -0.5 * (n * left.log() + log_determinant[:, None, :] + np.log1p(n))
    averaged = torch.logsumexp(logarithm, dim=2) - np.log(len(VARIANCE_RATIOS))
    return torch.where(energy[:, None] > 0, averaged.T, torch.zeros((), device=device))


def population(log_evidence: NDArray[np.float32], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often no response, and each of the library, occurs among voxels.

    Parameters
    ----------
    log_evidence : ndarray (n_voxels, 20) float32
        Against no response.
    counted : ndarray (n_voxels,) bool
        Voxels that count.

    Returns
    -------
    ndarray (21,) float64
        Frequencies; the first is that of no response. Neighbours in the library are smoothed with weights
        1/4, 1/2, 1/4, and each has one voxel more than was counted.
    """
    frequency = np.full(log_evidence.shape[1] + 1, 1 / (log_evidence.shape[1] + 1))
    rows = np.flatnonzero(counted)
    for _ in range(_ITERATIONS):
        total = np.zeros(len(frequency))
        for begin in range(0, len(rows), _VOXELS_AT_A_TIME):
            total += posterior(log_evidence[rows[begin : begin + _VOXELS_AT_A_TIME]], frequency).sum(axis=0)
        smooth = np.convolve(np.pad(total[1:], 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
        frequency = np.append(total[:1], smooth) + 1
        frequency /= frequency.sum()
    return frequency


def posterior(log_evidence: NDArray[np.float32], frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability (n_voxels, 21) of no response and of each of the library."""
    score = np.log(frequency) + np.pad(log_evidence.astype(np.float64), ((0, 0), (1, 0)))
    score -= score.max(axis=1, keepdims=True)
    probability = np.exp(score)
    return np.asarray(probability / probability.sum(axis=1, keepdims=True))


def most_probable(log_evidence: NDArray[np.float32], frequency: NDArray[np.float64]) -> NDArray[np.int64]:
    """Position (n_voxels,) in the library of the response that is most probable, if there is one."""
    return np.asarray((np.log(frequency[1:]) + log_evidence).argmax(axis=1), dtype=np.int64)
