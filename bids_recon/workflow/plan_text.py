"""A plan in words, for `--dry-run` and for messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bids_recon.config import Settings
from bids_recon.dataset.annex import datalad_get
from bids_recon.dataset.splits import TRAIN, rows_of
from bids_recon.dataset.stimulus_spec import StimulusSpec
from bids_recon.dataset.trials import presentations
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.missing import Missing
from bids_recon.workflow.plan import ParticipantPlan

SHOWN = 3
NAMES = {
    "picture": "pictures",
    "bold": "BOLD files",
    "anatomy": "anatomical images",
    "mask": "masks",
}


def missing_sentences(missing: Sequence[Missing], bids_dir: Path, spec: StimulusSpec) -> list[str]:
    """Say what is missing and how to get it."""
    sentences: list[str] = []
    for kind, plural in NAMES.items():
        of_kind = [item for item in missing if item.kind == kind]
        if not of_kind:
            continue
        listed = ", ".join(item.path for item in of_kind[:SHOWN]) + (" ..." if len(of_kind) > SHOWN else "")
        sentences.append(f"{len(of_kind)} {plural} missing: {listed}")
        annexed = [item.path for item in of_kind if item.annexed]
        if annexed:
            sentences.append(f"fetch with: {datalad_get(annexed, bids_dir)}")
        elif kind == "picture" and spec.stimuli.missing:
            sentences.append(" ".join(spec.stimuli.missing.split()))
    return sentences


def plan_text(plan: ParticipantPlan, settings: Settings, voxels: VoxelSelection | None = None) -> str:
    """Describe a plan: runs, trials, split, regions (and voxels, where known), outputs, what is missing."""
    lines = [f"sub-{plan.subject}", *_simulated(plan), f"  responses from   {_source(plan, settings)}"]
    lines += [f"  stimulus spec    {plan.spec.name}" + (f" ({plan.spec.title})" if plan.spec.title else "")]
    lines += _runs(plan)
    lines += _sets(plan)
    lines.append(f"  regions          {_regions(plan, voxels)}")
    lines.append(
        f"  methods          {'none (responses only)' if settings.responses_only else _methods(settings)}"
    )
    lines += [f"  writes           {line}" for line in _outputs(plan, settings)]
    if plan.audit is not None:
        lines.append(f"  leak audit       {'passed' if plan.audit.passed else 'FAILED'}")
        lines += [
            f"                   {check.severity}: {check.detail}"
            for check in plan.audit.checks
            if not check.passed
        ]
    lines += [f"  note             {warning}" for warning in plan.warnings]
    if plan.missing:
        found = missing_sentences(plan.missing, settings.bids_dir, plan.spec)
        lines += [f"  MISSING          {sentence}" for sentence in found]
    return "\n".join(lines)


def _simulated(plan: ParticipantPlan) -> list[str]:
    return ["  The brain in this data set is simulated."] if plan.simulated else []


def _source(plan: ParticipantPlan, settings: Settings) -> str:
    if plan.source == "nsd":
        return f"the release of NSD in {settings.derivatives.get('nsd', settings.bids_dir)}"
    if plan.source == "betas":
        return f"single-trial betas in {settings.derivatives['betas']}"
    if plan.fmriprep:
        space = f"space {plan.space}" if plan.space else "the native space"
        return f"fMRIPrep's BOLD in {space}, estimator {settings.glm}"
    if settings.preprocess == "none":
        return f"BOLD as it is, estimator {settings.glm}"
    t1w = plan.anatomy.t1w.name if plan.anatomy.t1w else "no T1w image"
    return f"raw BOLD, preprocessed here and aligned to {t1w}, estimator {settings.glm}"


def _methods(settings: Settings) -> str:
    if settings.decoders is not None:
        return f"{', '.join(settings.method)} with the decoders of {settings.decoders}; nothing is fitted"
    return ", ".join(settings.method) + (f" (decoder {settings.decoder})" if settings.decoder else "")


def _runs(plan: ParticipantPlan) -> list[str]:
    trials = plan.trials
    if not plan.runs:
        n_runs = len(trials[["session", "task", "run"]].drop_duplicates())
        return [f"  runs             {n_runs}, {len(trials)} trials"]
    reports = plan.reports
    dropped = {
        "one-back repeats": sum(report.n_repeats_dropped for report in reports),
        "catch trials": sum(report.n_catch for report in reports),
        "rows without a picture's name": sum(report.n_missing for report in reports),
        "corrupt rows": sum(report.n_corrupt for report in reports),
    }
    left_out = ", ".join(f"{count} {name}" for name, count in dropped.items() if count)
    imagery = sum(report.n_imagery for report in reports)
    empty = [run.name for run, report in zip(plan.runs, reports, strict=True) if report.n_rows == 0]
    lines = [
        f"  runs             {len(plan.runs)}, {len(trials)} trials"
        + (f" ({imagery} of imagery)" if imagery else "")
        + (f"; left out: {left_out}" if left_out else "")
    ]
    if empty:
        lines.append(f"                   without any event: {', '.join(empty)}")
    return lines


def set_table(plan: ParticipantPlan) -> pd.DataFrame:
    """One row per set of the split: set, stimuli, trials, and presentations a stimulus (least and most)."""
    if plan.split is None:
        return pd.DataFrame()
    sets: dict[str, set[str]] = {}
    if plan.split.fits:
        sets[TRAIN] = {name for fold in plan.split.folds for name in fold.train}
    sets.update({name: set(ids) for name, ids in plan.split.test_sets.items()})
    rows = []
    for name, ids in sets.items():
        member = plan.trials[rows_of(plan.trials, name, ids)]
        counts = presentations(member)
        least, most = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
        shown = f"{least}" if least == most else f"{least} to {most}"
        rows.append(
            {"set": name, "stimuli": len(counts), "trials": len(member), "presentations of each": shown}
        )
    return pd.DataFrame(rows)


def _sets(plan: ParticipantPlan) -> list[str]:
    if plan.split is None:
        return ["  split            none could be made"]
    folds = f", {len(plan.split.folds)} folds" if len(plan.split.folds) > 1 else ""
    in_turn = ", in turn" if len(plan.split.folds) > 1 else ""
    lines = [f"  split            {plan.split.rule}{folds}"]
    return lines + [
        f"    {row['set']:<14} {row['stimuli']} pictures, {row['trials']} trials,"
        f" each shown {row['presentations of each']} times{in_turn}"
        for row in set_table(plan).to_dict("records")
    ]


def _regions(plan: ParticipantPlan, voxels: VoxelSelection | None) -> str:
    if voxels is None:
        return ", ".join(plan.regions) + " (voxels are counted once the images are here)"
    counted = [f"{name} {int(member.sum())}" for name, member in voxels.rois.items()]
    return f"{voxels.n_voxels} voxels" + (f": {', '.join(counted)}" if counted else "")


def _outputs(plan: ParticipantPlan, settings: Settings) -> list[str]:
    root = settings.output_dir / f"sub-{plan.subject}"
    written = [f"{root}.html"]
    if plan.source == "bold":
        written.append(f"{root}/[ses-*/]func/*_desc-SingletrialBetas_statmap.nii.gz and _trials.tsv")
    if not settings.responses_only:
        written.append(f"{root}/decoder/*_decoder.* and *_latents.*")
    if "group" in settings.levels:
        written.append(f"{settings.output_dir}/group/metrics.tsv, items.tsv, images.tsv and images/")
    return written
