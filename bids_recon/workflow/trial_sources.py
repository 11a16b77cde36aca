"""Trials of a participant, from events of BOLD runs or from tables of responses that are read."""

from __future__ import annotations

import pandas as pd

from bids_recon.config import Settings
from bids_recon.dataset.events import RunReport, read_events, trials_of_run
from bids_recon.dataset.layout import BoldRun, find_runs
from bids_recon.dataset.stimulus_spec import StimulusSpec
from bids_recon.dataset.trials import concatenate_trials, trials_from_table
from bids_recon.errors import NothingSelectedError
from bids_recon.glm.beta_files import beta_files_of_one_space

# Name under which --derivatives gives responses.
BETAS = "betas"


def trials_of_betas(settings: Settings, subject: str, spec: StimulusSpec) -> tuple[pd.DataFrame, str | None]:
    """Trials of responses that are read, and the space of these."""
    files = beta_files_of_one_space(
        settings.derivatives[BETAS], subject, settings.session_label or None, settings.task_id or None
    )
    tables = [trials_from_table(one.read_trials(), spec, subject=subject, file=one.trials) for one in files]
    return concatenate_trials(tables), files[0].entities.get("space")


def trials_of_events(
    settings: Settings, subject: str, spec: StimulusSpec
) -> tuple[list[BoldRun], list[RunReport], pd.DataFrame, list[str]]:
    """Runs of BOLD that are used, what the reader of their events says, their trials, and warnings.

    Raises
    ------
    NothingSelectedError
        When there are no runs, or no trials with pictures.
    ReconError
        When events cannot be understood.
    """
    runs = find_runs(
        settings.bids_dir,
        [subject],
        sessions=settings.session_label,
        tasks=settings.task_id,
        filters=settings.bids_filters.get("bold"),
        database_dir=settings.bids_database_dir,
    )[subject]
    if not runs:
        raise NothingSelectedError(
            f"sub-{subject} has no runs with the sessions and tasks asked for", file=settings.bids_dir
        )
    kept: list[BoldRun] = []
    reports: list[RunReport] = []
    tables: list[pd.DataFrame] = []
    warnings: list[str] = []
    for run in runs:
        if spec.rule_for(task=run.task, session=run.session) is None:
            warnings.append(f"{run.name} is left out: {spec.name} says nothing of its task and session.")
            continue
        if run.events is None:
            warnings.append(f"{run.name} is left out: it has no events.tsv.")
            continue
        table, report = trials_of_run(
            read_events(run.events),
            spec,
            subject=subject,
            session=run.session,
            task=run.task,
            run=run.run,
            file=run.events,
        )
        kept.append(run)
        reports.append(report)
        tables.append(table)
        warnings += report.messages
    if not any(len(table) for table in tables):
        raise NothingSelectedError(
            f"sub-{subject} has no trials with pictures in {len(runs)} runs",
            file=settings.bids_dir,
            remedy="Check --task-id, --session-label and --stimulus-spec.",
        )
    return kept, reports, concatenate_trials(tables), warnings
