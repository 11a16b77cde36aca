"""Denoising under two guides: known ends, random numbers of each picture's own, parity with diffusers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.tiny_versatile_diffusion import SCHEDULER, SIZE, build_tiny, guides, load_parity
from numpy.typing import NDArray
from torch import Tensor

from bids_recon.errors import ReconError, UsageError
from bids_recon.methods.dual_guidance import (
    GuidanceSettings,
    denoise,
    picture_noise,
    refine,
    with_unconditional,
)
from bids_recon.models.ddim import DdimSchedule
from bids_recon.models.versatile_diffusion import VersatileDiffusion

FEW = GuidanceSettings(steps=5)
SEEDS = np.array([3, 2**64 - 1, 0, 12345678901234567890], np.uint64)


class Planted:
    """Stands for the networks: latents are pictures, and noise is predicted without error.

    Unconditional guides make it predict the noise that leads to nothing but `offset`.
    """

    device, dtype = torch.device("cpu"), torch.float32
    size, latent_shape = 4, (3, 4, 4)
    schedule = DdimSchedule.from_config({**SCHEDULER, "set_alpha_to_one": True})

    def __init__(self, truth: Tensor) -> None:
        self.truth = truth
        self.visited: list[int] = []
        self.started: Tensor | None = None
        self.posterior_noise: Tensor | None = None

    def noise_prediction(
        self, latents: Tensor, timestep: int, text: Tensor, vision: Tensor, text_strength: float
    ) -> Tensor:
        if self.started is None:
            self.started = latents[: len(latents) // 2]
        self.visited.append(timestep)
        signal = float(self.schedule.signal[timestep])
        # The guides say how much of the truth is seen: all where they are 1.
        seen = text.mean((1, 2))[:, None, None, None] * torch.cat([self.truth, self.truth])
        return (latents - signal**0.5 * seen) / (1 - signal) ** 0.5

    def encode_pictures(self, pictures: NDArray[np.uint8], noise: Tensor) -> Tensor:
        self.posterior_noise = noise
        return torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1

    def decode_latents(self, latents: Tensor) -> Tensor:
        return latents


def planted_refine(network: Planted, settings: GuidanceSettings, **changed: Any) -> NDArray[np.uint8]:
    n = len(network.truth)
    given = {
        "guesses": np.full((n, 4, 4, 3), 200, np.uint8),
        "text": torch.ones(n, 77, 2),
        "vision": torch.ones(n, 257, 2),
        "uncond_text": torch.zeros(1, 77, 2),
        "uncond_vision": torch.zeros(1, 257, 2),
        "seeds": SEEDS[:n],
    }
    return refine(network, **{**given, **changed}, settings=settings)  # type: ignore[arg-type]


def test_noise_predicted_without_error_leads_to_the_truth() -> None:
    truth = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    network = Planted(truth)
    found = planted_refine(network, replace(FEW, guidance_scale=1.0))
    expected = ((truth + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert abs(found - expected).max() <= 1


def test_the_guidance_scale_drives_away_from_what_is_seen_without_guides() -> None:
    truth = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4 - 0.2
    # The prediction without guides leads to 0, so that guided ones lead to 3 x the truth.
    found = planted_refine(Planted(truth), replace(FEW, guidance_scale=3.0))
    expected = ((3 * truth + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert abs(found - expected).max() <= 1


@pytest.mark.parametrize(("start", "timestep"), [("published", 741), ("diffusers", 721)])
def test_a_guess_starts_with_the_noise_of_its_timestep(start: str, timestep: int) -> None:
    network = Planted(torch.zeros(2, 3, 4, 4))
    planted_refine(network, GuidanceSettings(start=start))
    assert network.visited == list(range(721, 0, -20))
    posterior_noise, noise = picture_noise(SEEDS[:2], (3, 4, 4))
    guess = torch.full((2, 3, 4, 4), 200 / 127.5 - 1)
    expected = network.schedule.add_noise(guess, noise, timestep)
    assert network.started is not None
    assert network.started.numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert network.posterior_noise is not None
    assert torch.equal(network.posterior_noise, posterior_noise)


def test_without_a_guess_noise_alone_goes_through_all_steps() -> None:
    network = Planted(torch.zeros(2, 3, 4, 4))
    planted_refine(network, GuidanceSettings(), guesses=None)
    assert network.visited == list(range(981, 0, -20))
    assert network.started is not None
    assert torch.equal(network.started, picture_noise(SEEDS[:2], (3, 4, 4))[1])
    assert network.posterior_noise is None


def test_with_the_whole_strength_both_starts_are_the_first_timestep() -> None:
    schedule = DdimSchedule.from_config(SCHEDULER)
    for start in ("published", "diffusers"):
        settings = GuidanceSettings(strength=1.0, start=start)
        assert settings.timesteps(schedule) == (981, list(range(981, 0, -20)))


def test_noise_of_a_picture_is_its_own() -> None:
    posterior, noise = picture_noise(SEEDS, (4, 8, 8))
    alone = torch.randn((2, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(3))
    assert torch.equal(posterior[0], alone[0])
    assert torch.equal(noise[0], alone[1])
    for draws in (posterior, noise):
        assert abs(float(np.corrcoef(draws.flatten(1).numpy())[0, 1])) < 0.25
        assert float(draws.std()) == pytest.approx(1, abs=0.1)


@pytest.fixture(scope="module")
def network() -> VersatileDiffusion:
    return build_tiny()


@pytest.fixture(scope="module")
def guesses() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)


@pytest.mark.parametrize("guessed", [True, False])
def test_batches_and_order_change_nothing(
    network: VersatileDiffusion, guesses: NDArray[np.uint8], guessed: bool
) -> None:
    text, vision, *empty = guides(4)
    first = guesses if guessed else None
    together = refine(network, first, text, vision, *empty, SEEDS, FEW)
    assert together.shape == (4, SIZE, SIZE, 3)
    assert together.dtype == np.uint8
    assert together.std() > 5
    order = [2, 0, 3, 1]
    first_moved = None if first is None else first[order]
    moved = refine(network, first_moved, text[order], vision[order], *empty, SEEDS[order], FEW)
    assert abs(moved.astype(int) - together[order]).max() <= 1
    for row in range(4):
        one = slice(row, row + 1)
        guess = None if first is None else first[one]
        alone = refine(network, guess, text[one], vision[one], *empty, SEEDS[one], FEW)
        assert abs(alone.astype(int) - together[one]).max() <= 1


def test_seeds_guides_and_guesses_reach_the_picture(
    network: VersatileDiffusion, guesses: NDArray[np.uint8]
) -> None:
    text, vision, *empty = guides(2)
    guesses, seeds = guesses[:2], SEEDS[:2]
    drawn = refine(network, guesses, text, vision, *empty, seeds, FEW).astype(int)
    others = {
        "seed": refine(network, guesses, text, vision, *empty, seeds + np.uint64(1), FEW),
        "guess": refine(network, 255 - guesses, text, vision, *empty, seeds, FEW),
        "text": refine(network, guesses, text.flip(1) * 2, vision, *empty, seeds, FEW),
        "no text": refine(network, guesses, None, vision, *empty, seeds, FEW),
        "no vision": refine(network, guesses, text, None, *empty, seeds, FEW),
        "start": refine(network, guesses, text, vision, *empty, seeds, replace(FEW, start="diffusers")),
    }
    for name, other in others.items():
        assert abs(other - drawn).max() > 1, name
    silent = replace(FEW, text_strength=0.0)
    assert (refine(network, guesses, text, vision, *empty, seeds, silent) == others["no text"]).all()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"steps": 0}, "0 steps"),
        ({"strength": 0.0}, r"strength of diffusion is 0\.0"),
        ({"strength": 1.01}, r"strength of diffusion is 1\.01"),
        ({"strength": float("nan")}, "strength of diffusion is nan"),
        ({"strength": 0.19, "steps": 5}, "leaves none of 5 steps"),
        ({"guidance_scale": float("inf")}, "guidance scale is inf"),
        ({"text_strength": -0.1}, r"share of the text is -0\.1"),
        ({"start": "later"}, "'later' is unknown. Give published or diffusers"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        GuidanceSettings(**wrong)


def test_rows_that_are_not_as_many_as_seeds_are_refused(network: VersatileDiffusion) -> None:
    text, vision, *empty = guides(2)
    with pytest.raises(ValueError, match=r"3 seeds for \[2\] rows"):
        refine(network, None, text, vision, *empty, SEEDS[:3], FEW)
    with pytest.raises(ValueError, match="one guide"):
        refine(network, None, None, None, *empty, SEEDS[:3], FEW)


def test_what_is_no_number_is_no_picture(network: VersatileDiffusion) -> None:
    text, vision, *empty = guides(2)
    text[1, 0, 0] = torch.inf
    with pytest.raises(ReconError, match="no number"):
        refine(network, None, text, vision, *empty, SEEDS[:2], FEW)


def check_steps(folder: Path, start: str, n_steps: int, expected: str) -> None:
    """Compare the latents after some steps with those that diffusers gave, from the stored noise."""
    network, io = load_parity(folder)
    settings = GuidanceSettings(start=start)
    noised_at, timesteps = settings.timesteps(network.schedule)
    assert timesteps == io["timesteps"].tolist()
    latents = network.schedule.add_noise(io["init_latent_mean"], io["noise"], noised_at)
    text = with_unconditional(io["cond_text"], io["text_tokens_normed"])
    vision = with_unconditional(io["cond_image"], io["image_tokens_normed"])
    end = None if n_steps == len(timesteps) else timesteps[n_steps]
    found = denoise(network, latents, text, vision, timesteps[:n_steps], settings, end)
    assert (found - io[expected]).abs().max() < 1e-4 * io[expected].std()


@pytest.mark.shared
def test_the_first_step_is_that_of_diffusers(shared: Path) -> None:
    check_steps(shared / "parity" / "versatile_diffusion_tiny", "published", 1, "x_after_1")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("start", "expected"), [("published", "x_final"), ("diffusers", "x_final_diffusers_noise_t")]
)
def test_all_steps_are_those_of_diffusers(shared: Path, start: str, expected: str) -> None:
    check_steps(shared / "parity" / "versatile_diffusion_tiny", start, 37, expected)
