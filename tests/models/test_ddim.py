"""The noise schedule: the arithmetic of diffusers' scheduler, and a known end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models.tiny_versatile_diffusion import SCHEDULER

from bids_recon.errors import DataError, UsageError
from bids_recon.models.ddim import DdimSchedule


@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("steps", [1, 7, 50, 499])
def test_timesteps_noise_and_steps_are_those_of_diffusers(steps: int, to_one: bool) -> None:
    from diffusers import DDIMScheduler

    config = {**SCHEDULER, "set_alpha_to_one": to_one}
    schedule, reference = DdimSchedule.from_config(config), DDIMScheduler(**config)
    reference.set_timesteps(steps)
    timesteps = schedule.timesteps(steps)
    assert timesteps == reference.timesteps.tolist()
    latents, noise = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    for index in {0, len(timesteps) // 2, len(timesteps) - 1}:
        now = timesteps[index]
        after = timesteps[index + 1] if index + 1 < len(timesteps) else None
        noisy = reference.add_noise(latents, noise, torch.tensor([now]))
        torch.testing.assert_close(schedule.add_noise(latents, noise, now), noisy, rtol=1e-5, atol=1e-5)
        expected = reference.step(noise, now, latents).prev_sample
        torch.testing.assert_close(schedule.step(latents, noise, now, after), expected, rtol=1e-4, atol=1e-4)


def test_published_timesteps() -> None:
    timesteps = DdimSchedule.from_config({}).timesteps(50)
    assert (timesteps[0], timesteps[12], timesteps[13], timesteps[-1]) == (981, 741, 721, 1)


def test_steps_along_the_true_noise_lead_to_the_true_latents() -> None:
    schedule = DdimSchedule.from_config({**SCHEDULER, "set_alpha_to_one": True})
    truth, noise = torch.randn(2, 5, generator=torch.Generator().manual_seed(1)).double()
    timesteps = schedule.timesteps(20)
    latents = schedule.add_noise(truth, noise, timesteps[0])
    for now, after in zip(timesteps, [*timesteps[1:], None], strict=True):
        latents = schedule.step(latents, noise, now, after)
    assert latents.numpy() == pytest.approx(truth.numpy(), abs=1e-9)


def test_the_signal_decreases_from_nearly_all_to_nearly_none() -> None:
    signal = DdimSchedule.from_config({}).signal
    assert len(signal) == 1000
    assert (np.diff(signal) < 0).all()
    assert signal[0] == pytest.approx(1 - 0.00085)
    assert signal[-1] == pytest.approx(0.00466, rel=1e-2)


@pytest.mark.parametrize("steps", [-1, 0, 1000, 2000])
def test_steps_that_cannot_be_taken_are_refused(steps: int) -> None:
    schedule = DdimSchedule.from_config(SCHEDULER)
    with pytest.raises(UsageError, match="from 1 to 999"):
        schedule.timesteps(steps)
    assert len(schedule.timesteps(999)) == 999


@pytest.mark.parametrize(
    ("key", "value"),
    [("beta_schedule", "linear"), ("prediction_type", "v_prediction"), ("timestep_spacing", "trailing")],
)
def test_other_schedules_are_refused(key: str, value: str) -> None:
    with pytest.raises(DataError, match=f"'{key}' is '{value}'"):
        DdimSchedule.from_config({**SCHEDULER, key: value})


def test_noise_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match=r"from 0\.5 to 1\.5"):
        DdimSchedule.from_config({"beta_start": 0.5, "beta_end": 1.5})
