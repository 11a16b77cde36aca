"""Voxel selection and ridge per unit: the numbers of FastL2LiR, streamed, on every device."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.utils.estimator_checks import check_estimator

from bids_recon.decoders import positive_systems, targets, unit_ridge_solver, unit_systems
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.standardise import shuffle_responses
from bids_recon.decoders.targets import RepeatedRows
from bids_recon.decoders.unit_ridge import UnitRidgeDecoder
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
    n_trials: int = 150, n_voxels: int = 120, n_units: int = 12, noise: float = 1.0, seed: int = 0
) -> tuple[Array, Array]:
    """Responses, and units that each depend on eight voxels; no mean is zero and no deviation one."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_trials, 5)) @ rng.standard_normal((5, n_voxels))
    X = (shared + 2 * rng.standard_normal((n_trials, n_voxels))) * rng.uniform(0.5, 3, n_voxels)
    weights = np.zeros((n_voxels, n_units))
    for unit in range(n_units):
        weights[rng.choice(n_voxels, 8, replace=False), unit] = rng.choice([-1, 1], 8)
    Y = (X @ weights + noise * rng.standard_normal((n_trials, n_units))) * rng.uniform(0.1, 10, n_units)
    return X + rng.uniform(-5, 5, n_voxels), Y + rng.uniform(-20, 20, n_units)


