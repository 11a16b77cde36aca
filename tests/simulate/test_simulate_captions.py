"""Captions of simulated pictures: true of each, and readable from the data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_recon.dataset.captions import find_captions, read_captions
from bids_recon.simulate.captions import PHOTO_WORDS, SHAPE_WORDS, captions_of
from bids_recon.simulate.design import TINY
from bids_recon.simulate.photos import TEST_PHOTOS, TRAINING_PHOTOS, Crop
from bids_recon.simulate.pictures import COLOURS, SHAPES, Picture, make_pictures

PIXELS = np.zeros((8, 8, 3), dtype=np.uint8)


def test_every_picture_of_the_data_set_has_its_captions(tiny_truth):
    folder = tiny_truth.folder / "stimuli"
    file = find_captions(tiny_truth.folder, [folder])
    assert file == folder / "captions.tsv"
    captions = read_captions(file)
    assert len(captions) == len(tiny_truth.pictures)
    for picture in tiny_truth.pictures:
        told = captions.of(picture.stimulus_id, picture.file)
        assert told == captions.of(picture.stimulus_id) == captions_of(picture)
        assert len(told) == (2 if picture.kind == "natural" else 1)
        if picture.crop is not None:
            assert all(PHOTO_WORDS[picture.crop.source.name] in caption for caption in told)


def test_shapes_and_letters_are_said_as_drawn():
    made = make_pictures(replace(TINY, n_shapes=40, n_letters=10), seed=0)
    told = {picture.stimulus_id: captions_of(picture) for picture in made}
    assert told["shape-red-square"] == ("a red square on a grey background",)
    assert told["shape-cyan-smallring"] == ("a cyan small ring on a grey background",)
    letters = {picture.stimulus_id[-1] for picture in made if picture.kind == "letter"}
    assert len(letters) == 10
    for letter in letters:
        assert told[f"letter-{letter}"] == (f"the black letter {letter} on a grey background",)
    shapes = [told[f"shape-{colour}-{shape}"][0] for colour in COLOURS for shape in SHAPES]
    assert len(set(shapes)) == 40 and set(SHAPE_WORDS) == set(SHAPES)


@pytest.mark.parametrize(
    ("left", "top", "side", "mirrored", "view"),
    [
        (0, 0, 50, False, "a close view of the upper left part"),
        (350, 150, 50, True, "a close view of the lower right part, mirrored"),
        (150, 50, 100, False, "a middle view of the central part"),
        (0, 0, 200, False, "a wide view of the left part"),
        (150, 0, 100, False, "a middle view of the upper part"),
    ],
)
def test_views_say_where_a_photograph_was_cut(left, top, side, mirrored, view):
    source = TEST_PHOTOS[0]
    crop = Crop(source, left, top, side, (400, 200), mirrored, PIXELS)
    picture = Picture("photo-astronaut-001", "natural", "natural", PIXELS, crop)
    assert captions_of(picture) == (
        "part of a photograph of a smiling astronaut in an orange suit",
        f"a smiling astronaut in an orange suit: {view}",
    )


def test_every_photograph_has_words_of_its_own():
    assert set(PHOTO_WORDS) == {source.name for source in (*TRAINING_PHOTOS, *TEST_PHOTOS)}
    assert len(set(PHOTO_WORDS.values())) == len(PHOTO_WORDS)


def test_crops_know_the_size_of_their_photograph():
    sizes = {source.name: source.read().shape[1::-1] for source in TEST_PHOTOS}
    taken = [picture.crop for picture in make_pictures(TINY, seed=0) if picture.picture_set == "natural"]
    assert taken and all(crop.extent == sizes[crop.source.name] for crop in taken)
    for crop in taken:
        assert crop.left + crop.side <= crop.extent[0] and crop.top + crop.side <= crop.extent[1]
