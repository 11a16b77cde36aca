"""Responses of all runs of a participant, from the work folder where an earlier call left them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import safe_open

from bids_recon.config import Settings
from bids_recon.dataset.layout import BoldRun
from bids_recon.dataset.trials import normalise_run_label
from bids_recon.errors import DataError
from bids_recon.glm.estimate import run_responses
from bids_recon.outputs.atomic import write_safetensors
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.modulation import Modulation
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedBold, PreparedRun
from bids_recon.workflow.stage_cache import StageCache, fingerprint, stage_key

LOGGER = logging.getLogger("bids_recon")
BLOCK_AVERAGE = "block-average"
CANONICAL = "glover (nilearn)"
N_COMPCOR = 5


@dataclass(frozen=True)
class Nuisance:
    """What is regressed out beside the constant.

    Attributes
    ----------
    drift : {"linear", "cosine"}
    motion : {6, 24} or None
    extra : tuple of str
        Further columns of the confounds table.
    """

    drift: str
    motion: int | None
    extra: tuple[str, ...]


def _plain(name: object) -> str:
    return str(name).casefold().replace("_", "")


def _no_components() -> DataError:
    return DataError(
        "--nuisance acompcor was asked for, and the confounds have no component of it",
        remedy="Components are made by means of a T1w image. Leave acompcor out.",
    )


def nuisance_of(settings: Settings, confounds: pd.DataFrame | None) -> Nuisance:
    """Regressors by the options: a straight line suits block averages (as published), cosines what models.

    Raises
    ------
    DataError
        When components are asked for and the table has none.
    """
    drift = "linear" if settings.glm == BLOCK_AVERAGE else "cosine"
    if confounds is None and "acompcor" in settings.nuisance:
        raise _no_components()
    if confounds is None or "none" in settings.nuisance:
        return Nuisance(drift, None, ())
    motion = 24 if "motion24" in settings.nuisance else 6 if "motion6" in settings.nuisance else None
    if "acompcor" not in settings.nuisance:
        return Nuisance(drift, motion, ())
    # fMRIPrep of 2018 wrote aCompCor00.
    columns = [name for name in confounds.columns if _plain(name).startswith("acompcor")]
    if not columns:
        raise _no_components()
    # The components were made after a high-pass filter, and mean nothing without it.
    return Nuisance("cosine", motion, tuple(columns[:N_COMPCOR]))


def run_key(
    settings: Settings, run: PreparedRun, trials: pd.DataFrame, voxels: VoxelSelection, shift: float
) -> str:
    """Hash of everything that the responses of a run depend on."""
    table = run.confounds.to_csv(index=False) if run.confounds is not None else ""
    return stage_key(
        {
            "bold": fingerprint(run.bold),
            "trials": trials[["onset", "duration", "stimulus_id"]].to_json(orient="values"),
            "voxels": hashlib.sha256(voxels.indices.tobytes() + voxels.affine.tobytes()).hexdigest(),
            "glm": settings.glm,
            "shift": shift,
            "repetition_time": run.repetition_time,
            "start_time": run.start_time,
            "nuisance": settings.nuisance,
            "confounds": hashlib.sha256(table.encode()).hexdigest(),
        }
    )


@dataclass(frozen=True)
class Estimates:
    """Responses as the estimator gives them.

    Attributes
    ----------
    data : ndarray (n_trials, n_voxels) float32
        In the order of the trials of the plan.
    usable : ndarray (n_voxels,) bool
        Voxels with a signal in every run.
    facts : dict of str to dict
        Of each run, by name: `n_volumes`, `repetition_time`, `nuisance`, ...
    maps : dict of str to ndarray (n_voxels,)
        What was chosen for each voxel.
    description : dict
        For the sidecar.
    warnings : list of str
    key : str
        Hash of what all of it depends on.
    modulation : Modulation or None
        What models the responses to training trials, where the estimator does.
    """

    data: NDArray[np.float32]
    usable: NDArray[np.bool_]
    facts: Mapping[str, Mapping[str, Any]]
    warnings: list[str]
    key: str
    maps: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    description: Mapping[str, Any] = field(default_factory=dict)
    modulation: Modulation | None = None


def trials_of(trials: pd.DataFrame, run: BoldRun) -> NDArray[np.bool_]:
    """Trials (n_trials,) of one run."""
    same_run = trials["run"].map(normalise_run_label) == normalise_run_label(run.run)
    member = (trials["session"] == run.session) & (trials["task"] == run.task) & same_run
    return member.to_numpy(dtype=bool)


def estimate_runs(
    settings: Settings,
    plan: ParticipantPlan,
    prepared: PreparedBold,
    voxels: VoxelSelection,
    shift: float,
    cache: StageCache,
) -> Estimates:
    """Estimate the responses of each run on its own."""
    data = np.empty((len(plan.trials), voxels.n_voxels), dtype=np.float32)
    usable = np.ones(voxels.n_voxels, dtype=bool)
    facts: dict[str, Any] = {}
    keys: list[str] = []
    for run in plan.runs_with_trials:
        rows = trials_of(plan.trials, run)
        key, block, good, facts[run.name] = _one_run(
            settings, prepared.runs[run.name], plan.trials[rows], voxels, shift, cache
        )
        keys.append(key)
        data[rows] = block
        usable &= good
        LOGGER.info("%s: %d responses", run.name, len(block))
    warnings = [text for info in facts.values() for text in info["warnings"]]
    about = (
        {"HaemodynamicShift": shift} if settings.glm == BLOCK_AVERAGE else {"HaemodynamicResponse": CANONICAL}
    )
    return Estimates(data, usable, facts, warnings, stage_key({"runs": keys}), description=about)


def _one_run(
    settings: Settings,
    run: PreparedRun,
    trials: pd.DataFrame,
    voxels: VoxelSelection,
    shift: float,
    cache: StageCache,
) -> tuple[str, NDArray[np.float32], NDArray[np.bool_], dict[str, Any]]:
    """Key, responses (n_trials, n_voxels), usable voxels (n_voxels,) and facts of one run."""
    key, stage = run_key(settings, run, trials, voxels, shift), f"responses_{run.name}"
    done = cache.outputs(stage, key)
    if done:
        with safe_open(done[0], framework="np") as stored:
            info = json.loads(stored.metadata()["info"])
            return key, stored.get_tensor("responses"), stored.get_tensor("usable").astype(bool), info
    nuisance = nuisance_of(settings, run.confounds)
    responses, usable, info = run_responses(
        run.bold,
        trials,
        voxels,
        repetition_time=run.repetition_time,
        estimator=settings.glm,
        shift=shift,
        start_time=run.start_time,
        confounds=run.confounds,
        drift=nuisance.drift,
        motion=nuisance.motion,
        extra=nuisance.extra,
    )
    file = write_safetensors(
        cache.folder / f"{stage}.safetensors",
        {"responses": responses, "usable": usable.astype(np.uint8)},
        {"info": json.dumps(info)},
    )
    cache.finish(stage, key, [file])
    return key, responses, usable, info
