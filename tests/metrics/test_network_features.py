"""Features of a network: a stub without weights, and MobileNetV2 where its weights are installed."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from bids_recon.errors import DataError, MissingInputError
from bids_recon.metrics import network_features
from bids_recon.metrics.network_features import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    FeatureScorer,
    available_scorers,
    evaluate_network,
    load_mobilenet,
)
from bids_recon.metrics.prepare import to_common_size
from bids_recon.metrics.protocols import PIXELS_1, Protocol
from bids_recon.simulate.pictures import COLOURS, SHAPES, shape_cover

STUB = Protocol("stub", 1, ("feature-correlation", "two-way-a", "two-way-c"), image_size=16)


class Stub:
    """Its features are the pixels of its input; it remembers how many pictures it got at a time."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(pixels))
        return pixels.flatten(1)


def blotches(n: int, size: int = 40, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 5, 5, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(one).resize((size + i, size))) for i, one in enumerate(coarse)]


def test_pictures_reach_the_network_in_its_size_and_units():
    pictures = blotches(3)
    features = FeatureScorer(Stub(), STUB).features(pictures)
    expected = (to_common_size(pictures, 16) - IMAGENET_MEAN) / IMAGENET_DEVIATION
    np.testing.assert_allclose(features.reshape(3, 3, 16, 16), expected.transpose(0, 3, 1, 2), rtol=1e-6)
    assert features.dtype == np.float32


def test_batches_are_small_and_change_nothing():
    pictures, stub = blotches(19), Stub()
    scorer = FeatureScorer(stub, STUB)
    features = scorer.features(pictures)
    assert stub.batches == [8, 8, 3]
    alone = np.concatenate([scorer.features([one]) for one in pictures])
    np.testing.assert_array_equal(features, alone)


def test_scores_are_those_of_the_correlation_of_features():
    seen, drawn = blotches(5), blotches(8, seed=1)
    target = np.array([0, 0, 1, 2, 3, 4, 4, 4])
    scorer = FeatureScorer(Stub(), STUB)
    items = evaluate_network(drawn, seen, target, scorer)
    r = np.corrcoef(scorer.features(drawn), scorer.features(seen))[:8, 8:]
    assert list(items) == list(STUB.metrics)
    np.testing.assert_allclose(items["feature-correlation"], r[np.arange(8), target], atol=1e-6)
    expected = [np.mean(np.delete(r[j], t) < r[j, t]) for j, t in enumerate(target)]
    np.testing.assert_allclose(items["two-way-a"], expected)


def test_features_of_seen_pictures_can_be_made_once():
    seen, drawn, stub = blotches(5), blotches(5, seed=1), Stub()
    scorer = FeatureScorer(stub, STUB)
    features = scorer.features(seen)
    before = sum(stub.batches)
    once = evaluate_network(drawn, features, None, scorer)
    assert sum(stub.batches) == before + 5
    again = evaluate_network(drawn, seen, None, scorer)
    for name in STUB.metrics:
        np.testing.assert_array_equal(once[name], again[name])


def test_protocol_has_to_be_one_of_features():
    with pytest.raises(ValueError, match="pixels-1 does not score features"):
        FeatureScorer(Stub(), PIXELS_1)


@pytest.fixture
def no_memory():
    available_scorers.cache_clear()
    yield
    available_scorers.cache_clear()


def test_without_weights_the_log_says_so_once(tmp_path, monkeypatch, caplog, no_memory):
    def absent(name, folder):
        raise MissingInputError("is missing", file=folder / name)

    monkeypatch.setattr("bids_recon.weights.store.find_weight", absent)
    with caplog.at_level(logging.INFO, "bids_recon"):
        assert available_scorers(tmp_path) == available_scorers(tmp_path) == ()
    (said,) = caplog.messages
    assert said.startswith("Pictures are not scored by features of MobileNetV2") and "mobilenet-v2" in said


def test_file_of_another_network_is_named(tmp_path):
    file = tmp_path / "mine.pth"
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(DataError, match=r"mine\.pth: does not fit MobileNetV2"):
        load_mobilenet(file)


def test_weights_that_are_found_are_used(tmp_path, monkeypatch, no_memory):
    from bids_recon.models.mobilenet_v2 import MobileNetV2

    torch.manual_seed(0)
    model = MobileNetV2()
    torch.save(model.state_dict(), tmp_path / "mobile.pth")
    monkeypatch.setattr("bids_recon.weights.store.find_weight", lambda name, folder: folder / "mobile.pth")
    (scorer,) = available_scorers(tmp_path)
    assert scorer.protocol.key == "mobilenetv2-1"
    pictures = blotches(2)
    pixels = (to_common_size(pictures, 224) - IMAGENET_MEAN) / IMAGENET_DEVIATION
    expected = model.features(torch.from_numpy(pixels.transpose(0, 3, 1, 2))).numpy()
    assert expected.shape == (2, 1280)
    np.testing.assert_allclose(scorer.features(pictures), expected, atol=1e-5)


@pytest.fixture(scope="module")
def mobilenet() -> FeatureScorer:
    """MobileNetV2 with its published weights."""
    from bids_recon.weights.store import find_weight

    try:
        return load_mobilenet(find_weight(network_features.MOBILENETV2, None))
    except MissingInputError as error:
        pytest.skip(str(error))


def test_mobilenet_knows_a_picture_again_and_guesses_about_unrelated_ones(mobilenet):
    data = pytest.importorskip("skimage.data")
    photos = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    for scores in evaluate_network(photos, photos, None, mobilenet).values():
        np.testing.assert_allclose(scores, 1.0, atol=1e-6)
    grey = [np.full((64, 64, 3), 128, dtype=np.uint8)] * 4
    assert evaluate_network(grey, photos, None, mobilenet)["two-way-a"].mean() == pytest.approx(0.5)
    blurred = [np.asarray(Image.fromarray(photo).resize((48, 48)).resize((224, 224))) for photo in photos]
    assert evaluate_network(blurred, photos, None, mobilenet)["two-way-a"].mean() > 0.9


def test_mobilenet_guesses_what_noise_should_show(mobilenet):
    seen = [
        np.round(128 + shape_cover(shape, 96)[..., None] * (np.array(COLOURS[colour]) - 128)).astype(np.uint8)
        for shape in SHAPES
        for colour in ("red", "blue", "white")
    ]
    noise = np.random.default_rng(0).integers(0, 256, (15, 8, 8, 3), dtype=np.uint8)
    items = evaluate_network(list(noise), seen, None, mobilenet)
    assert items["two-way-a"].mean() == pytest.approx(0.5, abs=0.12)
