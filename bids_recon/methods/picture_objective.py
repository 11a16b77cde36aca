"""What the optimisers of pictures share: the loss of each picture, its gradient, and what is found.

An optimiser works on a batch, each picture on its own. A picture that is done is not evaluated any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bids_recon.decoders.workers import map_on_threads

OnStep = Callable[[int, Tensor], None]


class Objective(Protocol):
    """A differentiable loss of each picture, which depends on that picture alone."""

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        """Losses (b,) of pictures x (b, \\*shape): `rows` (b,) int64, increasing, of the whole batch."""
        ...


@dataclass(frozen=True)
class Optimised:
    """Result for a batch of n pictures.

    Attributes
    ----------
    solution : Tensor (n, \\*shape)
        Pictures, or inputs of a generator.
    losses : Tensor (n, iterations + 1)
        Loss at the start and after each iteration. The last one is carried on once a picture is done.
    n_iterations : Tensor (n,) int64
        Iterations that changed the picture.
    n_evaluations : int
        Losses with gradients that were computed, summed over pictures.
    """

    solution: Tensor
    losses: Tensor
    n_iterations: Tensor
    n_evaluations: int


def losses_and_gradients(
    objective: Objective, x: Tensor, rows: Tensor, at_once: int | None = None
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of each picture.

    Parameters
    ----------
    objective : callable
        See `Objective`.
    x : Tensor (b, \\*shape)
    rows : Tensor (b,) int64
        Which pictures of the whole batch these are.
    at_once : int, optional
        Most pictures in one call of the objective, which bounds memory; all in one call by default. On the
        CPU calls then run side by side, a thread each, which wastes less than threads that share each layer.

    Returns
    -------
    losses : Tensor (b,)
    gradients : Tensor (b, \\*shape)
    """

    def evaluate(part: slice) -> tuple[Tensor, Tensor]:
        leaf = x[part].detach().requires_grad_()
        with torch.enable_grad():
            losses = objective(leaf, rows[part])
            (gradients,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), gradients

    n_threads = torch.get_num_threads() if x.device.type == "cpu" else 1
    # Threads that would have no picture help inside of one call.
    if at_once is None or 2 * len(x) <= n_threads:
        return evaluate(slice(None))
    length = min(at_once, -(-len(x) // n_threads))
    parts = [slice(first, first + length) for first in range(0, len(x), length)]
    losses, gradients = zip(*map_on_threads(evaluate, parts, x.device), strict=True)
    return torch.cat(losses), torch.cat(gradients)
