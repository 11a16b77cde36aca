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


def choose_voxels(products: torch.Tensor, moments: VoxelMoments, n_chosen: int) -> torch.Tensor:
    """Indices (n_units, n_chosen) int64 of the voxels with the largest |r|, increasing within each unit.

    Constant voxels are never chosen; `n_chosen` is at most the number of the others.

    Parameters
    ----------
    products : tensor (n_units, n_voxels) float64
        `VoxelMoments.products` of the units. Divided by the lengths of voxels they are the correlations, but
        for a factor that all voxels of a unit share.
    moments : VoxelMoments
    n_chosen : int
    """
    strength = (products * moments.inverse_norm).abs_()
    if not moments.inverse_norm.all():
        strength.masked_fill_(moments.inverse_norm == 0, -1.0)
    chosen = torch.topk(strength, n_chosen, dim=1, sorted=False).indices
    return torch.sort(chosen, dim=1).values
