"""The voxels of each unit: those that correlate best with it over training trials.

Kamitani's decoders see few voxels, chosen anew for every unit by the absolute correlation (Horikawa and
Kamitani 2017; Shen et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.decoders.device import to_device
from bids_recon.decoders.voxel_moments import VoxelMoments


@dataclass(frozen=True)
class UnitTargets:
    """A chunk of targets over training trials.

    Attributes
    ----------
    centred : tensor (n_trials, n_units) float64
        Zero for a unit that is constant.
    mean, deviation : tensor (n_units,) float64
        The deviation has ddof 1; it is zero for a unit that is constant.
    """

    centred: torch.Tensor
    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def of(cls, chunk: NDArray[np.float64], device: torch.device) -> UnitTargets:
        """Centre targets (n_trials, n_units)."""
        values = to_device(chunk, device)
        constant = values.amax(dim=0) == values.amin(dim=0)
        # The mean of equal numbers may differ from them by rounding.
        mean = torch.where(constant, values[0], values.mean(dim=0))
        centred = values - mean
        return cls(centred, mean, torch.sqrt((centred**2).sum(dim=0) / (len(values) - 1)))


def choose_voxels(
    products: torch.Tensor, moments: VoxelMoments, targets: UnitTargets, n_chosen: int
) -> torch.Tensor:
    """Indices (n_units, n_chosen) int64 of the voxels with the largest |r|, increasing within each unit.

    Constant voxels are never chosen; `n_chosen` is at most the number of the others. Correlations in single
    precision that are too close to the last one chosen are computed again in double precision, so that the
    choice is that of double precision.

    Parameters
    ----------
    products : tensor (n_units, n_voxels)
        `VoxelMoments.products` of the units.
    moments : VoxelMoments
    targets : UnitTargets
    n_chosen : int
    """
    strength = moments.strengths(products)
    if n_chosen == 0:
        return torch.empty((len(strength), 0), dtype=torch.int64, device=strength.device)
    if strength.dtype == torch.float64:
        chosen = torch.topk(strength, n_chosen, dim=1, sorted=False).indices
        return torch.sort(chosen, dim=1).values
    last = _nth_largest(strength, n_chosen)
    n_trials = len(targets.centred)
    length = targets.deviation.to(strength.dtype) * (n_trials - 1) ** 0.5
    # Rounding of an inner product, as it is in practice, several times over.
    doubt = length * n_trials**0.5 * torch.finfo(strength.dtype).eps
    taken = strength >= (last - doubt)[:, None]
    for unit in (taken.sum(dim=1, dtype=torch.int32) != n_chosen).nonzero()[:, 0].tolist():
        close = taken[unit] & (strength[unit] <= last[unit] + doubt[unit])
        voxels = close.nonzero()[:, 0]
        missing = n_chosen - int(taken[unit].sum()) + len(voxels)
        exact = moments.exact_strengths(targets.centred[:, unit], voxels)
        close[voxels[torch.topk(exact, missing, sorted=False).indices]] = False
        taken[unit] &= ~close
    return taken.nonzero()[:, 1].view(len(strength), n_chosen)


def _nth_largest(values: torch.Tensor, n: int) -> torch.Tensor:
    """The n-th largest value of each row."""
    if values.device.type == "cpu":
        # Several times faster than torch's.
        place = values.shape[1] - n
        return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place].copy())
    return torch.topk(values, n, dim=1, sorted=False).values.amin(dim=1)
