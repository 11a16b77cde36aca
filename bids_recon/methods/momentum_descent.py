"""Gradient descent with momentum, decay and blur, for a batch of pictures at once.

Shen et al. 2017, "Optimization methods for reconstruction" (after Qian 1999):

    x_{t+1} = x_t + v_t,    v_t = μ v_{t-1} - η_t g_t,

with μ = 0.9 and a learning rate η that falls linearly from 2 to 0 in 200 iterations. The authors' programs
(icnn, and bdpy after it) differ: they scale the velocity, x_{t+1} = x_t - η_t v_t with v_t = μ v_{t-1} + g_t.
Both divide each gradient by its mean absolute value, of which the paper does not speak, but without which
a rate of 2 means nothing. Then they shrink the picture towards the mean colour, blur it, and bound it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bids_recon.methods.picture_objective import Objective, OnStep, Optimised, losses_and_gradients

# Standard deviations at which the Gaussian is cut off, as in scipy.ndimage.
TRUNCATE = 4.0


@dataclass(frozen=True)
class DescentSettings:
    """Settings of the descent; those with two values fall (or rise) linearly from one towards the other.

    Attributes
    ----------
    iterations : int
        At iteration t of n the share t / n of the way is gone, so that the last value is never reached.
    rate : (float, float)
        Learning rate η.
    momentum : float
        μ.
    decay : (float, float)
        Share of x that each iteration takes away.
    blur : (float, float), optional
        Standard deviation of a Gaussian along height and width, in pixels.
    rate_scales : {"gradient", "velocity"}
        What η is multiplied with: each gradient as it comes (the paper), or the sum of them all (icnn).
    """

    iterations: int = 200
    rate: tuple[float, float] = (2.0, 0.0)
    momentum: float = 0.9
    decay: tuple[float, float] = (0.0, 0.0)
    blur: tuple[float, float] | None = None
    rate_scales: str = "gradient"


PAPER = DescentSettings()
ICNN_PIXELS = DescentSettings(rate=(2.0, 1e-10), decay=(0.2, 1e-10), blur=(2.0, 0.5), rate_scales="velocity")
ICNN_GENERATOR = DescentSettings(rate=(2.0, 1e-10), decay=(0.01, 0.01), rate_scales="velocity")


def descend(
    objective: Objective,
    start: Tensor,
    settings: DescentSettings = PAPER,
    *,
    lower: Tensor | float | None = None,
    upper: Tensor | float | None = None,
    at_once: int | None = None,
    on_step: OnStep | None = None,
) -> Optimised:
    """Minimise the loss of each picture.

    Parameters
    ----------
    objective : callable
        See `Objective`.
    start : Tensor (n, \\*shape)
        Where each picture starts, float32 or float64.
    settings : DescentSettings
    lower, upper : Tensor or float, optional
        Bounds that broadcast against `start`; kept after each iteration.
    at_once : int, optional
        Pictures in one call of the objective; all by default.
    on_step : callable, optional
        Called as `on_step(iteration, x)` after each iteration with a copy of all pictures (n, \\*shape).

    Returns
    -------
    Optimised
        A picture whose loss or gradient is not finite stops where both last were.
    """
    if settings.rate_scales not in ("gradient", "velocity"):
        raise ValueError(f"the rate scales the gradient or the velocity, not '{settings.rate_scales}'")
    n, others = len(start), tuple(range(1, start.ndim))
    bounds = [None if bound is None else _bound(bound, start) for bound in (lower, upper)]
    x = start.detach().clone()
    solution, velocity = x.clone(), torch.zeros_like(x)
    rows = torch.arange(n, device=x.device)
    made = torch.zeros_like(rows)
    curve: list[Tensor] = []
    n_evaluations = 0
    for iteration in range(settings.iterations + 1):
        losses, gradients = losses_and_gradients(objective, x, rows, at_once)
        n_evaluations += len(rows)
        good = losses.isfinite() & gradients.isfinite().flatten(1).all(dim=1)
        current = losses if iteration == 0 else curve[-1].index_put((rows[good],), losses[good])
        curve.append(current)
        if not good.all():
            rows, x, velocity, gradients = rows[good], x[good], velocity[good], gradients[good]
            bounds = [bound[good] if bound is not None and len(bound) > 1 else bound for bound in bounds]
        solution[rows] = x
        if iteration > 0:
            made[rows] += 1
            if on_step is not None:
                on_step(iteration, solution.clone())
        if iteration == settings.iterations or len(rows) == 0:
            break
        share = iteration / settings.iterations
        rate = _between(settings.rate, share)
        size = gradients.abs().mean(dim=others, keepdim=True)
        gradients = gradients / torch.where(size > 0, size, 1)
        if settings.rate_scales == "gradient":
            velocity = settings.momentum * velocity - rate * gradients
            x = x + velocity
        else:
            velocity = settings.momentum * velocity + gradients
            x = x - rate * velocity
        x = (1 - _between(settings.decay, share)) * x
        if settings.blur is not None:
            x = blur(x, _between(settings.blur, share))
        if lower is not None or upper is not None:
            x = x.clamp(*bounds)
    curve += [curve[-1]] * (settings.iterations + 1 - len(curve))
    return Optimised(solution, torch.stack(curve, dim=1), made, n_evaluations)


def blur(pictures: Tensor, deviation: float) -> Tensor:
    """Filter pictures with a Gaussian along height and width; beyond an edge they are continued as mirrored.

    Parameters
    ----------
    pictures : Tensor (..., height, width)
    deviation : float
        Standard deviation in pixels.
    """
    rows, columns = (_blur_matrix(size, deviation).to(pictures) for size in pictures.shape[-2:])
    return rows @ pictures @ columns.T


def _blur_matrix(size: int, deviation: float) -> Tensor:
    """What each pixel of a line (size, size) float64 takes from the others."""
    if deviation <= 0:
        return torch.eye(size, dtype=torch.float64)
    radius = int(TRUNCATE * deviation + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets.double() / deviation).square())
    # Positions outside come back inside: 2 1 0 | 0 1 2 ... n-1 | n-1 ...
    places = (torch.arange(size)[:, None] + offsets) % (2 * size)
    places = torch.where(places < size, places, 2 * size - 1 - places)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, places, (kernel / kernel.sum()).expand(size, -1))


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


def _bound(bound: Tensor | float, start: Tensor) -> Tensor:
    """A bound with as many axes as the start, so that those of each picture can be told."""
    values = torch.as_tensor(bound, dtype=start.dtype, device=start.device)
    return values.reshape((1,) * (start.ndim - values.ndim) + values.shape)
