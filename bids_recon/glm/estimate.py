"""From one run's BOLD file and trials to responses, with the estimator of the user's choice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from bids_recon.errors import DataError, UsageError, naming
from bids_recon.glm.block_average import block_average
from bids_recon.glm.least_squares import lsa, lss
from bids_recon.glm.nuisance import nuisance_matrix
from bids_recon.glm.percent_change import usable_voxels
from bids_recon.preprocess.series import open_series, read_voxels, repetition_time
from bids_recon.rois.selection import VoxelSelection

# Rounding of affines in headers stays far below this many mm; a head that was moved does not.
_AFFINE_TOLERANCE = 0.1


class Estimator(Protocol):
    """Single-trial responses of one run from its time courses."""

    def __call__(
        self,
        bold: NDArray[np.floating],
        trials: pd.DataFrame,
        repetition_time: float,
        *,
        shift: float,
        start_time: float,
        nuisance: NDArray[np.floating] | None,
    ) -> NDArray[np.float32]:
        """Percent signal change (n_trials, n_voxels) from BOLD (n_volumes, n_voxels).

        `shift` (s) is the haemodynamic delay, for estimators that do not model the response.
        """
        ...


ESTIMATORS: dict[str, Estimator] = {"block-average": block_average, "lsa": lsa, "lss": lss}


def run_responses(
    bold_file: Path,
    trials_of_run: pd.DataFrame,
    voxels: VoxelSelection,
    *,
    repetition_time: float | None = None,
    estimator: str = "block-average",
    shift: float = 4.0,
    start_time: float = 0.0,
    confounds: pd.DataFrame | None = None,
    drift: str = "linear",
    motion: int | None = 6,
    extra: Sequence[str] = (),
    high_pass: float = 1 / 128,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], dict[str, Any]]:
    """Estimate the response of every trial of one run.

    Parameters
    ----------
    bold_file : Path
        NIfTI image (x, y, z, n_volumes). Only the voxels asked for are kept, in float32.
    trials_of_run : DataFrame
        Trials of this run, with `onset` and `duration` in s.
    voxels : VoxelSelection
        Voxels on the grid of the run.
    repetition_time : float, optional
        In s, from the sidecar; None takes the header's.
    estimator : str
        Key of `ESTIMATORS`.
    shift : float
        Haemodynamic delay in s.
    start_time : float
        `StartTime` of the sidecar in s: what the first volume stands for after slice timing correction.
    confounds : DataFrame, optional
        One row a volume (see `bids_recon.glm.nuisance.select_confounds`).
    drift, motion, extra, high_pass
        See `bids_recon.glm.nuisance.nuisance_matrix`.

    Returns
    -------
    responses : ndarray (n_trials, n_voxels) float32
        Percent signal change, NaN for voxels that are not usable.
    usable : ndarray (n_voxels,) bool
        Voxels with a signal in this run (`usable_voxels`).
    info : dict
        JSON-ready: `n_volumes`, `repetition_time`, `estimator`, `shift`, `start_time`, `drift`, `nuisance`
        (names of regressors), `n_voxels`, `n_unusable_voxels`, `warnings` (sentences).

    Raises
    ------
    MissingInputError
        When the file is absent or an unfetched git-annex pointer.
    DataError
        When the file is damaged, has not four dimensions, lies on another grid than `voxels`, or has no
        repetition time; when no voxel has a signal; when trials or confounds do not fit the run.
    UsageError
        When there is no such estimator.
    """
    bold_file = Path(bold_file)
    if estimator not in ESTIMATORS:
        raise UsageError(
            f"there is no estimator {estimator!r}", remedy=f"Choose among: {', '.join(ESTIMATORS)}."
        )
    bold, usable, tr, warnings = read_run(bold_file, voxels, repetition_time)
    with naming(bold_file):
        nuisance = nuisance_matrix(
            len(bold), tr, confounds=confounds, drift=drift, motion=motion, extra=extra, high_pass=high_pass
        )
        responses = ESTIMATORS[estimator](
            bold,
            trials_of_run,
            tr,
            shift=shift,
            start_time=start_time,
            nuisance=nuisance.to_numpy(dtype=np.float64),
        )
    info: dict[str, Any] = {
        "n_volumes": len(bold),
        "repetition_time": tr,
        "estimator": estimator,
        "shift": shift,
        "start_time": start_time,
        "drift": drift,
        "nuisance": [str(name) for name in nuisance.columns],
        "n_voxels": voxels.n_voxels,
        "n_unusable_voxels": int((~usable).sum()),
        "warnings": warnings,
    }
    return responses, usable, info


def read_run(
    bold_file: Path, voxels: VoxelSelection, stated_repetition_time: float | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], float, list[str]]:
    """Read some voxels of a run.

    Returns
    -------
    bold : ndarray (n_volumes, n_voxels) float32
    usable : ndarray (n_voxels,) bool
        See `usable_voxels`; at least one.
    repetition_time : float
        In s, as stated or else from the header.
    warnings : list of str

    Raises
    ------
    MissingInputError, DataError
        See `run_responses`.
    """
    image = open_series(bold_file)
    warnings = _check_grid(image, bold_file, voxels)
    tr, tr_warnings = repetition_time(image, bold_file, stated_repetition_time)
    bold = read_voxels(image, bold_file, voxels.indices)
    usable = usable_voxels(bold)
    if not usable.any():
        raise DataError(
            f"none of the {voxels.n_voxels} voxels has a positive, varying signal",
            file=bold_file,
            remedy="Check that the masks lie inside the brain and that the run was not demeaned.",
        )
    return bold, usable, tr, [*warnings, *tr_warnings]


def _check_grid(image: nib.Nifti1Image, bold_file: Path, voxels: VoxelSelection) -> list[str]:
    """Raise when run and voxels cannot belong together; return what is merely suspicious."""
    if image.ndim != 4:
        raise DataError(
            f"a run has four dimensions, this image {image.ndim} {image.shape}",
            file=bold_file,
            remedy="A single volume, such as an SBRef, is no run: correct its suffix or leave it out.",
        )
    if image.shape[:3] != tuple(voxels.shape):
        raise DataError(
            f"has the grid {image.shape[:3]}, but the masks have {tuple(voxels.shape)}",
            file=bold_file,
            remedy="Use masks on the grid of the run, or runs in the space of the masks.",
        )
    axes, wanted = ("".join(nib.aff2axcodes(affine)) for affine in (image.affine, voxels.affine))
    if axes != wanted:
        raise DataError(
            f"is stored in the orientation {axes}, but the masks in {wanted}",
            file=bold_file,
            remedy="Resample the masks to the grid of the run.",
        )
    corners = np.array(list(product(*((0, size - 1) for size in image.shape[:3]))), dtype=float)
    shifts = apply_affine(image.affine, corners) - apply_affine(voxels.affine, corners)
    distance = float(np.linalg.norm(shifts, axis=1).max())
    if distance > _AFFINE_TOLERANCE:
        return [f"{bold_file}: its grid lies up to {distance:.1f} mm away from that of the masks."]
    return []
