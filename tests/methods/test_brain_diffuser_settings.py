"""Options of Brain-Diffuser: defaults as published, and combinations that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from bids_recon.errors import UsageError
from bids_recon.methods.brain_diffuser_settings import BrainDiffuserSettings


def test_what_is_not_given_is_as_published() -> None:
    nothing = {"ablate": (), "steps": None, "strength": None, "n_components": 120, "encoder": None}
    chosen = BrainDiffuserSettings.of(nothing)
    assert chosen == BrainDiffuserSettings()
    assert (chosen.steps, chosen.strength, chosen.guidance_scale, chosen.text_strength) == (
        50,
        0.75,
        7.5,
        0.4,
    )
    assert (chosen.vdvae_latents, chosen.vdvae_guess, chosen.vd_start) == ("mean", "sample", "published")


def test_zero_is_a_value() -> None:
    chosen = BrainDiffuserSettings.of({"text_strength": 0.0, "guidance_scale": 0.0})
    assert (chosen.text_strength, chosen.guidance_scale) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("ablate", "weight"),
    [((), 0.4), (("vdvae",), 0.4), (("clip-text",), 0.0), (["clip-vision", "vdvae"], 1.0)],
)
def test_weight_of_text_after_ablation(ablate: Any, weight: float) -> None:
    assert BrainDiffuserSettings.of({"ablate": ablate}).weight_of_text == weight


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"ablate": ("clip-text", "clip-vision")}, "leaves nothing that could guide"),
        ({"ablate": ("diffusion", "vdvae")}, "goes with nothing else"),
        ({"strength": 0.01, "steps": 50}, "a strength of 0.01 leaves none of 50 steps"),
        ({"strength": 0.0}, "the strength of diffusion is 0.0"),
        ({"steps": 1000}, "1000 steps cannot be taken through the 1000 timesteps of the network"),
        ({"vdvae_latents": "median"}, "vdvae_latents of the method brain-diffuser is 'median'"),
        ({"precision": "int8"}, "Choose one of: auto, float32, bfloat16, float16"),
    ],
)
def test_choices_that_cannot_be(extra: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BrainDiffuserSettings.of(extra)


def test_a_strength_of_nothing_is_no_matter_without_a_guess() -> None:
    from_noise = BrainDiffuserSettings.of({"strength": 0.0, "ablate": ("vdvae",)})
    assert from_noise.guidance.steps_taken == 50
    assert BrainDiffuserSettings.of({"strength": 0.0, "ablate": ("diffusion",)}).ablate == ("diffusion",)
