"""Noise that voxels share: a pool of voxels without responses, its principal components, how many to count.

The idea of GLMdenoise (Kay, Rokem, Winawer, Dougherty & Wandell, Frontiers in Neuroscience 7:247, 2013), as
in GLMsingle (Prince et al., eLife 11:e77599, 2022): voxels that do not respond share noise with those that
do. Components are those of the pool's time courses in each run, scaled to equal energy; their number is that
with which single-trial responses predict repetitions of the same picture best.

There, components are regressors, which take away all that lies along them, signal too, so that a few too
many do harm. Here they are part of the covariance of noise, with the variance that they have in the pool:
whitening weakens what lies along strong ones and leaves weak ones nearly alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg

from bids_recon.glm.hrf import LIBRARY
from bids_recon.glm.library_design import (
    RunDesign,
    Setting,
    padded,
    read_change,
    removed_space,
    scaled_regressors,
    stack,
    whitening,
)
from bids_recon.glm.repeats import Repeats
from bids_recon.glm.run_data import RunModel
from bids_recon.glm.shrinkage import about_mean, explained_share, mean_response

MOST_COMPONENTS = 10
# GLMsingle's rule for bright voxels: this share of the 99th percentile.
_BRIGHT_SHARE = 0.1
# Fewer voxels do not tell what is shared.
LEAST_POOL = 50
_MOST_AUTOCORRELATION = 0.9
# A gain of this factor more is not worth another component (GLMsingle's `pcstop`).
_ENOUGH = 1.05
# Numbers of components are compared with responses that are shrunk somewhat, as they are in the end; the
# share that they explain does not depend on their scale, and little on how much.
_TRIAL_PENALTY = 1.0


def bright_voxels(baseline: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Voxels (n_voxels,) brighter than a tenth of the 99th percentile; NaN is not bright."""
    finite = np.isfinite(baseline)
    if not finite.any():
        return finite
    return finite & (np.nan_to_num(baseline) > _BRIGHT_SHARE * np.percentile(baseline[finite], 99))


