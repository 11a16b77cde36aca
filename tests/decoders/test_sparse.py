"""Sparse regression: the equations of the textbook, planted voxels, on every device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.utils.estimator_checks import check_estimator

from bids_recon.decoders import positive_systems, sparse, targets
from bids_recon.decoders.ard_solver import fit_ard
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.sparse import SparseDecoder
from bids_recon.decoders.standardise import shuffle_responses
from bids_recon.decoders.targets import RepeatedRows
from bids_recon.decoders.voxel_moments import VoxelMoments
from bids_recon.errors import DataError, UsageError

Array = NDArray[Any]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(params=["lapack", "torch", pytest.param("cuda", marks=CUDA)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Device of the solver; on the CPU with either of its ways."""
    if request.param == "torch":
        monkeypatch.setattr(positive_systems, "_routine", lambda name, dtype: None)
    return "cuda" if request.param == "cuda" else "cpu"


def planted(
    n_trials: int = 200, n_voxels: int = 60, n_units: int = 5, noise: float = 1.0, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Responses, units that each depend on four voxels, and which these are (n_units, n_voxels)."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_trials, 4)) @ rng.standard_normal((4, n_voxels)) * 0.5
    X = (X + rng.standard_normal((n_trials, n_voxels))) * rng.uniform(0.5, 3, n_voxels)
    weights = np.zeros((n_units, n_voxels))
    for unit in range(n_units):
        weights[unit, rng.choice(n_voxels, 4, replace=False)] = rng.choice([-1, 1], 4)
    Y = X / X.std(axis=0) @ weights.T + noise * rng.standard_normal((n_trials, n_units))
    units = rng.uniform(0.1, 10, n_units)
    return X + rng.uniform(-5, 5, n_voxels), Y * units + rng.uniform(-20, 20, n_units), weights != 0


def textbook(X: Array, y: Array, n_iterations: int, threshold: float) -> tuple[Array, float]:
    """Weights and noise precision by the equations as they stand (Bishop 2006, section 7.2.1), one unit."""
    n, k = X.shape
    alive = np.arange(k)
    a, beta = np.full(k, (n - 1) / (y @ y)), (n - 1) / (y @ y)
    for _ in range(n_iterations):
        S = np.linalg.inv(beta * X[:, alive].T @ X[:, alive] + np.diag(a))
        m = beta * S @ X[:, alive].T @ y
        gamma = 1 - a * np.diag(S)
        a = gamma / m**2
        beta = (n - gamma.sum()) / ((y - X[:, alive] @ m) ** 2).sum()
        stays = a <= threshold * beta * (X[:, alive] ** 2).sum(axis=0)
        alive, a = alive[stays], a[stays]
    S = np.linalg.inv(beta * X[:, alive].T @ X[:, alive] + np.diag(a))
    weights = np.zeros(k)
    weights[alive] = beta * S @ X[:, alive].T @ y
    return weights, beta


def chosen_by_correlation(Z: Array, y: Array, n: int) -> Array:
    return np.sort(np.argsort(-np.abs(Z.T @ y))[:n])


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("n_iterations", [1, 7, 200])
@pytest.mark.parametrize("n_voxels_per_unit", [25, 500])
def test_equals_the_textbook(
    n_voxels_per_unit: int, n_iterations: int, standardise: bool, device: str
) -> None:
    X, Y, _ = planted()
    scale = X.std(axis=0, ddof=1)
    Z = (X - X.mean(axis=0)) / (scale if standardise else 1.0)
    decoder = SparseDecoder(n_iterations, n_voxels_per_unit, standardise=standardise, device=device).fit(X, Y)
    for unit, y in enumerate(Y.T):
        T = (y - y.mean()) / y.std(ddof=1)
        chosen = chosen_by_correlation((X - X.mean(axis=0)) / scale, T, n_voxels_per_unit)
        weights, _ = textbook(Z[:, chosen], T, n_iterations, 1e3)
        expected = np.zeros(X.shape[1])
        expected[chosen] = weights * y.std(ddof=1) / (scale[chosen] if standardise else 1.0)

        np.testing.assert_array_equal(decoder.coef_[unit] != 0, expected != 0)
        difference = np.linalg.norm(decoder.coef_[unit] - expected)
        assert difference < 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("units_per_batch", [1, 2, 5])
def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, units_per_batch: int, device: str) -> None:
    X, Y, _ = planted()
    monkeypatch.setitem(sparse.BATCH, "cpu", 1)
    alone = SparseDecoder(50, 30, tolerance=1e-4).fit(X, Y)
    monkeypatch.setitem(sparse.BATCH, device, units_per_batch)
    together = SparseDecoder(50, 30, tolerance=1e-4, device=device).fit(X, Y)

    np.testing.assert_allclose(together.coef_, alone.coef_, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(together.n_iter_, alone.n_iter_)


def test_noise_precision_is_that_of_the_textbook() -> None:
    X, Y, _ = planted()
    Z, y = X - X.mean(axis=0), Y[:, 0] - Y[:, 0].mean()
    gram, products = torch.from_numpy(Z.T @ Z)[None], torch.from_numpy(Z.T @ y)[None]
    fit = fit_ard(gram, products, torch.tensor([y @ y], dtype=torch.float64), len(y), n_iterations=30)

    assert float(fit.noise_precision[0]) == pytest.approx(textbook(Z, y, 30, 1e3)[1], rel=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_planted_voxels_are_recovered(dtype: type, device: str) -> None:
    X, Y, truth = planted(n_trials=400, noise=0.3)
    decoder = SparseDecoder(n_voxels_per_unit=40, device=device).fit(X[:300].astype(dtype), Y[:300])
    strong = np.abs(decoder.coef_ * X[:300].std(axis=0)) > 0.2 * Y.std(axis=0)[:, None]
    predicted = decoder.predict(X[300:].astype(dtype))

    assert predicted.dtype == dtype
    np.testing.assert_array_equal(strong, truth)
    assert np.count_nonzero(decoder.coef_) < 0.5 * decoder.coef_.size
    for unit in range(Y.shape[1]):
        assert np.corrcoef(predicted[:, unit], Y[300:, unit])[0, 1] > 0.95


def test_precision_of_responses_hardly_matters() -> None:
    X, Y, _ = planted()
    double, single = SparseDecoder().fit(X, Y), SparseDecoder().fit(X.astype(np.float32), Y)

    np.testing.assert_allclose(single.predict(X.astype(np.float32)), double.predict(X), atol=1e-3)


def test_shuffled_responses_predict_nothing() -> None:
    rng = np.random.default_rng(2)
    X, Y, _ = planted(n_trials=400, noise=0.3)
    explained = []
    for _ in range(5):
        decoder = SparseDecoder(50, 30).fit(shuffle_responses(X[:300], rng), Y[:300])
        residual = Y[300:] - decoder.predict(X[300:])
        explained.append(1 - (residual**2).sum(axis=0) / ((Y[300:] - Y[:300].mean(axis=0)) ** 2).sum(axis=0))
    assert np.mean(explained) < 0.02


def test_noise_free_targets_are_fitted() -> None:
    X, _, truth = planted()
    Y = X @ truth.T
    decoder = SparseDecoder(100).fit(X, Y)

    np.testing.assert_allclose(decoder.coef_, truth, atol=1e-4)
    np.testing.assert_allclose(decoder.predict(X), Y, atol=1e-3)


def test_more_voxels_than_trials() -> None:
    X, Y, _ = planted(n_trials=60, n_voxels=150, noise=0.1)
    X[:, 1] = X[:, 0]
    decoder = SparseDecoder(100, 150).fit(X, Y)

    assert np.isfinite(decoder.coef_).all()
    for unit in range(Y.shape[1]):
        assert np.corrcoef(decoder.predict(X)[:, unit], Y[:, unit])[0, 1] > 0.95


def test_tolerance_stops_early() -> None:
    X, Y, _ = planted()
    whole, early = SparseDecoder().fit(X, Y), SparseDecoder(tolerance=1e-3).fit(X, Y)

    assert (whole.n_iter_ == 200).all()
    assert (early.n_iter_ < 100).all()
    np.testing.assert_allclose(early.predict(X), whole.predict(X), atol=0.05 * Y.std())


def test_memory_map_chunks_and_repeated_rows_equal_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, stored, _ = planted(n_trials=60)
    rows = np.random.default_rng(0).integers(0, 50, 60)
    expected = SparseDecoder(20).fit(X, stored[:50][rows])
    np.save(tmp_path / "latents.npy", stored[:50])
    mapped = np.load(tmp_path / "latents.npy", mmap_mode="r")
    monkeypatch.setattr(targets, "CHUNK_BYTES", 4 * 120 * 8 * 2)
    repeated = SparseDecoder(20).fit(X, RepeatedRows(mapped, rows))

    np.testing.assert_allclose(repeated.coef_, expected.coef_, rtol=1e-9, atol=1e-12)


def test_fits_on_the_same_responses_share_their_gram_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y, _ = planted()
    made = []
    gram = VoxelMoments.gram
    counted = staticmethod(lambda design: made.append(design.dtype) or gram(design))
    monkeypatch.setattr(VoxelMoments, "gram", counted)
    work = SharedWork(X)
    SparseDecoder(5).fit(X, Y[:, :2], work=work)
    SparseDecoder(5).fit(X, Y[:, 2:], work=work)

    assert made == [torch.float64]


def test_constants_are_left_alone() -> None:
    X, Y, _ = planted()
    X[:, 7], Y[:, 2] = 1234.567, 0.1
    decoder = SparseDecoder(20).fit(X.astype(np.float32), Y)

    assert (decoder.coef_[:, 7] == 0).all()
    assert (decoder.coef_[2] == 0).all()
    np.testing.assert_array_equal(decoder.predict(X.astype(np.float32) + 1)[:, 2], np.float32(0.1))
    assert decoder.summary()["n_constant_voxels"] == 1
    empty = SparseDecoder().fit(np.ones((len(Y), 3)), Y)
    np.testing.assert_allclose(empty.predict(np.ones((2, 3))), np.tile(Y.mean(axis=0), (2, 1)))
    assert "no voxel varies" in empty.summary()["warning"]


def test_state_rebuilds_the_decoder() -> None:
    X, Y, _ = planted()
    decoder = SparseDecoder(30, 40).fit(X, Y)
    state = decoder.state()
    rebuilt = SparseDecoder.from_state(state, decoder.get_params() | {"unrelated": 1})

    assert state["voxels"].dtype == np.int32
    assert len(state["voxels"]) == len(state["weights"]) == state["starts"][-1] < 40 * 5
    np.testing.assert_array_equal(rebuilt.predict(X), decoder.predict(X))
    assert rebuilt.summary() == decoder.summary()
    for missing in ("voxels", "n_iter"):
        with pytest.raises(DataError, match=f"lacks the array '{missing}'"):
            SparseDecoder.from_state({k: v for k, v in state.items() if k != missing}, {})


@pytest.mark.parametrize(
    "settings",
    [{"n_iterations": 0}, {"n_voxels_per_unit": 0}, {"prune_threshold": 0.0}, {"tolerance": -1.0}],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    X, Y, _ = planted()
    with pytest.raises(UsageError, match=r"at least one|above zero|below zero"):
        SparseDecoder(**settings).fit(X, Y)


@pytest.mark.filterwarnings("ignore")
def test_conventions_of_scikit_learn() -> None:
    results = check_estimator(SparseDecoder(20), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 40
