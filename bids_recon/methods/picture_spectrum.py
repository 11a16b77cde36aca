"""Pictures as sums of waves that are the weaker the finer they are, as in natural pictures.

Optimising the waves' amplitudes in place of pixels changes no minimum of the loss, but what an optimiser that
stops early has found: coarse structure first, and little of the fine noise that convolutions do not see. The
idea is that of the decorrelated pictures of Olah, Mordvintsev and Schubert (2017, "Feature visualization",
Distill). It is no part of the publication by Shen et al.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Exponent of the fall of amplitude with frequency: natural pictures have about 1 (Field 1987, J Opt Soc Am A
# 4: 2379). Steeper gave smoother pictures of simulated brains, which another network identified more often.
FALL = 1.5


def picture_waves(size: int, device: torch.device, fall: float = FALL) -> Callable[[Tensor], Tensor]:
    """Make the map from amplitudes to pictures.

    Parameters
    ----------
    size : int
        Height and width of pictures.
    device : torch.device
    fall : float
        A wave of u half periods down and v across has the weight (1 + √(u² + v²))^-fall.

    Returns
    -------
    callable
        Pictures (n, 3, size, size) from amplitudes (n, 3, size, size); zeros give zeros.
    """
    place = (torch.arange(size, device=device, dtype=torch.float64) + 0.5) * torch.pi / size
    frequency = torch.arange(size, device=device, dtype=torch.float64)
    # Orthonormal cosines (DCT-II), one a row.
    waves = torch.cos(frequency[:, None] * place) * (2 / size) ** 0.5
    waves[0] /= 2**0.5
    weights = (1 + torch.hypot(frequency[:, None], frequency)) ** -fall
    waves, weights = waves.float(), weights.float()

    def draw(amplitudes: Tensor) -> Tensor:
        return waves.T @ (weights * amplitudes) @ waves

    return draw
