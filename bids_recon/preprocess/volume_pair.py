"""Two volumes of one head, and how well one predicts the other when it is placed over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, map_coordinates

from bids_recon.preprocess.coarsening import coarsened, voxel_sizes
from bids_recon.preprocess.mutual_information import MutualInformation
from bids_recon.rois.grids import Volume

MASK_MARGIN = 8.0
"""Masks are widened by this many mm: the border of the brain says most about where it is."""

# In mm: enough to tell where the middle of a head is.
_BLOCK = 6.0


class VolumePair:
    """Two volumes of one head; points are taken from `here` and looked up in `there`.

    Parameters
    ----------
    here, there : Volume
    here_mask, there_mask : ndarray (x, y, z) bool or None
        The brain. Points are taken within the first, widened by `MASK_MARGIN`; the second only tells where
        the middle is.
    seed : int
        Of the points.
    """

    def __init__(
        self,
        here: Volume,
        there: Volume,
        here_mask: NDArray[np.bool_] | None,
        there_mask: NDArray[np.bool_] | None,
        seed: int,
    ) -> None:
        self.here, self.there, self.seed = here, there, seed
        self.mask = None if here_mask is None else Volume(here_mask.astype(np.float32), here.affine)
        self.centre = centre_of_mass(here, here_mask)
        self.other_centre = centre_of_mass(there, there_mask)

    def copies(self, least_size: float, smoothing: float = 0.0) -> tuple[Volume, Volume]:
        """Both with voxels of about one size in mm: the coarser one's, but no less than `least_size`."""
        sizes = (float(np.prod(voxel_sizes(volume.affine)) ** (1 / 3)) for volume in (self.here, self.there))
        size = max(least_size, *sizes)
        here, there = (coarsened(volume, size, smoothing=smoothing) for volume in (self.here, self.there))
        return here, there

    def criterion(self, here: Volume, there: Volume, n_points: int) -> MutualInformation:
        """Mutual information at points drawn within the voxels of a copy of the first."""
        mask = self.mask_on(here)
        rng = np.random.default_rng(self.seed)
        voxels = np.argwhere(mask) if mask is not None else np.argwhere(np.ones(here.shape, dtype=bool))
        if len(voxels) > n_points:
            voxels = voxels[rng.choice(len(voxels), n_points, replace=False)]
        # On the grid itself, mutual information peaks wherever two grids coincide (Pluim et al., Computer
        # Vision and Image Understanding 77, 2000, 211-232).
        places = voxels + rng.uniform(-0.5, 0.5, voxels.shape)
        values = map_coordinates(here.data, places.T, order=1, mode="nearest")
        return MutualInformation(places @ here.affine[:3, :3].T + here.affine[:3, 3], values, there)

    def mask_on(self, copy: Volume) -> NDArray[np.bool_] | None:
        """Mask of the first, widened, on the grid of a copy of it."""
        if self.mask is None:
            return None
        matrix = np.linalg.inv(self.mask.affine) @ copy.affine
        voxels = np.indices(copy.shape).reshape(3, -1)
        values = map_coordinates(
            self.mask.data, matrix[:3, :3] @ voxels + matrix[:3, 3:], order=1, mode="nearest"
        )
        steps = round(MASK_MARGIN / float(voxel_sizes(copy.affine).max()))
        inside = (values > 0.3).reshape(copy.shape)
        return binary_dilation(inside, iterations=steps) if steps else inside


def centre_of_mass(volume: Volume, mask: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Middle (3,) of the mask or, without one, of what is brighter than a third of the brightest, in mm."""
    if mask is None or not mask.any():
        volume = coarsened(volume, _BLOCK)
        mask = volume.data > np.percentile(volume.data, 98) / 3
    middle = np.argwhere(mask).mean(axis=0) if mask.any() else (np.array(volume.shape) - 1) / 2
    return np.asarray(volume.affine[:3, :3] @ middle + volume.affine[:3, 3])
