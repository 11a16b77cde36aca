"""Pictures: diverse, repeatable, and never of one photograph on both sides of the split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_recon.simulate.design import DEMO, TINY
from bids_recon.simulate.photos import TEST_PHOTOS, TRAINING_PHOTOS, crops
from bids_recon.simulate.pictures import COLOURS, GREY, SHAPES, make_pictures, shape_cover

FEW = replace(DEMO, n_train=30, n_natural=10, picture_size=48)


@pytest.fixture(scope="module")
def pictures():
    return make_pictures(FEW, seed=0)


def test_numbers_sets_and_form(pictures):
    sets = [picture.picture_set for picture in pictures]
    assert {name: sets.count(name) for name in set(sets)} == {
        "train": 30,
        "natural": 10,
        "shapes": 16,
        "letters": 10,
    }
    assert len({picture.stimulus_id for picture in pictures}) == len(pictures)
    assert {(picture.pixels.shape, str(picture.pixels.dtype)) for picture in pictures} == {
        ((48, 48, 3), "uint8")
    }


def test_no_photograph_is_on_both_sides(pictures):
    sources = {
        side: {p.crop.source.name for p in pictures if p.picture_set == side} for side in ("train", "natural")
    }
    assert sources["train"] & sources["natural"] == set()
    assert sources["train"] == {source.name for source in TRAINING_PHOTOS}
    assert sources["natural"] == {source.name for source in TEST_PHOTOS}


def test_training_and_test_sources_are_different_photographs():
    def grey(source):
        photo = source.read().astype(float)
        return (photo.mean(axis=2) if photo.ndim == 3 else photo)[::10, ::10]

    for training in TRAINING_PHOTOS:
        for test in TEST_PHOTOS:
            one, other = grey(training), grey(test)
            assert one.shape != other.shape or abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.9


def test_a_crop_is_cut_where_it_says(pictures):
    crop = next(p.crop for p in pictures if p.picture_set == "natural" and p.crop.source.name == "coffee")
    part = crop.source.read()[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    assert not crop.mirrored
    assert np.abs(part.mean(axis=(0, 1)) - crop.pixels.mean(axis=(0, 1))).max() < 1
    upper = part[: crop.side // 2].mean() - part[crop.side // 2 :].mean()
    assert crop.pixels[:24].mean() - crop.pixels[24:].mean() == pytest.approx(upper, abs=2)


def test_only_training_crops_are_mirrored(pictures):
    mirrored = {
        side: {p.crop.mirrored for p in pictures if p.picture_set == side} for side in ("train", "natural")
    }
    assert mirrored == {"train": {True, False}, "natural": {False}}


def test_crops_look_less_alike_than_random_ones():
    def nearest(taken):
        flat = np.stack([crop.pixels[::4, ::4].astype(float).ravel() for crop in taken])
        correlation = np.corrcoef(flat)
        np.fill_diagonal(correlation, -1)
        return correlation.max(axis=1).mean()

    source = [photo for photo in TRAINING_PHOTOS if photo.name == "china"]
    options = {"scales": (0.3, 1.0), "mirror": True}
    chosen = crops(source, 12, 32, np.random.default_rng(0), **options)
    random = [crops(source, 1, 32, np.random.default_rng(seed), **options)[0] for seed in range(12)]
    assert nearest(chosen) < nearest(random) - 0.1


def test_sources_give_crops_in_proportion_to_their_share():
    taken = crops(TRAINING_PHOTOS, 48, 8, np.random.default_rng(0), scales=(0.5, 1.0), mirror=False)
    names = [crop.source.name for crop in taken]
    total = sum(source.share for source in TRAINING_PHOTOS)
    for source in TRAINING_PHOTOS:
        assert abs(names.count(source.name) - 48 * source.share / total) <= 1


def test_pictures_follow_from_the_seed(pictures):
    again, other = make_pictures(FEW, seed=0), make_pictures(FEW, seed=1)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(pictures, again, strict=True))
    photos = [n for n, picture in enumerate(pictures) if picture.crop]
    assert not any(np.array_equal(pictures[n].pixels, other[n].pixels) for n in photos)


def test_shapes_have_their_colour_on_grey():
    made = make_pictures(replace(TINY, n_shapes=40), seed=0)
    shapes = {picture.stimulus_id: picture.pixels for picture in made if picture.kind == "shape"}
    assert set(shapes) == {f"shape-{colour}-{shape}" for colour in COLOURS for shape in SHAPES}
    for identity, pixels in shapes.items():
        _, colour, shape = identity.split("-")
        cover = shape_cover(shape, len(pixels))
        assert (pixels[0, 0] == GREY).all()
        assert (pixels[cover == 1] == COLOURS[colour]).all()
        assert (pixels[cover == 0] == GREY).all()
    plus, cross = shape_cover("plus", 64), shape_cover("cross", 64)
    assert plus[32, 12] == 1 and cross[32, 12] == 0
    assert plus[16, 16] == 0 and cross[16, 16] == 1
    assert shape_cover("square", 64)[32, 32] == 1
    assert shape_cover("smallring", 64)[32, 32] == shape_cover("largering", 64)[32, 32] == 0


def test_letters_are_black_on_grey_and_differ():
    letters = [p.pixels for p in make_pictures(FEW, seed=0) if p.kind == "letter"]
    assert all(pixels.min() == 0 and pixels.max() == GREY for pixels in letters)
    flat = np.stack([pixels.ravel().astype(float) for pixels in letters])
    correlation = np.corrcoef(flat) - np.eye(len(flat))
    assert correlation.max() < 0.95
    ink = np.stack([(pixels[..., 0] < 64) for pixels in letters]).any(axis=0)
    rows = np.flatnonzero(ink.any(axis=1))
    assert abs(rows.mean() - 23.5) < 3
