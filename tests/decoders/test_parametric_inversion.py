"""Encoding model and its inversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.utils.estimator_checks import check_estimator

from bids_recon.decoders.parametric_inversion import ParametricInversion
from bids_recon.decoders.parametric_solver import Encoding, Inversion, NoiseCovariance, ledoit_wolf
from bids_recon.decoders.standardise import shuffle_responses
from bids_recon.decoders.targets import RepeatedRows
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


def noisy(
    shared: float, n_train: int = 200, n_voxels: int = 120, n_latents: int = 6, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Responses of unit white noise, and of noise that voxels share, stronger in some of them."""
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((n_train + 100, n_latents)) + 1
    weights = 0.3 * rng.standard_normal((n_latents, n_voxels))
    noise = rng.standard_normal((n_train + 100, n_voxels))
    noise += shared * rng.standard_normal((n_train + 100, 5)) @ rng.standard_normal((5, n_voxels))
    return latents @ weights + noise, latents


def squared_error(kind: str, X: NDArray[np.float64], Y: NDArray[np.float64]) -> float:
    decoder = ParametricInversion(noise_covariance=kind).fit(X[:-100], Y[:-100])
    return float(((decoder.predict(X[-100:]) - Y[-100:]) ** 2).mean())


def test_correlated_noise_is_taken_into_account() -> None:
    X, Y = noisy(shared=2.0)
    errors = {kind: squared_error(kind, X, Y) for kind in ("none", "diagonal", "shrunk")}
    assert errors["shrunk"] < 0.35 * errors["none"]
    assert errors["shrunk"] < 0.5 * errors["diagonal"]


def test_white_noise_needs_no_covariance() -> None:
    X, Y = noisy(shared=0.0)
    plain = squared_error("none", X, Y)
    assert squared_error("shrunk", X, Y) == pytest.approx(plain, rel=0.05)
    assert squared_error("diagonal", X, Y) == pytest.approx(plain, rel=0.05)
    decoder = ParametricInversion(noise_covariance="shrunk").fit(X, Y)
    assert decoder.summary()["noise_shrinkage"] > 0.9


def test_voxels_of_unequal_noise() -> None:
    X, Y = noisy(shared=0.0)
    X = X.copy()
    X[:, ::2] += 10 * np.random.default_rng(1).standard_normal(X[:, ::2].shape)
    plain = squared_error("none", X, Y)
    assert squared_error("diagonal", X, Y) < 0.1 * plain
    assert squared_error("shrunk", X, Y) < 0.1 * plain


@pytest.mark.parametrize("n_train", [60, 400], ids=["fewer-trials-than-voxels", "more"])
def test_woodbury_equals_the_dense_formula(n_train: int) -> None:
    X, Y = noisy(shared=1.0, n_train=n_train)
    X, Y = X[:n_train] * np.geomspace(0.1, 10, X.shape[1]), Y[:n_train]
    encoding = Encoding.fit(X, Y)
    residuals = X - encoding.constant - Y @ encoding.weights
    m = n_train - 1 - Y.shape[1]
    scale = np.sqrt((residuals**2).sum(axis=0) / m)
    correlation = (residuals / scale).T @ (residuals / scale) / m
    independent = encoding.residual_directions() @ X / scale
    shrinkage = ledoit_wolf_shrinkage(independent, assume_centered=True)
    identity = np.eye(len(scale))
    C = ((1 - shrinkage) * correlation + shrinkage * identity) * np.outer(scale, scale)
    W, precision = encoding.weights, np.linalg.inv(C)
    expected = precision @ W.T @ np.linalg.inv(W @ precision @ W.T)

    noise = NoiseCovariance.of(X, encoding, "shrunk")
    assert noise.shrinkage == pytest.approx(shrinkage, rel=1e-8)
    assert 0 < shrinkage < 1
    np.testing.assert_allclose(noise.solve(W), W @ precision, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(Inversion.of(W, noise, 1e-8).inverse, expected, rtol=1e-6, atol=1e-9)
    decoder = ParametricInversion(noise_covariance="shrunk").fit(X, Y)
    np.testing.assert_allclose(decoder.inverse_, expected, rtol=1e-6, atol=1e-9)


def test_shrinkage_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for shape in ((20, 300), (300, 20)):
        Z = rng.standard_normal(shape) @ np.diag(np.geomspace(1, 4, shape[1]))
        expected = ledoit_wolf_shrinkage(Z, assume_centered=True)
        assert ledoit_wolf(Z @ Z.T, shape[1]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", ["diagonal", "shrunk"])
def test_noise_covariance_of_awkward_responses(kind: str) -> None:
    X, Y = encoded()
    X[:, 5] = 3.0
    decoder = ParametricInversion(noise_covariance=kind).fit(X[:40], Y[:40])
    assert (decoder.inverse_[5] == 0).all()
    np.testing.assert_allclose(decoder.predict(X[40:]), Y[40:], rtol=1e-5)
    single = ParametricInversion(noise_covariance=kind)
    single.fit(X[:40].astype(np.float32), Y[:40].astype(np.float32))
    np.testing.assert_allclose(single.predict(X[40:].astype(np.float32)), Y[40:], rtol=0.01, atol=0.01)
    with pytest.raises(DataError, match=r"8 latents are fitted to 10 trials.*fewer latents"):
        ParametricInversion(noise_covariance=kind).fit(X[:10], Y[:10])


def test_latents_on_disk(tmp_path: Path) -> None:
    X, Y = encoded()
    np.save(tmp_path / "latents.npy", Y[:20])
    mapped = np.load(tmp_path / "latents.npy", mmap_mode="r")
    expected = ParametricInversion().fit(X[:20], Y[:20]).predict(X[20:])
    np.testing.assert_array_equal(ParametricInversion().fit(X[:20], mapped).predict(X[20:]), expected)
    repeated = RepeatedRows(mapped, np.tile(np.arange(20), 2))
    doubled = ParametricInversion().fit(np.vstack([X[:20], X[:20]]), repeated)
    np.testing.assert_allclose(doubled.predict(X[20:]), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["none", "diagonal", "shrunk"])
@pytest.mark.parametrize("centre", ["training", "test"])
def test_state_rebuilds_the_decoder(centre: str, kind: str) -> None:
    X, Y = encoded()
    decoder = ParametricInversion(centre=centre, noise_covariance=kind).fit(X[:40], Y[:40])
    rebuilt = ParametricInversion.from_state(decoder.state(), decoder.get_params())

    np.testing.assert_array_equal(rebuilt.predict(X[40:]), decoder.predict(X[40:]))
    assert rebuilt.summary() == decoder.summary()
    with pytest.raises(DataError, match="lacks the array 'encoding'"):
        ParametricInversion.from_state({}, {})


def test_decoders_of_earlier_versions_are_read() -> None:
    X, Y = encoded()
    decoder = ParametricInversion().fit(X, Y)
    params = {"centre": "training", "include_constant": False, "eigenvalue_floor": 1e-8}
    assert "noise_shrinkage" not in decoder.state()
    rebuilt = ParametricInversion.from_state(decoder.state(), params)
    assert rebuilt.summary() == decoder.summary()


def test_unknown_settings() -> None:
    X, Y = encoded()
    with pytest.raises(UsageError, match="'banded'"):
        ParametricInversion(noise_covariance="banded").fit(X, Y)
    with pytest.raises(UsageError, match="'median'"):
        ParametricInversion(centre="median").fit(X, Y)


@pytest.mark.filterwarnings("ignore")
def test_conventions_of_scikit_learn() -> None:
    results = check_estimator(ParametricInversion(), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 40
