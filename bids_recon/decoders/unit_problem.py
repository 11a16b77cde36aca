"""Regressions of many units on few voxels each: input of the fits, a chunk of units at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bids_recon.decoders.device import find_device, to_device
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import RepeatedRows, Targets, as_targets, chunks, read_columns
from bids_recon.decoders.unit_selection import UnitTargets, choose_voxels
from bids_recon.decoders.unit_systems import UnitSystems, scaled_voxels
from bids_recon.decoders.voxel_moments import VoxelMoments
from bids_recon.errors import UsageError

# Copies of targets and of their products with voxels that are in memory at one time.
COPIES = 4


@dataclass(frozen=True)
class UnitChunk:
    """Some units, ready to be solved.

    Attributes
    ----------
    part : slice
        Which of the targets they are.
    targets : UnitTargets
    products : tensor (n_units, n_voxels)
        Inner products of centred targets and scaled voxels.
    chosen : tensor (n_units, n_chosen) int64
        Voxels of each unit, increasing.
    scale : tensor (n_units, n_chosen) float64
        What the chosen voxels are multiplied with.
    """

    part: slice
    targets: UnitTargets
    products: torch.Tensor
    chosen: torch.Tensor
    scale: torch.Tensor

    @property
    def right_sides(self) -> torch.Tensor:
        """Inner products (n_units, n_chosen) of targets with their chosen, scaled voxels."""
        return self.products.gather(1, self.chosen)


@dataclass(frozen=True)
class UnitProblem:
    """Responses, targets and the number of voxels for each unit.

    Attributes
    ----------
    moments : VoxelMoments
    targets : array (n_trials, n_targets)
    one_target : bool
        Whether targets were given as a vector.
    n_chosen : int
        Voxels per unit: as many as asked for, or as vary.
    work : SharedWork
    key : tuple
        What the moments in the shared work depend on.
    """

    moments: VoxelMoments
    targets: Targets
    one_target: bool
    n_chosen: int
    work: SharedWork
    key: tuple[object, ...]

    @classmethod
    def of(
        cls,
        responses: NDArray[np.floating],
        Y: ArrayLike | RepeatedRows | None,
        work: SharedWork,
        n_voxels_per_unit: int,
        standardise: bool,
        device: str,
    ) -> UnitProblem:
        """Check the input and measure the responses (n_trials, n_voxels), float32 or float64.

        Raises
        ------
        UsageError
            When the number of voxels is not above zero, or there is no such device.
        ValueError
            When there are no targets, or their shape does not fit the responses.
        """
        if n_voxels_per_unit < 1:
            raise UsageError(f"each unit needs at least one voxel, not {n_voxels_per_unit}")
        targets, one_target = as_targets(Y, len(responses))
        place = find_device(device)
        key = (responses.dtype, standardise, place)
        moments = work.get(
            ("voxel-moments", *key), lambda: VoxelMoments.of(to_device(responses, place), standardise)
        )
        n_chosen = min(n_voxels_per_unit, len(moments.varying))
        return cls(moments, targets, one_target, n_chosen, work, key)

    @property
    def n_constant(self) -> int:
        """Number of voxels that do not vary."""
        return len(self.moments.mean) - len(self.moments.varying)

    @property
    def same_voxels(self) -> bool:
        """Whether every unit has all voxels that vary."""
        return self.n_chosen == len(self.moments.varying)

    def systems(self, dtype: torch.dtype) -> UnitSystems:
        """Source of the inner products between voxels."""
        return UnitSystems.of(self.moments, dtype, self.work, self.key)

    def chunks(self, dtype: torch.dtype) -> Iterator[UnitChunk]:
        """Read targets and choose the voxels of each unit; products are in the precision asked for."""
        single = dtype == torch.float32
        design = scaled_voxels(self.moments, dtype, self.work, self.key) if single else None
        n_trials, n_targets = self.targets.shape
        n_rows = COPIES * (n_trials + len(self.moments.mean))
        for part in chunks(n_targets, n_rows, itemsize=8):
            values = read_columns(self.targets, part, np.dtype(np.float64))
            targets = UnitTargets.of(values, self.moments.mean.device)
            products = self.moments.products(targets.centred, design)
            chosen = choose_voxels(products, self.moments, targets, self.n_chosen)
            yield UnitChunk(part, targets, products, chosen, self.moments.inverse_scale[chosen])
