"""All that pictures are scored by, at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_recon.metrics.attributes import evaluate_attributes
from bids_recon.metrics.network_features import FeatureScorer, evaluate_network
from bids_recon.metrics.permutation import picture_orders
from bids_recon.metrics.picture_scorer import PictureScorer
from bids_recon.metrics.protocols import Protocol, evaluate_pictures

ATTRIBUTES = [{"shape": "a", "colour": "r"}, {"shape": "b", "colour": "r"}, {"shape": "a", "colour": "g"}, {}]


class Counting:
    """A network that means over rows, and counts its pictures."""

    n_pictures = 0

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.n_pictures += len(pixels)
        return pixels.mean(2).flatten(1)


def test_scores_are_those_of_each_protocol_and_seen_pictures_are_prepared_once():
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)
    target = np.array([0, 1, 2, 3, 3])
    counting = Counting()
    network = FeatureScorer(counting, Protocol("stub", 1, ("feature-correlation",), image_size=20))
    scorer = PictureScorer(seen, target, ATTRIBUTES, [network])
    for _ in range(3):
        drawn = rng.integers(0, 256, (5, 20, 20, 3), dtype=np.uint8)
        scores = scorer.score(drawn)
        expected = {
            "pixels-1": evaluate_pictures(drawn, seen, target),
            "attributes-1": evaluate_attributes(drawn, seen, ATTRIBUTES, target),
        }
        assert list(scores) == ["pixels-1", "attributes-1", "stub-1"]
        for protocol, items in expected.items():
            for name, values in items.items():
                np.testing.assert_array_equal(scores[protocol][name], values)
    assert counting.n_pictures == 4 + 3 * 5
    np.testing.assert_array_equal(
        scores["stub-1"]["feature-correlation"],
        evaluate_network(drawn, seen, target, network)["feature-correlation"],
    )


def test_other_orders_are_scored_by_the_same_protocols():
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)
    drawn = rng.integers(0, 256, (5, 20, 20, 3), dtype=np.uint8)
    target = np.array([0, 1, 2, 3, 3])
    network = FeatureScorer(Counting(), Protocol("stub", 1, ("feature-correlation",), image_size=20))
    permuted = PictureScorer(seen, target, ATTRIBUTES, [network]).permuted(drawn, seed=1)
    orders = picture_orders(np.zeros(4, dtype=int), seed=1)
    assert {protocol: list(scores) for protocol, scores in permuted.items()} == {
        "pixels-1": ["pixcorr", "two-way-a", "two-way-b", "two-way-c"],
        "attributes-1": ["two-way-a/colour", "two-way-a/shape"],
        "stub-1": ["feature-correlation"],
    }
    for number, order in enumerate(orders):
        pixels = evaluate_pictures(drawn, seen, order[target])
        for name, means in permuted["pixels-1"].items():
            assert means[number] == pytest.approx(pixels[name].mean(), abs=1e-9)
        features = evaluate_network(drawn, seen, order[target], network)["feature-correlation"]
        assert permuted["stub-1"]["feature-correlation"][number] == pytest.approx(features.mean())


def test_pictures_without_attributes_have_no_rows_of_them():
    seen = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    assert list(PictureScorer(seen, np.arange(3), [{}] * 3).score(seen)) == ["pixels-1"]
