"""Single-trial responses of one participant: estimated from BOLD, or read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.config import Settings
from bids_recon.errors import DataError
from bids_recon.glm.responses import Responses
from bids_recon.glm.store import read_responses
from bids_recon.rois.select import select_voxels
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.estimates import Estimates, estimate_runs
from bids_recon.workflow.joint_estimates import LIBRARY, estimate_jointly, estimate_with_modulation
from bids_recon.workflow.modulation import PARAMETRIC, Modulation
from bids_recon.workflow.nsd_source import NSD, nsd_responses, nsd_voxels
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.preparation import prepare, unaligned
from bids_recon.workflow.prepared import PreparedBold
from bids_recon.workflow.region_requests import sort_requests
from bids_recon.workflow.reliability import reliability_of
from bids_recon.workflow.response_files import write_estimates
from bids_recon.workflow.reuse import on_voxels, voxels_of
from bids_recon.workflow.stage_cache import StageCache
from bids_recon.workflow.trial_sources import BETAS
from bids_recon.workflow.voxels import refuse_atlases_of_betas, voxels_of_bold

DEFAULT_SHIFT = 4.0
# Estimators of all runs together; the others take one run at a time.
ESTIMATE = {LIBRARY: estimate_jointly, PARAMETRIC: estimate_with_modulation}


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
    prepared : PreparedBold or None
        The BOLD that responses were estimated from.
    ceilings : dict of str to ndarray (n_voxels,)
        Noise ceiling in percent, from `training` and from `test` repeats where there are any.
    maps : dict of str to ndarray (n_voxels,)
        What the estimator chose for each voxel.
    modulation : Modulation or None
        With `--glm parametric`, what models the responses to training trials.
    estimates_key : str
        Hash of what the responses depend on; "" when they were read.
    """

    responses: Responses
    runs: pd.DataFrame
    warnings: list[str]
    zscore: str
    prepared: PreparedBold | None = None
    ceilings: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    maps: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    modulation: Modulation | None = None
    estimates_key: str = ""


def participant_responses(settings: Settings, plan: ParticipantPlan, cache: StageCache) -> ResponseResult:
    """Get the responses of every trial of the plan, and write them when they were estimated here."""
    if plan.source == NSD:
        return _read_nsd(settings, plan)
    if plan.source == BETAS:
        return _read(settings, plan)
    return _estimate(settings, plan, cache)


def _read(settings: Settings, plan: ParticipantPlan) -> ResponseResult:
    refuse_atlases_of_betas(settings)
    found, warnings = read_responses(
        settings.derivatives[BETAS],
        plan.subject,
        sessions=settings.session_label or None,
        tasks=settings.task_id or None,
    )
    responses = Responses(found.data, plan.trials, found.voxels)
    if plan.earlier:
        responses = on_voxels(responses, voxels_of(plan.earlier), settings.derivatives[BETAS])
    elif requests := sort_requests(settings.roi).plain:
        voxels = found.voxels
        chosen, more = select_voxels(
            requests,
            plan.masks,
            voxels,
            brain=voxels.mask(),
            space=voxels.space,
        )
        warnings += more
        member = np.isin(voxels.indices, chosen.indices)
        if not member.any():
            raise DataError(
                f"sub-{plan.subject}: no voxel of {', '.join(requests)} has responses",
                file=settings.derivatives[BETAS],
            )
        place = np.searchsorted(chosen.indices, voxels.indices[member])
        rois = {name: mask[place] for name, mask in chosen.rois.items() if mask[place].any()}
        kept = responses.restrict(member)
        selection = VoxelSelection(
            voxels.shape, voxels.affine, kept.voxels.indices, rois, voxels.space, chosen.sources
        )
        responses = Responses(kept.data, kept.trials, selection)
    return _as_read(settings, plan, responses, warnings)


def _read_nsd(settings: Settings, plan: ParticipantPlan) -> ResponseResult:
    """Read NSD's own responses, in the voxels of the regions asked for or of earlier decoders."""
    voxels, warnings = (
        (voxels_of(plan.earlier), []) if plan.earlier else nsd_voxels(settings, plan.subject, plan.masks)
    )
    responses, more = nsd_responses(settings, plan.subject, plan.trials, voxels)
    if plan.earlier:
        responses = on_voxels(responses, voxels, settings.bids_dir)
    return _as_read(settings, plan, responses, [*warnings, *more])


def _as_read(
    settings: Settings, plan: ParticipantPlan, responses: Responses, warnings: Sequence[str]
) -> ResponseResult:
    reliable = reliability_of(settings, plan, responses)
    by_run = plan.trials.groupby(["session", "task", "run"], sort=False)
    runs = by_run.size().rename("trials").reset_index()
    return ResponseResult(
        reliable.restrict(responses),
        runs,
        [*warnings, *reliable.warnings],
        settings.zscore or "all",
        ceilings=reliable.ceilings,
    )


def _estimate(settings: Settings, plan: ParticipantPlan, cache: StageCache) -> ResponseResult:
    prepared = prepare(settings, plan, cache)
    voxels, found = voxels_of_bold(settings, plan, prepared, cache)
    warnings = [*prepared.warnings, *found]
    shift = _first_known(settings.hrf_shift, plan.spec.glm.shift, DEFAULT_SHIFT)
    estimates = ESTIMATE.get(settings.glm, estimate_runs)(settings, plan, prepared, voxels, shift, cache)
    responses, usable = Responses(estimates.data, plan.trials, voxels), estimates.usable
    warnings += estimates.warnings
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
    maps = {name: values[usable] for name, values in estimates.maps.items()}
    if plan.earlier:
        responses = on_voxels(responses, voxels_of(plan.earlier), settings.bids_dir)
        maps = {}
    reliable = reliability_of(settings, plan, responses)
    result = ResponseResult(
        reliable.restrict(responses),
        _run_table(plan, prepared, estimates),
        [*warnings, *reliable.warnings],
        settings.zscore or "run",
        prepared=prepared,
        ceilings=reliable.ceilings,
        maps={name: values[reliable.kept] for name, values in maps.items()},
        modulation=estimates.modulation,
        estimates_key=estimates.key,
    )
    write_estimates(settings, plan, result, estimates, cache)
    return result


def _run_table(plan: ParticipantPlan, prepared: PreparedBold, estimates: Estimates) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for run, report in zip(plan.runs, plan.reports, strict=True):
        if not report.n_trials:
            continue
        info = estimates.facts[run.name]
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
                **prepared.runs[run.name].facts,
            }
        )
    return pd.DataFrame(rows)


def planned_voxels(settings: Settings, plan: ParticipantPlan) -> VoxelSelection | None:
    """Voxels that a run would use, before alignment, for the plan; None while they cannot be counted."""
    if any(item.kind != "picture" for item in plan.missing) or sort_requests(settings.roi).atlases:
        return None
    if plan.source == NSD:
        return voxels_of(plan.earlier) if plan.earlier else nsd_voxels(settings, plan.subject, plan.masks)[0]
    if plan.source == BETAS:
        return _read(settings, plan).responses.voxels
    if any(found.resample for found in plan.fmriprep.values()):
        return None
    if plan.earlier:
        return voxels_of(plan.earlier)
    cache = StageCache(settings.work_dir, plan.subject)
    return voxels_of_bold(settings, plan, unaligned(settings, plan), cache)[0]


def _first_known(*values: float | None) -> float:
    return next(value for value in values if value is not None)
