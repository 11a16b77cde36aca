"""Which voxels of a volume are used, and the regions they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VoxelSelection:
    """An ordered set of voxels on a grid.

    Attributes
    ----------
    shape : tuple of 3 int
        Grid of the volume.
    affine : ndarray (4, 4) float64
        Voxel to scanner coordinates, in mm.
    indices : ndarray (n_voxels,) int64
        Increasing positions in the flattened volume (C order).
    rois : dict of str to ndarray (n_voxels,) bool
        Membership of each region of interest; regions may overlap and need not cover every voxel.
    space : str or None
        BIDS `space` label of the grid; None for the space of the run itself.
    sources : dict of str to list of str
        Files each region was read from.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    indices: NDArray[np.int64]
    rois: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    space: str | None = None
    sources: dict[str, list[str]] = field(default_factory=dict)

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return len(self.indices)

    @classmethod
    def from_masks(
        cls,
        masks: Mapping[str, NDArray[np.bool_]],
        affine: NDArray[np.float64],
        *,
        space: str | None = None,
        sources: Mapping[str, Sequence[str]] | None = None,
    ) -> VoxelSelection:
        """Take the union of boolean volumes of one shape, each of them a region."""
        volumes = {name: np.asarray(mask, dtype=bool) for name, mask in masks.items()}
        union = np.logical_or.reduce(list(volumes.values()))
        indices = np.flatnonzero(union).astype(np.int64)
        rois = {name: volume.ravel()[indices] for name, volume in volumes.items()}
        listed = {name: list(files) for name, files in (sources or {}).items()}
        return cls(union.shape, np.asarray(affine, dtype=float), indices, rois, space, listed)

    def restrict(self, keep: NDArray[np.bool_]) -> VoxelSelection:
        """Keep the voxels where `keep` (n_voxels,) is true; regions left empty are dropped."""
        rois = {name: member[keep] for name, member in self.rois.items() if member[keep].any()}
        return VoxelSelection(self.shape, self.affine, self.indices[keep], rois, self.space, self.sources)

    def mask(self, roi: str | None = None) -> NDArray[np.bool_]:
        """Boolean volume of one region, or of every voxel."""
        chosen = self.indices if roi is None else self.indices[self.rois[roi]]
        volume = np.zeros(int(np.prod(self.shape)), dtype=bool)
        volume[chosen] = True
        return volume.reshape(self.shape)

    def volume(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Put `values` (..., n_voxels) into a volume (x, y, z, ...) that is zero elsewhere."""
        values = np.asarray(values)
        flat = np.zeros((int(np.prod(self.shape)), *values.shape[:-1]), dtype=values.dtype)
        flat[self.indices] = np.moveaxis(values, -1, 0)
        return flat.reshape(*self.shape, *values.shape[:-1])
