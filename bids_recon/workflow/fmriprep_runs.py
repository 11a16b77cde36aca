"""BOLD that fMRIPrep preprocessed, brought to one grid where it is not on one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.layout import BoldRun
from bids_recon.errors import MissingInputError
from bids_recon.preprocess.fmriprep import FmriprepRun
from bids_recon.preprocess.itk_transforms import read_itk_affine
from bids_recon.preprocess.run_alignment import align_run
from bids_recon.preprocess.run_motion import RunMotion, open_run
from bids_recon.preprocess.slice_timing import slice_times, start_time
from bids_recon.rois.brain import brain_mask, mask_of_mean, mean_volume
from bids_recon.rois.grids import Volume, open_image, read_volume, same_grid
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedBold, PreparedRun, RunRecord, read_confounds
from bids_recon.workflow.stage_cache import StageCache, fingerprint, stage_key

ANATOMY = "T1w"
# What a sidecar says of times.
TIMING = ("SliceTiming", "SliceEncodingDirection", "SliceTimingCorrected", "StartTime")
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def prepare_fmriprep(plan: ParticipantPlan, cache: StageCache) -> PreparedBold:
    """Take fMRIPrep's series as they are, or resample those that lie in the space of their own run.

    Raises
    ------
    MissingInputError
        When several runs are in their native spaces and transforms to the T1w image are missing.
    """
    runs = plan.runs_with_trials
    found = plan.fmriprep
    if any(found[run.name].resample for run in runs) or (plan.space is None and len(runs) > 1):
        _refuse_other_spaces(found)
        return _resampled(plan, cache)
    prepared = {run.name: _prepared(run, found[run.name]) for run in runs}
    files = [prepared[run.name].bold for run in runs]
    grid = open_image(files[0])
    mask_file = found[runs[0].name].mask
    brain = brain_mask(files, mask_file)
    reference = mean_volume(files)
    anatomy_affine = None
    if plan.space == ANATOMY:
        anatomy_affine = np.asarray(grid.affine, dtype=float)
    elif plan.space is None and (file := found[runs[0].name].to_anatomy) is not None:
        anatomy_affine = np.linalg.inv(read_itk_affine(file)[0]) @ grid.affine
    return PreparedBold(
        prepared, reference, brain, anatomy_affine, plan.space,
        description=_description(plan), records=_records(prepared),
    )  # fmt: skip


def _prepared(run: BoldRun, found: FmriprepRun) -> PreparedRun:
    confounds = read_confounds(found.confounds)
    return PreparedRun(
        run.name, found.bold, found.repetition_time, found.start_time, confounds, (found.bold,)
    )


def _refuse_other_spaces(found: Mapping[str, FmriprepRun]) -> None:
    """Series are resampled to the grid of a run's own reference; there is no grid for another space."""
    for one in found.values():
        if one.resample is not None and one.resample.to_reference:
            raise MissingInputError(
                f"fMRIPrep left transforms of {one.bold.name}, but no series in space {one.space}",
                file=one.resample.motion.parent,
                remedy=f"Run fMRIPrep again with --output-spaces {one.space}, or choose --space func.",
            )


def _resampled(plan: ParticipantPlan, cache: StageCache) -> PreparedBold:
    """Runs on the grid of the first run's reference: interpolated once more, or once in all from raw BOLD."""
    runs, found = plan.runs_with_trials, plan.fmriprep
    first = found[runs[0].name]
    reference = _reference(first)
    to_bold = {run.name: _to_bold(found[run.name], len(runs)) for run in runs}
    home = to_bold[runs[0].name]
    brain = mask_of_mean(reference)
    if first.mask is not None and same_grid(mask := read_volume(first.mask), reference):
        brain = mask.data > 0
    prepared: dict[str, PreparedRun] = {}
    for run in runs:
        one = found[run.name]
        to_run = to_bold[run.name] @ np.linalg.inv(home)
        file, start = _align(run, one, to_run, reference, brain, cache)
        confounds = read_confounds(one.confounds)
        prepared[run.name] = PreparedRun(run.name, file, one.repetition_time, start, confounds, (one.bold,))
    return PreparedBold(
        prepared,
        reference,
        brain,
        np.linalg.inv(home) @ reference.affine if first.to_anatomy is not None else None,
        None,
        description=_description(plan),
        records=_records(prepared),
    )


