"""The small matrices of each unit, gathered from one Gram matrix of all voxels."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.voxel_moments import VoxelMoments

# A Gram matrix that takes more bytes than this is not made; small ones are computed from columns instead.
LARGEST_GRAM = 4 * 2**30
# Rows of the Gram matrix that are read for all units of a batch while they are in the cache. They divide the
# blocks of the Gram matrix, which are complete.
ROWS = 128


def scaled_voxels(
    moments: VoxelMoments, dtype: torch.dtype, work: SharedWork, key: tuple[object, ...]
) -> torch.Tensor:
    """Centred and scaled voxels (n_trials, n_voxels), made or found in the shared work."""
    return work.get(("unit-design", dtype, *key), lambda: moments.design(dtype))


@dataclass(frozen=True)
class UnitSystems:
    """Source of the inner products between the voxels of each unit.

    Attributes
    ----------
    whole : tensor (n_voxels, n_voxels) or (n_trials, n_voxels)
        The Gram matrix of all voxels, in its upper triangle; or, if there are too many voxels, their centred
        and scaled responses.
    is_gram : bool
        Which of them it is.
    """

    whole: torch.Tensor
    is_gram: bool

    @classmethod
    def of(
        cls, moments: VoxelMoments, dtype: torch.dtype, work: SharedWork, key: tuple[object, ...]
    ) -> UnitSystems:
        """Make the source, or find it in the shared work under the key of the moments."""
        n_voxels = moments.responses.shape[1]
        is_gram = n_voxels**2 * dtype.itemsize <= LARGEST_GRAM
        design = scaled_voxels(moments, dtype, work, key)
        if not is_gram:
            return cls(design, is_gram)
        return cls(work.get(("unit-gram", dtype, *key), lambda: moments.gram(design)), is_gram)

    def of_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Inner products (k, k) of increasing voxels (k,), in the upper triangle."""
        if self.is_gram:
            return self.whole[voxels][:, voxels]
        design = self.whole[:, voxels]
        return design.T @ design

    def penalised(self, voxels: torch.Tensor, alpha: float) -> torch.Tensor:
        """Inner products (k, k) of increasing voxels (k,), in the upper triangle, with α on the diagonal."""
        system = self.of_voxels(voxels)
        system.diagonal().add_(alpha)
        return system

    def gather(self, chosen: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
        """Write the matrices of a batch of units into a buffer.

        Parameters
        ----------
        chosen : tensor (n_units, k) int64
            Voxels of each unit, increasing.
        into : tensor (at least n_units, k, k), contiguous
            Only the upper triangles are written in whole; what the rest holds has no meaning.

        Returns
        -------
        systems : tensor (n_units, k, k)
            The first `n_units` of the buffer.
        """
        n_units, k = chosen.shape
        systems = into[:n_units]
        if not self.is_gram:
            for system, own in zip(systems, chosen, strict=True):
                system.copy_(self.of_voxels(own))
            return systems
        # The matrix of one unit touches most cache lines of the rows of its voxels. Rows are therefore read
        # once for the whole batch, block by block, and of each row only the columns from the diagonal on.
        n_voxels = len(self.whole)
        voxels, place = torch.sort(chosen.reshape(-1))
        edges = torch.arange(0, n_voxels + ROWS, ROWS, device=chosen.device)
        ends = torch.searchsorted(voxels, edges).tolist()
        firsts = torch.searchsorted(chosen, edges.repeat(n_units, 1)).amin(dim=0).tolist()
        columns, unit = chosen.to(torch.int32), place // k
        offsets = (voxels * n_voxels).to(torch.int32 if n_voxels**2 < 2**31 else torch.int64)
        flat, rows = self.whole.view(-1), systems.view(n_units * k, k)
        for begin, end, left in zip(ends[:-1], ends[1:], firsts[:-1], strict=True):
            if begin < end:
                wanted = columns[:, left:].index_select(0, unit[begin:end]) + offsets[begin:end, None]
                found = flat.index_select(0, wanted.view(-1)).view(end - begin, k - left)
                rows[:, left:].index_copy_(0, place[begin:end], found)
        return systems
