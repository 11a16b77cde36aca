"""What preprocessing leaves in the output folder: transforms, confounds and the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_recon.config import Settings
from bids_recon.dataset.inheritance import entities_of
from bids_recon.dataset.layout import BoldRun
from bids_recon.outputs.atomic import write_json, write_nifti, write_tsv
from bids_recon.outputs.names import ENTITY_ORDER, bids_uri, derivative_name
from bids_recon.preprocess.confounds import describe_confounds
from bids_recon.preprocess.itk_transforms import write_itk_affine
from bids_recon.preprocess.run_motion import RunMotion
from bids_recon.workflow.placement import Placement
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedRun
from bids_recon.workflow.stage_cache import StageCache, stage_key

_SHORT = {short for _, short in ENTITY_ORDER}


def reference_name(subject: str) -> str:
    """File name of the common BOLD reference of a participant."""
    return derivative_name({"sub": subject}, "boldref", ".nii.gz")


def write_preprocessed(
    settings: Settings,
    plan: ParticipantPlan,
    motions: Mapping[str, tuple[RunMotion, str]],
    placement: Placement,
    prepared: Mapping[str, PreparedRun],
    cache: StageCache,
    keys: Sequence[str],
) -> None:
    """Write transforms, confounds and the reference of one participant, unless they are there."""
    output = settings.output_dir
    key = stage_key({"runs": keys, "output": str(output.resolve()), "simulated": plan.simulated})
    if cache.outputs("preprocessed", key):
        return
    written: list[Path] = []
    for run in plan.runs_with_trials:
        motion, _ = motions[run.name]
        written += _write_run(settings, plan, run, motion, placement, prepared[run.name])
    first = plan.runs_with_trials[0]
    folder = output / f"sub-{plan.subject}" / "func"
    sources = [_uri(settings, first.bold)]
    name = reference_name(plan.subject)
    image = nib.Nifti1Image(placement.reference.data.astype(np.float32), placement.reference.affine)
    image.header.set_xyzt_units("mm")
    written.append(write_nifti(folder / name, image))
    sidecar = {
        "Description": "Mean of aligned volumes, the common grid of all runs",
        "Sources": sources if settings.decoders is None else [str(settings.decoders.absolute())],
        "SkullStripped": False,
        "Simulated": plan.simulated,
    }
    written.append(write_json(folder / name.replace(".nii.gz", ".json"), sidecar))
    if placement.to_bold is not None and plan.anatomy.t1w is not None:
        name = derivative_name(
            {"sub": plan.subject, "from": "boldref", "to": "T1w", "mode": "image", "desc": "coreg"},
            "xfm",
            ".txt",
        )
        written.append(write_itk_affine(folder / name, placement.to_bold))
        about = {
            "Description": "Rigid transform that resamples the BOLD reference on the T1w image",
            "Engine": placement.engine,
            "Sources": [*sources, _uri(settings, plan.anatomy.t1w)],
        }
        written.append(write_json(folder / name.replace(".txt", ".json"), about))
    cache.finish("preprocessed", key, written)


def _write_run(
    settings: Settings,
    plan: ParticipantPlan,
    run: BoldRun,
    motion: RunMotion,
    placement: Placement,
    prepared: PreparedRun,
) -> list[Path]:
    assert run.bold is not None and prepared.confounds is not None
    session = f"ses-{run.session}" if run.session else ""
    folder = settings.output_dir / f"sub-{plan.subject}" / session / "func"
    entities = {key: value for key, value in entities_of(run.bold).items() if key in _SHORT}

    def named(suffix: str, extension: str, **more: str) -> Path:
        return folder / derivative_name({**entities, **more}, suffix, extension)

    sources = [_uri(settings, run.bold)]
    common: dict[str, Any] = {"Sources": sources, "Simulated": plan.simulated}
    dropped = {"VolumesDropped": motion.n_dropped}
    table = named("timeseries", ".tsv", desc="confounds")
    written = [
        write_tsv(table, prepared.confounds.round(6)),
        write_json(
            table.with_suffix(".json"),
            {**common, **dropped, "StartTime": prepared.start_time, **describe_confounds(prepared.confounds)},
        ),
    ]
    within = named("xfm", ".txt", **{"from": "orig", "to": "boldref", "mode": "image", "desc": "hmc"})
    written.append(write_itk_affine(within, motion.pull @ placement.to_run[run.name]))
    about = {
        "Description": "Rigid transforms, one a volume, that resample it on the common BOLD reference",
        **common,
        **dropped,
    }
    written.append(write_json(within.with_suffix(".json"), about))
    return written


def _uri(settings: Settings, file: Path | None) -> str:
    return "" if file is None else bids_uri(file, {"raw": settings.bids_dir, **settings.derivatives})
