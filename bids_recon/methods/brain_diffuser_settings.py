"""Choices of Brain-Diffuser, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_recon.errors import UsageError
from bids_recon.latents.vdvae_space import DRAWS, GUESSES
from bids_recon.methods.dual_guidance import STARTS, GuidanceSettings
from bids_recon.models.ddim import DdimSchedule

PARTS = ("vdvae", "clip-text", "clip-vision", "diffusion")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class BrainDiffuserSettings:
    """How latents are decoded and pictures are drawn (Ozcelik & VanRullen 2023, 2.2-2.3, and their code).

    Attributes
    ----------
    vdvae_latents : {"mean", "sample"}
        Of the VDVAE's posterior, which responses are regressed on.
    vdvae_guess : {"sample", "mean"}
        Of what was not decoded of the first guess: the other latents, and the pixels of the output network.
    ablate : tuple of str
        What is left out: "vdvae" (refinement starts from noise), "clip-text", "clip-vision", or "diffusion"
        (the first guess is the picture). As in Table 2 of the paper.
    strength : float
        Part of the steps that the first guess goes through.
    guidance_scale : float
    text_strength : float
        Weight of CLIP-text; that of CLIP-vision is the rest.
    steps : int
        Of the whole diffusion.
    vd_start : {"published", "diffusers"}
        Whether the start has the noise of one step more than is removed (the authors' code), or not.
    precision : {"auto", "float32", "bfloat16", "float16"}
        Numbers of the diffusion network.
    batch_size : int
        Pictures that are drawn at a time.
    """

    vdvae_latents: str = "mean"
    vdvae_guess: str = "sample"
    ablate: tuple[str, ...] = ()
    strength: float = 0.75
    guidance_scale: float = 7.5
    text_strength: float = 0.4
    steps: int = 50
    vd_start: str = "published"
    precision: str = "auto"
    batch_size: int = 16

    @classmethod
    def of(cls, extra: Mapping[str, Any]) -> BrainDiffuserSettings:
        """Settings from the options of a method; what is absent, None or empty is as published.

        Raises
        ------
        UsageError
            When a choice does not exist, or two do not go together.
        """
        given = {
            name: value
            for name in cls.__dataclass_fields__
            if (value := extra.get(name)) is not None and value != () and value != []
        }
        if "ablate" in given:
            given["ablate"] = tuple(part for part in PARTS if part in given["ablate"])
        chosen = cls(**given)
        for name, choices in (
            ("vdvae_latents", DRAWS),
            ("vdvae_guess", GUESSES),
            ("vd_start", STARTS),
            ("precision", PRECISIONS),
        ):
            if getattr(chosen, name) not in choices:
                raise UsageError(
                    f"{name} of the method brain-diffuser is '{getattr(chosen, name)}'",
                    remedy=f"Choose one of: {', '.join(choices)}.",
                )
        left_out = set(chosen.ablate)
        if left_out >= {"clip-text", "clip-vision"}:
            raise UsageError(
                "--ablate clip-text clip-vision leaves nothing that could guide the diffusion",
                remedy="Leave one of them in, or give --ablate diffusion.",
            )
        if "diffusion" in left_out and len(left_out) > 1:
            raise UsageError("--ablate diffusion goes with nothing else: the first guess is all that is left")
        if "diffusion" not in left_out:
            # More steps than the published schedule has are found before anything is loaded.
            chosen.guidance.timesteps(DdimSchedule.from_config({}))
        return chosen

    @property
    def guidance(self) -> GuidanceSettings:
        """How pictures are denoised, when nothing of the text is missing but what was left out."""
        return GuidanceSettings(
            steps=self.steps,
            # From noise alone, all steps are taken.
            strength=1.0 if "vdvae" in self.ablate else self.strength,
            guidance_scale=self.guidance_scale,
            text_strength=self.weight_of_text,
            start=self.vd_start,
        )

    @property
    def weight_of_text(self) -> float:
        """Of CLIP-text, when nothing of it is missing but what was left out."""
        if "clip-text" in self.ablate:
            return 0.0
        return 1.0 if "clip-vision" in self.ablate else self.text_strength
