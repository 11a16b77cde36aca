"""Latents as modulators: planted weights, and nilearn's modulated design."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import DataError
from bids_recon.glm.hrf import CANONICAL
from bids_recon.glm.parametric import parametric_modulation
from bids_recon.glm.run_data import RunData

TR, N_VOLUMES, N_LATENTS = 2.0, 140, 5


def _person(noise: float, seed: int = 0) -> tuple[list[RunData], list[np.ndarray], np.ndarray]:
    """Three runs of 40 trials, latents, and weights (n_latents + 1, n_voxels)."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1, (N_LATENTS + 1, 30))
    runs, modulators = [], []
    for _ in range(3):
        onsets = 5 + 6.5 * np.arange(40) + rng.uniform(-1, 1, 40)
        latents = rng.normal(0, 1, (40, N_LATENTS))
        times = np.arange(N_VOLUMES) * TR + 1.0
        responses = np.stack([CANONICAL.block(times - onset, 2.0) for onset in onsets], axis=1)
        drift = np.linspace(-1, 1, N_VOLUMES)[:, None]
        change = responses @ np.hstack([np.ones((40, 1)), latents]) @ weights + 2 * drift
        change += rng.normal(0, noise, change.shape)
        data = 900 * (1 + (change - change.mean(axis=0)) / 100)
        trials = pd.DataFrame({"onset": onsets, "duration": 2.0, "stimulus_id": np.arange(40).astype(str)})
        runs.append(RunData(data.T.astype(np.float32), trials, TR, 1.0, drift, np.ones(40, dtype=bool)))
        modulators.append(latents)
    return runs, modulators, weights


def test_planted_weights_come_back() -> None:
    runs, modulators, weights = _person(noise=0.0)
    found = parametric_modulation(runs, modulators, voxels_at_a_time=7)
    assert found.dtype == np.float32
    # nilearn's grid has steps of 1/50 of the repetition time; the planted regressors have none.
    np.testing.assert_allclose(found, weights, atol=0.03)
    noisy = parametric_modulation(*_person(noise=0.5)[:2])
    assert np.corrcoef(noisy[1:].ravel(), weights[1:].ravel())[0, 1] > 0.97


def test_equals_a_modulated_design_of_nilearn() -> None:
    from nilearn.glm.first_level import make_first_level_design_matrix

    runs, modulators, _ = _person(noise=0.5)
    designs, changes = [], []
    for number, (run, latents) in enumerate(zip(runs, modulators, strict=True)):
        parts = []
        for column in np.hstack([np.ones((40, 1)), latents]).T:
            events = run.trials[["onset", "duration"]].assign(trial_type="all", modulation=column)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                matrix = make_first_level_design_matrix(
                    np.arange(N_VOLUMES) * TR + 1.0, events, hrf_model="glover", drift_model=None
                )
            parts.append(matrix["all"].to_numpy())
        own = np.zeros((N_VOLUMES, 6))
        own[:, [2 * number, 2 * number + 1]] = np.hstack([run.nuisance, np.ones((N_VOLUMES, 1))])
        designs.append(np.hstack([np.stack(parts, axis=1), own]))
        changes.append(
            100 * (run.timecourses / run.timecourses.mean(axis=1, keepdims=True, dtype=float) - 1).T
        )
    wanted = np.linalg.lstsq(np.vstack(designs), np.vstack(changes), rcond=None)[0][: N_LATENTS + 1]
    found = parametric_modulation(runs, modulators)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_test_trials_are_not_read() -> None:
    runs, modulators, weights = _person(noise=0.3)
    training = np.arange(40) % 10 != 3
    mixed = [replace(run, training=training) for run in runs[:2]]
    silent = replace(runs[2], training=np.zeros(40, dtype=bool))
    hidden = [np.where(training[:, None], latents, np.nan) for latents in modulators[:2]]
    found = parametric_modulation([*mixed, silent], [*hidden, modulators[2]])
    assert np.corrcoef(found[1:].ravel(), weights[1:].ravel())[0, 1] > 0.95
    # Whatever was evoked by the test trials: the weights stay.
    times = np.arange(N_VOLUMES) * TR + 1.0
    changed = []
    for run in mixed:
        onsets = run.trials["onset"].to_numpy()[~training]
        added = np.stack([CANONICAL.block(times - onset, 2.0) for onset in onsets], axis=1) @ np.full(4, 30.0)
        changed.append(replace(run, timecourses=run.timecourses + added.astype(np.float32)))
    other = parametric_modulation([*changed, silent], [*hidden, modulators[2]])
    np.testing.assert_allclose(other, found, atol=0.02)


def test_voxels_without_a_signal_are_nan() -> None:
    runs, modulators, _ = _person(noise=0.3)
    data = runs[1].timecourses.copy()
    data[4] = 0
    found = parametric_modulation([runs[0], replace(runs[1], timecourses=data), runs[2]], modulators)
    assert np.flatnonzero(np.isnan(found).any(axis=0)).tolist() == [4]


def test_too_many_latents_are_refused() -> None:
    runs, _, _ = _person(noise=0.3)
    rng = np.random.default_rng(1)
    with pytest.raises(DataError, match="130 latents and a constant cannot be told apart by 120 training"):
        parametric_modulation(runs, [rng.normal(0, 1, (40, 130)) for _ in runs])
    constant = [np.hstack([np.full((40, 1), 2.0), rng.normal(0, 1, (40, 2))]) for _ in runs]
    with pytest.raises(DataError, match="the same for all pictures"):
        parametric_modulation(runs, constant)


def test_without_training_trials_there_is_nothing_to_fit() -> None:
    runs, modulators, _ = _person(noise=0.3)
    silent = [replace(run, training=np.zeros(40, dtype=bool)) for run in runs]
    with pytest.raises(DataError, match="no run has training trials"):
        parametric_modulation(silent, modulators)
