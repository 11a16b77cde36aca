"""Shrinkage by repetitions: against a ridge solved directly, and planted variances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from bids_recon.glm.hrf import LIBRARY
from bids_recon.glm.library_design import RunDesign, Stack, run_design, stack
from bids_recon.glm.repeats import find_repeats
from bids_recon.glm.run_data import RunData, RunModel, regressors, whole_model
from bids_recon.glm.shrinkage import (
    PENALTIES,
    Shrinkage,
    fit_shrinkage,
    mean_response,
    responses_of_run,
)

CPU = torch.device("cpu")
N_VOLUMES, N_TRIALS, HRF = 160, 40, 9


def _runs(
    deviation: float, n_voxels: int = 60, seed: int = 0
) -> tuple[list[RunModel], np.ndarray, np.ndarray]:
    """Four runs with 80 pictures twice, white noise of variance one: models, responses, names."""
    rng = np.random.default_rng(seed)
    names = np.concatenate([rng.permutation(80), rng.permutation(80)]).reshape(4, N_TRIALS)
    betas = rng.normal(1.5, deviation, (80, n_voxels))
    models = []
    for number in range(4):
        onsets = 5 + 7.3 * np.arange(N_TRIALS) + rng.uniform(-1, 1, N_TRIALS)
        X = regressors(LIBRARY[HRF], np.arange(N_VOLUMES) * 2.0, onsets, np.full(N_TRIALS, 2.0))
        change = X / LIBRARY[HRF].peak(2.0) @ betas[names[number]]
        change += rng.normal(0, 1, change.shape)
        trials = pd.DataFrame({"onset": onsets, "duration": 2.0, "stimulus_id": names[number].astype(str)})
        data = (1000 * (1 + (change - change.mean(axis=0)) / 100)).T.astype(np.float32)
        run = RunData(data, trials, 2.0, 0.0, np.empty((N_VOLUMES, 0)), np.ones(N_TRIALS, dtype=bool))
        models.append(whole_model(run))
    return models, betas, names


def _along(models: list[RunModel]) -> tuple[torch.Tensor, Stack, list[RunDesign]]:
    nothing = np.empty((N_VOLUMES, 0))
    designs = [run_design(model, nothing, 0.0, 2.0, CPU) for model in models]
    own = stack(designs, HRF)
    return own.along([torch.from_numpy(model.percent_change(slice(None))) for model in models]), own, designs


@pytest.mark.parametrize("penalty", [0.0, 0.7, 30.0])
def test_a_run_is_solved_as_a_ridge_about_the_mean(penalty: float) -> None:
    models, _, _ = _runs(1.0, n_voxels=3)
    along, _, designs = _along(models)
    mean, one = torch.tensor([0.5, 1.0, -2.0]), torch.ones(3)
    found = (
        responses_of_run(along[0], designs[0], HRF, Shrinkage(mean, penalty * one, one, 2 * one)).numpy().T
    )
    model = models[0]
    X = regressors(LIBRARY[HRF], model.times, model.onsets, model.durations) / LIBRARY[HRF].peak(2.0)
    X -= X.mean(axis=0)
    y = model.percent_change(slice(None)).astype(float).T
    for voxel in range(3):
        apart = y[:, voxel] - float(mean[voxel]) * X.sum(axis=1)
        ridge = np.linalg.solve(X.T @ X + penalty * np.eye(N_TRIALS), X.T @ apart)
        np.testing.assert_allclose(found[voxel], float(mean[voxel]) + 2 * ridge, atol=1e-3)


def test_the_mean_response_is_that_of_one_regressor_for_all_trials() -> None:
    models, betas, _ = _runs(0.5)
    found = mean_response(*_along(models)[:2]).numpy()
    X = [
        regressors(LIBRARY[HRF], model.times, model.onsets, model.durations).sum(axis=1)
        / LIBRARY[HRF].peak(2.0)
        for model in models
    ]
    x = np.concatenate([one - one.mean() for one in X])
    y = np.hstack([model.percent_change(slice(None)) for model in models])
    np.testing.assert_allclose(found, y @ x / (x @ x), rtol=1e-3)
    assert np.abs(found - betas.mean(axis=0)).mean() < 0.2


@pytest.mark.parametrize("deviation", [0.4, 1.0, 2.5])
def test_the_penalty_is_about_noise_over_signal(deviation: float) -> None:
    models, _, names = _runs(deviation)
    repeats = find_repeats(names.astype(object), CPU)
    shrinkage = fit_shrinkage(*_along(models)[:2], repeats)
    # Single repetitions predict: the best penalty for that is no larger than the one for the truth, 1/sd².
    ratio = np.median(shrinkage.penalty.numpy()) * deviation**2
    assert 0.3 < ratio < 5


def test_shrunk_responses_are_nearer_to_the_truth_and_not_smaller() -> None:
    models, betas, names = _runs(0.7)
    along, own, designs = _along(models)
    repeats = find_repeats(names.astype(object), CPU)
    shrinkage = fit_shrinkage(along, own, repeats)
    none = torch.zeros_like(shrinkage.mean)
    plain = Shrinkage(shrinkage.mean, none, none + 1, none + 1)
    truth = betas[names.ravel()]

    def estimate(how: Shrinkage) -> np.ndarray:
        parts = [responses_of_run(y, design, HRF, how) for y, design in zip(along, designs, strict=True)]
        return torch.cat(parts).numpy()

    correlations = [
        np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(estimate(how).T, truth.T, strict=True)])
        for how in (plain, shrinkage)
    ]
    assert correlations[1] > correlations[0] + 0.01
    slopes = [np.polyfit(b, a, 1)[0] for a, b in zip(estimate(shrinkage).T, truth.T, strict=True)]
    assert 0.8 < np.median(slopes) < 1.2
    # The fraction is the length about the mean, before scaling, over that without a penalty.
    unscaled = Shrinkage(shrinkage.mean, shrinkage.penalty, none + 1, none + 1)
    mean = shrinkage.mean.numpy()
    length = np.linalg.norm(estimate(unscaled) - mean, axis=0) / np.linalg.norm(
        estimate(plain) - mean, axis=0
    )
    np.testing.assert_allclose(shrinkage.fraction.numpy(), length, rtol=1e-3)
    assert ((length > 0.2) & (length < 1)).all()


def test_labels_that_mean_nothing_shrink_all() -> None:
    models, _, names = _runs(1.0)
    shuffled = np.random.default_rng(1).permutation(names.ravel()).reshape(names.shape)
    repeats = find_repeats(shuffled.astype(object), CPU)
    shrinkage = fit_shrinkage(*_along(models)[:2], repeats)
    assert np.median(shrinkage.penalty.numpy()) == pytest.approx(PENALTIES[-1], rel=0.5)


def test_without_repetitions_nothing_is_shrunk() -> None:
    models, _, names = _runs(1.0)
    repeats = find_repeats(np.arange(names.size).reshape(names.shape).astype(object), CPU)
    assert not repeats.any
    shrinkage = fit_shrinkage(*_along(models)[:2], repeats)
    assert (shrinkage.fraction == 1).all() and (shrinkage.penalty == 0).all() and (shrinkage.scale == 1).all()


def test_repetitions_of_other_runs_go_first() -> None:
    names = np.array([["a", "b", "a", None], ["a", "c", "c", "d"]], dtype=object)
    repeats = find_repeats(names, CPU)
    assert repeats.trial.tolist() == [0, 2, 4, 5, 6]
    estimate = torch.arange(8.0)[:, None] ** 2
    # a of run 0 by that of run 1, which both of run 0 predict; c within its run; nothing for b and d.
    assert repeats.predict(estimate)[:, 0].tolist() == [16, 0, 16, 0, 2, 36, 25, 0]


def test_runs_of_different_length_are_filled_up() -> None:
    models, _, names = _runs(1.0)
    models[2] = replace(
        models[2], rows=models[2].rows[:31], onsets=models[2].onsets[:31], durations=models[2].durations[:31]
    )
    along, own, designs = _along(models)
    assert own.rotation.shape == (4, N_TRIALS, N_TRIALS)
    assert (along[2, 31:] == 0).all() and (own.rotation[2, :, 31:] == 0).all()
    found = fit_shrinkage(along, own, find_repeats(names.astype(object), CPU))
    responses = responses_of_run(along[2, :31], designs[2], HRF, found)
    assert responses.shape == (31, 60)
    assert np.isfinite(responses.numpy()).all()
