"""Latents of synthetic patterns: the direction of the weights, with the norms of training latents."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.analysis import roi_optimal
from bids_recon.analysis.roi_optimal import restore_norms, synthetic_latents, training_norms

MEMBERS = np.array([[True, True, False, False], [False, False, False, True]])


def linear(weights: np.ndarray, intercept: np.ndarray):
    return lambda X: X @ weights + intercept


def test_norms_of_training_latents_by_hand():
    latents = np.array([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]]) + 7
    assert training_norms(latents) == pytest.approx(10 / 3)
    tokens = np.stack([latents, 2 * latents], axis=1)
    np.testing.assert_allclose(training_norms(tokens), [10 / 3, 20 / 3])
    # Channels, height and width: one norm of the whole.
    assert training_norms(latents.reshape(3, 2, 1, 1)) == pytest.approx(10 / 3)


def test_norms_do_not_depend_on_the_block(monkeypatch):
    latents = np.random.default_rng(0).standard_normal((11, 3, 5)).astype(np.float32)
    whole = training_norms(latents)
    deviations = latents.astype(float) - latents.mean(axis=0, dtype=float)
    np.testing.assert_allclose(whole, np.linalg.norm(deviations, axis=2).mean(axis=0), rtol=1e-12)
    monkeypatch.setattr(roi_optimal, "BLOCK_BYTES", 8 * 15 * 2)
    np.testing.assert_allclose(training_norms(latents), whole, rtol=1e-12)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
def test_norms_are_restored_around_the_prediction_of_silence(shape):
    rng = np.random.default_rng(1)
    weights, intercept = rng.standard_normal((4, 6)), rng.standard_normal(6)
    norms = np.array([2.0, 5.0]) if len(shape) == 2 else np.array(3.0)
    found = synthetic_latents(linear(weights, intercept), MEMBERS, shape, norms)
    assert found.shape == (2, *shape)
    moved = found.reshape(2, 6) - intercept
    straight = MEMBERS @ weights
    for row in range(2):
        parts = moved[row].reshape(shape) if len(shape) == 2 else moved[row : row + 1]
        before = straight[row].reshape(parts.shape)
        np.testing.assert_allclose(np.linalg.norm(parts, axis=-1), np.atleast_1d(norms), rtol=1e-6)
        # The direction stays.
        cosine = (parts * before).sum(axis=-1) / np.linalg.norm(before, axis=-1) / np.atleast_1d(norms)
        np.testing.assert_allclose(cosine, 1, rtol=1e-6)


def test_the_size_of_weights_does_not_matter_but_their_sign_does():
    rng = np.random.default_rng(2)
    weights, intercept = rng.standard_normal((4, 6)), rng.standard_normal(6)
    once, ten, minus = (
        synthetic_latents(linear(factor * weights, intercept), MEMBERS, (6,), np.array(1.5))
        for factor in (1, 10, -1)
    )
    np.testing.assert_allclose(once, ten, rtol=1e-9)
    np.testing.assert_allclose(once + minus, np.tile(2 * intercept, (2, 1)), rtol=1e-9)


def test_a_region_without_weights_stays_at_the_prediction_of_silence():
    found = synthetic_latents(linear(np.zeros((4, 6)), np.arange(6.0)), MEMBERS, (2, 3), np.array([1.0, 1.0]))
    np.testing.assert_array_equal(found, np.tile(np.arange(6.0).reshape(2, 3), (2, 1, 1)))
    np.testing.assert_array_equal(restore_norms(np.zeros((1, 3)), np.array(2.0)), np.zeros((1, 3)))
