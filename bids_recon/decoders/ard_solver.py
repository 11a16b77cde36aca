"""Sparse Bayesian linear regression with a relevance prior (ARD) on each weight, for batches of units.

The evidence procedure of Bishop (2006), section 7.2.1, for targets y and voxels X, both centred. With prior
precisions a of the weights and noise precision β, the posterior of the weights has

    S = (β XᵀX + diag(a))⁻¹,    m = β S Xᵀy,

and the next precisions are

    γᵢ = 1 - aᵢ Sᵢᵢ,    aᵢ = γᵢ / mᵢ²,    β = (n - Σ γ) / ‖y - X m‖².

Everything needs inner products only. It is computed in terms of q = √(β / a), the relevance of each voxel:
with B = 1 + diag(q) XᵀX diag(q) and u = B⁻¹ diag(q) Xᵀy,

    m = q u,    γ = 1 - diag(B⁻¹),    ‖y - X m‖² = yᵀy - uᵀ diag(q) Xᵀy - uᵀu,

where no eigenvalue of B is below one. A voxel with q = 0 is out of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bids_recon.decoders.positive_systems import inverse_diagonal, solve

# Systems are made smaller when a share of their voxels has been pruned; doing so costs one copy.
SHRINK = 0.97
# The residual is a difference of inner products: a smaller share of yᵀy cannot be told from zero.
SMALLEST_RESIDUAL = 1e-10


@dataclass(frozen=True)
class ArdFit:
    """Result for a batch of units.

    Attributes
    ----------
    weights : tensor (n_units, k)
        Posterior means m; zero for pruned voxels.
    noise_precision : tensor (n_units,)
        β.
    n_iterations : tensor (n_units,) int64
        Updates of the precisions that were made.
    """

    weights: torch.Tensor
    noise_precision: torch.Tensor
    n_iterations: torch.Tensor


@dataclass(frozen=True)
class _Posterior:
    mean: torch.Tensor
    gamma: torch.Tensor
    residual: torch.Tensor


def fit_ard(
    gram: torch.Tensor,
    products: torch.Tensor,
    squares: torch.Tensor,
    n_trials: int,
    *,
    n_iterations: int = 200,
    prune_threshold: float = 1e3,
    tolerance: float | None = None,
) -> ArdFit:
    """Fit a batch of units.

    Parameters
    ----------
    gram : tensor (n_units, k, k) float64, contiguous
        XᵀX of centred voxels, its upper triangles.
    products : tensor (n_units, k) float64
        Xᵀy with centred targets.
    squares : tensor (n_units,) float64
        yᵀy, above zero.
    n_trials : int
    n_iterations : int
        Most updates of the precisions. All start at (n - 1) / yᵀy: at one for a target of variance one.
    prune_threshold : float
        Voxel i leaves for good when aᵢ > threshold · β (XᵀX)ᵢᵢ: the data then say less than one part in
        `prune_threshold` of what the prior says about its weight.
    tolerance : float, optional
        A unit stops when no weight changes by more than this share of its largest weight.
    """
    n_units, k = products.shape
    weights = torch.zeros_like(products)
    slots = torch.arange(k, device=gram.device).repeat(n_units, 1)
    relevance = torch.ones_like(products)
    noise = (n_trials - 1) / squares
    running = torch.ones(n_units, dtype=torch.bool, device=gram.device)
    made = torch.zeros(n_units, dtype=torch.int64, device=gram.device)
    before = torch.zeros_like(products)
    for _ in range(n_iterations):
        now = _posterior(gram, products, squares, relevance)
        found = (n_trials - now.gamma.sum(dim=1)) / now.residual
        new = torch.where(now.gamma > 0, found[:, None].sqrt() * now.mean.abs() / now.gamma.sqrt(), 0.0)
        stays = (relevance > 0) & (new**2 * gram.diagonal(dim1=1, dim2=2) * prune_threshold >= 1)
        relevance = torch.where(running[:, None], torch.where(stays, new, 0.0), relevance)
        noise = torch.where(running, found, noise)
        made += running
        if tolerance is not None:
            change = (now.mean - before).abs().amax(dim=1)
            running = running & (change > tolerance * now.mean.abs().amax(dim=1))
            before = now.mean
            if not running.any():
                break
        kept = int((relevance > 0).sum(dim=1).amax())
        if kept == 0:
            break
        if kept < SHRINK * products.shape[1]:
            # Voxels that stay come first, in their order, so that upper triangles remain upper triangles.
            order = torch.argsort(relevance == 0, dim=1, stable=True)[:, :kept]
            gram = _take(gram, order)
            products, relevance = products.gather(1, order), relevance.gather(1, order)
            before, slots = before.gather(1, order), slots.gather(1, order)
    mean = _posterior(gram, products, squares, relevance).mean
    return ArdFit(weights.scatter_(1, slots, mean), noise, made)


def _posterior(
    gram: torch.Tensor, products: torch.Tensor, squares: torch.Tensor, relevance: torch.Tensor
) -> _Posterior:
    system = gram * relevance[:, :, None]
    system *= relevance[:, None, :]
    system.diagonal(dim1=1, dim2=2).add_(1.0)
    scaled = relevance * products
    solution, factor = solve(system, scaled[:, None].clone())
    u = solution[:, 0]
    residual = squares - (u * scaled).sum(dim=1) - (u**2).sum(dim=1)
    return _Posterior(
        relevance * u, 1 - inverse_diagonal(factor), torch.maximum(residual, SMALLEST_RESIDUAL * squares)
    )


def _take(gram: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Rows and columns (n_units, kept) of matrices (n_units, k, k)."""
    kept = order.shape[1]
    rows = gram.gather(1, order[:, :, None].expand(-1, -1, gram.shape[2]))
    return rows.gather(2, order[:, None, :].expand(-1, kept, -1))
