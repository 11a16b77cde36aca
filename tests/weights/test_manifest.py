"""The manifest as data: what every row must have, and the rows by name and method."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest

from bids_recon.weights.manifest import (
    MANIFEST,
    SCORING,
    Weight,
    bytes_text,
    total_text,
    weight_named,
    weights_of,
)


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
    assert weights_of([SCORING, "deep-recon", "brain-diffuser"]) == MANIFEST
    assert "non-commercial" in weight_named("vgg19-caffe").terms


def test_rows_of_brain_diffuser() -> None:
    rows = {weight.name: weight for weight in weights_of(["brain-diffuser"])}
    parts = ("image_unet", "text_unet", "vae", "text_encoder", "image_encoder")
    assert set(rows) == {
        "vdvae",
        *(f"versatile-diffusion/{part}" for part in parts),
        *(f"versatile-diffusion/{part}/config" for part in parts),
        "versatile-diffusion/tokenizer/vocab",
        "versatile-diffusion/tokenizer/merges",
        "versatile-diffusion/scheduler/config",
    }
    for name, row in rows.items():
        if name == "vdvae":
            continue
        # The path in the folder of weights is that of the published repository, at a commit.
        path = row.file.removeprefix("versatile-diffusion/")
        pinned = r"https://huggingface\.co/shi-labs/versatile-diffusion/resolve/[0-9a-f]{40}/"
        assert row.url and re.fullmatch(pinned + re.escape(path), row.url)
    assert rows["versatile-diffusion/vae"].file == "versatile-diffusion/vae/diffusion_pytorch_model.bin"
    assert rows["versatile-diffusion/text_encoder"].alternatives == (
        "versatile-diffusion/text_encoder/model.safetensors",
    )
    assert total_text(tuple(rows.values())) == "14 files, about 12.8 GB"


def test_sizes_of_several() -> None:
    row = Weight("a", "a", methods=("m",), description="d", licence="l", terms="t")
    exact = dataclasses.replace(row, size=1500)
    assert total_text([exact]) == "1 file, 1.5 kB"
    assert total_text([exact, exact]) == "2 files, 3 kB"
    assert total_text([exact, dataclasses.replace(row, about=500)]) == "2 files, about 2 kB"
    assert total_text([exact, row]) == "2 files, over 1.5 kB"


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