def _reference(found: FmriprepRun) -> Volume:
    file = found.resample.boldref if found.resample is not None else found.boldref
    if file is not None:
        return read_volume(file)
    return mean_volume([found.bold])


def _to_bold(found: FmriprepRun, n_runs: int) -> NDArray[np.float64]:
    """Maps points of the T1w image to points of the run's reference."""
    if found.to_anatomy is not None:
        return read_itk_affine(found.to_anatomy)[0]
    if n_runs == 1:
        return np.eye(4)
    raise MissingInputError(
        "is in the space of its own run, and the transform by which runs could be brought together"
        " (from-boldref_to-T1w ..._xfm.txt) is missing",
        file=found.bold,
        remedy="Run fMRIPrep again with --output-spaces T1w, or choose one run.",
    )


def _align(
    run: BoldRun,
    found: FmriprepRun,
    to_run: NDArray[np.float64],
    reference: Volume,
    brain: NDArray[np.bool_],
    cache: StageCache,
) -> tuple[Path, float]:
    """The series on the common grid, and the time (s) of its first volume."""
    source, stage = found.bold, f"aligned_{run.name}"
    image = open_run(source)
    n_volumes = image.shape[3]
    metadata: dict[str, Any] = {"SliceTimingCorrected": True, "StartTime": found.start_time}
    if found.resample is not None:
        metadata = {name: run.metadata[name] for name in TIMING if name in run.metadata}
    seconds = found.repetition_time
    start = start_time(metadata, slice_times(metadata, image.shape[:3], seconds, file=source), seconds)
    used = [file for file in (source, found.motion, found.to_anatomy) if file is not None]
    key = stage_key(
        {
            "files": [fingerprint(file) for file in used],
            "to_run": to_run.tolist(),
            "grid": (reference.shape, reference.affine.tolist()),
            "brain": hashlib.sha256(brain.tobytes()).hexdigest(),
            "timing": (metadata, seconds),
        }
    )
    out = cache.folder / f"{stage}_bold.nii"
    if cache.outputs(stage, key):
        return out, start
    within = np.broadcast_to(np.eye(4), (n_volumes, 4, 4))
    if found.resample is not None:
        within = read_itk_affine(found.resample.motion)
        if len(within) != n_volumes:
            raise MissingInputError(
                f"holds {len(within)} transforms, the run {n_volumes} volumes",
                file=found.resample.motion,
                remedy="Take transforms and raw data of the same run.",
            )
    align_run(
        source, out, RunMotion(within, reference, 0), to_run, reference, brain,
        metadata=metadata, repetition_time=found.repetition_time,
    )  # fmt: skip
    cache.finish(stage, key, [out])
    return out, start


def _records(prepared: dict[str, PreparedRun]) -> list[RunRecord]:
    records = []
    for name, run in prepared.items():
        if run.confounds is None or run.repetition_time is None:
            continue
        numbers = run.confounds.apply(pd.to_numeric, errors="coerce")
        motion = numbers[list(MOTION)].to_numpy(float) if set(MOTION) <= set(numbers.columns) else None
        records.append(RunRecord(name, run.repetition_time, motion, numbers, None, 0, float("nan")))
    return records


def _description(plan: ParticipantPlan) -> dict[str, object]:
    generations = sorted({found.generation for found in plan.fmriprep.values()})
    space = next(iter(plan.fmriprep.values())).space
    return {"Preprocessing": {"Engine": "fMRIPrep", "Generation": generations, "Space": space}}
