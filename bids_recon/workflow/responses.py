"""Single-trial responses of one participant: estimated from BOLD, or read."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import safe_open

from bids_recon.config import Settings
from bids_recon.dataset.layout import BoldRun, find_confounds
from bids_recon.dataset.trials import normalise_run_label
from bids_recon.errors import DataError
from bids_recon.glm.estimate import run_responses
from bids_recon.glm.responses import Responses
from bids_recon.glm.store import read_responses, write_responses
from bids_recon.outputs.atomic import write_safetensors
from bids_recon.outputs.names import bids_uri
from bids_recon.outputs.reading import read_tsv
from bids_recon.rois.brain import brain_mask
from bids_recon.rois.grids import open_image
from bids_recon.rois.select import needs_brain, select_voxels
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.plan import BETAS, ParticipantPlan
from bids_recon.workflow.reuse import check_grid, on_voxels, voxels_of
from bids_recon.workflow.stage_cache import StageCache, fingerprint, region_hashes, stage_key

LOGGER = logging.getLogger("bids_recon")
DEFAULT_SHIFT = 4.0


@dataclass(frozen=True)
class ResponseResult:
    """Responses and how they came about.

    Attributes
    ----------
    responses : Responses
    runs : DataFrame
        One row per run, for the report.
    warnings : list of str
    zscore : {"run", "all", "none"}
        How decoders standardise these responses by default.
    """

    responses: Responses
    runs: pd.DataFrame
    warnings: list[str]
    zscore: str


def participant_responses(settings: Settings, plan: ParticipantPlan, cache: StageCache) -> ResponseResult:
    """Get the responses of every trial of the plan, and write them when they were estimated here."""
    if plan.source == BETAS:
        return _read(settings, plan)
    return _estimate(settings, plan, cache)


def _read(settings: Settings, plan: ParticipantPlan) -> ResponseResult:
    found, warnings = read_responses(
        settings.derivatives[BETAS],
        plan.subject,
        sessions=settings.session_label or None,
        tasks=settings.task_id or None,
    )
    responses = Responses(found.data, plan.trials, found.voxels)
    if plan.earlier:
        responses = on_voxels(responses, voxels_of(plan.earlier), settings.derivatives[BETAS])
    elif settings.roi:
        voxels = found.voxels
        chosen, more = select_voxels(
            settings.roi,
            plan.masks,
            voxels,
            brain=voxels.mask(),
            space=voxels.space,
        )
        warnings += more
        member = np.isin(voxels.indices, chosen.indices)
        if not member.any():
            raise DataError(
                f"sub-{plan.subject}: no voxel of {', '.join(settings.roi)} has responses",
                file=settings.derivatives[BETAS],
            )
        place = np.searchsorted(chosen.indices, voxels.indices[member])
        rois = {name: mask[place] for name, mask in chosen.rois.items() if mask[place].any()}
        kept = responses.restrict(member)
        selection = VoxelSelection(
            voxels.shape, voxels.affine, kept.voxels.indices, rois, voxels.space, chosen.sources
        )
        responses = Responses(kept.data, kept.trials, selection)
    by_run = plan.trials.groupby(["session", "task", "run"], sort=False)
    runs = by_run.size().rename("trials").reset_index()
    return ResponseResult(responses, runs, warnings, settings.zscore or "all")


def _estimate(settings: Settings, plan: ParticipantPlan, cache: StageCache) -> ResponseResult:
    warnings = [
        "The BOLD series were taken as they are: this version does not correct head motion and does not align"
        " sessions. Use preprocessed data where people moved."
    ]
    voxels, found = _voxels_of_bold(settings, plan)
    warnings += found
    shift = _first_known(settings.hrf_shift, plan.spec.glm.shift, DEFAULT_SHIFT)
    blocks: list[NDArray[np.float32]] = []
    usable = np.ones(voxels.n_voxels, dtype=bool)
    rows: list[dict[str, Any]] = []
    keys: list[str] = []
    for run, report in zip(plan.runs, plan.reports, strict=True):
        trials = _trials_of(plan.trials, run)
        if not len(trials):
            continue
        key, block, good, info = _one_run(settings, run, trials, voxels, shift, cache)
        keys.append(key)
        blocks.append(block)
        usable &= good
        warnings += info["warnings"]
        rows.append(
            {
                "session": run.session,
                "task": run.task,
                "run": run.run,
                "volumes": info["n_volumes"],
                "TR (s)": info["repetition_time"],
                "trials": report.n_trials,
                "one-back repeats": report.n_repeats_dropped,
                "catch": report.n_catch,
                "corrupt rows": report.n_corrupt,
                "nuisance regressors": len(info["nuisance"]),
            }
        )
        LOGGER.info("%s: %d responses", run.name, len(block))
    data = np.concatenate(blocks)
    responses = Responses(data, plan.trials, voxels)
    if not usable.all():
        warnings.append(
            f"{int((~usable).sum())} of {voxels.n_voxels} voxels are left out: constant, not positive or not"
            " finite in at least one run."
        )
        if not usable.any():
            raise DataError(
                f"sub-{plan.subject}: no voxel has a positive, varying signal in every run",
                file=settings.bids_dir / f"sub-{plan.subject}",
                remedy="Check that masks and runs lie on the same grid.",
            )
        responses = responses.restrict(usable)
    if plan.earlier:
        responses = on_voxels(responses, voxels_of(plan.earlier), settings.bids_dir)
    _write(settings, plan, responses, shift, cache, keys)
    return ResponseResult(responses, pd.DataFrame(rows), warnings, settings.zscore or "run")


def _voxels_of_bold(settings: Settings, plan: ParticipantPlan) -> tuple[VoxelSelection, list[str]]:
    bold_files = [
        run.bold
        for run, report in zip(plan.runs, plan.reports, strict=True)
        if run.bold is not None and report.n_trials
    ]
    if plan.earlier:
        wanted, grid = voxels_of(plan.earlier), open_image(bold_files[0])
        check_grid(grid, wanted, bold_files[0])
        return wanted, []
    brain = brain_mask(bold_files, None) if needs_brain(settings.roi, plan.masks, space=None) else None
    voxels, warnings = select_voxels(
        settings.roi, plan.masks, open_image(bold_files[0]), brain=brain, space=None
    )
    roots = {"raw": settings.bids_dir, **settings.derivatives}
    sources = {
        name: [bids_uri(Path(file), roots) for file in files] for name, files in voxels.sources.items()
    }
    return replace(voxels, sources=sources), warnings


def planned_voxels(settings: Settings, plan: ParticipantPlan) -> VoxelSelection | None:
    """Voxels that a run would use, for the plan; None while images are missing."""
    if any(item.kind != "picture" for item in plan.missing):
        return None
    if plan.source == BETAS:
        return _read(settings, plan).responses.voxels
    return _voxels_of_bold(settings, plan)[0]


def _first_known(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _trials_of(trials: pd.DataFrame, run: BoldRun) -> pd.DataFrame:
    number = normalise_run_label(run.run)
    same_run = trials["run"].map(normalise_run_label) == number
    return trials[(trials["session"] == run.session) & (trials["task"] == run.task) & same_run]


def _one_run(
    settings: Settings,
    run: BoldRun,
    trials: pd.DataFrame,
    voxels: VoxelSelection,
    shift: float,
    cache: StageCache,
) -> tuple[str, NDArray[np.float32], NDArray[np.bool_], dict[str, Any]]:
    """Responses of one run, from the work folder where an earlier call left them."""
    assert run.bold is not None
    confounds_file = find_confounds(settings.derivatives.values(), run)
    inputs = {
        "bold": fingerprint(run.bold),
        "trials": trials[["onset", "duration", "stimulus_id"]].to_json(orient="values"),
        "voxels": hashlib.sha256(voxels.indices.tobytes() + voxels.affine.tobytes()).hexdigest(),
        "glm": settings.glm,
        "shift": shift,
        "repetition_time": run.repetition_time,
        "start_time": run.start_time,
        "confounds": fingerprint(confounds_file) if confounds_file else None,
    }
    key, stage = stage_key(inputs), f"responses_{run.name}"
    done = cache.outputs(stage, key)
    if done:
        with safe_open(done[0], framework="np") as stored:
            info = json.loads(stored.metadata()["info"])
            return key, stored.get_tensor("responses"), stored.get_tensor("usable").astype(bool), info
    confounds = (
        read_tsv(confounds_file, remedy="Confounds are tab-separated, with a header.")
        if confounds_file is not None
        else None
    )
    responses, usable, info = run_responses(
        run.bold,
        trials,
        voxels,
        repetition_time=run.repetition_time,
        estimator=settings.glm,
        shift=shift,
        start_time=run.start_time,
        confounds=confounds,
        motion=6 if confounds is not None else None,
    )
    file = write_safetensors(
        cache.folder / f"{stage}.safetensors",
        {"responses": responses, "usable": usable.astype(np.uint8)},
        {"info": json.dumps(info)},
    )
    cache.finish(stage, key, [file])
    return key, responses, usable, info


def _write(
    settings: Settings,
    plan: ParticipantPlan,
    responses: Responses,
    shift: float,
    cache: StageCache,
    run_keys: list[str],
) -> None:
    trials, voxels = responses.trials, responses.voxels
    key = stage_key(
        {
            "runs": run_keys,
            "output": str(settings.output_dir.resolve()),
            # Another split or other regions change tables and masks, though not the responses.
            "trials": trials.to_json(orient="split"),
            "regions": region_hashes(voxels),
            "sources": voxels.sources,
            "simulated": plan.simulated,
        }
    )
    if cache.outputs("responses", key):
        return
    written: list[Path] = []
    for session, task in dict.fromkeys(zip(trials["session"], trials["task"], strict=True)):
        rows = ((trials["session"] == session) & (trials["task"] == task)).to_numpy()
        runs = [run for run in plan.runs if (run.session, run.task) == (session, task)]
        written += write_responses(
            responses.take(rows),
            settings.output_dir,
            subject=plan.subject,
            session=session or None,
            task=task,
            space=None,
            description={
                "Estimator": settings.glm,
                "HaemodynamicShift": shift,
                "Simulated": plan.simulated,
                "Sources": [
                    bids_uri(run.bold, {"raw": settings.bids_dir}) for run in runs if run.bold is not None
                ],
            },
        )
    cache.finish("responses", key, written)
