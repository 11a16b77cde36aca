"""What the page of a participant shows of preprocessing and responses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bids_recon.glm.hrf import LIBRARY
from bids_recon.report.quality import (
    MapFigure,
    Overlay,
    PreprocessingQuality,
    ResponseQuality,
    RunQuality,
)
from bids_recon.rois.grids import Volume
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.prepared import PreparedBold, RunRecord
from bids_recon.workflow.reliability import TEST, TRAINING
from bids_recon.workflow.responses import ResponseResult

MOST_OUTLINES = 6
ALL = "all voxels"


def preprocessing_quality(result: ResponseResult) -> PreprocessingQuality | None:
    """Motion, alignment and signal; None when responses were read or BOLD was taken as it is."""
    prepared = result.prepared
    if prepared is None or prepared.reference is None:
        return None
    reference = prepared.reference
    overlays = []
    if prepared.anatomy is not None:
        overlays.append(
            Overlay(
                "BOLD reference and T1w image, on the grid of the BOLD",
                reference.data,
                prepared.anatomy.data,
                reference.affine,
            )
        )
    tsnr = None
    if prepared.tsnr is not None:
        values = np.where(prepared.tsnr > 0, prepared.tsnr, np.nan)
        tsnr = MapFigure("Temporal signal-to-noise ratio", reference.data, reference.affine, values)
    return PreprocessingQuality(
        [_run(record) for record in prepared.records],
        overlays,
        tsnr,
        _outlines(result.responses.voxels, reference),
    )


def _run(record: RunRecord) -> RunQuality:
    columns = record.confounds

    def column(name: str) -> NDArray[np.float64] | None:
        return columns[name].to_numpy(dtype=float) if name in columns else None

    return RunQuality(
        record.name.split("_", 1)[-1].replace("_", " "),
        record.repetition_time,
        record.motion,
        column("framewise_displacement"),
        column("std_dvars"),
        record.carpet,
        dropped=record.n_dropped,
        tsnr_median=record.tsnr,
    )


def _outlines(voxels: VoxelSelection, reference: Volume) -> MapFigure | None:
    """The largest regions; a group of all of them says nothing."""
    if voxels.shape != reference.shape:
        return None
    sizes = {name: int(member.sum()) for name, member in voxels.rois.items() if not member.all()}
    chosen = sorted(sizes, key=lambda name: -sizes[name])[:MOST_OUTLINES]
    outlines = {name: voxels.mask(name) for name in voxels.rois if name in chosen}
    if not outlines:
        outlines = {ALL: voxels.mask()}
    return MapFigure("Regions on the BOLD reference", reference.data, reference.affine, outlines=outlines)


def response_quality(result: ResponseResult) -> ResponseQuality | None:
    """Chosen haemodynamic responses and noise ceilings; None when there is nothing to show."""
    voxels = result.responses.voxels
    background = _background(voxels, result.prepared)
    hrf_index, times = None, None
    if "hrf_index" in result.maps:
        index = result.maps["hrf_index"].astype(int)
        times = np.array([one.time_to_peak for one in LIBRARY])[index]
        hrf_index = MapFigure(
            "Time to peak of the chosen haemodynamic response", background, voxels.affine,
            _in_volume(voxels, times), unit="s",
        )  # fmt: skip
    # What feeds a choice comes from training repeats, which are many voxels' only ones.
    source = TEST if TEST in result.ceilings else TRAINING
    ceiling, figure = {}, None
    if source in result.ceilings:
        values = np.asarray(result.ceilings[source], dtype=float)
        ceiling = {ALL: values} | {name: values[member] for name, member in voxels.rois.items()}
        figure = MapFigure(
            "Noise ceiling of single trials", background, voxels.affine, _in_volume(voxels, values),
            unit="%", limits=(0.0, max(float(np.nanpercentile(values, 98)), 1.0)),
        )  # fmt: skip
    if hrf_index is None and figure is None:
        return None
    return ResponseQuality(hrf_index, times, ceiling, "test" if source == TEST else "training", figure)


def _background(voxels: VoxelSelection, prepared: PreparedBold | None) -> NDArray[np.floating]:
    if prepared is not None and prepared.reference is not None and prepared.reference.shape == voxels.shape:
        return prepared.reference.data
    return voxels.mask().astype(np.float32)


def _in_volume(voxels: VoxelSelection, values: NDArray[np.floating]) -> NDArray[np.float32]:
    volume = np.full(int(np.prod(voxels.shape)), np.nan, dtype=np.float32)
    volume[voxels.indices] = values
    return volume.reshape(voxels.shape)
