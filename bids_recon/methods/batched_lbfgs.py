"""L-BFGS for a batch of pictures at once, each with its own curvature, step length and convergence.

Liu & Nocedal 1989, "On the limited memory BFGS method for large scale optimization". Shen et al. 2017 draw
every picture with 200 iterations of it, from the mean colour. The authors' programs keep pixels within
[-mean, 255 - mean] (L-BFGS-B); here bounds are kept by projection: a pixel at its bound stays there while the
gradient pushes it outwards, and steps are cut off at the bounds (Bertsekas 1982, "Projected Newton methods
for optimization problems with simple constraints").

The step length fulfils the weak Wolfe conditions, which brackets by halving find even where a loss has kinks
(Lewis & Overton 2013, "Nonsmooth optimization via quasi-Newton methods"), as behind ReLUs and max pooling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_recon.methods.picture_objective import Objective, OnStep, Optimised, losses_and_gradients
from bids_recon.methods.step_bracket import StepBracket

# Wolfe: what a step must gain, as a share of the slope at its start; the slope that may be left at its end.
DECREASE = 1e-4
FLATNESS = 0.9
# Trials of one line search.
TRIALS = 20
# Steps and changes of the gradient whose cosine is smaller are at right angles for all that float32 can tell.
LEAST_COSINE = 1e-6


@dataclass
class _Bounds:
    """Bounds (b or 1, d) of what is optimised."""

    lower: Tensor | None
    upper: Tensor | None

    def clip(self, x: Tensor) -> Tensor:
        if self.lower is None and self.upper is None:
            return x
        return x.clamp(self.lower, self.upper)

    def outward(self, x: Tensor, direction: Tensor) -> Tensor | None:
        """Where a value is at its bound and the direction leads out; None without bounds."""
        low = None if self.lower is None else (x <= self.lower) & (direction < 0)
        high = None if self.upper is None else (x >= self.upper) & (direction > 0)
        if low is None or high is None:
            return high if low is None else low
        return low | high

    def keep(self, which: Tensor) -> _Bounds:
        taken = [
            bound[which] if bound is not None and len(bound) > 1 else bound
            for bound in (self.lower, self.upper)
        ]
        return _Bounds(*taken)


@dataclass
class _Points:
    """Pictures x (b, d) with losses (b,) and gradients (b, d)."""

    x: Tensor
    losses: Tensor
    gradients: Tensor

    def keep(self, which: Tensor) -> _Points:
        return _Points(self.x[which], self.losses[which], self.gradients[which])


class _Curvature:
    """What the last steps tell about the inverse Hessian of each picture."""

    def __init__(self, length: int, like: Tensor) -> None:
        self._length = length
        # Steps and changes of the gradient (b, d), oldest first; 1 / (step · change) is zero for no pair.
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []
        # Size of the inverse Hessian (b,); zero where nothing is known.
        self.scale = torch.zeros_like(like)

    def add(self, steps: Tensor, changes: Tensor) -> None:
        products, squares = _dot(steps, changes), _dot(changes, changes)
        good = products > LEAST_COSINE * (_dot(steps, steps) * squares).sqrt()
        inverses = torch.where(good, 1 / products, 0)
        self.scale = torch.where(good, products / squares, self.scale)
        if len(self._pairs) == self._length:
            self._pairs.pop(0)
        self._pairs.append((steps, changes, inverses))

    def apply(self, gradients: Tensor) -> Tensor:
        """Inverse Hessians times gradients (b, d), by the two-loop recursion."""
        result = gradients.clone()
        shares = []
        for steps, changes, inverses in reversed(self._pairs):
            share = inverses * _dot(steps, result)
            result.addcmul_(changes, share[:, None], value=-1)
            shares.append(share)
        result *= torch.where(self.scale > 0, self.scale, 1)[:, None]
        for (steps, changes, inverses), share in zip(self._pairs, reversed(shares), strict=True):
            result.addcmul_(steps, (share - inverses * _dot(changes, result))[:, None])
        return result

    def forget(self, which: Tensor) -> None:
        self._pairs = [
            (steps, changes, torch.where(which, 0, inverses)) for steps, changes, inverses in self._pairs
        ]
        self.scale = torch.where(which, 0, self.scale)

    def keep(self, which: Tensor) -> None:
        self._pairs = [(s[which], c[which], inverses[which]) for s, c, inverses in self._pairs]
        self.scale = self.scale[which]


def minimise_lbfgs(
    objective: Objective,
    start: Tensor,
    *,
    lower: Tensor | float | None = None,
    upper: Tensor | float | None = None,
    iterations: int = 200,
    history: int = 10,
    tolerance: float = 1e-7,
    at_once: int | None = None,
    on_step: OnStep | None = None,
) -> Optimised:
    """Minimise the loss of each picture.

    Parameters
    ----------
    objective : callable
        See `Objective`. A loss that is not finite is taken for a step that went too far.
    start : Tensor (n, \\*shape)
        Where each picture starts, float32 or float64; taken into the bounds.
    lower, upper : Tensor or float, optional
        Bounds that broadcast against `start`.
    iterations : int
        Most iterations of each picture.
    history : int
        Steps that curvature is learnt from.
    tolerance : float
        A picture is done when an iteration lowers its loss by no more than this share.
    at_once : int, optional
        Pictures in one call of the objective; all that are not done by default.
    on_step : callable, optional
        Called as `on_step(iteration, x)` after each iteration with a copy of all pictures (n, \\*shape).

    Returns
    -------
    Optimised
        A picture whose loss is not finite at the start is given back as it was.
    """
    n, shape = len(start), start.shape[1:]
    bounds = _Bounds(*(_flat_bound(bound, start) for bound in (lower, upper)))
    solution = bounds.clip(start.detach().reshape(n, -1).clone())
    rows = torch.arange(n, device=start.device)
    n_evaluations = 0

    def evaluate(x: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal n_evaluations
        n_evaluations += len(x)
        losses, gradients = losses_and_gradients(objective, x.reshape(-1, *shape), of, at_once)
        return losses, gradients.reshape(len(x), -1)

    now = _Points(solution.clone(), *evaluate(solution, rows))
    current = now.losses.clone()
    curve = [current.clone()]
    made = torch.zeros(n, dtype=torch.int64, device=start.device)
    curvature = _Curvature(history, now.losses)
    going = _finite(now.losses, now.gradients)
    for iteration in range(1, iterations + 1):
        if not going.all():
            rows, now, bounds = rows[going], now.keep(going), bounds.keep(going)
            curvature.keep(going)
        if len(rows) == 0:
            break
        known = curvature.scale > 0
        directions, first = _directions(now, bounds, curvature)
        new = _search(evaluate, rows, now, directions, first, bounds)
        steps = new.x - now.x
        moved = new.losses < now.losses
        curvature.add(steps, new.gradients - now.gradients)
        # Curvature that led nowhere is dropped, and steepest descent has a last try.
        curvature.forget(~moved)
        lowered = now.losses - new.losses
        going = torch.where(moved, lowered > tolerance * now.losses.abs(), known)
        now = new
        solution[rows], current[rows] = now.x, now.losses
        made[rows] += moved
        curve.append(current.clone())
        if on_step is not None:
            on_step(iteration, solution.reshape(start.shape).clone())
    curve += [current] * (iterations + 1 - len(curve))
    return Optimised(solution.reshape(start.shape), torch.stack(curve, dim=1), made, n_evaluations)


def _directions(now: _Points, bounds: _Bounds, curvature: _Curvature) -> tuple[Tensor, Tensor]:
    """Directions of descent (b, d) within the bounds, and step lengths (b,) to try first."""
    downhill = -now.gradients
    stuck = bounds.outward(now.x, downhill)
    if stuck is not None:
        downhill = downhill.masked_fill(stuck, 0)
    directions = curvature.apply(downhill)
    if stuck is not None:
        directions.masked_fill_(stuck, 0)
        # What else would leave at once only takes away from the descent.
        leaving = bounds.outward(now.x, directions)
        assert leaving is not None
        directions.masked_fill_(leaving, 0)
    slopes = _dot(now.gradients, directions)
    uphill = ~((slopes < 0) & directions.isfinite().all(dim=1))
    curvature.forget(uphill)
    directions = torch.where(uphill[:, None], downhill, directions)
    # A first step has length one, and grows.
    lengths = directions.norm(dim=1).clamp(min=torch.finfo(directions.dtype).tiny)
    return directions, torch.where(curvature.scale > 0, 1, 1 / lengths)


def _search(
    evaluate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    rows: Tensor,
    start: _Points,
    directions: Tensor,
    first: Tensor,
    bounds: _Bounds,
) -> _Points:
    """Points along the directions that fulfil the weak Wolfe conditions, or else the last that gained enough.

    Pictures that have found theirs wait for the others without being evaluated. One that finds none stays.
    """
    found = _Points(start.x.clone(), start.losses.clone(), start.gradients.clone())
    slope = _dot(start.gradients, directions)
    bracket = StepBracket.of(start.losses, slope, first)
    seeking = torch.arange(len(rows), device=rows.device)
    for _ in range(TRIALS):
        everyone = len(seeking) == len(rows)
        here, along = (start, directions) if everyone else (start.keep(seeking), directions[seeking])
        straight = torch.addcmul(here.x, along, bracket.trial[seeking, None].to(along.dtype))
        x = bounds.keep(seeking).clip(straight)
        losses, gradients = evaluate(x, rows[seeking])
        gain = _dot(here.gradients, x - here.x)
        good = (losses <= here.losses + DECREASE * gain) & _finite(losses, gradients)
        # Values that were cut off at a bound no longer follow the direction.
        slopes = _dot(gradients, along if x is straight else torch.where(x == straight, along, 0))
        flat = slopes >= FLATNESS * slope[seeking]
        better = seeking[good]
        found.x[better], found.losses[better], found.gradients[better] = (
            x[good],
            losses[good],
            gradients[good],
        )
        bracket.narrow(seeking, losses, slopes, good)
        still = ~(good & flat) & (x != here.x).any(dim=1)
        seeking = seeking[still]
        if len(seeking) == 0:
            break
    return found


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (b,) of rows (b, d)."""
    return torch.linalg.vecdot(a, b)


def _finite(losses: Tensor, gradients: Tensor) -> Tensor:
    return losses.isfinite() & gradients.isfinite().all(dim=1)


def _flat_bound(bound: Tensor | float | None, start: Tensor) -> Tensor | None:
    """A bound as (n or 1, d)."""
    if bound is None:
        return None
    values = torch.as_tensor(bound, dtype=start.dtype, device=start.device)
    n = len(start) if values.ndim == start.ndim and len(values) > 1 else 1
    return values.expand(n, *start.shape[1:]).reshape(n, -1)
