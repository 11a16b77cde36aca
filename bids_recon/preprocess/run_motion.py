"""First reading of a run: which volumes count, and how the head moved from one to the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import DataError, naming
from bids_recon.preprocess.realign import realign_run
from bids_recon.preprocess.series import open_series, read_series
from bids_recon.preprocess.steady_state import count_non_steady_state
from bids_recon.rois.grids import Volume

FEWEST_VOLUMES = 2


@dataclass(frozen=True)
class RunMotion:
    """Head motion within a run.

    Attributes
    ----------
    pull : ndarray (n_volumes, 4, 4) float64
        Maps points (mm) of the run's reference to where they are found in each volume that is kept.
    reference : Volume
        Mean of the aligned volumes.
    n_dropped : int
        Volumes at the start that were recorded before the steady state; they are left out of `pull`.
    """

    pull: NDArray[np.float64]
    reference: Volume
    n_dropped: int


def open_run(file: Path) -> nib.Nifti1Image:
    """Open a BOLD series of several volumes.

    Raises
    ------
    DataError
        When it has not four dimensions, or one volume only.
    """
    image = open_series(file)
    if image.ndim != 4 or image.shape[3] < FEWEST_VOLUMES:
        raise DataError(
            f"a run is a series of volumes, this image has the shape {image.shape}",
            file=file,
            remedy="A single volume, such as an SBRef, is no run: correct its suffix or leave it out.",
        )
    return image


def estimate_run_motion(file: Path, *, device: str = "cpu") -> RunMotion:
    """Find the volumes before the steady state, and the motion in all others.

    Parameters
    ----------
    file : Path
        Raw BOLD series.
    device : str
        Of torch.

    Raises
    ------
    MissingInputError, DataError
        When the file is not there, damaged, or no series of volumes with a signal.
    """
    image = open_run(file)
    volumes = read_series(image, file)
    course = volumes.reshape(-1, volumes.shape[3], order="F").mean(axis=0, dtype=np.float64)
    n_dropped = count_non_steady_state(course)
    affine = np.asarray(image.affine, dtype=float)
    with naming(file):
        motion, mean = realign_run(volumes[..., n_dropped:], affine, device=device)
    return RunMotion(motion.pull, Volume(mean, affine), n_dropped)
