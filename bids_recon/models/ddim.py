"""Deterministic DDIM sampling: how much noise a latent has at each timestep, and the step to less of it.

Song, Meng & Ermon 2021, "Denoising diffusion implicit models", equation 12 with eta = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bids_recon.errors import DataError, UsageError

# What the arithmetic below is written for; another value in a scheduler's configuration is refused.
_SUPPORTED = {
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "thresholding": False,
    "timestep_spacing": "leading",
    "trained_betas": None,
}


@dataclass(frozen=True)
class DdimSchedule:
    """The noise of each timestep of training, and the timesteps that sampling visits.

    Attributes
    ----------
    signal : ndarray (n_timesteps,) float64
        Share of the variance that is signal (alpha bar of the paper), decreasing.
    offset : int
        Added to every timestep of sampling.
    last_signal : float
        Share of signal after the last step.
    """

    signal: NDArray[np.float64]
    offset: int
    last_signal: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DdimSchedule:
        """Make the schedule from what diffusers wrote to `scheduler_config.json`.

        What it does not say is as in Versatile Diffusion: variances from 0.00085 to 0.012 in 1000 timesteps,
        linear in their square roots, an offset of 1, and at the end the signal of the first timestep.

        Raises
        ------
        DataError
            When it describes another kind of schedule. The message names no file.
        """
        for key, supported in _SUPPORTED.items():
            if config.get(key, supported) != supported:
                raise DataError(f"'{key}' is {config[key]!r}, where only {supported!r} is supported")
        try:
            start, end = float(config.get("beta_start", 0.00085)), float(config.get("beta_end", 0.012))
            n_timesteps = int(config.get("num_train_timesteps", 1000))
            offset = int(config.get("steps_offset", 1))
        except (TypeError, ValueError) as error:
            raise DataError(f"describes no schedule ({error})") from error
        if not 0 < start <= end < 1 or n_timesteps < 2:
            raise DataError(f"noise from {start} to {end} in {n_timesteps} timesteps is no schedule")
        signal = np.cumprod(1 - np.linspace(start**0.5, end**0.5, n_timesteps) ** 2)
        last = 1.0 if config.get("set_alpha_to_one", False) else float(signal[0])
        return cls(signal, offset, last)

    def timesteps(self, steps: int) -> list[int]:
        """The timesteps that sampling in `steps` steps visits, from the most noise to the least.

        Raises
        ------
        UsageError
            When there are not as many.
        """
        spacing = len(self.signal) // steps if steps > 0 else 0
        found = [index * spacing + self.offset for index in reversed(range(steps))]
        if spacing < 1 or found[0] >= len(self.signal):
            raise UsageError(
                f"{steps} steps cannot be taken through the {len(self.signal)} timesteps of the network",
                remedy=f"Give from 1 to {len(self.signal) - self.offset} steps.",
            )
        return found

    def add_noise(self, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
        """Latents with as much noise as those of a timestep have."""
        signal = float(self.signal[timestep])
        return signal**0.5 * latents + (1 - signal) ** 0.5 * noise

    def step(self, latents: Tensor, noise: Tensor, timestep: int, following: int | None) -> Tensor:
        """Latents of the following timestep (None: after the last), given the noise that is in them now."""
        signal = float(self.signal[timestep])
        after = self.last_signal if following is None else float(self.signal[following])
        clean = (latents - (1 - signal) ** 0.5 * noise) / signal**0.5
        return after**0.5 * clean + (1 - after) ** 0.5 * noise
