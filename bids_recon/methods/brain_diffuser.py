"""Brain-Diffuser: a first guess by a VDVAE, refined by diffusion under decoded meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from torch import Tensor

from bids_recon.decoders.device import find_device, to_device
from bids_recon.errors import DataError, UsageError
from bids_recon.latents.base import Captions, Image, LatentSpace
from bids_recon.latents.clip_encoders import (
    TEXT_WEIGHTS,
    VISION_WEIGHTS,
    load_clip_text,
    load_clip_vision,
)
from bids_recon.latents.clip_text import ClipTextSpace
from bids_recon.latents.clip_vision import ClipVisionSpace
from bids_recon.latents.vdvae_space import LATENT_BLOCKS, VdvaeSpace, load_vdvae
from bids_recon.methods.base import Decoder, Method, MethodOptions
from bids_recon.methods.brain_diffuser_settings import BrainDiffuserSettings
from bids_recon.methods.decoder_choice import choose_decoder
from bids_recon.methods.dual_guidance import refine
from bids_recon.methods.versatile_diffusion_weights import NETWORK_WEIGHTS, load_versatile_diffusion
from bids_recon.models.vdvae import latent_length
from bids_recon.models.versatile_diffusion import VersatileDiffusion

ALPHAS = {"vdvae": 50_000.0, "clip-vision": 60_000.0, "clip-text": 100_000.0}
"""Penalties of the authors' code, for responses of unit variance and 8,859 training pictures."""
_CAPTIONED = "captioned"


