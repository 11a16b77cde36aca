"""The manifest as data: what every row must have, and the rows by name and method."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest

from bids_recon.weights.manifest import MANIFEST, SCORING, Weight, bytes_text, weight_named, weights_of


@pytest.mark.parametrize("weight", MANIFEST, ids=lambda weight: weight.name)
def test_row_is_complete(weight: Weight) -> None:
    assert weight.url or (weight.package and weight.install)
    assert weight.methods and weight.description and weight.licence and weight.terms
    if weight.url:
        assert urlsplit(weight.url).scheme == "https"
    if weight.sha256:
        assert re.fullmatch(r"[0-9a-f]{64}", weight.sha256)
        assert weight.size
        # Where a publisher puts the beginning of the hash into the name, it agrees.
        if prefix := re.search(r"-([0-9a-f]{8})\.pth$", weight.file):
            assert weight.sha256.startswith(prefix[1])
    for name in (weight.file, *weight.alternatives, weight.archive_member or weight.file):
        path = PurePosixPath(name)
        assert not path.is_absolute() and ".." not in path.parts


def test_names_and_files_are_unique() -> None:
    files = [name for weight in MANIFEST for name in (weight.file, *weight.alternatives)]
    assert len(set(files)) == len(files)
    assert len({weight.name for weight in MANIFEST}) == len(MANIFEST)


def test_todays_rows() -> None:
    assert [weight.name for weight in MANIFEST if "deep-recon" in weight.methods] == [
        "vgg19-caffe", "relu7-generator", "relu7-range", "efficientnet-lite0",
    ]  # fmt: skip
    assert [weight.name for weight in weights_of([SCORING])] == ["mobilenet-v2"]
    assert weights_of(["eigenimage"]) == ()
    assert weights_of(None) == MANIFEST
    assert weights_of([SCORING, "deep-recon"]) == MANIFEST
    assert "non-commercial" in weight_named("vgg19-caffe").terms


def test_a_name_that_is_not_there_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="'vgg20'"):
        weight_named("vgg20")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (8192, "8.19 kB"), (574_671_192, "575 MB"),
        (999_900_000, "1000 MB"), (1_250_000_000, "1.25 GB"), (25_000_000_000, "25 GB"),
    ],
)  # fmt: skip
def test_sizes_in_words(number: int, text: str) -> None:
    assert bytes_text(number) == text
