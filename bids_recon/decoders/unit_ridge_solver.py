"""Ridge regressions of many units, each on voxels of its own, in batches.

For one unit with targets y and the voxels X of its choice, FastL2LiR solves

    (X₁ᵀ X₁ + α I) [w; b] = X₁ᵀ y,    X₁ = [X, 1],

so that the intercept b is penalised like a weight. Let m and ȳ be the means of X and y, A = Xcᵀ Xc + α I with
centred Xc, u = A⁻¹ Xcᵀ (y - ȳ), v = A⁻¹ m and κ = n α / (n + α). Eliminating b gives

    t = (ȳ - mᵀ u) / (1 + κ mᵀ v),    w = u + κ t v,    b + mᵀ w = ȳ - t α / (n + α).

Nothing cancels here however large the means are. Without a penalty on the intercept κ is zero, and the
prediction at the mean response, b + mᵀ w, is ȳ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bids_recon.decoders.positive_systems import solve
from bids_recon.decoders.unit_selection import UnitTargets
from bids_recon.decoders.unit_systems import UnitSystems
from bids_recon.decoders.workers import map_on_threads, shares

# Bytes of the matrices of one batch of units: on the CPU what a processor's cache may hold, on a GPU enough
# work to fill it.
BATCH_BYTES = {"cpu": 64 * 2**20, "cuda": 2**30}


@dataclass(frozen=True)
class UnitSolution:
    """Weights and offset of a chunk of units.

    Attributes
    ----------
    weights : tensor (n_units, k)
        Of centred and scaled voxels, in the order of `chosen`.
    offset : tensor (n_units,) float64
        Prediction at the mean response.
    """

    weights: torch.Tensor
    offset: torch.Tensor


def solve_units(
    systems: UnitSystems,
    chosen: torch.Tensor,
    right: torch.Tensor,
    targets: UnitTargets,
    alpha: float,
    voxel_mean: torch.Tensor | None,
) -> UnitSolution:
    """Solve each unit on the voxels of its own choice.

    Parameters
    ----------
    systems : UnitSystems
        Its precision is that of the solution.
    chosen : tensor (n_units, k) int64
    right : tensor (n_units, k)
        Inner products of centred targets and the scaled voxels chosen.
    targets : UnitTargets
    alpha : float
        Penalty, above zero.
    voxel_mean : tensor (n_voxels,) float64, optional
        Means of scaled voxels if the intercept is penalised, else nothing.
    """
    n_units, k = chosen.shape
    device, dtype = systems.whole.device, systems.whole.dtype
    sides = [right.to(dtype)] + ([] if voxel_mean is None else [voxel_mean[chosen].to(dtype)])
    solved = torch.stack(sides, dim=1)
    size = max(1, min(n_units, BATCH_BYTES[device.type] // max(1, k * k * dtype.itemsize)))

    def solve_share(share: slice) -> None:
        buffer = torch.zeros(size, k, k, dtype=dtype, device=device)
        for start in range(share.start, share.stop, size):
            part = slice(start, min(start + size, share.stop))
            batch = systems.gather(chosen[part], buffer)
            batch.diagonal(dim1=-2, dim2=-1).add_(alpha)
            solved[part] = solve(batch, solved[part])[0]

    map_on_threads(solve_share, shares(n_units, device), device)
    if voxel_mean is None:
        return UnitSolution(solved[:, 0], targets.mean)
    return _with_intercept(solved[:, 0], solved[:, 1], voxel_mean[chosen], targets, alpha)


def solve_together(
    factor: torch.Tensor,
    right: torch.Tensor,
    targets: UnitTargets,
    alpha: float,
    voxel_mean: torch.Tensor | None,
) -> UnitSolution:
    """Solve all units on the same voxels.

    As `solve_units`, with the Cholesky factor (k, k) of these voxels and the means (k,) of them only.
    """
    weights = torch.cholesky_solve(right.T.to(factor.dtype), factor).T
    if voxel_mean is None:
        return UnitSolution(weights, targets.mean)
    of_mean = torch.cholesky_solve(voxel_mean[:, None].to(factor.dtype), factor).T
    return _with_intercept(weights, of_mean, voxel_mean[None], targets, alpha)


def _with_intercept(
    u: torch.Tensor, v: torch.Tensor, voxel_mean: torch.Tensor, targets: UnitTargets, alpha: float
) -> UnitSolution:
    """Weights and offsets with a penalised intercept, by the equations at the top of this file."""
    n_trials = len(targets.centred)
    kappa = n_trials * alpha / (n_trials + alpha)
    distance = targets.mean - (voxel_mean * u.double()).sum(dim=1)
    t = distance / (1 + kappa * (voxel_mean * v.double()).sum(dim=1))
    # A unit that is constant is predicted as it is, though the penalty would draw it towards zero.
    t = torch.where(targets.deviation > 0, t, 0.0)
    return UnitSolution(
        u + (kappa * t)[:, None].to(u.dtype) * v, targets.mean - t * alpha / (n_trials + alpha)
    )
