"""Latents as modulators: how much each latent of a picture adds to the response of a voxel.

Mozafari, Reddy & VanRullen, "Reconstructing natural scenes from fMRI patterns using BigBiGAN" (IJCNN 2020),
equation 1: the response to a training picture is linear in its latents and a constant, and the weights are
estimated from BOLD itself. Each trial's canonical response is multiplied by every latent of its picture and
summed over trials; no single-trial responses are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.glm.design import trial_regressors
from bids_recon.glm.run_data import RunData, tuning_model, whole_model

# Smallest eigenvalue of the scaled normal equations, relative to the largest, at which latents count as told
# apart.
_LEAST_EIGENVALUE = 1e-9


def parametric_modulation(
    runs: Sequence[RunData], modulators: Sequence[NDArray[np.floating]], *, voxels_at_a_time: int = 4096
) -> NDArray[np.float32]:
    """Weights of latents on BOLD, by least squares over all training trials of all runs.

    Nuisance and a constant of each run are in the same model. In runs that hold other trials too, so is the
    space that the library's responses to these span (see `tuning_model`).

    Parameters
    ----------
    runs : sequence of RunData
        Of the same voxels. Runs without training trials are not used.
    modulators : sequence of ndarray (n_trials, n_latents)
        One a run: latents of the picture of each trial. Rows of trials that are not for training are not
        read. Centred latents make the constant's weight the mean response.
    voxels_at_a_time : int
        Bounds memory.

    Returns
    -------
    ndarray (n_latents + 1, n_voxels) float32
        Percent signal change for a latent of one; the first row is the constant's. The unit is that of `lsa`:
        the plateau of the response to a long trial. NaN for voxels that lack a signal in a run.

    Raises
    ------
    DataError
        When no training trial can be used, latents cannot be told apart by the training trials, a response
        lies outside its run, or nuisance leaves nothing of a run.
    """
    if len(runs) != len(modulators):
        raise ValueError(f"modulators of {len(modulators)} runs for {len(runs)}")
    models, designs = [], []
    for run, latents in zip(runs, modulators, strict=True):
        if len(latents) != len(run.trials):
            raise ValueError(f"{len(latents)} rows of modulators for {len(run.trials)} trials")
        model = tuning_model(whole_model(run))
        if model is None:
            continue
        trials = run.trials.iloc[model.rows]
        responses = trial_regressors(trials, run.n_volumes, run.repetition_time, start_time=run.start_time)
        rows = np.asarray(latents[model.rows], dtype=np.float64)
        design = responses @ np.hstack([np.ones((len(rows), 1)), rows])
        designs.append(design - model.confounds @ (model.confounds.T @ design))
        models.append(model)
    if not models:
        raise DataError(
            "no run has training trials that can be modelled",
            remedy="Give training pictures runs of their own, or choose another --glm.",
        )
    gram = np.sum([design.T @ design for design in designs], axis=0)
    inverse = _inverse(gram, sum(len(model.rows) for model in models))
    n_voxels = runs[0].n_voxels
    weights = np.empty((len(inverse), n_voxels), dtype=np.float32)
    for begin in range(0, n_voxels, voxels_at_a_time):
        part = slice(begin, min(begin + voxels_at_a_time, n_voxels))
        products = np.zeros((len(inverse), part.stop - begin))
        for model, design in zip(models, designs, strict=True):
            change = model.percent_change(part)
            products += design.T @ change.T.astype(np.float64)
            products[:, ~change.any(axis=1)] = np.nan
        weights[:, part] = inverse @ products
    return weights


def _inverse(gram: NDArray[np.float64], n_trials: int) -> NDArray[np.float64]:
    """Inverse of the normal equations; refuses those that have none."""
    size = np.sqrt(np.diag(gram))
    safe = np.where(size > 0, size, 1)
    values, vectors = np.linalg.eigh(gram / np.outer(safe, safe))
    if values[0] < _LEAST_EIGENVALUE * values[-1]:
        raise DataError(
            f"{len(gram) - 1} latents and a constant cannot be told apart by {n_trials} training trials",
            remedy="Use fewer latents than training pictures, and none that are the same for all pictures.",
        )
    return np.asarray((vectors / values) @ vectors.T / np.outer(safe, safe), dtype=np.float64)
