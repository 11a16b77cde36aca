"""CLIP of a published folder: loading, what pictures become, and the two latent spaces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from tiny_clip import (
    END,
    NEW_TEXT_CONFIG,
    OLD_TEXT_CONFIG,
    START,
    VISION_CONFIG,
    VOCABULARY,
    WIDTH,
    by_hand,
    random_text,
    random_vision,
    tokenizer_files,
    write_tiny_clip,
)

from bids_recon.errors import DataError, MissingInputError
from bids_recon.latents import clip_text, clip_vision
from bids_recon.latents.base import LatentSpace
from bids_recon.latents.clip_encoders import ClipText, ClipVision, load_clip_text, load_clip_vision
from bids_recon.latents.clip_text import ClipTextSpace
from bids_recon.latents.clip_vision import ClipVisionSpace
from bids_recon.models.clip import normalised_image_tokens, normalised_text_tokens

CPU = torch.device("cpu")
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def text(folder: Path) -> ClipText:
    return load_clip_text(CPU, folder)


@pytest.fixture(scope="module")
def vision(folder: Path) -> ClipVision:
    return load_clip_vision(CPU, folder)


def noise(n: int, height: int = 40, width: int = 40, seed: int = 0) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("config", [OLD_TEXT_CONFIG, NEW_TEXT_CONFIG], ids=["of 2022", "of today"])
@torch.no_grad()
def test_loaded_texts_have_the_tokens_of_the_network_in_the_file(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    encoder = load_clip_text(
        CPU, write_tiny_clip(tmp_path, config, seed=3, old_keys=config is OLD_TEXT_CONFIG)
    )
    found = encoder.tokens(["a cat", "dogs"])
    numbers = torch.tensor([by_hand("a</w>", "cat</w>"), by_hand("do", "g", "s</w>")])
    expected = normalised_text_tokens(random_text(config, seed=3), numbers)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found.dtype == torch.float32
    # The end of each text is what was pooled.
    torch.testing.assert_close(found[[0, 1], [3, 4]].norm(dim=-1), torch.ones(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        encoder.unconditional(),
        normalised_text_tokens(random_text(config, seed=3), torch.tensor([by_hand()])),
    )


@torch.no_grad()
def test_loaded_pictures_have_the_tokens_of_the_network_in_the_file(vision: ClipVision) -> None:
    picture, network = noise(1)[0], random_vision(seed=1)
    expected = normalised_image_tokens(network, vision.pixels([picture]))
    torch.testing.assert_close(vision.tokens([picture]), expected, rtol=1e-5, atol=1e-6)
    assert (vision.n_tokens, vision.width, vision.size) == (257, WIDTH, 32)
    grey = torch.tensor((0.5 - MEAN) / DEVIATION, dtype=torch.float32)[None, :, None, None]
    torch.testing.assert_close(
        vision.unconditional(),
        normalised_image_tokens(network, grey.expand(1, 3, 32, 32)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_unconditional_picture_is_grey_and_not_black(vision: ClipVision) -> None:
    found = vision.unconditional_pixels()
    assert found.shape == (1, 3, 32, 32)
    assert (found == found[:, :, :1, :1]).all()
    # Half a grey level brighter than 127, which is (0.062, 0.154, 0.326).
    level = found[0, :, 0, 0].numpy()
    np.testing.assert_allclose(level, [0.06903, 0.16139, 0.33284], atol=1e-5)
    black, grey = (vision.pixels([np.full((9, 9, 3), value, np.uint8)])[0, :, 0, 0] for value in (0, 127))
    np.testing.assert_allclose(black, [-1.7923, -1.7521, -1.4802], atol=1e-4)
    np.testing.assert_allclose(grey, [0.0617, 0.1539, 0.3257], atol=1e-4)
    assert np.abs(level - grey.numpy()).max() < 0.008
    assert (vision.unconditional() - vision.tokens([np.zeros((9, 9, 3), np.uint8)])).abs().max() > 0.1


@pytest.mark.parametrize("shape", [(425, 425), (20, 20)])
def test_pixels_are_those_of_the_published_processor(vision: ClipVision, shape: tuple[int, int]) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pictures = noise(2, *shape)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    kept = [
        PillowImage.fromarray(picture).resize((512, 512), PillowImage.Resampling.BILINEAR)
        for picture in pictures
    ]
    expected = processor(kept, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(vision.pixels(pictures), expected, rtol=0, atol=1e-6)


def test_the_whole_of_a_picture_that_is_not_square_is_seen(vision: ClipVision) -> None:
    picture = np.zeros((30, 90, 3), np.uint8)
    picture[:, :30], picture[:, 60:] = 255, (255, 0, 0)
    levels = vision.pixels([picture])[0].numpy() * DEVIATION[:, None, None] + MEAN[:, None, None]
    np.testing.assert_allclose(levels[:, :, 1:9], 1, atol=0.01)
    np.testing.assert_allclose(levels[:, :, 13:20], 0, atol=0.01)
    np.testing.assert_allclose(levels[:, :, 24:31].mean(axis=(1, 2)), [1, 0, 0], atol=0.01)


def test_what_is_no_picture_is_refused(vision: ClipVision) -> None:
    for wrong in (np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(DataError, match="expected"):
            vision.tokens([wrong])  # type: ignore[list-item]


def test_encoders_are_loaded_once_and_again_when_a_file_has_changed(tmp_path: Path) -> None:
    first = write_tiny_clip(tmp_path / "a")
    before = load_clip_text(CPU, first), load_clip_vision(CPU, first)
    assert (load_clip_text(CPU, first), load_clip_vision(CPU, first)) == before
    copy = write_tiny_clip(tmp_path / "b")
    assert load_clip_text(CPU, copy).identity == before[0].identity
    assert load_clip_vision(CPU, copy).identity == before[1].identity
    other = write_tiny_clip(tmp_path / "c", seed=7)
    assert load_clip_text(CPU, other).identity != before[0].identity
    assert load_clip_vision(CPU, other).identity != before[1].identity
    # Other merges, other numbers for the same words.
    merges = tokenizer_files(copy)[1]
    merges.with_name("merges.txt.sha256").unlink()
    merges.write_text("d o\ndo g</w>\n")
    changed = load_clip_text(CPU, copy)
    assert changed.identity != before[0].identity
    assert (changed.tokens(["cat"]) - before[0].tokens(["cat"])).abs().max() > 0.01
    torch.testing.assert_close(changed.tokens(["dog"]), before[0].tokens(["dog"]))


@pytest.mark.parametrize(
    ("part", "change", "problem"),
    [
        ("text_encoder", {"hidden_size": "wide"}, "config.json: is no configuration of this network"),
        ("text_encoder", {"hidden_act": "none such"}, "none such"),
        ("text_encoder", {"model_type": "bert"}, "'bert', not of a 'clip_text_model'"),
        ("text_encoder", {"eos_token_id": 5}, "config.json: takes token 5 for the end of a text, but .* 62"),
        ("text_encoder", {"eos_token_id": None}, "takes token None"),
        ("text_encoder", {"vocab_size": 62}, "pytorch_model.bin: does not fit .*other shapes"),
        ("image_encoder", {"image_size": "large"}, "config.json: is no configuration of this network"),
        ("image_encoder", {"num_hidden_layers": 3}, "pytorch_model.bin: does not fit .*lacks"),
    ],
)
def test_configurations_that_do_not_fit_are_named(
    tmp_path: Path, part: str, change: dict[str, Any], problem: str
) -> None:
    file = write_tiny_clip(tmp_path) / "versatile-diffusion" / part / "config.json"
    config = OLD_TEXT_CONFIG if part == "text_encoder" else VISION_CONFIG
    file.write_text(json.dumps({**config, **change}))
    with pytest.raises(DataError, match=problem):
        (load_clip_text if part == "text_encoder" else load_clip_vision)(CPU, tmp_path)


def test_a_tokenizer_with_more_tokens_than_the_network_is_refused(tmp_path: Path) -> None:
    file = tokenizer_files(write_tiny_clip(tmp_path))[0]
    file.write_text(json.dumps({**VOCABULARY, START: VOCABULARY[END], END: VOCABULARY[END] + 1}))
    with pytest.raises(DataError, match="has 63 tokens, but the tokenizer numbers them up to 63"):
        load_clip_text(CPU, tmp_path)


@pytest.mark.parametrize("lost", ["tokenizer/merges.txt", "text_encoder/config.json"])
def test_a_missing_file_is_named(tmp_path: Path, lost: str) -> None:
    file = write_tiny_clip(tmp_path) / "versatile-diffusion" / lost
    file.unlink()
    with pytest.raises(MissingInputError, match=f"{lost}: is missing"):
        load_clip_text(CPU, tmp_path)


def test_the_latent_of_a_picture_is_the_mean_over_its_captions(text: ClipText) -> None:
    space = ClipTextSpace(text)
    assert isinstance(space, LatentSpace)
    assert (space.name, space.shape, space.identity) == ("clip-text", (77, WIDTH), text.identity)
    captions = [("a cat", "a dog", "a cat"), ("dogs",), ["a dog", "dogs"]]
    found = space.encode(noise(3), captions)
    cat, dog, dogs = (text.tokens([caption]).numpy()[0] for caption in ("a cat", "a dog", "dogs"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [(2 * cat + dog) / 3, dogs, (dog + dogs) / 2], rtol=0, atol=1e-6)


def test_equal_captions_are_encoded_once_a_few_at_a_time(
    text: ClipText, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sequence[str]] = []
    usual = text.tokens
    monkeypatch.setattr(text, "tokens", lambda texts: (seen.append(texts), usual(texts))[1])
    captions = [("cat", "dog"), ("dog", "a"), ("cat",), ("b", "dog")]
    whole = ClipTextSpace(text).encode(noise(4), captions)
    monkeypatch.setattr(clip_text, "CAPTIONS_AT_ONCE", 3)
    out = np.full((4, 77, WIDTH), np.nan, np.float32)
    assert ClipTextSpace(text).encode(noise(4), captions, out) is out
    assert seen == [["cat", "dog", "a", "b"], ["cat", "dog", "a"], ["b"]]
    np.testing.assert_allclose(out, whole, rtol=0, atol=1e-5)
    turned = ClipTextSpace(text).encode(noise(4), captions[::-1])
    np.testing.assert_allclose(turned[::-1], whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("captions", "problem"),
    [
        (None, "captions of 2 pictures are needed, none are given"),
        ([("a",)], "captions of 2 pictures are needed, those of 1 are given"),
        ([("a",), ()], "row 1 has no sequence of captions"),
        (["a cat", ("a",)], "row 0 has no sequence of captions, but 'a cat'"),
    ],
)
def test_pictures_without_captions_have_no_latents(text: ClipText, captions: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ClipTextSpace(text).encode(noise(2), captions)


class ReadWhenAsked(Sequence[NDArray[np.uint8]]):
    """Pictures that count how often each was read."""

    def __init__(self, pictures: list[NDArray[np.uint8]]) -> None:
        self.pictures, self.reads = pictures, [0] * len(pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: Any) -> Any:
        self.reads[row] += 1
        return self.pictures[row]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        raise AssertionError("all pictures at once")


def test_pictures_are_encoded_some_at_a_time_into_what_is_given(
    vision: ClipVision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = ClipVisionSpace(vision)
    assert isinstance(space, LatentSpace)
    assert (space.name, space.shape, space.identity) == ("clip-vision", (257, WIDTH), vision.identity)
    pictures = ReadWhenAsked(noise(5))
    whole = space.encode(pictures)
    assert pictures.reads == [1] * 5
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, vision.tokens(noise(5)).numpy(), rtol=0, atol=1e-6)
    monkeypatch.setattr(clip_vision, "PICTURES_AT_ONCE", 2)
    out = np.lib.format.open_memmap(tmp_path / "o.npy", "w+", np.float32, (5, 257, WIDTH))
    assert space.encode(pictures, [("a",)] * 5, out) is out
    np.testing.assert_allclose(out, whole, rtol=0, atol=1e-5)
    turned = space.encode(noise(5)[::-1])
    np.testing.assert_allclose(turned[::-1], whole, rtol=0, atol=1e-5)
