"""The model of noise: whitening, autocorrelation, shared components, brightness."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from bids_recon.glm.library_design import run_design, whitening
from bids_recon.glm.library_noise import autocorrelation, bright_voxels, noise_components, noise_pool
from bids_recon.glm.run_data import RunData, RunModel, whole_model

N_VOLUMES = 150


def _model(change: np.ndarray, n_confounds: int = 1, seed: int = 0) -> RunModel:
    """A run of ten trials whose percent change (n_volumes, n_voxels) is given."""
    trials = pd.DataFrame({"onset": 10 + 25.0 * np.arange(10), "duration": 2.0, "stimulus_id": "p"})
    nuisance = np.random.default_rng(seed).normal(0, 1, (N_VOLUMES, n_confounds))
    data = (1000 * (1 + change / 100)).T.astype(np.float32)
    return whole_model(RunData(data, trials, 2.0, 0.0, nuisance, np.ones(10, dtype=bool)))


def _autoregressive(rng: np.random.Generator, value: float, n: int) -> np.ndarray:
    noise = rng.normal(0, 1, (N_VOLUMES + 50, n))
    for row in range(1, len(noise)):
        noise[row] += value * noise[row - 1]
    return noise[50:]


def test_whitening_undoes_the_covariance() -> None:
    rng = np.random.default_rng(0)
    first = np.linalg.qr(rng.normal(0, 1, (N_VOLUMES, 2)))[0] * [6.0, 2.0]
    white, removed = whitening(N_VOLUMES, 0.4, first)
    apart = np.abs(np.subtract.outer(np.arange(N_VOLUMES), np.arange(N_VOLUMES)))
    covariance = 0.4**apart / (1 - 0.4**2) + first @ first.T
    np.testing.assert_allclose(white @ covariance @ white.T, np.eye(N_VOLUMES), atol=1e-9)
    # Energy of any time course, by way of what is taken away.
    y = rng.normal(0, 1, N_VOLUMES)
    plain, _ = whitening(N_VOLUMES, 0.4, np.empty((N_VOLUMES, 0)))
    assert np.sum((plain @ y) ** 2) - np.sum((removed.T @ y) ** 2) == pytest.approx(np.sum((white @ y) ** 2))


def test_energy_is_that_of_whitened_data_without_confounds() -> None:
    rng = np.random.default_rng(1)
    model = _model(rng.normal(0, 1, (N_VOLUMES, 6)), n_confounds=3)
    shared = np.linalg.qr(rng.normal(0, 1, (N_VOLUMES, 2)))[0] * [5.0, 3.0]
    design = run_design(model, shared, 0.3, 2.0, torch.device("cpu"))
    white, _ = whitening(N_VOLUMES, 0.3, shared)
    change = model.percent_change(slice(None))
    basis = np.linalg.qr(white @ model.confounds)[0]
    left = white @ change.T
    left -= basis @ (basis.T @ left)
    np.testing.assert_allclose(design.energy(torch.from_numpy(change)), (left**2).sum(axis=0), rtol=1e-4)
    assert design.freedom == N_VOLUMES - 4


@pytest.mark.parametrize("value", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("n_confounds", [1, 50])
def test_autocorrelation_is_found_beside_many_confounds(value: float, n_confounds: int) -> None:
    rng = np.random.default_rng(2)
    models = [_model(_autoregressive(rng, value, 400), n_confounds, seed) for seed in range(2)]
    nothing = [np.empty((N_VOLUMES, 0))] * 2
    assert autocorrelation(models, nothing, np.arange(400)) == pytest.approx(value, abs=0.04)


def test_shared_noise_is_found_in_units_of_the_rest() -> None:
    rng = np.random.default_rng(3)
    courses = rng.normal(0, 1, (N_VOLUMES, 2))
    change = rng.normal(0, 1, (N_VOLUMES, 600))
    change[:, :400] += courses @ (np.array([[1.0], [0.5]]) * rng.choice([-1, 1], (2, 400)))
    model = _model(change)
    pool = np.arange(600) < 400
    found = noise_components(model, pool, 5, voxels_at_a_time=90)
    length = np.linalg.norm(found, axis=0)
    assert (np.diff(length) < 0).all()
    clean = courses - model.confounds @ (model.confounds.T @ courses)
    for column in range(2):
        assert abs(np.corrcoef(found[:, column], clean[:, column])[0, 1]) > 0.97
    # A voxel's share of the strong one has a standard deviation of one at each of 150 volumes.
    np.testing.assert_allclose(length[:2], np.sqrt(N_VOLUMES) * np.array([1.0, 0.5]), rtol=0.15)
    assert length[2] < 0.4 * length[1]
    assert noise_components(model, pool, 0, 90).shape == (N_VOLUMES, 0)


def test_the_pool_is_the_less_responsive_half_of_bright_voxels() -> None:
    baseline = np.array([1000.0, 900, 50, 800, np.nan, 1100, 700])
    bright = bright_voxels(baseline)
    np.testing.assert_array_equal(bright, [True, True, False, True, False, True, True])
    evidence = np.array([[1, 9], [2, 3], [0, 0], [8, 1], [0, 0], [1, 1], [4, 5]], dtype=np.float32)
    np.testing.assert_array_equal(np.flatnonzero(noise_pool(evidence, bright)), [1, 5])
    assert not bright_voxels(np.full(3, np.nan)).any()
