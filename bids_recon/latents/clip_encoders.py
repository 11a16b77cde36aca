"""The two encoders of CLIP that come with Versatile Diffusion: texts and pictures as normalised tokens.

They always compute in float32: they run once a picture, and what they give is a target of regression.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from bids_recon.errors import DataError
from bids_recon.latents.base import Image
from bids_recon.latents.clip_tokenizer import ClipTokenizer
from bids_recon.latents.eigenimage import square_picture
from bids_recon.models.clip import (
    LEGACY_END,
    make_clip_text,
    make_clip_vision,
    normalised_image_tokens,
    normalised_text_tokens,
)
from bids_recon.models.full_precision import full_precision
from bids_recon.weights.checkpoint import load_strictly
from bids_recon.weights.checksums import content_hash, file_state
from bids_recon.weights.component import Component, read_component
from bids_recon.weights.manifest import VERSATILE_DIFFUSION
from bids_recon.weights.store import find_weight

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

TEXT_WEIGHTS = tuple(
    f"{VERSATILE_DIFFUSION}/{part}"
    for part in ("text_encoder", "text_encoder/config", "tokenizer/vocab", "tokenizer/merges")
)
"""Names in the manifest of what `load_clip_text` reads."""
VISION_WEIGHTS = tuple(f"{VERSATILE_DIFFUSION}/{part}" for part in ("image_encoder", "image_encoder/config"))
"""Names in the manifest of what `load_clip_vision` reads."""
PREPROCESSING = 1
"""Goes up when texts or pictures reach the networks in another way: old latents are then not used again."""

# The authors keep pictures at the size that Versatile Diffusion draws; CLIP's own resizing follows.
_KEPT_SIZE = 512
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_REMEDY = "Give the file of the published folder of Versatile Diffusion."


class ClipText:
    """The text encoder with its tokenizer.

    Parameters
    ----------
    network : CLIPTextModelWithProjection
        In eval mode, on `device`.
    tokenizer : ClipTokenizer
    identity : str
        Hash over weights, configuration and tokenizer.
    device : torch.device

    Attributes
    ----------
    width : int
        Numbers of a token; 768 as published.
    n_tokens : int
        Tokens of a text; 77 as published.
    """

    def __init__(
        self,
        network: CLIPTextModelWithProjection,
        tokenizer: ClipTokenizer,
        identity: str,
        device: torch.device,
    ) -> None:
        self._network, self._tokenizer, self._device, self.identity = network, tokenizer, device, identity
        self.width: int = network.config.projection_dim
        self.n_tokens: int = tokenizer.length

    @torch.no_grad()
    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Normalised tokens (n, n_tokens, width) float32 of at least one text, all at once."""
        return normalised_text_tokens(self._network, self._tokenizer.numbers(texts).to(self._device))

    def unconditional(self) -> Tensor:
        """Normalised tokens (1, n_tokens, width) of the empty text, from which guidance leads away."""
        return self.tokens([""])


class ClipVision:
    """The picture encoder.

    Parameters
    ----------
    network : CLIPVisionModelWithProjection
        In eval mode, on `device`.
    identity : str
        Hash over weights, configuration and preprocessing.
    device : torch.device

    Attributes
    ----------
    size : int
        Height and width of the network's input in pixels; 224 as published.
    width : int
        Numbers of a token; 768 as published.
    n_tokens : int
        Tokens of a picture; 257 as published.
    """

    def __init__(self, network: CLIPVisionModelWithProjection, identity: str, device: torch.device) -> None:
        self._network, self._device, self.identity = network, device, identity
        self.size: int = network.config.image_size
        self.width: int = network.config.projection_dim
        self.n_tokens: int = network.vision_model.embeddings.num_positions

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """Pictures as the network takes them, (n, 3, size, size) float32.

        The whole picture is brought to 512 x 512 pixels (bilinear), as the authors keep it, and from there to
        the network's size (bicubic), as CLIP does. Nothing is left for its crop to cut. Both steps round to
        grey levels.
        """
        squares = np.stack([_resized(image, self.size) for image in images])
        levels = torch.from_numpy(squares).to(self._device).permute(0, 3, 1, 2)
        return self._standardised(levels.float() / 255)

    @torch.no_grad()
    @full_precision()
    def tokens(self, images: Sequence[Image]) -> Tensor:
        """Normalised tokens (n, n_tokens, width) float32 of at least one picture, all at once."""
        return normalised_image_tokens(self._network, self.pixels(images))

    def unconditional_pixels(self) -> Tensor:
        """A picture half-way between black and white, as the network takes it, (1, 3, size, size) float32.

        The authors encode zeros in a range of -1 to 1. It is made here without CLIP's image processor, which
        would divide by 255 once more in newer transformers, and make it black.
        """
        return self._standardised(torch.full((1, 3, self.size, self.size), 0.5, device=self._device))

    @torch.no_grad()
    @full_precision()
    def unconditional(self) -> Tensor:
        """Normalised tokens (1, n_tokens, width) of the grey picture, from which guidance leads away."""
        return normalised_image_tokens(self._network, self.unconditional_pixels())

    def _standardised(self, shares: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(values, device=self._device) for values in (_MEAN, _DEVIATION))
        return ((shares - mean[:, None, None]) / deviation[:, None, None]).contiguous()