class BrainDiffuser(Method):
    """Brain-Diffuser (Ozcelik and VanRullen 2023).

    Reads of the options: `decoder` (`ridge` by default) with all that belongs to it, `rescale`
    (`out-of-fold` by default), `legacy_test_statistics`, `seed`, `device`, `weights`, and in `extra` what
    `BrainDiffuserSettings` names. Where pictures have no captions, it has no space `clip-text`.

    Raises
    ------
    UsageError
        When an option has a value that does not exist, or two do not go together.
    """

    name: ClassVar[str] = "brain-diffuser"
    n_shuffles: ClassVar[int] = 2
    picture_shuffles: ClassVar[int | None] = 2
    draws_at_random: ClassVar[bool] = True
    uses_captions: ClassVar[bool] = True
    reference: ClassVar[str] = (
        "Ozcelik F, VanRullen R (2023). Natural scene reconstruction from fMRI signals using generative"
        " latent diffusion. Scientific Reports 13: 15666."
    )

    def __init__(self, options: MethodOptions | None = None) -> None:
        super().__init__(options)
        self.settings = BrainDiffuserSettings.of(self.options.extra)
        self._captioned = True
        for space in ALPHAS:
            self.make_decoder(space)

    @property
    def weights(self) -> tuple[str, ...]:
        """The networks of all spaces, and those of the diffusion unless it is left out."""
        return self.decoding_weights + (() if "diffusion" in self.settings.ablate else NETWORK_WEIGHTS)

    @property
    def decoding_weights(self) -> tuple[str, ...]:
        """Those of the latent spaces."""
        return ("vdvae", *TEXT_WEIGHTS, *VISION_WEIGHTS)

    @property
    def encodes_captions(self) -> bool:
        """Whether there is a space `clip-text`."""
        return self._captioned

    @property
    def choices(self) -> dict[str, Any]:
        """Those of `BrainDiffuserSettings` as they work out; what concerns the machine is left out."""
        chosen = dataclasses.asdict(self.settings) | {"ablate": list(self.settings.ablate)}
        chosen["text_strength"] = self._weight_of_text
        chosen["precision"] = str(self._dtype).removeprefix("torch.")
        del chosen["batch_size"]
        return chosen

    def fit_latent_spaces(
        self,
        images: Sequence[Image],
        extra_images: Sequence[Image] = (),
        captions: Captions | None = None,
    ) -> None:
        """Note whether pictures have captions; all networks are pretrained.

        Raises
        ------
        DataError
            When some of the pictures have captions and others none.
        UsageError
            When there are none, and they are all that is left of the conditions.
        """
        del extra_images
        captioned = captions is not None and any(captions)
        if captioned and (bare := sum(not some for some in captions or ())):
            raise DataError(
                f"{bare} of {len(images)} training pictures have no caption",
                remedy="Complete the captions, or take the file away: without any, pictures alone are used.",
            )
        self._set_captioned(captioned)

    @property
    def _weight_of_text(self) -> float:
        """Weight of CLIP-text, which is nothing where there were no captions."""
        return self.settings.weight_of_text if self._captioned else 0.0

    def _set_captioned(self, captioned: bool) -> None:
        if not captioned and "clip-vision" in self.settings.ablate:
            raise UsageError(
                "--ablate clip-vision leaves clip-text, which needs captions, and there are none",
                remedy="Give captions at the participant level, or leave the option out.",
            )
        self._captioned = captioned

    @cached_property
    def _device(self) -> torch.device:
        return find_device(self.options.device)

    @property
    def _dtype(self) -> torch.dtype:
        if self.settings.precision != "auto":
            return getattr(torch, self.settings.precision)
        return torch.float16 if self._device.type == "cuda" else torch.float32

    @cached_property
    def _vdvae(self) -> VdvaeSpace:
        network = load_vdvae(self._device, self.options.weights)
        return VdvaeSpace(network, self.settings.vdvae_latents, self.options.seed)

    @cached_property
    def _clip_vision(self) -> ClipVisionSpace:
        return ClipVisionSpace(load_clip_vision(self._device, self.options.weights))

    @cached_property
    def _clip_text(self) -> ClipTextSpace:
        return ClipTextSpace(load_clip_text(self._device, self.options.weights))

    @cached_property
    def _no_picture(self) -> Tensor:
        return self._clip_vision.encoder.unconditional()

    @cached_property
    def _no_text(self) -> Tensor:
        return self._clip_text.encoder.unconditional()

    @cached_property
    def _diffusion(self) -> VersatileDiffusion:
        return load_versatile_diffusion(self._device, self._dtype, self.options.weights)

    @property
    def latent_spaces(self) -> dict[str, LatentSpace]:
        """`vdvae`, `clip-vision`, and `clip-text` where there are captions."""
        spaces: dict[str, LatentSpace] = {"vdvae": self._vdvae, "clip-vision": self._clip_vision}
        return spaces | ({"clip-text": self._clip_text} if self._captioned else {})

    def make_decoder(self, space: str) -> Decoder:
        """Make an unfitted decoder of a space, with the published penalty.

        Raises
        ------
        UsageError
            When the decoder does not suit.
        """
        if self.options.decoder == "parametric-inversion":
            raise UsageError(
                f"parametric-inversion would need a matrix of the {latent_length(LATENT_BLOCKS):,} latents of"
                " the VDVAE by themselves",
                remedy="Choose --decoder ridge.",
            )
        return choose_decoder(self.options, rescaled=True, alphas=(ALPHAS[space],))

    def render(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """Pictures (n, size, size, 3): 512 pixels with the published networks.

        Raises
        ------
        DataError
            When decoded latents are not finite.
        """
        return self.render_steps(latents, seeds)[0]

    def render_steps(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]:
        """Pictures; as steps the first guess (0) and the picture (number of diffusion steps)."""
        parts = []
        for start in range(0, len(seeds), self.settings.batch_size):
            rows = slice(start, start + self.settings.batch_size)
            some = {name: np.asarray(values[rows], np.float32) for name, values in latents.items()}
            if wrong := [name for name, values in some.items() if not np.isfinite(values).all()]:
                raise DataError(f"decoded latents of {wrong[0]} are not finite")
            parts.append(self._draw(some, seeds[rows]))
        guesses = [guess for guess, _ in parts if guess is not None]
        pictures = np.concatenate([picture for _, picture in parts])
        if not guesses:
            return pictures, {}
        return pictures, {0: np.concatenate(guesses), self.settings.guidance.steps_taken: pictures}

    def _draw(
        self, latents: Mapping[str, NDArray[np.float32]], seeds: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8]]:
        """First guesses of one batch, where pictures were made from them, and pictures (n, size, size, 3)."""
        settings = self.settings
        guesses = None
        if "vdvae" not in settings.ablate:
            guesses = self._vdvae.decode(latents["vdvae"], seeds, settings.vdvae_guess)
        if "diffusion" in settings.ablate:
            assert guesses is not None
            return None, _enlarged(guesses, PUBLISHED_SIZE)
        network = self._diffusion
        guesses = None if guesses is None else _enlarged(guesses, network.size)
        text = vision = uncond_text = uncond_vision = None
        weight_of_text = self._weight_of_text
        if weight_of_text > 0:
            text = to_device(latents["clip-text"], self._device)
            uncond_text = self._no_text
        if weight_of_text < 1:
            vision = to_device(latents["clip-vision"], self._device)
            uncond_vision = self._no_picture
        pictures = refine(
            network,
            guesses,
            text,
            vision,
            uncond_text,
            uncond_vision,
            seeds,
            dataclasses.replace(settings.guidance, text_strength=weight_of_text),
        )
        return guesses, pictures

    def ceiling(
        self, images: Sequence[Image], seeds: NDArray[np.uint64], captions: Captions | None = None
    ) -> NDArray[np.uint8]:
        """Pictures from the true latents of the seen pictures, a batch at a time."""
        parts = []
        for start in range(0, len(images), self.settings.batch_size):
            rows = range(start, min(start + self.settings.batch_size, len(images)))
            some = [images[row] for row in rows]
            own = None if captions is None else [captions[row] for row in rows]
            latents = self.encode(some, tuple(self.latent_spaces), own)
            parts.append(self.render(latents, seeds[rows.start : rows.stop]))
        return np.concatenate(parts)

    def state(self) -> dict[str, NDArray[Any]]:
        """Whether there were captions; all networks are pretrained."""
        return {_CAPTIONED: np.array([self._captioned], dtype=np.uint8)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what was noted of captions.

        Raises
        ------
        DataError
            When it is missing.
        UsageError
            When there were none, and they are all that is left of the conditions.
        """
        if _CAPTIONED not in state:
            raise DataError(f"the saved latent spaces lack '{_CAPTIONED}'")
        self._set_captioned(bool(state[_CAPTIONED][0]))


PUBLISHED_SIZE = 512
"""Height and width of pictures where no network of the diffusion says it, in pixels."""


def _enlarged(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pictures of another size, by bicubic interpolation as in the authors' code."""
    bicubic = PilImage.Resampling.BICUBIC
    return np.stack([np.asarray(PilImage.fromarray(one).resize((size, size), bicubic)) for one in pictures])
