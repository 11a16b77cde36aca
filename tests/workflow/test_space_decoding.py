"""One latent space is decoded: at once or in parts, in memory or on disk, with a shuffled brain beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.sparse import SparseDecoder
from bids_recon.decoders.standardise import shuffled_order
from bids_recon.decoders.unit_ridge import UnitRidgeDecoder
from bids_recon.latents.base import LatentSpace
from bids_recon.methods.base import Decoder
from bids_recon.outputs import scratch
from bids_recon.workflow import space_decoding
from bids_recon.workflow.space_decoding import DecodedSpace, FoldData, decode_space, keeps_weights, predict

# Enough repeats for the spread of each unit to be measured by itself.
N_PICTURES, REPEATS, N_VOXELS, N_ITEMS = 12, 3, 15, 4
SHAPE = (3, 2, 4)
N_TARGETS = 24
TRIALS = np.array([1, 1, 2, 3])

unit_ridge = partial(UnitRidgeDecoder, n_voxels_per_unit=5)
MAKERS: dict[str, Callable[[], Decoder]] = {
    "unit-ridge": unit_ridge,
    "sparse": partial(SparseDecoder, n_voxels_per_unit=5, n_iterations=20),
    "rescaled": lambda: RescaledDecoder(unit_ridge()),
    "ridge": partial(RidgeDecoder, alphas=(10.0,)),
}


def fold_data(folder: Path | None = None) -> FoldData:
    rng = np.random.default_rng(0)
    rows = np.tile(np.arange(N_PICTURES), REPEATS)
    pictures = rng.standard_normal((N_PICTURES, N_VOXELS))
    X = pictures[rows] + 0.3 * rng.standard_normal((len(rows), N_VOXELS))
    groups = np.array([f"p{row}" for row in rows])
    return FoldData(X, rows, groups, rng.standard_normal((N_ITEMS, N_VOXELS)), TRIALS, SharedWork(X), folder)


def true_latents() -> NDArray[np.float32]:
    """Linear in the responses, so that there is something to learn."""
    data, rng = fold_data(), np.random.default_rng(1)
    latents = data.X_train[:N_PICTURES] @ rng.standard_normal((N_VOXELS, N_TARGETS))
    return (latents + rng.standard_normal(latents.shape)).astype(np.float32)


def orders(data: FoldData, n: int = 2) -> list[tuple[NDArray[np.intp], SharedWork]]:
    rng = np.random.default_rng(2)
    return [(shuffled_order(len(data.rows), rng), data.work.branch()) for _ in range(n)]


def decoded(kind: str, *, keep: bool, folder: Path | None = None, mapped: Path | None = None) -> DecodedSpace:
    data, latents = fold_data(folder), true_latents()
    if mapped is not None:
        np.save(mapped, latents)
        latents = np.load(mapped, mmap_mode="r")
    return decode_space(data, MAKERS[kind], latents, SHAPE, orders(data), keep=keep)


def by_hand(kind: str, order: NDArray[np.intp]) -> NDArray[np.float32]:
    """Targets in some order beside the responses, as plain arrays, all units in one fit."""
    data = fold_data()
    pairs = true_latents()[data.rows][order]
    decoder = MAKERS[kind]().fit(data.X_train, pairs, data.groups[order])
    return predict(decoder, data.X_test, TRIALS).reshape(N_ITEMS, *SHAPE)


@pytest.mark.parametrize("kind", MAKERS)
def test_latents_and_floor_are_those_of_fits_by_hand(kind: str) -> None:
    found = decoded(kind, keep=True)
    data = fold_data()
    assert found.predicted.shape == (N_ITEMS, *SHAPE) and found.predicted.dtype == np.float32
    assert found.floor.shape == (2, N_ITEMS, *SHAPE) and found.floor.dtype == np.float32
    straight = by_hand(kind, np.arange(len(data.rows)))
    np.testing.assert_allclose(found.predicted, straight, rtol=1e-4, atol=1e-4)
    for number, (order, _) in enumerate(orders(data)):
        shuffled = by_hand(kind, order)
        np.testing.assert_allclose(found.floor[number], shuffled, rtol=1e-4, atol=1e-4)
        assert np.abs(shuffled - straight).max() > 0.1
    assert found.summary["decoder"] == kind
    assert found.decoder is not None
    again = predict(found.decoder, data.X_test, TRIALS).reshape(N_ITEMS, *SHAPE)
    np.testing.assert_array_equal(again, found.predicted)


@pytest.mark.parametrize("kind", ["unit-ridge", "sparse", "rescaled"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_units_in_parts_are_those_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, on_disk: bool
) -> None:
    whole = decoded(kind, keep=True)
    fitted: list[int] = []
    fit = UnitRidgeDecoder.fit if kind != "sparse" else SparseDecoder.fit

    def counted(self, X, Y, *arguments, **options):  # type: ignore[no-untyped-def]
        fitted.append(Y.shape[1])
        return fit(self, X, Y, *arguments, **options)

    monkeypatch.setattr(SparseDecoder if kind == "sparse" else UnitRidgeDecoder, "fit", counted)
    monkeypatch.setattr(space_decoding, "UNITS_AT_ONCE", 7)
    monkeypatch.setattr(scratch, "LARGE", 1 if on_disk else 2**30)
    mapped = tmp_path / "latents.npy" if on_disk else None
    parts = decoded(kind, keep=False, folder=tmp_path / "scratch", mapped=mapped)
    # Refits of rescaling are of the same units.
    assert set(fitted) == {7, 3} and fitted[0] == 7
    assert parts.decoder is None
    assert isinstance(parts.predicted, np.memmap) is isinstance(parts.floor, np.memmap) is on_disk
    np.testing.assert_allclose(parts.predicted, whole.predicted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(parts.floor, whole.floor, rtol=1e-4, atol=1e-4)
    assert parts.summary["n_targets"] == N_TARGETS
    if kind != "rescaled":
        # What differs between parts holds for none of them.
        assert set(whole.summary) - set(parts.summary) <= {"n_voxels_kept", "n_iterations"}


def test_other_decoders_are_fitted_at_once_and_kept_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_decoding, "UNITS_AT_ONCE", 7)
    kept, dropped = decoded("ridge", keep=True), decoded("ridge", keep=False)
    assert kept.decoder is not None and dropped.decoder is None
    np.testing.assert_array_equal(kept.predicted, dropped.predicted)
    np.testing.assert_array_equal(kept.floor, dropped.floor)
    assert kept.summary == dropped.summary


def test_a_kept_decoder_has_all_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_decoding, "UNITS_AT_ONCE", 7)
    found = decoded("unit-ridge", keep=True)
    assert found.decoder is not None and found.decoder.summary()["n_targets"] == N_TARGETS


def test_shuffles_use_the_work_of_the_fold() -> None:
    data, latents = fold_data(), true_latents()
    shuffles = orders(data)
    decode_space(data, MAKERS["unit-ridge"], latents, SHAPE, shuffles, keep=False)
    for _, work in shuffles:
        # Moments of the responses were measured in the straight fit.
        assert not set(work._made) & set(data.work._made)
    assert data.work._made


class Space:
    def __init__(self, *shape: int) -> None:
        self.name, self.shape, self.identity = "space", shape, ""


def spaces(*shapes: tuple[int, ...]) -> dict[str, LatentSpace]:
    return {f"s{number}": Space(*shape) for number, shape in enumerate(shapes)}  # type: ignore[misc]


def test_decoders_of_many_units_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_decoding, "KEPT_UNITS", 100)
    monkeypatch.setattr(space_decoding, "KEPT_BYTES", 4 * 10 * 100)
    for kind in MAKERS:
        make = lambda _, kind=kind: MAKERS[kind]()  # noqa: E731
        # Units of all spaces are counted together.
        assert keeps_weights(make, spaces((5, 10), (50,)), 10), kind
        assert not keeps_weights(make, spaces((5, 10), (51,)), 10), kind
    ridge = lambda _: MAKERS["ridge"]()  # noqa: E731
    units = lambda _: MAKERS["unit-ridge"]()  # noqa: E731
    assert not keeps_weights(ridge, spaces((100,)), 11)
    # Each unit sees few voxels, however many there are.
    assert keeps_weights(units, spaces((100,)), 11_000)
    mixed = lambda name: MAKERS["ridge" if name == "s0" else "unit-ridge"]()  # noqa: E731
    assert keeps_weights(mixed, spaces((100,), (100,)), 10)
    assert not keeps_weights(mixed, spaces((101,), (100,)), 10)
    assert not keeps_weights(mixed, spaces((100,), (101,)), 10)
