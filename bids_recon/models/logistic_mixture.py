"""Pictures from the mixture of discretised logistic distributions that a network gives for each pixel.

Salimans et al. 2017, "PixelCNN++", sections 2.1 and 2.2: a component has a mean and a scale for each colour;
the mean of green depends linearly on the red of the pixel, and that of blue on its red and green.
Child 2021 uses it as the output of the very deep VAE.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

COLOURS = 3
# Sharper components are taken to be as sharp as this.
_LOWEST_LOG_SCALE = -7.0
# Uniform numbers keep this distance from 0 and 1, where the logarithms have their poles.
_MARGIN = 1e-5


class _Components(NamedTuple):
    """Of `k` components: logits (n, h, w, k), all others (n, h, w, 3, k)."""

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    coefficients: Tensor


def sample_pictures(parameters: Tensor, generator: torch.Generator) -> Tensor:
    """Draw pictures: a component for each pixel, then a level for each of its colours.

    Parameters
    ----------
    parameters : Tensor (n, height, width, 10 * k) float32
        `k` logits, then for each of red, green and blue `k` means, `k` logarithms of scales and `k` numbers
        whose hyperbolic tangents are the coefficients of green on red, blue on red, and blue on green.
    generator : torch.Generator
        On the CPU, so that the same numbers are drawn for every device.

    Returns
    -------
    Tensor (n, height, width, 3) uint8
        Fractions of grey levels are cut off, as published.
    """
    components = _components(parameters)
    gumbel = -torch.log(-torch.log(_uniform(components.logits, generator)))
    best = (components.logits + gumbel).argmax(-1)
    chosen = best[..., None, None].expand(*best.shape, COLOURS, 1)
    means, log_scales, coefficients = (values.gather(-1, chosen)[..., 0] for values in components[1:])
    uniform = _uniform(means, generator)
    levels = means + log_scales.exp() * (torch.log(uniform) - torch.log(1 - uniform))
    return _grey_levels(_dependent(levels, coefficients)).to(torch.uint8)


def expected_pictures(parameters: Tensor) -> Tensor:
    """Pictures (n, height, width, 3) uint8 of the expected level of each pixel and colour, rounded.

    The expectation is that of the levels before they are clipped to black and white; only the mean of each
    component is clipped.
    """
    components = _components(parameters)
    means = _dependent(components.means, components.coefficients)
    share = components.logits.softmax(-1)[..., None, :]
    return _grey_levels((share * means).sum(-1)).round().to(torch.uint8)


def _components(parameters: Tensor) -> _Components:
    n_components = parameters.shape[-1] // (1 + 3 * COLOURS)
    logits, rest = parameters.split([n_components, 3 * COLOURS * n_components], -1)
    means, log_scales, raw = rest.reshape(*rest.shape[:3], COLOURS, 3 * n_components).chunk(3, -1)
    return _Components(logits, means, log_scales.clamp(min=_LOWEST_LOG_SCALE), raw.tanh())


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    numbers = torch.empty(like.shape).uniform_(_MARGIN, 1 - _MARGIN, generator=generator)
    return numbers.to(like.device)


def _dependent(levels: Tensor, coefficients: Tensor) -> Tensor:
    """Levels in -1..1 after adding what depends on the colours before; colours are in dimension 3 of both."""
    red, green, blue = levels.unbind(3)
    green_on_red, blue_on_red, blue_on_green = coefficients.unbind(3)
    red = red.clamp(-1, 1)
    green = (green + green_on_red * red).clamp(-1, 1)
    blue = (blue + blue_on_red * red + blue_on_green * green).clamp(-1, 1)
    return torch.stack([red, green, blue], 3)


def _grey_levels(levels: Tensor) -> Tensor:
    return ((levels + 1) * 127.5).clamp(0, 255)
