"""Attributes scored apart: planted shapes and colours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bids_recon.metrics.attributes import (
    evaluate_attributes,
    foils_of,
    permuted_attributes,
    varying_attributes,
)
from bids_recon.metrics.identification import correlation_matrix
from bids_recon.metrics.prepare import to_common_size
from bids_recon.metrics.protocols import evaluate_pictures
from bids_recon.metrics.summary import share_as_good

# Pale, so that all are lighter than the ground.
COLOURS = {"red": (255, 170, 170), "green": (170, 255, 170), "blue": (170, 170, 255)}
GREY = 128


def cover(shape: str) -> np.ndarray:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    radius = np.hypot(x, y)
    return {
        "square": np.maximum(abs(x), abs(y)) < 0.5,
        "ring": (radius > 0.4) & (radius < 0.7),
        "plus": np.minimum(abs(x), abs(y)) < 0.15,
    }[shape]


def draw(shape: str, colour: tuple[int, int, int]) -> np.ndarray:
    picture = np.full((64, 64, 3), GREY, dtype=np.uint8)
    picture[cover(shape)] = colour
    return picture


COMBINATIONS = list(itertools.product(("square", "ring", "plus"), COLOURS))
ATTRIBUTES = [{"shape": shape, "colour": colour} for shape, colour in COMBINATIONS]
SEEN = [draw(shape, COLOURS[colour]) for shape, colour in COMBINATIONS]


def test_seen_pictures_are_right_in_both():
    items = evaluate_attributes(SEEN, SEEN, ATTRIBUTES)
    assert list(items) == ["two-way-a/colour", "two-way-a/shape"]
    for scores in items.values():
        np.testing.assert_array_equal(scores, 1.0)


def test_right_shape_without_colour_is_at_chance_in_colour_only():
    items = evaluate_attributes([draw(shape, (200, 200, 200)) for shape, _ in COMBINATIONS], SEEN, ATTRIBUTES)
    np.testing.assert_array_equal(items["two-way-a/shape"], 1.0)
    np.testing.assert_array_equal(items["two-way-a/colour"], 0.5)


def test_right_shape_in_random_colours_is_at_chance_in_colour_only():
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(len(SEEN)), 40)
    drawn = [draw(COMBINATIONS[i][0], list(COLOURS.values())[rng.integers(3)]) for i in target]
    items = evaluate_attributes(drawn, SEEN, ATTRIBUTES, target)
    np.testing.assert_array_equal(items["two-way-a/shape"], 1.0)
    assert items["two-way-a/colour"].mean() == pytest.approx(0.5, abs=0.05)


def test_right_colour_in_one_shape_for_all_is_at_chance_in_shape_only():
    items = evaluate_attributes(
        [draw("square", COLOURS[colour]) for _, colour in COMBINATIONS], SEEN, ATTRIBUTES
    )
    np.testing.assert_array_equal(items["two-way-a/colour"], 1.0)
    # It is the right shape for a third of the pictures.
    assert items["two-way-a/shape"].mean() == pytest.approx(0.5)
    np.testing.assert_array_equal(items["two-way-a/shape"][:3], 1.0)


def test_complementary_colour_turns_the_shape_over():
    # Pixels know a shape by its contrast with the ground: said in docs/metrics.md.
    inverted = [255 - picture for picture in SEEN]
    np.testing.assert_array_equal(evaluate_attributes(inverted, SEEN, ATTRIBUTES)["two-way-a/shape"], 0.0)


def test_picture_without_a_foil_has_no_score():
    attributes = [
        {"shape": "ring", "colour": "red"},
        {"shape": "plus", "colour": "red"},
        {"shape": "ring", "colour": "blue"},
        {"shape": "square", "colour": "white"},
        {},
    ]
    assert foils_of(attributes, "shape").tolist() == [
        [False, True, False, False, False],
        [True, False, False, False, False],
        *[[False] * 5] * 3,
    ]
    seen = [draw(*pair) for pair in [("ring", COLOURS["red"]), ("plus", COLOURS["red"])]]
    seen += [draw("ring", COLOURS["blue"]), draw("square", (255, 255, 255)), draw("square", (9, 9, 9))]
    items = evaluate_attributes(seen, seen, attributes)
    np.testing.assert_array_equal(items["two-way-a/shape"], [1, 1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(items["two-way-a/colour"], [1, np.nan, 1, np.nan, np.nan])


def test_attribute_that_never_varies_is_not_scored():
    letters = [{"letter": "A", "colour": "black"}, {"letter": "B", "colour": "black"}, {}]
    assert varying_attributes(letters) == ("letter",)
    assert varying_attributes([{}, {}]) == ()
    assert evaluate_attributes(SEEN[:2], SEEN[:2], [{}, {}]) == {}


def test_with_one_attribute_only_it_is_plain_identification():
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    alone = evaluate_attributes(drawn, SEEN, [{"name": str(i)} for i in range(9)])["two-way-a/name"]
    np.testing.assert_array_equal(alone, evaluate_pictures(drawn, SEEN)["two-way-a"])


def correlations(drawn: list[np.ndarray]) -> np.ndarray:
    return correlation_matrix(to_common_size(SEEN, 128), to_common_size(drawn, 128))


def test_pictures_change_places_with_those_that_agree_in_the_rest():
    rng = np.random.default_rng(0)
    target = rng.permutation([0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    drawn = list(rng.integers(0, 256, (10, 64, 64, 3), dtype=np.uint8))
    permuted = permuted_attributes(correlations(drawn), target, ATTRIBUTES)
    shapes = np.arange(9) // 3
    every = [
        np.concatenate([3 * shape + np.array(order) for shape, order in enumerate(orders)])
        for orders in itertools.product(itertools.permutations(range(3)), repeat=3)
    ]
    assert all((shapes[order] == shapes).all() for order in every)
    expected = [
        evaluate_attributes(drawn, SEEN, ATTRIBUTES, order[target])["two-way-a/colour"].mean()
        for order in every[1:]
    ]
    assert len(expected) == 6**3 - 1
    np.testing.assert_allclose(np.sort(permuted["two-way-a/colour"]), np.sort(expected), atol=1e-12)


def test_right_shape_says_nothing_of_colour():
    rng = np.random.default_rng(0)
    colours = list(COLOURS.values())
    target = np.repeat(np.arange(9), 2)
    found = []
    for _ in range(20):
        drawn = [draw(COMBINATIONS[i][0], colours[rng.integers(3)]) for i in target]
        items = evaluate_attributes(drawn, SEEN, ATTRIBUTES, target)
        permuted = permuted_attributes(correlations(drawn), target, ATTRIBUTES)
        found.append([share_as_good(items[name].mean(), permuted[name], True) for name in items])
    colour, shape = np.array(found).T
    np.testing.assert_array_equal(shape, 1 / 6**3)
    assert colour.mean() == pytest.approx(0.5, abs=0.2) and (colour <= 0.05).sum() <= 4


def test_pictures_without_a_score_change_nothing():
    attributes = [*ATTRIBUTES[:3], {"shape": "plus", "colour": "gold"}, {}, {"shape": "ring"}, {}, {}, {}]
    drawn = list(np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8))
    C = correlations(drawn)
    permuted = permuted_attributes(C, np.arange(9), attributes)
    assert list(permuted) == ["two-way-a/colour", "two-way-a/shape"]
    # Three squares alone can change places; no picture has another shape and the same colour.
    assert len(permuted["two-way-a/colour"]) == 5
    alone = permuted_attributes(C[:3, :3], np.arange(3), attributes[:3])
    np.testing.assert_allclose(
        np.sort(permuted["two-way-a/colour"]), np.sort(alone["two-way-a/colour"]), atol=1e-12
    )
    assert np.isnan(permuted["two-way-a/shape"]).all()


def test_attributes_are_needed_for_each_picture():
    with pytest.raises(ValueError, match="9 pictures, and attributes of 8"):
        evaluate_attributes(SEEN, SEEN, ATTRIBUTES[:-1])
