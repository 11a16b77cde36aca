"""Pictures from first guesses, denoised by Versatile Diffusion under the guides text and vision.

Ozcelik & VanRullen 2023, "Natural scene reconstruction from fMRI signals using generative latent diffusion",
second stage; the settings that its text leaves out are those of the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_recon.errors import ReconError, UsageError
from bids_recon.models.ddim import DdimSchedule
from bids_recon.models.versatile_diffusion import VersatileDiffusion

STARTS = ("published", "diffusers")


@dataclass(frozen=True)
class GuidanceSettings:
    """How pictures are denoised; as published by default.

    Attributes
    ----------
    steps : int
        Steps of a whole denoising.
    strength : float
        Share of the steps that a first guess goes through, above 0 and not above 1: 37 of 50 for 0.75.
    guidance_scale : float
        How far the noise predicted under the guides is driven away from that predicted without (Ho & Salimans
        2021); 1 is not at all.
    text_strength : float
        Share of the text, from 0 to 1; the rest is that of vision.
    start : {"published", "diffusers"}
        The timestep whose noise a guess is given: that before the first step (741), or that of it (721). The
        published code is off by one, which leaves a little more noise in the latents than the U-Net is told.
        Where all steps are taken there is none before, and both are the same.

    Raises
    ------
    UsageError
        When a value is out of its range, or leaves no step.
    """

    steps: int = 50
    strength: float = 0.75
    guidance_scale: float = 7.5
    text_strength: float = 0.4
    start: str = "published"

    def __post_init__(self) -> None:
        for wrong, problem, remedy in (
            (self.steps < 1, f"{self.steps} steps of diffusion are none", "Give 1 or more."),
            (
                not 0 < self.strength <= 1,
                f"the strength of diffusion is {self.strength}",
                "Give a number above 0 and not above 1.",
            ),
            (
                not math.isfinite(self.guidance_scale),
                f"the guidance scale is {self.guidance_scale}",
                "Give a finite number.",
            ),
            (
                not 0 <= self.text_strength <= 1,
                f"the share of the text is {self.text_strength}",
                "Give a number from 0 to 1.",
            ),
            (
                self.start not in STARTS,
                f"the start of diffusion '{self.start}' is unknown",
                f"Give {' or '.join(STARTS)}.",
            ),
        ):
            if wrong:
                raise UsageError(problem, remedy=remedy)
        if self.steps_taken < 1:
            raise UsageError(
                f"a strength of {self.strength} leaves none of {self.steps} steps of diffusion",
                remedy="Give a larger strength, or more steps.",
            )

    @property
    def steps_taken(self) -> int:
        """Steps that a first guess goes through."""
        return int(self.strength * self.steps)

    def timesteps(self, schedule: DdimSchedule, guessed: bool = True) -> tuple[int, list[int]]:
        """The timestep whose noise the start has, and those that are denoised.

        Without a guess, denoising starts from noise alone and takes all steps.
        """
        grid = schedule.timesteps(self.steps)
        if not guessed:
            return grid[0], grid
        first = self.steps - self.steps_taken
        return grid[max(first - 1, 0) if self.start == "published" else first], grid[first:]


def refine(
    network: VersatileDiffusion,
    guesses: NDArray[np.uint8] | None,
    text: Tensor | None,
    vision: Tensor | None,
    uncond_text: Tensor | None,
    uncond_vision: Tensor | None,
    seeds: NDArray[np.uint64],
    settings: GuidanceSettings,
) -> NDArray[np.uint8]:
    """Draw pictures. Each depends on its own rows alone, whatever the others are.

    Parameters
    ----------
    network : VersatileDiffusion
    guesses : ndarray (n, size, size, 3) uint8 or None
        First guesses; None denoises noise, in all steps (the paper's "without VDVAE").
    text : Tensor (n, text_tokens, width) or None
    vision : Tensor (n, vision_tokens, width) or None
        Guides; None leaves one of them out.
    uncond_text : Tensor (1, text_tokens, width) or None
    uncond_vision : Tensor (1, vision_tokens, width) or None
        Guides that say nothing: those of no text, and of a grey picture. Needed of guides that are given.
    seeds : ndarray (n,) uint64
        Of the random numbers of each picture, which are drawn on the CPU.
    settings : GuidanceSettings

    Returns
    -------
    ndarray (n, size, size, 3) uint8

    Raises
    ------
    ReconError
        When the networks give what is no number, as in half precision that is too coarse for their weights.
    UsageError
        When there are more steps than timesteps.
    ValueError
        When the rows are not as many as the seeds, or both guides are None.
    """
    rows = {len(part) for part in (guesses, text, vision) if part is not None}
    if rows - {len(seeds)}:
        raise ValueError(f"{len(seeds)} seeds for {sorted(rows)} rows of guesses, text and vision")
    with torch.inference_mode():
        start, timesteps = settings.timesteps(network.schedule, guesses is not None)
        posterior_noise, noise = picture_noise(seeds, network.latent_shape)
        latents = noise.to(network.device)
        if guesses is not None:
            clean = network.encode_pictures(guesses, posterior_noise)
            latents = network.schedule.add_noise(clean, latents, start)
        guides = [
            None
            if guide is None or empty is None
            else with_unconditional(guide.to(network.device), empty.to(network.device))
            for guide, empty in ((text, uncond_text), (vision, uncond_vision))
        ]
        latents = denoise(network, latents, guides[0], guides[1], timesteps, settings)
        return _grey_levels(network.decode_latents(latents))


def picture_noise(seeds: NDArray[np.uint64], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Two draws of standard normal noise a picture, (n, *shape) float32 each, on the CPU.

    Both are drawn even where only the second is used, so that a seed starts from the same noise with a first
    guess and without.
    """
    draws = [
        torch.randn((2, *shape), generator=torch.Generator("cpu").manual_seed(int(seed) % 2**63))
        for seed in seeds
    ]
    first, second = torch.stack(draws, 1)
    return first, second


def with_unconditional(guide: Tensor, empty: Tensor) -> Tensor:
    """Tokens (2 n, tokens, width): `empty` (1, tokens, width) for each row, before the rows of the guide."""
    return torch.cat([empty.to(guide.dtype).expand_as(guide), guide])


def denoise(
    network: VersatileDiffusion,
    latents: Tensor,
    text: Tensor | None,
    vision: Tensor | None,
    timesteps: Sequence[int],
    settings: GuidanceSettings,
    end: int | None = None,
) -> Tensor:
    """Take latents through timesteps, with classifier-free guidance.

    Parameters
    ----------
    network : VersatileDiffusion
    latents : Tensor (n, *latent_shape) float32
        With the noise of the first timestep.
    text, vision : Tensor (2 n, tokens, width) or None
        Of `with_unconditional`; one of them may be left out.
    timesteps : sequence of int
        From the most noise to the least; a step leaves each.
    settings : GuidanceSettings
    end : int, optional
        Timestep at which the last step arrives; the end of the schedule by default.

    Returns
    -------
    Tensor (n, *latent_shape) float32
    """
    for timestep, after in zip(timesteps, [*timesteps[1:], end], strict=True):
        both = network.noise_prediction(
            torch.cat([latents, latents]), timestep, text, vision, settings.text_strength
        )
        unguided, guided = both.chunk(2)
        noise = unguided + settings.guidance_scale * (guided - unguided)
        latents = network.schedule.step(latents, noise, timestep, after)
    return latents


def _grey_levels(pixels: Tensor) -> NDArray[np.uint8]:
    """Pictures (n, height, width, 3) from values (n, 3, height, width) in -1..1, rounded and clipped."""
    if not torch.isfinite(pixels).all():
        raise ReconError(
            "Versatile Diffusion drew what is no number: its weights overflow in this precision",
            remedy="Use float32, and check the weights with `bids-recon-weights verify`.",
        )
    levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())
