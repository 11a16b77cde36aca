"""Responses of all runs together: haemodynamic response, noise components and shrinkage by voxel."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from bids_recon.config import Settings
from bids_recon.decoders.device import find_device
from bids_recon.errors import naming
from bids_recon.glm.estimate import read_run
from bids_recon.glm.library import LibraryFit, library_responses
from bids_recon.glm.nuisance import nuisance_matrix
from bids_recon.glm.run_data import RunData
from bids_recon.outputs.atomic import atomic_path, write_safetensors
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.estimates import Estimates, estimate_runs, nuisance_of, run_key, trials_of
from bids_recon.workflow.modulation import Modulation
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedBold, PreparedRun
from bids_recon.workflow.stage_cache import StageCache, stage_key
from bids_recon.workflow.training_trials import training_trials

LOGGER = logging.getLogger("bids_recon")
LIBRARY = "library"
# Estimator of the trials that a parametric model leaves single.
SINGLE = "lsa"


def estimate_jointly(
    settings: Settings,
    plan: ParticipantPlan,
    prepared: PreparedBold,
    voxels: VoxelSelection,
    shift: float,
    cache: StageCache,
) -> Estimates:
    """Estimate the responses of all runs with `bids_recon.glm.library`; training trials alone tune it.

    Time courses of the voxels are stored in the work folder, one voxel after the other, so that memory is
    that of one run and not of all.
    """
    training = training_trials(plan.trials, plan.split, f"--glm {LIBRARY}")
    runs, facts, keys, usable = _read_all(settings, plan, prepared, voxels, shift, training, cache)
    key = stage_key({"runs": keys, "training": hashlib.sha256(training.tobytes()).hexdigest()})
    stored = _fit(runs, key, settings, cache)
    data = np.full((len(plan.trials), voxels.n_voxels), np.nan, dtype=np.float32)
    begin = 0
    for run in plan.runs_with_trials:
        rows = trials_of(plan.trials, run)
        data[rows] = stored["responses"][begin : begin + int(rows.sum())]
        begin += int(rows.sum())
    warnings = [text for info in facts.values() for text in info["warnings"]]
    about: Mapping[str, Any] = stored["facts"]
    return Estimates(
        data,
        usable & np.isfinite(data).all(axis=0),
        facts,
        [*warnings, *about["warnings"]],
        key,
        maps={"hrf_index": stored["hrf_index"], "fraction": stored["fraction"]},
        description={
            "NoiseComponents": about["n_noise_components"],
            "TunedOn": "training trials" if plan.split is not None else "all trials: no split was made",
        },
    )


def estimate_with_modulation(
    settings: Settings,
    plan: ParticipantPlan,
    prepared: PreparedBold,
    voxels: VoxelSelection,
    shift: float,
    cache: StageCache,
) -> Estimates:
    """Estimate trials one by one, and keep what models the responses to training trials from latents."""
    single = replace(settings, glm=SINGLE)
    estimates = estimate_runs(single, plan, prepared, voxels, shift, cache)
    none = np.zeros(len(plan.trials), dtype=bool)
    runs, _, keys, _ = _read_all(settings, plan, prepared, voxels, shift, none, cache)
    rows = [trials_of(plan.trials, run) for run in plan.runs_with_trials]
    return replace(
        estimates,
        modulation=Modulation(runs, rows, voxels),
        key=stage_key({"single": estimates.key, "modulated": keys}),
        description={
            **estimates.description,
            "TestTrials": SINGLE,
            "TrainingTrials": "latents as modulators",
        },
    )


def _read_all(
    settings: Settings,
    plan: ParticipantPlan,
    prepared: PreparedBold,
    voxels: VoxelSelection,
    shift: float,
    training: NDArray[np.bool_],
    cache: StageCache,
) -> tuple[list[RunData], dict[str, Any], list[str], NDArray[np.bool_]]:
    """Runs with their time courses on disk, facts by name of the run, keys, and voxels usable in all."""
    runs: list[RunData] = []
    facts: dict[str, Any] = {}
    keys: list[str] = []
    usable = np.ones(voxels.n_voxels, dtype=bool)
    for run in plan.runs_with_trials:
        rows = trials_of(plan.trials, run)
        mine = prepared.runs[run.name]
        key = run_key(settings, mine, plan.trials[rows], voxels, shift)
        file, info, good = _time_courses(mine, voxels, key, cache)
        nuisance = nuisance_of(settings, mine.confounds)
        with naming(mine.bold):
            regressors = nuisance_matrix(
                info["n_volumes"], info["repetition_time"], confounds=mine.confounds, drift=nuisance.drift,
                motion=nuisance.motion, extra=nuisance.extra,
            )  # fmt: skip
        runs.append(
            RunData(
                timecourses=np.load(file, mmap_mode="r"),
                trials=plan.trials[rows],
                repetition_time=info["repetition_time"],
                start_time=mine.start_time,
                nuisance=regressors.to_numpy(dtype=np.float64),
                training=training[rows],
            )
        )
        facts[run.name] = {**info, "nuisance": [str(name) for name in regressors.columns]}
        keys.append(key)
        usable &= good
    return runs, facts, keys, usable


def _time_courses(
    run: PreparedRun, voxels: VoxelSelection, key: str, cache: StageCache
) -> tuple[Path, dict[str, Any], NDArray[np.bool_]]:
    """File with the time courses (n_voxels, n_volumes) of a run, its facts and usable voxels."""
    stage = f"timecourses_{run.name}"
    file, about = cache.folder / f"{stage}.npy", cache.folder / f"{stage}.safetensors"
    if not cache.outputs(stage, key):
        bold, usable, repetition_time, warnings = read_run(run.bold, voxels, run.repetition_time)
        info = {"n_volumes": len(bold), "repetition_time": repetition_time, "warnings": warnings}
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.ascontiguousarray(bold.T))
        write_safetensors(about, {"usable": usable.astype(np.uint8)}, {"info": json.dumps(info)})
        cache.finish(stage, key, [file, about])
    with safe_open(about, framework="np") as stored:
        return file, json.loads(stored.metadata()["info"]), stored.get_tensor("usable").astype(bool)


def _fit(runs: list[RunData], key: str, settings: Settings, cache: StageCache) -> dict[str, Any]:
    """Responses (n_trials, n_voxels), run after run, and what was chosen."""
    stage = "responses_library"
    file = cache.folder / f"{stage}.safetensors"
    if not cache.outputs(stage, key):
        fit: LibraryFit = library_responses(runs, device=str(find_device(settings.device)))
        LOGGER.info("%d responses, %d noise components", len(fit.responses), fit.n_noise_components)
        facts = {"n_noise_components": fit.n_noise_components, "warnings": fit.warnings}
        arrays: dict[str, NDArray[Any]] = {
            "responses": np.ascontiguousarray(fit.responses, dtype=np.float32),
            "hrf_index": fit.hrf_index.astype(np.int16),
            "fraction": fit.fraction.astype(np.float32),
        }
        cache.finish(stage, key, [write_safetensors(file, arrays, {"facts": json.dumps(facts)})])
    with safe_open(file, framework="np") as stored:
        arrays = {name: stored.get_tensor(name) for name in ("responses", "hrf_index", "fraction")}
        return {**arrays, "facts": json.loads(stored.metadata()["facts"])}