def noise_pool(log_evidence: NDArray[np.float32], bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The half (n_voxels,) of the bright voxels with least evidence for any response of the library.

    Where most voxels respond, so do some of the pool; the number of components is then chosen smaller.
    """
    best = log_evidence.max(axis=1)
    pool = np.zeros(len(bright), dtype=bool)
    order = np.flatnonzero(bright)[np.argsort(best[bright], kind="stable")]
    pool[order[: len(order) // 2]] = True
    return pool


def noise_components(
    model: RunModel, pool: NDArray[np.bool_], n_components: int, voxels_at_a_time: int
) -> NDArray[np.float64]:
    """Principal components of the pool in one run, free of the model's confounds.

    Parameters
    ----------
    model : RunModel
        The run and its confounds.
    pool : ndarray (n_voxels,) bool
        See `noise_pool`.
    n_components : int
        How many, strongest first.
    voxels_at_a_time : int
        Read together.

    Returns
    -------
    ndarray (n_volumes, n_components) float64
        Orthogonal; in standard deviations of the noise that is not shared.
    """
    n_volumes, rank = model.confounds.shape
    if n_components == 0:
        return np.empty((n_volumes, 0))
    covariance = np.zeros((n_volumes, n_volumes))
    for part in parts_of(np.flatnonzero(pool), voxels_at_a_time):
        residual = residuals(model, part, np.empty((n_volumes, 0)))
        energy = np.linalg.norm(residual, axis=1, keepdims=True)
        residual /= np.where(energy > 0, energy, 1)
        covariance += residual.T @ residual
    values, vectors = linalg.eigh(covariance, driver="evd")
    alone = values[:-n_components].sum() / (n_volumes - rank - n_components)
    values, vectors = values[: -n_components - 1 : -1], vectors[:, : -n_components - 1 : -1]
    return np.asarray(vectors * np.sqrt((values / alone - 1).clip(min=0)))


def residuals(
    model: RunModel, voxels: NDArray[np.int64], components: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Percent change (n_chosen, n_volumes) float64 without confounds and noise components."""
    change = model.percent_change(voxels).astype(np.float64)
    basis = _basis(model, components)
    return np.asarray(change - (change @ basis) @ basis.T)


def autocorrelation(
    models: Sequence[RunModel], components: Sequence[NDArray[np.float64]], voxels: NDArray[np.int64]
) -> float:
    """Correlation of noise at successive volumes: the median over voxels, averaged over runs.

    Residuals correlate less than the noise they come from. The value is the one under which, with the same
    confounds removed, residuals would correlate as they do (Worsley et al., NeuroImage 15:1, 2002, for one
    voxel at a time).

    Parameters
    ----------
    models, components
        One a run.
    voxels : ndarray (n,) int64
        Voxels of the pool, or others that stand for noise.

    Returns
    -------
    float
        From 0 to 0.9.
    """
    grid = np.arange(0, _MOST_AUTOCORRELATION + 0.01, 0.05)
    found = []
    for model, own in zip(models, components, strict=True):
        residual = residuals(model, voxels, own)
        energy = (residual**2).sum(axis=1)
        varying = energy > 0
        observed = np.median((residual[:, 1:] * residual[:, :-1]).sum(axis=1)[varying] / energy[varying])
        basis = _basis(model, own)
        remove = np.eye(len(basis)) - basis @ basis.T
        lagged = remove[:, 1:] @ remove[:-1]
        apart = np.abs(np.subtract.outer(np.arange(len(basis)), np.arange(len(basis))))
        expected = [(lagged * value**apart).sum() / (remove * value**apart).sum() for value in grid]
        found.append(np.interp(observed, expected, grid))
    return float(np.mean(found))


def choose_number(
    models: Sequence[RunModel],
    designs: Sequence[RunDesign],
    components: Sequence[NDArray[np.float64]],
    hrf_index: NDArray[np.int64],
    voxels: NDArray[np.int64],
    repeats: Repeats,
    setting: Setting,
) -> tuple[int, NDArray[np.float64]]:
    """How many noise components make responses to repetitions agree best.

    With each number, single-trial responses are estimated, and each run's data are predicted from the
    responses to the same pictures in other runs.

    Parameters
    ----------
    models, designs, components
        One a run; designs without components, components strongest first.
    hrf_index : ndarray (n_voxels,) int64
        Response of each voxel.
    voxels : ndarray (n,) int64
        Voxels that respond, on which the number is tried.
    repeats : Repeats
        Which modelled trials show the same picture.
    setting : Setting
        Sizes and device.

    Returns
    -------
    number : int
        Fewest that reach the largest gain divided by 1.05; none when there is no gain.
    gain : ndarray (n_tried,) float64
        By how much the explained share of the data's variance about the mean response is larger than without
        components, median over voxels.
    """
    noise = designs[0].autocorrelation
    removed = [
        [removed_space(model, own[:, :number], noise) for number in range(own.shape[1] + 1)]
        for model, own in zip(models, components, strict=True)
    ]
    gains = []
    for hrf in np.unique(hrf_index[voxels]):
        own = stack(designs, int(hrf))
        weights = [
            _ridge_weights(model, spaces, noise, int(hrf), setting)
            for model, spaces in zip(models, removed, strict=True)
        ]
        for part in parts_of(voxels[hrf_index[voxels] == hrf], setting.voxels_at_a_time):
            changes = [read_change(model, part, setting.device) for model in models]
            # The same target for all numbers: the data with all noise in.
            along = own.along(changes)
            apart = about_mean(along, own, mean_response(along, own))
            explained = []
            for of_number in zip(*weights, strict=True):
                estimate = padded([one.T @ change.T for one, change in zip(of_number, changes, strict=True)])
                estimate -= estimate.sum(dim=(0, 1)) / sum(one.shape[1] for one in of_number)
                explained.append(explained_share(apart, own.predicted(repeats, estimate)))
            gains.append((torch.stack(explained) - explained[0]).cpu().numpy())
    gain = np.median(np.hstack(gains), axis=1).astype(np.float64)
    return int(np.flatnonzero(gain >= gain.max() / _ENOUGH)[0]), gain


def parts_of(voxels: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Split positions into parts of at most `size`."""
    return [voxels[begin : begin + size] for begin in range(0, len(voxels), size)]


def _basis(model: RunModel, components: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal basis (n_volumes, rank) of confounds and components."""
    length = np.linalg.norm(components, axis=0)
    return np.hstack([model.confounds, components[:, length > 0] / length[length > 0]])


def _ridge_weights(
    model: RunModel, removed: Sequence[NDArray[np.float64]], noise: float, hrf: int, setting: Setting
) -> list[torch.Tensor]:
    """Weights (n_volumes, n_trials) of ridges, from percent change to responses, for each space removed."""
    X = scaled_regressors(LIBRARY[hrf], model, setting.duration)
    white, _ = whitening(len(X), noise, np.empty((len(X), 0)))
    plain = white.T @ (white @ X)
    found = []
    for space in removed:
        weighed = plain - space @ (space.T @ X)
        inverse = np.linalg.inv(X.T @ weighed + _TRIAL_PENALTY * np.eye(X.shape[1]))
        found.append(torch.from_numpy((weighed @ inverse).astype(np.float32)).to(setting.device))
    return found