def load_clip_text(device: torch.device, weights: Path | None = None) -> ClipText:
    """Load the text encoder of Versatile Diffusion.

    Parameters
    ----------
    device : torch.device
    weights : Path, optional
        Folder of weights; by default that of `bids_recon.weights.store.weights_folder`.

    Raises
    ------
    MissingInputError
        When a file of it is not there.
    DataError
        When one is damaged, or belongs to another network.
    """
    return _load_text(device, weights, *_files(TEXT_WEIGHTS, weights))


def load_clip_vision(device: torch.device, weights: Path | None = None) -> ClipVision:
    """Load the picture encoder of Versatile Diffusion; see `load_clip_text`."""
    return _load_vision(device, weights, *_files(VISION_WEIGHTS, weights))


def _files(
    names: Sequence[str], weights: Path | None
) -> tuple[tuple[Path, ...], tuple[tuple[int, int], ...]]:
    files = tuple(find_weight(name, weights) for name in names)
    return files, tuple(file_state(file) for file in files)


@lru_cache(maxsize=1)
def _load_text(
    device: torch.device,
    weights: Path | None,
    files: tuple[Path, ...],
    states: tuple[tuple[int, int], ...],
) -> ClipText:
    """Load the encoder, or take the one at hand: folds and people share it. `states` tells changed files."""
    del states
    _, config_file, vocabulary, merges = files
    component = read_component("text_encoder", weights)
    network = _network(make_clip_text, component, config_file).to(device)
    tokenizer = ClipTokenizer(vocabulary, merges, network.config.max_position_embeddings)
    _check_ends(network.config, tokenizer, config_file)
    identity = _identity("clip-text", component, content_hash(vocabulary), content_hash(merges))
    return ClipText(network, tokenizer, identity, device)


@lru_cache(maxsize=1)
def _load_vision(
    device: torch.device,
    weights: Path | None,
    files: tuple[Path, ...],
    states: tuple[tuple[int, int], ...],
) -> ClipVision:
    """Load the encoder, or take the one at hand; see `_load_text`."""
    del states
    component = read_component("image_encoder", weights)
    network = _network(make_clip_vision, component, files[1]).to(device)
    return ClipVision(network, _identity("clip-vision", component), device)


def _network(make: Callable[[Mapping[str, Any]], Any], component: Component, config_file: Path) -> Any:
    try:
        network = make(component.config)
    except ImportError:
        raise
    # The library checks some values, each with an error of its own, and stumbles over others.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[-1].strip().rstrip(".")
        raise DataError(
            f"is no configuration of this network ({type(error).__name__}: {reason})",
            file=config_file,
            remedy=_REMEDY,
        ) from error
    # Older releases saved the numbers of the places, which are no weights.
    state = {key: value for key, value in component.state.items() if not key.endswith(".position_ids")}
    load_strictly(network, state, component.file)
    return network.requires_grad_(False)


def _check_ends(config: Any, tokenizer: ClipTokenizer, file: Path) -> None:
    """Make sure that the token that is pooled is the end of text: another would be taken without a word."""
    if tokenizer.highest >= config.vocab_size:
        raise DataError(
            f"has {config.vocab_size} tokens, but the tokenizer numbers them up to {tokenizer.highest}",
            file=file,
            remedy=_REMEDY,
        )
    end = tokenizer.highest if config.eos_token_id == LEGACY_END else config.eos_token_id
    if end != tokenizer.end:
        raise DataError(
            f"takes token {end} for the end of a text, but the tokenizer ends texts with {tokenizer.end}",
            file=file,
            remedy=_REMEDY,
        )


def _identity(space: str, component: Component, *tokenizer: str) -> str:
    config = json.dumps(component.config, sort_keys=True)
    described = f"{space} {PREPROCESSING} {component.sha256} {config} {' '.join(tokenizer)}"
    return hashlib.sha256(described.encode()).hexdigest()


def _resized(image: Image, size: int) -> Image:
    # Other latent spaces also see a picture that is not square with another aspect, and as a whole.
    square = PillowImage.fromarray(square_picture(image, max(np.shape(image)[:2])))
    kept = square.resize((_KEPT_SIZE, _KEPT_SIZE), PillowImage.Resampling.BILINEAR)
    return np.asarray(kept.resize((size, size), PillowImage.Resampling.BICUBIC))
