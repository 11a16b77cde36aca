"""Responses of one participant as derivatives, with maps of what was chosen and how reliable voxels are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_recon.config import Settings
from bids_recon.glm.store import write_responses
from bids_recon.outputs.atomic import write_json, write_nifti
from bids_recon.outputs.names import bids_uri, derivative_name
from bids_recon.workflow.estimates import Estimates
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.stage_cache import StageCache, region_hashes, stage_key

if TYPE_CHECKING:
    from bids_recon.workflow.responses import ResponseResult

# Name in `desc`, suffix, unit and meaning of each map.
MAPS = {
    "hrf_index": (
        "HRFindex",
        "dseg",
        "index",
        "Haemodynamic response of the library that fits best, counted from 1; 0 outside the voxels",
    ),
    "fraction": (
        "Fracridge",
        "statmap",
        "ratio",
        "Length of the differences between trials, as a part of that without a penalty",
    ),
    "training": (
        *("NoiseceilingTraining", "statmap", "percent"),
        "Explainable part of the variance of single trials, from repeats of training pictures",
    ),
    "test": (
        *("NoiseceilingTest", "statmap", "percent"),
        "Explainable part of the variance of single trials, from repeats of test pictures; for reports only",
    ),
}


def write_estimates(
    settings: Settings,
    plan: ParticipantPlan,
    result: ResponseResult,
    estimates: Estimates,
    cache: StageCache,
) -> None:
    """Write responses and maps, unless they are there."""
    assert result.prepared is not None
    responses = result.responses
    trials, voxels = responses.trials, responses.voxels
    key = stage_key(
        {
            "estimates": estimates.key,
            "output": str(settings.output_dir.resolve()),
            # Another split or other regions change tables and masks, though not the responses.
            "trials": trials.to_json(orient="split"),
            "voxels": hashlib.sha256(voxels.indices.tobytes()).hexdigest(),
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
        names = [run.name for run in plan.runs if (run.session, run.task) == (session, task)]
        files = [
            file
            for name in names
            if name in result.prepared.runs
            for file in result.prepared.runs[name].sources
        ]
        written += write_responses(
            responses.take(rows),
            settings.output_dir,
            subject=plan.subject,
            session=session or None,
            task=task,
            space=voxels.space,
            description={
                "Estimator": settings.glm,
                **estimates.description,
                **result.prepared.description,
                "Simulated": plan.simulated,
                "Sources": [
                    bids_uri(file, {"raw": settings.bids_dir, **settings.derivatives}) for file in files
                ],
            },
        )
    written += _write_maps(settings, plan, result)
    cache.finish("responses", key, written)


def _write_maps(settings: Settings, plan: ParticipantPlan, result: ResponseResult) -> list[Path]:
    """One map for the person: sessions and tasks share what was chosen."""
    voxels = result.responses.voxels
    folder = settings.output_dir / f"sub-{plan.subject}" / "func"
    written: list[Path] = []
    for name, (desc, suffix, unit, meaning) in MAPS.items():
        values = result.maps.get(name, result.ceilings.get(name))
        file = folder / derivative_name(
            {"sub": plan.subject, "space": voxels.space, "desc": desc}, suffix, ".nii.gz"
        )
        if values is None:
            # One that an earlier call left would not belong to these responses.
            file.unlink(missing_ok=True)
            file.with_name(file.name.replace(".nii.gz", ".json")).unlink(missing_ok=True)
            continue
        # Zero is outside the voxels, so that the first haemodynamic response is 1 in the image.
        stored = np.asarray(values) + 1 if name == "hrf_index" else np.asarray(values)
        kind = np.int16 if name == "hrf_index" else np.float32
        image = nib.Nifti1Image(voxels.volume(stored.astype(kind)), voxels.affine)
        image.header.set_xyzt_units("mm")
        written.append(write_nifti(file, image))
        sidecar: dict[str, Any] = {"Description": meaning, "Units": unit, "Simulated": plan.simulated}
        written.append(write_json(file.with_name(file.name.replace(".nii.gz", ".json")), sidecar))
    return written
