"""Encoding model and its inversion."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.utils.estimator_checks import check_estimator

from bids_recon.decoders.parametric_inversion import ParametricInversion
from bids_recon.decoders.standardise import shuffle_responses
from bids_recon.errors import DataError, UsageError


def encoded(
    n_trials: int = 60, n_latents: int = 8, n_voxels: int = 50, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Responses without noise, and latents whose mean is not zero and whose dimensions correlate."""
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((n_trials, n_latents)) @ rng.standard_normal((n_latents, n_latents)) + 7
    weights, constant = rng.standard_normal((n_latents, n_voxels)), 3 * rng.standard_normal(n_voxels)
    return latents @ weights + constant, latents


@pytest.mark.parametrize("include_constant", [False, True])
def test_latents_and_their_mean_are_recovered_without_noise(include_constant: bool) -> None:
    X, Y = encoded()
    decoder = ParametricInversion(include_constant=include_constant).fit(X[:40], Y[:40])

    np.testing.assert_allclose(decoder.predict(X[40:]), Y[40:], rtol=1e-8)
    np.testing.assert_allclose(decoder.predict(X[50:51]), Y[50:51], rtol=1e-8)
    np.testing.assert_allclose(decoder.encoding_.T @ Y[45] + decoder.constant_, X[45], rtol=1e-8)
    assert "warning" not in decoder.summary()


def test_equations_as_printed() -> None:
    rng = np.random.default_rng(0)
    X, Y = encoded()
    X = X + rng.standard_normal(X.shape)
    train, test = slice(0, 40), slice(40, 60)
    design = np.column_stack([Y[train], np.ones(40)])
    W = np.linalg.lstsq(design, X[train], rcond=None)[0]
    centred = X[test] - X[test].mean(axis=0)
    expected = (centred @ W.T @ np.linalg.inv(W @ W.T))[:, :-1]

    decoder = ParametricInversion(centre="test", include_constant=True).fit(X[train], Y[train])
    np.testing.assert_allclose(decoder.predict(X[test]), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.vstack([decoder.encoding_, decoder.constant_]), W, rtol=1e-6, atol=1e-8)


def test_published_centring_recovers_latents_but_for_their_mean() -> None:
    X, Y = encoded()
    decoder = ParametricInversion(centre="test", include_constant=True).fit(X[:40], Y[:40])
    np.testing.assert_allclose(decoder.predict(X[40:]), Y[40:] - Y[40:].mean(axis=0), atol=1e-7)


def test_published_centring_needs_more_than_one_test_trial() -> None:
    X, Y = encoded()
    decoder = ParametricInversion(centre="test").fit(X[:40], Y[:40])
    with pytest.raises(DataError, match=r"only one.*--legacy-test-statistics"):
        decoder.predict(X[40:41])


def test_predictions_do_not_depend_on_other_test_trials() -> None:
    X, Y = encoded()
    decoder = ParametricInversion().fit(X[:40], Y[:40])
    others = X[40:].copy()
    others[1:] *= -3
    np.testing.assert_allclose(decoder.predict(others)[0], decoder.predict(X[40:])[0], rtol=1e-12)


def test_too_few_trials_are_reported() -> None:
    X, Y = encoded(n_trials=12, n_latents=20)
    decoder = ParametricInversion().fit(X, Y)
    summary = decoder.summary()

    assert summary["rank_of_latents"] == 11
    assert "span 11 of 20 dimensions" in summary["warning"]
    assert np.isfinite(decoder.predict(X)).all()
    # The minimum-norm model still reproduces what it was fitted to.
    np.testing.assert_allclose(Y @ decoder.encoding_ + decoder.constant_, X, rtol=1e-6, atol=1e-8)


def test_collinear_encoding_is_guarded() -> None:
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((100, 3))
    weights = rng.standard_normal((3, 30))
    weights[2] = weights[1]
    X = Y @ weights
    decoder = ParametricInversion().fit(X, Y)
    summary = decoder.summary()

    assert summary["n_floored_eigenvalues"] == 1
    assert summary["condition_number"] > 1e12
    predicted = decoder.predict(X)
    np.testing.assert_allclose(predicted[:, 0], Y[:, 0], atol=1e-6)
    shared = Y[:, 1:].mean(axis=1)
    np.testing.assert_allclose(predicted[:, 1:], np.column_stack([shared, shared]), atol=0.05)


def test_units_of_latents_do_not_matter() -> None:
    X, Y = encoded()
    units = np.geomspace(1e-6, 1e6, Y.shape[1])
    decoder = ParametricInversion().fit(X[:40], Y[:40] * units)
    assert decoder.summary()["n_floored_eigenvalues"] == 0
    np.testing.assert_allclose(decoder.predict(X[40:]) / units, Y[40:], rtol=1e-5)


def test_single_precision() -> None:
    X, Y = encoded()
    decoder = ParametricInversion().fit(X[:40].astype(np.float32), Y[:40].astype(np.float32))
    predicted = decoder.predict(X[40:].astype(np.float32))

    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, Y[40:], rtol=1e-3, atol=1e-3)


def test_shuffled_responses_predict_nothing() -> None:
    rng = np.random.default_rng(0)
    X, Y = encoded(n_trials=120)
    correlations = []
    for _ in range(20):
        decoder = ParametricInversion().fit(shuffle_responses(X[:80], rng), Y[:80])
        predicted = decoder.predict(X[80:])
        correlations += [np.corrcoef(predicted[:, k], Y[80:, k])[0, 1] for k in range(Y.shape[1])]
    assert abs(np.mean(correlations)) < 0.15


@pytest.mark.parametrize("centre", ["training", "test"])
def test_state_rebuilds_the_decoder(centre: str) -> None:
    X, Y = encoded()
    decoder = ParametricInversion(centre=centre).fit(X[:40], Y[:40])
    rebuilt = ParametricInversion.from_state(decoder.state(), decoder.get_params())

    np.testing.assert_array_equal(rebuilt.predict(X[40:]), decoder.predict(X[40:]))
    assert rebuilt.summary() == decoder.summary()
    with pytest.raises(DataError, match="lacks the array 'encoding'"):
        ParametricInversion.from_state({}, {})


def test_unknown_centre() -> None:
    X, Y = encoded()
    with pytest.raises(UsageError, match="'median'"):
        ParametricInversion(centre="median").fit(X, Y)


@pytest.mark.filterwarnings("ignore")
def test_conventions_of_scikit_learn() -> None:
    results = check_estimator(ParametricInversion(), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 40
