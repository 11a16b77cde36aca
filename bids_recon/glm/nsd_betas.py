"""Single-trial responses that the authors of NSD estimated, read session by session.

The files hold percent signal change x 300 as whole numbers, zero outside a generous mask of the brain (data
manual of NSD, "Functional data (NSD)").
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.nsd_layout import SESSION, NsdRelease
from bids_recon.errors import DataError, MissingInputError
from bids_recon.glm.responses import Responses
from bids_recon.preprocess.series import open_series, read_voxels
from bids_recon.rois.selection import VoxelSelection

STORED_PER_PERCENT = 300.0
DATASET = "betas"
_AGAIN = "The file is damaged or incomplete; fetch it again."


def read_nsd_responses(
    release: NsdRelease, subject: str, trials: pd.DataFrame, voxels: VoxelSelection
) -> tuple[Responses, list[str]]:
    """Read the responses of one person.

    Of a session in HDF5 only the region around the voxels is read, of one in NIfTI one volume after the
    other, so that memory is that of the voxels.

    Parameters
    ----------
    release : NsdRelease
    subject : str
        Label, such as `01`.
    trials : DataFrame
        From `bids_recon.dataset.nsd_trials.nsd_trials`: whole sessions, one after the other.
    voxels : VoxelSelection
        On the grid of the responses.

    Returns
    -------
    responses : Responses
        In percent signal change. Without the voxels that are alike in all trials of a session: they lie
        outside the brain or the field of view there.
    warnings : list of str

    Raises
    ------
    MissingInputError
        When a session has no file.
    DataError
        When a file is damaged, has another grid or another number of trials, or no voxel is left.
    """
    data = np.empty((len(trials), voxels.n_voxels), dtype=np.float32)
    keep = np.ones(voxels.n_voxels, dtype=bool)
    warnings: list[str] = []
    begin = 0
    for session, n_trials in trials.groupby("session", sort=False).size().items():
        file = release.beta_file(subject, int(str(session).removeprefix(SESSION)))
        if file is None:
            raise MissingInputError(
                f"sub-{subject} has no responses of session {session}", file=release.beta_folder(subject)
            )
        block = data[begin : begin + n_trials]
        read_nsd_session(file, voxels, block)
        begin += n_trials
        constant = block.max(axis=0) == block.min(axis=0)
        if constant.any():
            warnings.append(
                f"{file}: {constant.sum()} of {voxels.n_voxels} voxels are left out: the same response"
                " throughout."
            )
            keep &= ~constant
    if not keep.any():
        raise DataError("no voxel has varying responses in all sessions", file=release.beta_folder(subject))
    responses = Responses(data, trials, voxels)
    return (responses if keep.all() else responses.restrict(keep)), warnings


def read_nsd_session(file: Path, voxels: VoxelSelection, out: NDArray[np.float32]) -> None:
    """Read some voxels of all trials of a session, in percent signal change.

    Parameters
    ----------
    file : Path
        `betas_sessionNN`, as NIfTI (x, y, z, n_trials) or HDF5 (n_trials, z, y, x).
    voxels : VoxelSelection
        Its affine is not compared: HDF5 has none.
    out : ndarray (n_trials, n_voxels) float32
        Is filled.

    Raises
    ------
    DataError
        When the file is damaged, or has another grid or another number of trials.
    """
    if file.suffix == ".hdf5":
        _read_hdf5(file, voxels, out)
    else:
        image = open_series(file)
        _check_shape(file, tuple(image.shape), voxels, len(out))
        read_voxels(image, file, voxels.indices, out=out)
    out /= np.float32(STORED_PER_PERCENT)


def _read_hdf5(file: Path, voxels: VoxelSelection, out: NDArray[np.float32]) -> None:
    x, y, z = np.unravel_index(voxels.indices, voxels.shape)
    try:
        # Many file systems of clusters refuse locks, and nobody writes to these files.
        with h5py.File(file, "r", locking=False) as opened:
            stored = opened.get(DATASET)
            if not isinstance(stored, h5py.Dataset):
                raise DataError(f"has no data set '{DATASET}'", file=file, remedy=_AGAIN)
            # MATLAB's first axis is the last here.
            _check_shape(file, stored.shape[::-1], voxels, len(out))
            for plane in np.unique(z):
                of_plane = np.flatnonzero(z == plane)
                rows, columns = y[of_plane], x[of_plane]
                top, left = rows.min(), columns.min()
                # The files are in pieces of one voxel and all trials: planes cost no more than voxels.
                part = stored[:, plane, top : rows.max() + 1, left : columns.max() + 1]
                out[:, of_plane] = part[:, rows - top, columns - left]
    except OSError as error:
        raise DataError(f"cannot be read as HDF5 ({error})", file=file, remedy=_AGAIN) from error


def _check_shape(file: Path, shape: tuple[int, ...], voxels: VoxelSelection, n_trials: int) -> None:
    """Compare (x, y, z, n_trials) with what is expected."""
    if shape != (*voxels.shape, n_trials):
        raise DataError(
            f"is {shape}, and {voxels.shape} voxels and {n_trials} trials are expected",
            file=file,
            remedy="Responses, regions and design must be of one release and one person.",
        )