@pytest.fixture
def fast_l2_lir(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`FastL2LiR().fit`, which with numpy 2.4 needs solutions as vectors where it selects voxels."""
    peer = pytest.importorskip("fastl2lir.fastl2lir")

    def solve(A: Array, b: Array) -> Array:
        solution = np.linalg.solve(A, b)
        return solution[:, 0] if b.shape[1] == 1 else solution

    linalg = types.SimpleNamespace(solve=solve)
    monkeypatch.setattr(peer, "np", types.SimpleNamespace(**(vars(np) | {"linalg": linalg})))
    monkeypatch.setattr(peer, "tqdm", lambda iterable: iterable)

    def fit(X: Array, Y: Array, alpha: float, n_feat: int) -> Any:
        return peer.FastL2LiR().fit(X, Y, alpha, n_feat)

    return fit


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_voxels_per_unit", [1, 30, 120, 500])
@pytest.mark.parametrize("alpha", [1.0, 100.0])
def test_equals_fastl2lir(
    fast_l2_lir: Callable[..., Any], dtype: type, n_voxels_per_unit: int, alpha: float, device: str
) -> None:
    X, Y = planted()
    X, Y = X.astype(dtype), Y.astype(dtype)
    # It warns when there are fewer voxels than it is to select, and takes all of them.
    peer = fast_l2_lir(X, Y, alpha, min(n_voxels_per_unit, X.shape[1]))
    decoder = UnitRidgeDecoder(alpha, n_voxels_per_unit, standardise=False, device=device).fit(X, Y)

    np.testing.assert_array_equal(decoder.coef_ != 0, peer.W.T != 0)
    np.testing.assert_allclose(decoder.coef_, peer.W.T, rtol=0, atol=1e-5 * np.abs(peer.W).max())
    np.testing.assert_allclose(decoder.predict(X), peer.predict(X), rtol=0, atol=1e-5 * np.abs(Y).max())
    assert decoder.predict(X).dtype == dtype
    if dtype == np.float64:
        np.testing.assert_allclose(decoder.intercept_, peer.b[0], rtol=1e-8)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("n_voxels_per_unit", [30, 200])
def test_constant_voxels_are_left_out(fast_l2_lir: Callable[..., Any], n_voxels_per_unit: int) -> None:
    X, Y = planted()
    spoiled = X.copy()
    spoiled[:, 3], spoiled[:, 10] = 7.5, 1e-5 * X[:, 10]
    peer = fast_l2_lir(np.delete(X, [3, 10], axis=1), Y, 10.0, min(n_voxels_per_unit, 118))
    decoder = UnitRidgeDecoder(10.0, n_voxels_per_unit, standardise=False).fit(spoiled, Y)

    assert (decoder.coef_[:, [3, 10]] == 0).all()
    np.testing.assert_allclose(np.delete(decoder.coef_, [3, 10], axis=1), peer.W.T, rtol=1e-8, atol=1e-10)
    summary = decoder.summary()
    assert summary["n_constant_voxels"] == 2
    assert ("only 118 vary" in summary.get("warning", "")) == (n_voxels_per_unit == 200)


@pytest.mark.parametrize("penalise_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardised_equals_a_plain_loop(dtype: type, penalise_intercept: bool, device: str) -> None:
    X, Y = planted()
    Z = (X - X.mean(axis=0)) / X.std(axis=0, ddof=1)
    T = (Y - Y.mean(axis=0)) / Y.std(axis=0, ddof=1)
    expected = np.empty_like(Y)
    for unit in range(Y.shape[1]):
        chosen = np.argsort(-np.abs(Z.T @ T[:, unit]))[:30]
        A = Z[:, chosen]
        w = np.linalg.solve(A.T @ A + 50 * np.eye(30), A.T @ T[:, unit])
        expected[:, unit] = A @ w * Y[:, unit].std(ddof=1) + Y[:, unit].mean()
    decoder = UnitRidgeDecoder(50.0, 30, penalise_intercept=penalise_intercept, device=device)
    predicted = decoder.fit(X.astype(dtype), Y).predict(X.astype(dtype))

    assert np.linalg.norm(predicted - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("n_voxels_per_unit", [20, 500])
def test_free_intercept_leaves_the_mean_alone(n_voxels_per_unit: int) -> None:
    X, Y = planted()
    settings = {"n_voxels_per_unit": n_voxels_per_unit, "standardise": False}
    free = UnitRidgeDecoder(100.0, penalise_intercept=False, **settings).fit(X, Y)
    penalised = UnitRidgeDecoder(100.0, penalise_intercept=True, **settings).fit(X, Y)

    np.testing.assert_allclose(free.predict(X).mean(axis=0), Y.mean(axis=0), rtol=1e-10)
    assert np.abs(penalised.predict(X).mean(axis=0) - Y.mean(axis=0)).max() > 0.1


def test_large_means_cost_no_precision() -> None:
    X, Y = planted()
    far = (X * 0.01 + 1000).astype(np.float32)
    exact = UnitRidgeDecoder(1.0, 30, standardise=False).fit(far.astype(np.float64), Y)
    single = UnitRidgeDecoder(1.0, 30, standardise=False).fit(far, Y)

    difference = single.predict(far) - exact.predict(far.astype(np.float64))
    assert np.abs(difference / Y.std(axis=0)).max() < 1e-4


def test_planted_voxels_are_found_and_new_trials_predicted() -> None:
    X, Y = planted(n_trials=400, noise=0.3)
    decoder = UnitRidgeDecoder(1.0, 40).fit(X[:300], Y[:300])
    predicted = decoder.predict(X[300:])

    for unit in range(Y.shape[1]):
        assert np.corrcoef(predicted[:, unit], Y[300:, unit])[0, 1] > 0.85


def test_shuffled_responses_predict_nothing() -> None:
    rng = np.random.default_rng(2)
    X, Y = planted(n_trials=400, noise=0.3)
    correlations = []
    for _ in range(10):
        decoder = UnitRidgeDecoder(1.0, 40).fit(shuffle_responses(X[:300], rng), Y[:300])
        predicted = decoder.predict(X[300:])
        correlations += [np.corrcoef(predicted[:, unit], Y[300:, unit])[0, 1] for unit in range(Y.shape[1])]
    assert abs(np.mean(correlations)) < 0.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_voxels_per_unit", [30, 500])
def test_chunks_and_batches_change_nothing(
    monkeypatch: pytest.MonkeyPatch, dtype: type, n_voxels_per_unit: int
) -> None:
    X, Y = planted(n_units=23)
    X = X.astype(dtype)
    whole = UnitRidgeDecoder(10.0, n_voxels_per_unit).fit(X, Y)
    monkeypatch.setattr(targets, "CHUNK_BYTES", 4 * 270 * 8 * 5)
    monkeypatch.setitem(unit_ridge_solver.BATCH_BYTES, "cpu", 30 * 30 * 8 * 2)
    monkeypatch.setattr(unit_systems, "ROWS", 7)
    parts = UnitRidgeDecoder(10.0, n_voxels_per_unit).fit(X, Y)

    np.testing.assert_array_equal(parts.weights_.voxels, whole.weights_.voxels)
    tolerance = 1e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(parts.weights_.weights, whole.weights_.weights, rtol=tolerance, atol=tolerance)


def test_number_of_threads_changes_nothing() -> None:
    X, Y = planted()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        three = UnitRidgeDecoder(10.0, 30).fit(X, Y).coef_
        assert torch.get_num_threads() == 3
        torch.set_num_threads(1)
        one = UnitRidgeDecoder(10.0, 30).fit(X, Y).coef_
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(three, one, rtol=1e-12)


def test_without_a_gram_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = planted()
    expected = [UnitRidgeDecoder(10.0, n).fit(X, Y).coef_ for n in (30, 500)]
    monkeypatch.setattr(unit_systems, "LARGEST_GRAM", 1000)
    for n, coefficients in zip((30, 500), expected, strict=True):
        np.testing.assert_allclose(UnitRidgeDecoder(10.0, n).fit(X, Y).coef_, coefficients, rtol=1e-8)


def test_memory_map_and_repeated_rows_equal_an_array(tmp_path: Path) -> None:
    X, stored = planted(n_trials=60)
    rows = np.random.default_rng(0).integers(0, 50, 60)
    np.save(tmp_path / "latents.npy", stored[:50])
    mapped = np.load(tmp_path / "latents.npy", mmap_mode="r")
    expected = UnitRidgeDecoder(10.0, 30).fit(X, stored[:50][rows])
    repeated = UnitRidgeDecoder(10.0, 30).fit(X, RepeatedRows(mapped, rows))
    np.testing.assert_array_equal(repeated.coef_, expected.coef_)

    np.save(tmp_path / "trials.npy", stored)
    mapped = np.load(tmp_path / "trials.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        UnitRidgeDecoder(10.0, 30).fit(X, mapped).coef_, UnitRidgeDecoder(10.0, 30).fit(X, stored).coef_
    )


def test_fits_on_the_same_responses_share_their_gram_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = planted()
    expected = UnitRidgeDecoder(10.0, 30).fit(X, Y[:, 6:]).coef_
    made = []
    gram = VoxelMoments.gram
    counted = staticmethod(lambda design: made.append(design.dtype) or gram(design))
    monkeypatch.setattr(VoxelMoments, "gram", counted)
    work = SharedWork(X)
    UnitRidgeDecoder(100.0, 20).fit(X, Y[:, :6], work=work)
    second = UnitRidgeDecoder(10.0, 30).fit(X, Y[:, 6:], work=work)

    assert made == [torch.float64]
    np.testing.assert_allclose(second.coef_, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="other responses"):
        UnitRidgeDecoder().fit(X.copy(), Y, work=work)


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("n_voxels_per_unit", [30, 500])
def test_constant_units_are_predicted_as_they_are(n_voxels_per_unit: int, standardise: bool) -> None:
    X, Y = planted()
    Y[:, 4] = 0.1
    predicted = UnitRidgeDecoder(10.0, n_voxels_per_unit, standardise).fit(X, Y).predict(X + 1)

    np.testing.assert_array_equal(predicted[:, 4], 0.1)
    assert np.isfinite(predicted).all()


def test_responses_that_do_not_vary_give_the_mean() -> None:
    _, Y = planted()
    decoder = UnitRidgeDecoder().fit(np.ones((len(Y), 5)), Y)

    np.testing.assert_allclose(decoder.predict(np.ones((2, 5))), np.tile(Y.mean(axis=0), (2, 1)))
    assert "no voxel varies" in decoder.summary()["warning"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_state_rebuilds_the_decoder(dtype: type) -> None:
    X, Y = planted()
    X = X.astype(dtype)
    decoder = UnitRidgeDecoder(5.0, 30).fit(X, Y[:, 0])
    state = decoder.state()
    rebuilt = UnitRidgeDecoder.from_state(state, decoder.get_params() | {"unrelated": 1})

    assert state["voxels"].dtype == np.int32
    assert state["weights"].shape == (30,)
    np.testing.assert_array_equal(rebuilt.predict(X), decoder.predict(X))
    assert rebuilt.predict(X).shape == (len(X),)
    assert rebuilt.summary() == decoder.summary()
    for missing in ("voxels", "counts"):
        with pytest.raises(DataError, match=f"lacks the array '{missing}'"):
            UnitRidgeDecoder.from_state({k: v for k, v in state.items() if k != missing}, {})


@pytest.mark.parametrize(
    "settings", [{"alpha": 0.0}, {"alpha": np.nan}, {"n_voxels_per_unit": 0}, {"device": "quantum"}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    X, Y = planted()
    with pytest.raises(UsageError, match=r"above zero|at least one voxel|the device is one of"):
        UnitRidgeDecoder(**settings).fit(X, Y)


def test_targets_that_are_not_finite_are_refused() -> None:
    X, Y = planted()
    Y[3, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        UnitRidgeDecoder().fit(X, Y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_voxels_per_unit", [1, 500])
def test_conventions_of_scikit_learn(n_voxels_per_unit: int) -> None:
    results = check_estimator(UnitRidgeDecoder(1.0, n_voxels_per_unit), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 40
