"""Ridge on targets that stay on disk, shared factors, precision, and predictions without a stimulus."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from bids_recon.decoders import ridge, ridge_solver
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import RepeatedRows, chunks, read_columns
from bids_recon.outputs.tensor_files import in_memory


def data(
    n: int = 50, n_voxels: int = 90, n_targets: int = 40, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, n_voxels)).astype(np.float32)
    Y = X[:, :10] @ rng.standard_normal((10, n_targets)) + rng.standard_normal((n, n_targets)) + 3
    return X, Y.astype(np.float32)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven targets of fifty trials at a time."""
    monkeypatch.setattr("bids_recon.decoders.targets.CHUNK_BYTES", 50 * 4 * 7)
    monkeypatch.setattr(ridge, "CHUNK_BYTES", 50 * 4 * 7)


@pytest.mark.parametrize("alpha_per", ["space", "target"])
def test_targets_on_disk_give_the_same(
    tmp_path: Path, alpha_per: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, Y = data()
    np.save(tmp_path / "Y.npy", Y)
    mapped = np.load(tmp_path / "Y.npy", mmap_mode="r")
    settings: dict[str, Any] = {"alphas": [1.0, 100.0, 3000.0], "alpha_per": alpha_per}
    whole = RidgeDecoder(**settings).fit(X, Y)
    monkeypatch.setattr("bids_recon.decoders.targets.CHUNK_BYTES", 50 * 4 * 7)
    monkeypatch.setattr(ridge, "CHUNK_BYTES", 50 * 4 * 7)
    streamed = RidgeDecoder(**settings).fit(X, mapped)

    assert np.shares_memory(streamed._predictor.targets, mapped)
    np.testing.assert_array_equal(streamed.alpha_, whole.alpha_)
    np.testing.assert_allclose(streamed.predict(X), whole.predict(X), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(streamed.coef_, whole.coef_, rtol=1e-4, atol=1e-5)
    out = np.memmap(tmp_path / "out.dat", np.float32, "w+", shape=Y.shape)
    assert streamed.predict(X, out=out) is out
    np.testing.assert_array_equal(out, streamed.predict(X))


def test_small_targets_are_copied() -> None:
    X, Y = data()
    decoder = RidgeDecoder([10.0]).fit(X, Y)
    before = decoder.predict(X)
    Y[:] = 0
    np.testing.assert_array_equal(decoder.predict(X), before)


def test_targets_stored_once_per_stimulus(small_chunks: None) -> None:
    X, Y = data()
    rows = np.random.default_rng(1).integers(0, 20, 50)
    groups = np.array([f"picture{row}" for row in rows])
    expanded = RidgeDecoder().fit(X, Y[rows], groups)
    stored = RidgeDecoder().fit(X, RepeatedRows(Y[:20], rows), groups)

    assert stored.alpha_ == expanded.alpha_
    np.testing.assert_allclose(stored.predict(X), expanded.predict(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stored.coefficients(slice(3, 9)), expanded.coef_[3:9].T, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_targets_that_are_not_numbers_are_refused(value: float, small_chunks: None) -> None:
    X, Y = data()
    Y[3, 20] = value
    words = r"targets \d+ to 20 hold NaN or infinity"
    fitted = RidgeDecoder([10.0]).fit(X, Y)
    for use in (fitted.predict, lambda X: fitted.coefficients(), lambda X: in_memory(fitted.state())):
        with pytest.raises(ValueError, match=words):
            use(X)
    for settings in ({"alpha_per": "target"}, {"selection": "gcv", "alpha_per": "target"}):
        with pytest.raises(ValueError, match=words):
            RidgeDecoder([10.0, 100.0], **settings).fit(X, Y)


def test_a_new_fit_forgets_the_old_one() -> None:
    X, Y = data()
    other, _ = data(seed=3)
    decoder = RidgeDecoder([10.0]).fit(X, Y)
    decoder.leave_out_predictions([1, 2])
    again = decoder.fit(other, Y).leave_out_predictions([1, 2])
    np.testing.assert_array_equal(again, RidgeDecoder([10.0]).fit(other, Y).leave_out_predictions([1, 2]))


@pytest.mark.parametrize("selection", ["leave-out", "gcv", "k-fold"])
def test_penalties_are_chosen_in_the_precision_that_they_need(
    selection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 120)).astype(np.float32)
    X += 60 * rng.standard_normal((80, 1)).astype(np.float32)
    Y = (X[:, :5] @ rng.standard_normal((5, 4)) + 20 * rng.standard_normal((80, 4))).astype(np.float32)
    alphas = np.logspace(-3, 6, 10)
    exact = RidgeDecoder(alphas, selection).fit(X.astype(float), Y.astype(float))
    monkeypatch.setattr(ridge_solver, "SMALL_SIDE", 0)
    chosen = RidgeDecoder(alphas, selection).fit(X, Y)
    assert str(chosen._predictor.factor.dtype) == "torch.float64"
    assert chosen.alpha_ == exact.alpha_
    np.testing.assert_allclose(chosen.explained_variance_, exact.explained_variance_, atol=2e-3)
    # Where the smallest penalty is not so small, single precision is enough.
    coarse = RidgeDecoder(alphas[5:], selection).fit(X, Y)
    assert str(coarse._predictor.factor.dtype) == "torch.float32"
    np.testing.assert_allclose(coarse.explained_variance_, exact.explained_variance_[5:], atol=2e-3)
    # Without the second precision, held-out errors at the smallest penalty are far off: this test can fail.
    monkeypatch.setattr(ridge_solver, "SELECTION_LIMIT", np.inf)
    rough = RidgeDecoder(alphas, selection).fit(X, Y).explained_variance_
    assert np.abs(rough - exact.explained_variance_).max() > 2e-3 or selection == "k-fold"


def test_sums_that_overflow_are_no_fault() -> None:
    large = np.full((4, 4), 3e38, dtype=np.float32)
    np.testing.assert_array_equal(read_columns(large, slice(0, 4), np.dtype(np.float32)), large)


@pytest.mark.parametrize("n_voxels", [20, 90], ids=["primal", "dual"])
@pytest.mark.parametrize("alpha", [30.0, [1.0, 1000.0]], ids=["one", "per-target"])
def test_leaving_a_stimulus_out_equals_a_fit_without_it(n_voxels: int, alpha: Any) -> None:
    X, Y = data(n_voxels=n_voxels)
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    stimulus = np.random.default_rng(4).integers(0, 20, 50)
    Y = Y[stimulus]
    decoder = RidgeDecoder(np.atleast_1d(alpha), alpha_per="target").fit(X, Y, stimulus)
    rows = np.array([4, 17, 0])
    predicted = decoder.leave_out_predictions(rows, slice(5, 12))

    weights = 1 / np.bincount(stimulus)[stimulus]
    weights *= len(X) / weights.sum()
    mean = np.average(X, axis=0, weights=weights)
    A = (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
    alphas = np.broadcast_to(decoder.alpha_, 40)
    for place, row in enumerate(rows):
        rest = stimulus != stimulus[row]
        for target in range(5, 12):
            model = Ridge(alpha=alphas[target], solver="svd")
            model.fit(A[rest], Y[rest, target], sample_weight=weights[rest])
            np.testing.assert_allclose(predicted[place, target - 5], model.predict(A[[row]])[0], rtol=1e-7)


@pytest.mark.parametrize("n_voxels", [40, 90], ids=["primal", "dual"])
def test_single_precision_is_left_where_conditioning_asks_for_it(
    n_voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a large problem, whose decomposition is in single precision."""
    monkeypatch.setattr(ridge_solver, "SMALL_SIDE", 0)
    X, Y = data(n_voxels=n_voxels)
    X[:, 1:] += 30 * X[:, :1]
    A = ((X - X.mean(axis=0, dtype=float)) / X.std(axis=0, dtype=float)).astype(np.float64)
    for alpha in (1e-2, 1e4):
        decoder = RidgeDecoder([alpha]).fit(X, Y)
        assert str(decoder._predictor.factor.dtype) == "torch.float32"
        model = Ridge(alpha=alpha, solver="svd").fit(A, Y.astype(float))
        expected = model.predict(A)
        error = np.abs(decoder.predict(X) - expected).max() / expected.std()
        assert error < 3e-5
        scale = np.abs(model.coef_).max()
        np.testing.assert_allclose(decoder.coef_ * X.std(axis=0), model.coef_, atol=2e-3 * scale)
    # Without the second precision the small penalty is far off: this test can fail.
    monkeypatch.setattr(ridge_solver, "SINGLE_PRECISION_LIMIT", np.inf)
    rough = RidgeDecoder([1e-2]).fit(X, Y).predict(X)
    fine = Ridge(alpha=1e-2, solver="svd").fit(A, Y.astype(float)).predict(A)
    assert np.abs(rough - fine).max() / fine.std() > 3e-5


def test_latent_spaces_share_one_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = data()
    made: list[int] = []
    original = ridge.RidgeFactor.of.__func__

    def counted(cls: type, *arguments: Any) -> Any:
        made.append(1)
        return original(cls, *arguments)

    monkeypatch.setattr(ridge.RidgeFactor, "of", classmethod(counted))
    work = SharedWork(X)
    first = RidgeDecoder([10.0]).fit(X, Y, work=work)
    second = RidgeDecoder([500.0, 3.0], selection="gcv").fit(X, Y[:, ::-1], work=work)
    assert len(made) == 1
    alone = RidgeDecoder([500.0, 3.0], selection="gcv").fit(X, Y[:, ::-1])
    np.testing.assert_array_equal(second.predict(X), alone.predict(X))
    np.testing.assert_array_equal(first.predict(X), RidgeDecoder([10.0]).fit(X, Y).predict(X))
    with pytest.raises(ValueError, match="other responses"):
        RidgeDecoder([10.0]).fit(X.copy(), Y, work=work)


def test_branches_find_what_was_made_and_keep_their_own() -> None:
    X = np.zeros(3)
    work = SharedWork(X)
    work.get("kept", lambda: 1)
    branch = SharedWork.of(X, work.branch())
    assert branch.get("kept", lambda: 2) == 1
    assert branch.get("own", lambda: 3) == 3
    assert branch.get("own", lambda: 4) == 3
    assert branch.branch().get("own", lambda: 5) == 3
    assert work.get("own", lambda: 6) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_map_does_not_come_into_memory(tmp_path: Path) -> None:
    rows, columns = 64, 500_000
    np.save(tmp_path / "Y.npy", np.ones((rows, columns), dtype=np.float32))
    mapped = np.load(tmp_path / "Y.npy", mmap_mode="r")

    def resident() -> int:
        lines = Path("/proc/self/smaps").read_text().split("Y.npy")[1:]
        return sum(int(line.split("Rss:")[1].split()[0]) for line in lines)

    for part in chunks(columns, 100 * rows):
        read_columns(mapped, part, np.dtype(np.float32))
    assert resident() < 1000
    mapped[:, :].sum()
    assert resident() > 100_000


def test_any_memory_map_is_read_as_the_array_it_is(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    np.save(tmp_path / "Y.npy", whole)
    whole.T.tofile(tmp_path / "turned.dat")
    mapped = np.load(tmp_path / "Y.npy", mmap_mode="r")
    private = np.load(tmp_path / "Y.npy", mmap_mode="c")
    private[3, 4] = 7
    changed = whole.copy()
    changed[3, 4] = 7
    shifted = np.memmap(tmp_path / "Y.npy", np.float32, "r", offset=128 + 4 * 30, shape=(19, 30))
    big = np.memmap(tmp_path / "big.dat", ">f4", "w+", shape=whole.shape)
    big[:] = whole
    big.flush()
    for stored, expected in (
        (mapped, whole),
        (mapped[4:9], whole[4:9]),
        (mapped[::2, 3:], whole[::2, 3:]),
        (mapped[::-1], whole[::-1]),
        (mapped.T, whole.T),
        (mapped[:, ::2], whole[:, ::2]),
        (shifted, whole[1:]),
        (private, changed),
        (np.memmap(tmp_path / "turned.dat", np.float32, "r", shape=whole.shape, order="F"), whole),
        (np.memmap(tmp_path / "big.dat", ">f4", "r", shape=whole.shape), whole),
    ):
        part = slice(2, 9)
        np.testing.assert_array_equal(read_columns(stored, part, np.dtype(np.float64)), expected[:, part])
