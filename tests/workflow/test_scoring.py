"""Scores of planted latents by a method that draws them as they are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bids_recon.dataset.stimuli import Stimulus, StimulusSet
from bids_recon.methods.base import Method
from bids_recon.metrics.network_features import FeatureScorer
from bids_recon.metrics.profiles import profile_accuracy
from bids_recon.metrics.protocols import Protocol
from bids_recon.outputs import scratch
from bids_recon.workflow import encoding, scoring
from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold
from bids_recon.workflow.scoring import METRIC_COLUMNS, score
from bids_recon.workflow.true_latents import TrueLatents

SIZE = 12
N_SHUFFLES = 4
# Pale, so that all are lighter than the ground.
COLOURS = {"red": (255, 170, 170), "green": (170, 255, 170), "blue": (170, 170, 255)}
PALE = (200, 200, 200)
SHAPES = {
    "left": np.s_[3:9, 1:5],
    "right": np.s_[3:9, 7:11],
    "bar": np.s_[5:7, :],
}


def figure(shape: str, colour: tuple[int, int, int]) -> np.ndarray:
    picture = np.full((SIZE, SIZE, 3), 128, dtype=np.uint8)
    picture[SHAPES[shape]] = colour
    return picture


class Figures(StimulusSet):
    """Shapes in colours, which know their attributes, and photographs (noise), which have none."""

    def __init__(self, n_photos: int = 4) -> None:
        both = [(shape, colour) for shape in SHAPES for colour in COLOURS]
        figures = {f"{s}-{c}": Stimulus(f"{s}-{c}", attributes={"shape": s, "colour": c}) for s, c in both}
        super().__init__(figures | {f"photo-{n}": Stimulus(f"photo-{n}") for n in range(n_photos)})

    def image(self, stimulus_id: str) -> np.ndarray:
        first, second = stimulus_id.split("-")
        if first == "photo":
            rng = np.random.default_rng(int(second))
            return rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        return figure(first, COLOURS[second])


class Pixels:
    """A latent space of pixels, times a gain."""

    def __init__(self, gain: float) -> None:
        self.name, self.shape, self.identity, self.gain = "pixels", (SIZE, SIZE, 3), f"gain {gain}", gain
        self.asked = 0

    def encode(
        self,
        images: Sequence[np.ndarray],
        captions: Sequence[str] | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        self.asked += 1
        return np.multiply(self.gain, np.stack(list(images)), out=out, dtype=np.float32)


class AsItIs(Method):
    """Draws its latents, and remembers how many pictures it drew at a time."""

    name, reference = "as-it-is", ""

    def __init__(self, gain: float = 1.0, spaces: tuple[str, ...] = ("pixels",)) -> None:
        super().__init__()
        self.spaces = {name: Pixels(gain) for name in spaces}
        self.drawn: list[int] = []

    def fit_latent_spaces(self, images, extra_images=(), captions=None) -> None: ...

    @property
    def latent_spaces(self):
        return self.spaces

    def make_decoder(self, space):
        raise NotImplementedError

    def render(self, latents: Mapping[str, np.ndarray], seeds: np.ndarray) -> np.ndarray:
        (first, *_) = self.spaces
        self.drawn.append(len(latents[first]))
        return np.clip(latents[first] / self.spaces[first].gain, 0, 255).round().astype(np.uint8)

    def state(self):
        return {}

    def load_state(self, state) -> None: ...


def fold_of(rows: list[tuple[str, str, np.ndarray]], *, name: str = "0", method: AsItIs, seed: int = 0):
    """A fold from (test set, stimulus id, picture that is decoded); its shuffles permute the pictures."""
    items = [(name, test_set, stimulus, "", "", "view", -1, 1) for test_set, stimulus, _ in rows]
    rng = np.random.default_rng(seed)
    predicted, floor, identity = {}, {}, []
    for space, one in method.spaces.items():
        predicted[space] = one.gain * np.stack([picture for *_, picture in rows]).astype(np.float32)
        orders = [rng.permutation(len(rows)) for _ in range(N_SHUFFLES)]
        floor[space] = np.stack([predicted[space][order] for order in orders])
        identity.append(f"{space}:{one.identity}")
    table = pd.DataFrame(items, columns=list(ITEM_COLUMNS))
    return DecodedFold(name, table, predicted, floor, {}, "+".join(identity))


def rows_of(table: pd.DataFrame, protocol: str, **where: str) -> pd.DataFrame:
    for column, value in {"protocol": protocol, **where}.items():
        table = table[table[column] == value]
    return table.set_index("metric")


@pytest.fixture
def stimuli() -> Figures:
    return Figures()


@pytest.fixture
def shapes_without_colour(stimuli) -> list[tuple[str, str, np.ndarray]]:
    """The right shape in a pale grey, and photographs as they were."""
    rows = []
    for name in stimuli.ids:
        shape = name.split("-")[0]
        kind = "photos" if shape == "photo" else "shapes"
        rows.append((kind, name, stimuli.image(name) if kind == "photos" else figure(shape, PALE)))
    return rows


def test_shape_is_decoded_and_colour_is_not(stimuli, shapes_without_colour):
    method = AsItIs()
    decoded = Decoded((fold_of(shapes_without_colour, method=method),))
    scores = score(decoded, {"0": method}, stimuli, seed=0)
    table = rows_of(scores.metrics, "attributes-1")
    assert table["test_set"].tolist() == ["shapes", "shapes"]
    assert table["value"].to_dict() == {"two-way-a/colour": 0.5, "two-way-a/shape": 1.0}
    assert table["ceiling"].tolist() == [1.0, 1.0]
    assert table["n_items"].tolist() == [9, 9]
    assert (table["floor"] < 0.9).all()
    items = scores.items[scores.items["metric"] == "two-way-a/shape"]
    assert items["stimulus_id"].tolist() == [name for name in stimuli.ids if "photo" not in name]
    assert (items["value"] == 1).all()
    # Photographs came back as they were, and are scored as before.
    assert rows_of(scores.metrics, "pixels-1", test_set="photos").loc["pixcorr", "value"] == pytest.approx(1)


def test_p_of_other_orders_stands_where_scores_follow_from_correlations(stimuli, shapes_without_colour):
    method = AsItIs()
    decoded = Decoded((fold_of(shapes_without_colour, method=method),))
    metrics = score(decoded, {"0": method}, stimuli, seed=0).metrics
    assert metrics.columns.tolist() == METRIC_COLUMNS
    photos = metrics[metrics["test_set"] == "photos"].set_index(["protocol", "metric"])["p_permutation"]
    # Four pictures have 24 orders, and the true one alone is perfect.
    for protocol, name in (("latents-1", "latent-correlation"), ("pixels-1", "pixcorr")):
        for metric in (name, "two-way-a", "two-way-b", "two-way-c"):
            assert photos[protocol, metric] == pytest.approx(1 / 24)
    assert photos[photos.isna()].index.tolist() == [
        ("profiles-1", "profile-correlation"),
        ("pixels-1", "ssim"),
        ("pixels-1", "ssim-legacy1d"),
    ]
    shapes = rows_of(metrics, "attributes-1")["p_permutation"]
    # Without colour, all orders of colours are alike; of shapes, 1 in 216 is as good.
    assert shapes.to_dict() == pytest.approx({"two-way-a/colour": 1.0, "two-way-a/shape": 1 / 216})


def test_p_of_noise_and_of_folds(stimuli):
    """Responses without signal, and predictions in the spaces of two folds."""
    photos = [name for name in stimuli.ids if "photo" in name]
    methods = {"a": AsItIs(1.0), "b": AsItIs(2.0)}
    rng = np.random.default_rng(1)
    noise = {name: rng.integers(0, 256, (SIZE, SIZE, 3)) for name in photos}
    for pictures, expected in (({name: stimuli.image(name) for name in photos}, 1 / 24), (noise, 0.5)):
        folds = [
            fold_of([("test", name, pictures[name]) for name in own], name=fold, method=methods[fold])
            for fold, own in (("a", photos[:2]), ("b", photos[2:]))
        ]
        p = rows_of(score(Decoded(tuple(folds)), methods, stimuli, seed=0).metrics, "latents-1")[
            "p_permutation"
        ]
        assert p.index.tolist() == ["latent-correlation", "two-way-a"]
        assert p.tolist() == pytest.approx([expected] * 2, abs=1e-9 if expected < 0.1 else 0.45)


def test_profiles_stand_beside_patterns_in_every_space(stimuli, shapes_without_colour):
    method = AsItIs(spaces=("first", "second"))
    fold = fold_of(shapes_without_colour, method=method)
    noise = np.random.default_rng(0).normal(0, 300, fold.predicted["second"].shape).astype(np.float32)
    fold.predicted["second"] += noise
    decoded = Decoded((fold,))
    metrics = score(decoded, {"0": method}, stimuli, seed=0, pictures=False).metrics
    assert set(metrics["protocol"]) == {
        f"{name}/{space}" for name in ("latents-1", "profiles-1") for space in ("first", "second")
    }
    photos = [name for name in stimuli.ids if "photo" in name]
    truth = np.stack([stimuli.image(name) for name in photos]).astype(np.float32)
    for space in ("first", "second"):
        row = rows_of(metrics, f"profiles-1/{space}", test_set="photos").loc["profile-correlation"]
        own = profile_accuracy(fold.predicted[space][9:], truth)
        blind = [profile_accuracy(fold.floor[space][number][9:], truth).mean for number in range(N_SHUFFLES)]
        assert row["value"] == own.mean
        assert row["floor"] == pytest.approx(np.mean(blind))
        assert (row["ceiling"], row["n_items"]) == (1.0, SIZE * SIZE * 3)
    shown = metrics[metrics["protocol"] == "profiles-1/first"].set_index("test_set")
    # The ground beside the shapes is the same in all pictures.
    assert shown.loc["shapes", "note"].endswith("units whose true value is constant are left out")
    assert shown.loc["photos", "value"] == pytest.approx(1.0)


def test_folds_with_spaces_of_their_own_have_no_profiles(stimuli):
    photos = [name for name in stimuli.ids if "photo" in name]
    methods = {"a": AsItIs(1.0), "b": AsItIs(2.0)}
    folds = [
        fold_of([("test", name, stimuli.image(name)) for name in own], name=fold, method=methods[fold])
        for fold, own in (("a", photos[:2]), ("b", photos[2:]))
    ]
    apart = score(Decoded(tuple(folds)), methods, stimuli, seed=0)
    assert set(apart.metrics["protocol"]) == {"latents-1", "pixels-1"}
    np.testing.assert_array_equal(apart.reconstructed, np.stack([stimuli.image(name) for name in photos]))
    together = Decoded(tuple(replace(fold, identity="one") for fold in folds))
    shared = {"a": AsItIs(1.0), "b": AsItIs(1.0)}
    folds[1].predicted["pixels"] /= 2
    row = rows_of(score(together, shared, stimuli, seed=0, pictures=False).metrics, "profiles-1").iloc[0]
    assert row["value"] == pytest.approx(1.0)


def test_few_shuffles_of_pictures(stimuli, shapes_without_colour):
    method = AsItIs()
    fold = fold_of(shapes_without_colour, method=method)
    decoded = Decoded((fold,))
    few = score(decoded, {"0": method}, stimuli, seed=0, picture_shuffles=2)
    # Decoded, from true latents, and two shuffles.
    assert method.drawn == [13] * 4
    everything = score(decoded, {"0": method}, stimuli, seed=0)
    assert method.drawn[4:] == [13] * (2 + N_SHUFFLES)
    first_two = score(Decoded((fold.with_floor(2),)), {"0": method}, stimuli, seed=0)
    for column in ("value", "floor", "floor_low", "p_shuffle", "ceiling"):
        pictures = few.metrics["protocol"].isin(["pixels-1", "attributes-1"])
        pd.testing.assert_series_equal(
            few.metrics.loc[pictures, column], first_two.metrics.loc[pictures, column]
        )
        pd.testing.assert_series_equal(
            few.metrics.loc[~pictures, column], everything.metrics.loc[~pictures, column]
        )
    assert set(few.metrics.loc[pictures, "note"]) == {"floor over 2 shuffles"}
    assert not few.metrics["note"].str.contains("shuffles")[~pictures].any()
    assert not everything.metrics["note"].str.contains("shuffles").any()
    many = score(decoded, {"0": method}, stimuli, seed=0, picture_shuffles=99)
    pd.testing.assert_frame_equal(many.metrics, everything.metrics)


def test_a_reason_and_a_number_of_shuffles_share_the_note(stimuli):
    method = AsItIs()
    one = fold_of([("test", "photo-0", stimuli.image("photo-0"))], method=method)
    scores = score(Decoded((one,)), {"0": method}, stimuli, seed=0, picture_shuffles=0)
    notes = rows_of(scores.metrics, "pixels-1")["note"]
    assert notes["pixcorr"] == "floor over 0 shuffles"
    assert notes["two-way-a"].startswith("undefined: identification needs at least two test pictures; floor")
    assert rows_of(scores.metrics, "pixels-1")["floor"].isna().all()


def test_networks_score_pictures_too(stimuli, shapes_without_colour, monkeypatch):
    def network(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)

    scorer = FeatureScorer(
        network, Protocol("stub", 3, ("feature-correlation", "two-way-a"), image_size=SIZE)
    )
    method = AsItIs()
    decoded = Decoded((fold_of(shapes_without_colour, method=method),))
    scores = score(decoded, {"0": method}, stimuli, seed=0, networks=[scorer])
    table = rows_of(scores.metrics, "stub-3", test_set="photos")
    assert table["value"].to_dict() == pytest.approx({"feature-correlation": 1.0, "two-way-a": 1.0})
    assert (table["floor"] < 0.9).all()
    np.testing.assert_allclose(table["ceiling"], 1.0, atol=1e-6)
    # Its floor may rest on fewer shuffles, and then says so.
    monkeypatch.setattr(scoring, "NETWORK_SHUFFLES", 1)
    fewer = score(decoded, {"0": method}, stimuli, seed=0, networks=[scorer]).metrics
    assert set(rows_of(fewer, "stub-3", test_set="photos")["note"]) == {"floor over 1 shuffles"}
    assert "floor over" not in " ".join(rows_of(fewer, "pixels-1", test_set="photos")["note"])
    plain = score(decoded, {"0": method}, stimuli, seed=0).metrics
    kept = scores.metrics[scores.metrics["protocol"] != "stub-3"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, plain)


def test_memory_maps_are_scored_as_they_are_and_never_copied_whole(tmp_path: Path):
    n_units, n_shuffles = 100_000, 20

    class Units(Pixels):
        def encode(self, images, captions=None):
            rng = np.random.default_rng(0)
            return rng.normal(size=(len(images), n_units)).astype(np.float32)

    method = AsItIs()
    method.spaces = {"pixels": Units(1.0)}
    stimuli = Figures(6)
    photos = [name for name in stimuli.ids if "photo" in name]
    truth = Units(1.0).encode(photos)
    rng = np.random.default_rng(1)
    file = tmp_path / "floor.npy"
    floor = np.lib.format.open_memmap(file, "w+", np.float32, (n_shuffles, len(photos), n_units))
    for number in range(n_shuffles):
        floor[number] = rng.normal(size=truth.shape)
    np.save(tmp_path / "predicted.npy", truth + rng.normal(size=truth.shape).astype(np.float32))
    arrays = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("predicted", "floor")}
    items = pd.DataFrame(
        [("0", "test", name, "", "", "view", -1, 1) for name in photos], columns=list(ITEM_COLUMNS)
    )

    def scored(predicted: np.ndarray, floor: np.ndarray) -> pd.DataFrame:
        fold = DecodedFold("0", items, {"pixels": predicted}, {"pixels": floor}, {}, "one")
        return score(Decoded((fold,)), {"0": method}, stimuli, seed=0, pictures=False).metrics

    expected = scored(np.array(arrays["predicted"]), np.array(arrays["floor"]))
    tracemalloc.start()
    found = scored(arrays["predicted"], arrays["floor"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pd.testing.assert_frame_equal(found, expected)
    # True latents have 2.4 MB, twice that while they are made; the floor has 48 MB.
    assert peak < 16e6
    assert rows_of(found, "profiles-1")["value"].iloc[0] == pytest.approx(0.68, abs=0.05)


def test_true_latents_are_encoded_once_and_large_ones_lie_on_disk(stimuli, tmp_path, monkeypatch):
    method = AsItIs()
    photos = [name for name in stimuli.ids if "photo" in name]
    fold = fold_of([("test", name, stimuli.image(name)) for name in photos], method=method)
    in_memory = TrueLatents({"0": method}, stimuli, tmp_path)
    assert not isinstance(in_memory.of(fold, "pixels", photos), np.memmap)
    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(encoding, "TOGETHER", 0)
    on_disk = TrueLatents({"0": method}, stimuli, tmp_path)
    before = method.spaces["pixels"].asked
    found = on_disk.of(fold, "pixels", photos)
    assert isinstance(found, np.memmap)
    assert on_disk.of(fold, "pixels", tuple(photos)) is found
    assert method.spaces["pixels"].asked == before + 1
    np.testing.assert_array_equal(found, in_memory.of(fold, "pixels", photos))
    assert not any(tmp_path.iterdir())
    first, second = (
        score(Decoded((fold,)), {"0": method}, stimuli, seed=0, pictures=False, truths=truths).metrics
        for truths in (on_disk, in_memory)
    )
    pd.testing.assert_frame_equal(first, second)
