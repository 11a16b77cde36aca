"""Raw BOLD of one participant, brought to one grid."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import safe_open

from bids_recon.config import Settings
from bids_recon.dataset.anatomy import Anatomy
from bids_recon.dataset.layout import BoldRun
from bids_recon.decoders.device import find_device
from bids_recon.outputs.atomic import write_safetensors
from bids_recon.preprocess.rigid import parameters
from bids_recon.preprocess.run_alignment import AlignedRun, align_run, centre_of
from bids_recon.preprocess.run_motion import RunMotion, open_run
from bids_recon.preprocess.series import repetition_time
from bids_recon.workflow.placement import Placement, place_runs, run_motion
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedBold, PreparedRun, RunRecord
from bids_recon.workflow.preprocessed_files import reference_name, write_preprocessed
from bids_recon.workflow.stage_cache import StageCache, fingerprint, stage_key

LOGGER = logging.getLogger("bids_recon")


def prepare_raw(settings: Settings, plan: ParticipantPlan, cache: StageCache) -> PreparedBold:
    """Correct slice timing and head motion, align runs, sessions and T1w image, and make confounds.

    Aligned series stay in the work folder; transforms, confounds and the reference go to the output folder.
    """
    device = str(find_device(settings.device))
    runs = plan.runs_with_trials
    motions: dict[str, tuple[RunMotion, str]] = {}
    for run in runs:
        motions[run.name] = run_motion(run, cache, device)
        LOGGER.info("%s: head motion is estimated", run.name)
    placement = place_runs(
        runs, motions, plan.anatomy, cache, device, settings.seed, earlier_reference(settings, plan.subject)
    )
    prepared: dict[str, PreparedRun] = {}
    records: list[RunRecord] = []
    tsnr = np.zeros(placement.reference.shape, dtype=np.float32)
    keys = []
    for run in runs:
        assert run.bold is not None
        motion, motion_key = motions[run.name]
        file, aligned, key = _aligned(run, motion, motion_key, placement, cache, device)
        keys.append(key)
        LOGGER.info("%s: aligned", run.name)
        tsnr += aligned.tsnr / len(runs)
        median = float(np.median(aligned.tsnr[placement.brain]))
        prepared[run.name] = PreparedRun(
            run.name, file, aligned.repetition_time, aligned.start_time, aligned.confounds, (run.bold,),
            facts={"dropped": aligned.n_dropped, "mean FD (mm)": _mean_displacement(aligned), "tSNR": median},
        )  # fmt: skip
        centre = centre_of(placement.brain, placement.reference.affine)
        records.append(
            RunRecord(
                run.name, aligned.repetition_time, parameters(motion.pull, centre), aligned.confounds,
                aligned.carpet, aligned.n_dropped, median,
            )
        )  # fmt: skip
    write_preprocessed(settings, plan, motions, placement, prepared, cache, keys)
    return PreparedBold(
        prepared,
        placement.reference,
        placement.brain,
        placement.anatomy_affine,
        None,
        description=_description(plan.anatomy, placement, prepared),
        records=records,
        tsnr=tsnr,
        anatomy=placement.anatomy,
        warnings=(*plan.anatomy.warnings, *placement.warnings),
    )


def earlier_reference(settings: Settings, subject: str) -> Path | None:
    """The BOLD reference that the run of the program left whose decoders are used again."""
    if settings.decoders is None:
        return None
    file = settings.decoders / f"sub-{subject}" / "func" / reference_name(subject)
    return file if file.is_file() else None


def _mean_displacement(aligned: AlignedRun) -> float:
    return round(float(np.nanmean(aligned.confounds["framewise_displacement"])), 3)


def _aligned(
    run: BoldRun,
    motion: RunMotion,
    motion_key: str,
    placement: Placement,
    cache: StageCache,
    device: str,
) -> tuple[Path, AlignedRun, str]:
    """The aligned series of a run and what is known of it, from the work folder where they are there."""
    assert run.bold is not None
    timing = {name: run.metadata.get(name) for name in (
        "SliceTiming", "SliceEncodingDirection", "SliceTimingCorrected", "StartTime", "RepetitionTime"
    )}  # fmt: skip
    key = stage_key(
        {
            "motion": motion_key,
            "placement": placement.key,
            "to_run": hashlib.sha256(placement.to_run[run.name].tobytes()).hexdigest(),
            "timing": timing,
            "bold": fingerprint(run.bold),
        }
    )
    stage = f"aligned_{run.name}"
    series, facts = cache.folder / f"{stage}_bold.nii", cache.folder / f"{stage}.safetensors"
    if cache.outputs(stage, key):
        return series, _read_aligned(facts), key
    seconds, _ = repetition_time(open_run(run.bold), run.bold, run.repetition_time)
    aligned = align_run(
        run.bold, series, motion, placement.to_run[run.name], placement.reference, placement.brain,
        metadata=run.metadata, repetition_time=seconds, tissues=placement.tissues, device=device,
    )  # fmt: skip
    cache.finish(stage, key, [series, _write_aligned(facts, aligned)])
    return series, aligned, key


def _write_aligned(file: Path, aligned: AlignedRun) -> Path:
    facts = {
        "start_time": aligned.start_time,
        "repetition_time": aligned.repetition_time,
        "n_dropped": aligned.n_dropped,
        "slice_timing": aligned.slice_timing,
    }
    arrays = {"tsnr": aligned.tsnr, "carpet": np.ascontiguousarray(aligned.carpet)}
    text = {"facts": json.dumps(facts), "confounds": aligned.confounds.to_csv(index=False)}
    return write_safetensors(file, arrays, text)


def _read_aligned(file: Path) -> AlignedRun:
    with safe_open(file, framework="np") as stored:
        facts = json.loads(stored.metadata()["facts"])
        confounds = pd.read_csv(io.StringIO(stored.metadata()["confounds"]))
        arrays = {name: stored.get_tensor(name) for name in ("tsnr", "carpet")}
    return AlignedRun(confounds=confounds, **facts, **arrays)


def _description(
    anatomy: Anatomy, placement: Placement, prepared: dict[str, PreparedRun]
) -> dict[str, object]:
    return {
        "Preprocessing": {
            "Engine": "bids_recon",
            "HeadMotion": "rigid, least squares (Gauss-Newton), to the mean of the first run",
            "Interpolation": "cubic B-spline, once",
            "Coregistration": f"rigid, mutual information ({placement.engine})" if placement.engine else None,
            "VolumesDropped": {run.name: run.facts["dropped"] for run in prepared.values()},
            "T1w": anatomy.t1w.name if anatomy.t1w else None,
        }
    }
