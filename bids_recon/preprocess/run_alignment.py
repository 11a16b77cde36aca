"""Second reading of a run: slice timing, one interpolation onto the common grid, and confounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from nibabel.openers import Opener
from numpy.typing import NDArray

from bids_recon.outputs.atomic import atomic_path
from bids_recon.preprocess.confounds import confounds_table, cosine_drifts
from bids_recon.preprocess.resampling import iterate_resampled
from bids_recon.preprocess.rigid import parameters
from bids_recon.preprocess.run_motion import RunMotion, open_run
from bids_recon.preprocess.series import read_series
from bids_recon.preprocess.slice_timing import correct_slice_timing, slice_times, start_time
from bids_recon.rois.grids import Grid, Volume

# Splines overshoot at edges; intensities are stored in steps of 1/32000 of this times the largest.
_HEADROOM = 1.3
_STEPS = 32000
# A voxel counts as recorded up to this part of a voxel beyond the outermost centres.
_EDGE = 0.5
# Of the mean; what is less is rounding of a series that does not vary.
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class AlignedRun:
    """What is known of a run once it lies on the common grid.

    Attributes
    ----------
    confounds : DataFrame (n_volumes rows)
        Columns named as by fMRIPrep.
    start_time : float
        Time (s) of the first volume that was kept, from the start of the recording.
    repetition_time : float
        In s.
    n_dropped : int
        Volumes left out at the start.
    slice_timing : bool
        Whether slice timing was corrected.
    tsnr : ndarray (x, y, z) float32
        Mean over time, divided by the deviation about cosine drifts; 0 outside the mask.
    carpet : ndarray (n_rows, n_volumes) float32
        Percent signal change of some voxels of the mask.
    """

    confounds: pd.DataFrame
    start_time: float
    repetition_time: float
    n_dropped: int
    slice_timing: bool
    tsnr: NDArray[np.float32]
    carpet: NDArray[np.float32]


def align_run(
    file: Path,
    out: Path,
    motion: RunMotion,
    to_run: NDArray[np.float64],
    reference: Volume,
    mask: NDArray[np.bool_],
    *,
    metadata: Mapping[str, Any],
    repetition_time: float,
    tissues: Mapping[str, NDArray[np.bool_]] | None = None,
    carpet_rows: int = 300,
    device: str = "cpu",
) -> AlignedRun:
    """Bring a run to the reference grid with one interpolation in space, and write it.

    Parameters
    ----------
    file : Path
        Raw BOLD series.
    out : Path
        Where the aligned series goes: 16-bit NIfTI, zero where a volume does not cover a voxel.
    motion : RunMotion
        From `estimate_run_motion`.
    to_run : ndarray (4, 4)
        Maps points of the reference to points of the run's own reference.
    reference : Volume
        Its grid is the common one.
    mask : ndarray (x, y, z) bool
        Brain, on the common grid.
    metadata : mapping
        Sidecar of the run (`SliceTiming`, `SliceEncodingDirection`, `StartTime`).
    repetition_time : float
        In s.
    tissues : mapping of str to ndarray (x, y, z) bool, optional
        `CSF` and `WM` on the common grid, for aCompCor.
    carpet_rows : int
        Voxels kept for the carpet plot.
    device : str
        Of torch.

    Raises
    ------
    DataError
        When file or slice times cannot be used.
    """
    image = open_run(file)
    affine = np.asarray(image.affine, dtype=float)
    volumes = read_series(image, file, motion.n_dropped)
    timing = slice_times(metadata, volumes.shape[:3], repetition_time, file=file)
    if timing is not None:
        volumes = correct_slice_timing(volumes, timing, repetition_time)
    pull = motion.pull @ to_run
    shape = (reference.shape[0], reference.shape[1], reference.shape[2])
    inside = covered_by_all(reference, pull, affine, volumes.shape[:3])
    chosen = mask & inside
    series = np.empty((volumes.shape[3], int(chosen.sum())), dtype=np.float32)
    slope = max(float(volumes.max()), 1e-6) * _HEADROOM / _STEPS
    header = _header(reference, volumes.shape[3], repetition_time, slope)
    with atomic_path(out) as temporary, Opener(temporary, "wb") as stream:
        stream.write(header.binaryblock + bytes(header.single_vox_offset - header.sizeof_hdr))
        resampled = iterate_resampled(volumes, affine, pull, shape, reference.affine, device=device)
        for number, volume in enumerate(resampled):
            series[number] = volume[chosen]
            stored = np.round(volume * inside / slope).clip(0, _STEPS)
            stream.write(stored.astype("<i2").tobytes(order="F"))
    del volumes
    mean = series.mean(axis=0, dtype=np.float64)
    confounds = confounds_table(
        parameters(pull, centre_of(mask, reference.affine)),
        series,
        repetition_time=repetition_time,
        tissues={name: tissue[chosen] for name, tissue in (tissues or {}).items()},
    )
    rows = np.linspace(0, series.shape[1] - 1, min(carpet_rows, series.shape[1])).round().astype(int)
    carpet = 100 * (series[:, rows].T / np.maximum(mean[rows, None], 1e-6) - 1)
    tsnr = np.zeros(reference.shape, dtype=np.float32)
    tsnr[chosen] = temporal_snr(series, repetition_time)
    return AlignedRun(
        confounds=confounds,
        start_time=start_time(metadata, timing, repetition_time, n_dropped=motion.n_dropped),
        repetition_time=repetition_time,
        n_dropped=motion.n_dropped,
        slice_timing=timing is not None,
        tsnr=tsnr,
        carpet=carpet.astype(np.float32),
    )


def covered_by_all(
    reference: Grid, pull: NDArray[np.float64], affine: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Voxels (x, y, z) of the reference grid that every volume covers.

    Parameters
    ----------
    reference : Grid
    pull : ndarray (n_volumes, 4, 4)
        Maps points of the reference to points of each volume.
    affine, shape
        Grid of the volumes.
    """
    to_voxels = np.linalg.inv(affine) @ pull @ reference.affine
    i, j, k = np.ogrid[tuple(map(slice, reference.shape[:3]))]
    covered = np.ones(reference.shape[:3], dtype=bool)
    for matrix in to_voxels.astype(np.float32):
        for axis, size in enumerate(shape[:3]):
            place = matrix[axis, 0] * i + matrix[axis, 1] * j + (matrix[axis, 2] * k + matrix[axis, 3])
            covered &= (place >= -_EDGE) & (place <= size - 1 + _EDGE)
    return covered


