"""What is known about a simulated data set, and unknown about a real one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.outputs.names import derivative_name
from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate.design import SimulationDesign
from bids_recon.simulate.pictures import Picture

TASK = "viewing"


@dataclass(frozen=True)
class SimulatedRun:
    """A run and what happened in it.

    Attributes
    ----------
    subject, session, run : str
        Labels without prefix.
    trials : DataFrame
        The content of the events file, in order of presentation.
    n_volumes : int
        Volumes of the run.
    motion : ndarray (n_volumes, 6) or None
        Movement of the head about its position in the session (see `bids_recon.simulate.motion`); None when
        it was still.
    position : ndarray (4, 4)
        Takes points of the head from the T1w image to the scanner at the start of the run, in mm: the pull
        that brings the run's reference into the space of the T1w image.
    affine : ndarray (4, 4)
        Voxel to scanner coordinates of the run's volumes, in mm.
    """

    subject: str
    session: str
    run: str
    trials: pd.DataFrame
    n_volumes: int
    motion: NDArray[np.float64] | None
    position: NDArray[np.float64]
    affine: NDArray[np.float64]

    def file(self, suffix: str, extension: str, description: str | None = None) -> Path:
        """Path of one of the run's files relative to its data set, such as `file("bold", ".nii.gz")`."""
        entities = {"sub": self.subject, "ses": self.session, "task": TASK, "run": self.run}
        name = derivative_name({**entities, "desc": description}, suffix, extension)
        return Path(f"sub-{self.subject}", f"ses-{self.session}", "func", name)


@dataclass(frozen=True)
class SubjectTruth:
    """One person's brain.

    Attributes
    ----------
    label : str
        Label without prefix.
    voxels : VoxelSelection
        The voxels that answer to pictures, and their areas, in the space of the T1w image.
    betas : ndarray (n_stimuli, n_voxels) float32
        Noiseless response to each picture, in percent of the baseline at its peak; rows are in the order of
        `GroundTruth.stimulus_ids`.
    delays : ndarray (n_voxels,) float64
        Delay of the haemodynamic response, in seconds.
    centres : ndarray (n_voxels, 2) float64
        Centre of the receptive field to the right and up, in units of half the picture's side.
    sizes : ndarray (n_voxels,) float64
        Standard deviation of the receptive field, in the same units.
    noise : float
        Measurement noise, in percent.
    runs : tuple of SimulatedRun
        Runs in the order they were taken.
    """

    label: str
    voxels: VoxelSelection
    betas: NDArray[np.float32]
    delays: NDArray[np.float64]
    centres: NDArray[np.float64]
    sizes: NDArray[np.float64]
    noise: float
    runs: tuple[SimulatedRun, ...]


@dataclass(frozen=True)
class GroundTruth:
    """All that was planted in a simulated data set.

    Attributes
    ----------
    folder : Path
        The data set.
    design : SimulationDesign
        What was asked for.
    seed : int
        What it was drawn from.
    pictures : tuple of Picture
        Every picture; rows of `SubjectTruth.betas`.
    subjects : dict of str to SubjectTruth
        People by label.
    """

    folder: Path
    design: SimulationDesign
    seed: int
    pictures: tuple[Picture, ...]
    subjects: dict[str, SubjectTruth]

    @property
    def stimulus_ids(self) -> tuple[str, ...]:
        """Ids of the pictures, in their order."""
        return tuple(picture.stimulus_id for picture in self.pictures)

    @property
    def sets(self) -> dict[str, tuple[str, ...]]:
        """Ids of the pictures of each set: `train`, and the test sets that are not empty."""
        named: dict[str, list[str]] = {}
        for picture in self.pictures:
            named.setdefault(picture.picture_set, []).append(picture.stimulus_id)
        return {name: tuple(ids) for name, ids in named.items()}

    def rows(self, stimulus_ids: list[str] | tuple[str, ...]) -> NDArray[np.int64]:
        """Rows of `SubjectTruth.betas` that hold some pictures, in the order given."""
        row = {identity: number for number, identity in enumerate(self.stimulus_ids)}
        return np.array([row[identity] for identity in stimulus_ids], dtype=np.int64)
