"""One response per trial and voxel: the hand-over from brain imaging to decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.rois.selection import VoxelSelection


@dataclass(frozen=True)
class Responses:
    """Single-trial responses.

    Attributes
    ----------
    data : ndarray (n_trials, n_voxels) float32
        Response amplitude; percent signal change when it comes from BOLD.
    trials : DataFrame with n_trials rows
        One row per presentation, in the order of `data` (see `bids_recon.dataset.trials`).
    voxels : VoxelSelection
        Where the columns of `data` lie.
    """

    data: NDArray[np.float32]
    trials: pd.DataFrame
    voxels: VoxelSelection

    def __post_init__(self) -> None:
        if self.data.shape != (len(self.trials), self.voxels.n_voxels):
            raise ValueError(
                f"data is {self.data.shape}, but there are {len(self.trials)} trials"
                f" and {self.voxels.n_voxels} voxels"
            )

    def take(self, rows: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]) -> Responses:
        """Responses of some trials, in the order given."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index
        return Responses(self.data[index], self.trials.iloc[index].reset_index(drop=True), self.voxels)

    def restrict(self, keep: NDArray[np.bool_]) -> Responses:
        """Responses of the voxels where `keep` (n_voxels,) is true."""
        return Responses(np.ascontiguousarray(self.data[:, keep]), self.trials, self.voxels.restrict(keep))