def centre_of(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre (3,) of a mask in mm, about which rotations are counted."""
    return apply_affine(affine, np.argwhere(mask).mean(axis=0))


def temporal_snr(series: NDArray[np.float32], repetition_time: float) -> NDArray[np.float32]:
    """Mean over time divided by the deviation about slow drift.

    Parameters
    ----------
    series : ndarray (n_volumes, n_voxels)
    repetition_time : float
        In s.

    Returns
    -------
    ndarray (n_voxels,) float32
    """
    basis = np.hstack([np.ones((len(series), 1)), cosine_drifts(len(series), repetition_time)])
    basis, _ = np.linalg.qr(basis)
    total = np.einsum("ij,ij->j", series, series, dtype=np.float64)
    slow = np.square(basis.T @ series).sum(axis=0)
    deviation = np.sqrt(np.maximum(total - slow, 0) / max(len(series) - basis.shape[1], 1))
    mean = series.mean(axis=0, dtype=np.float64)
    return np.divide(
        mean, deviation, out=np.zeros_like(mean), where=deviation > _LEAST_DEVIATION * np.abs(mean)
    ).astype(np.float32)


def _header(reference: Volume, n_volumes: int, repetition_time: float, slope: float) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((*reference.shape, n_volumes))
    header.set_qform(reference.affine, code="scanner")
    header.set_sform(reference.affine, code="scanner")
    header.set_xyzt_units("mm", "sec")
    header.set_zooms((*header.get_zooms()[:3], repetition_time))
    header.set_slope_inter(slope, 0)
    header.set_data_offset(header.single_vox_offset)
    return header
