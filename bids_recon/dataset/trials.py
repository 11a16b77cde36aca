"""The table of trials: one row per presentation of a picture, in the order in which they were shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.stimulus_rows import Fate, check_id, first_present, identify, stimulus_path
from bids_recon.dataset.stimulus_spec import StimulusSpec
from bids_recon.errors import DataError

TRIAL_COLUMNS = (
    "subject",
    "session",
    "task",
    "run",
    "onset",
    "duration",
    "stimulus_id",
    "trial_index",
    "kind",
    "set",
)
# Path of the picture below the stimulus folder; "" where the events do not give one.
FILE_COLUMN = "stim_file"
# Line of a file in which the first row below the header stands.
FIRST_LINE = 2
NUMBERS = {"onset": "float64", "duration": "float64", "trial_index": "int64"}


def empty_trials() -> pd.DataFrame:
    """A table of trials without rows."""
    columns = (*TRIAL_COLUMNS, FILE_COLUMN)
    return pd.DataFrame({column: pd.Series(dtype=NUMBERS.get(column, object)) for column in columns})


def normalise_run_label(run: object) -> str:
    """Run label that is equal for "1", "01" and "run-01"; "" for a run without label."""
    text = "" if run is None else str(run).removeprefix("run-")
    return str(int(text)) if re.fullmatch(r"[0-9]+", text) else text


def concatenate_trials(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the runs of one or several people under one another, and number the trials of each person.

    Parameters
    ----------
    tables : sequence of DataFrame
        One per run, with the columns TRIAL_COLUMNS and any others; cells of columns that a run lacks become
        "n/a".

    Raises
    ------
    DataError
        When a run is given twice, or one stimulus id stands for two files.
    ValueError
        When a table lacks one of TRIAL_COLUMNS.
    """
    seen: dict[tuple[str, ...], str] = {}
    for table in tables:
        if lacking := [column for column in TRIAL_COLUMNS if column not in table.columns]:
            raise ValueError(f"a table of trials lacks {lacking}")
        for subject, session, task, run in dict.fromkeys(_runs(table)):
            key = (subject, session, task, normalise_run_label(run))
            if key in seen:
                raise DataError(
                    f"run '{run}' of sub-{subject}, session '{session}', task '{task}' is there twice"
                    f" (as '{seen[key]}' and '{run}')",
                    remedy="Keep one of them, or choose with --bids-filter-file.",
                )
            seen[key] = run
    filled = [table for table in tables if len(table)]
    if not filled:
        return empty_trials()
    trials = pd.concat(filled, ignore_index=True)
    others = [column for column in trials.columns if column not in NUMBERS]
    trials[others] = trials[others].fillna(dict.fromkeys(others, "n/a") | {FILE_COLUMN: ""})
    trials["trial_index"] = trials.groupby("subject", sort=False).cumcount().astype("int64")
    check_files(trials)
    return trials


def _runs(table: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    return list(table[["subject", "session", "task", "run"]].itertuples(index=False, name=None))


def check_files(trials: pd.DataFrame) -> None:
    """Refuse trials in which one stimulus id stands for two files; cells without a file do not count.

    Raises
    ------
    DataError
        Naming the id and the files.
    """
    if FILE_COLUMN not in trials.columns:
        return
    named = trials[~trials[FILE_COLUMN].isin(["", "n/a"]) & (trials["stimulus_id"] != "")]
    pairs = named[["stimulus_id", FILE_COLUMN]].drop_duplicates()
    double = pairs[pairs.duplicated("stimulus_id", keep=False)]
    if len(double):
        name = double["stimulus_id"].iloc[0]
        files = double.loc[double["stimulus_id"] == name, FILE_COLUMN].tolist()
        raise DataError(
            f"stimulus '{name}' stands for several pictures: {', '.join(files[:3])}",
            remedy='Give pictures different names, or set parse = "path" in the stimulus spec.',
        )


def presentations(trials: pd.DataFrame) -> pd.Series[int]:
    """How often each picture was shown, in the order of first showing; rows without one do not count."""
    ids = trials.loc[trials["stimulus_id"] != "", "stimulus_id"]
    counts = ids.groupby(ids, sort=False).size().astype("int64")
    return counts.rename("presentations").rename_axis("stimulus_id")


def trials_from_table(
    table: pd.DataFrame,
    spec: StimulusSpec,
    *,
    subject: str,
    session: str = "",
    task: str = "",
    file: str | Path = "trials.tsv",
) -> pd.DataFrame:
    """Trials of responses that were estimated elsewhere, one row per volume, in the order of the table.

    No row is dropped. Rows that show no picture of interest (rest, catch trials, a picture without a name)
    have the stimulus id "". One-back repeats keep theirs: they are responses to that picture.

    Parameters
    ----------
    table : DataFrame
        Text. The picture is found by the spec, unless the table has all of TRIAL_COLUMNS, as one that
        bids_recon wrote, or has `stimulus_id` and none of the columns of the spec. Without onset and duration
        these are NaN.
    spec : StimulusSpec
    subject, session, task : str
        Labels; session and task only where the table has no such column.
    file : path
        For messages.

    Raises
    ------
    DataError
        When no column tells the picture, a picture is outside the data set, or `trial_index` does not number
        the rows.
    """
    cells = table.astype(str).where(table.notna(), "n/a").map(str.strip)
    cells.index = pd.RangeIndex(FIRST_LINE, FIRST_LINE + len(cells))
    _check_index(cells, file)
    trials = pd.DataFrame(index=cells.index)
    trials["subject"] = subject
    for column, label in (("session", session), ("task", task), ("run", "")):
        given = cells[column] if column in cells.columns else pd.Series(label, index=cells.index)
        trials[column] = given.where(~given.isin(spec.na), "")
    for column in ("onset", "duration"):
        given = cells[column] if column in cells.columns else pd.Series("n/a", index=cells.index)
        trials[column] = pd.to_numeric(given, errors="coerce").astype("float64")
    trials["stimulus_id"] = ""
    trials["trial_index"] = np.arange(len(cells), dtype=np.int64)
    trials["kind"] = "perception"
    trials["set"] = ""
    trials[FILE_COLUMN] = ""
    named = any(first_present(rule.id, cells) for rule in spec.trials)
    if set(TRIAL_COLUMNS) <= set(cells.columns) or (not named and "stimulus_id" in cells.columns):
        _copy_ids(cells, trials, spec, file)
    else:
        _apply_rules(cells, trials, spec, file)
    extra = [column for column in cells.columns if column not in trials.columns]
    return pd.concat([trials, cells[extra]], axis=1).reset_index(drop=True)


def _check_index(cells: pd.DataFrame, file: str | Path) -> None:
    if "trial_index" not in cells.columns:
        return
    numbers = pd.to_numeric(cells["trial_index"], errors="coerce").to_numpy(dtype=float)
    if len(numbers) and not (np.diff(numbers, prepend=numbers[0] - 1) == 1).all():
        raise DataError(
            "trial_index does not number the rows one after the other",
            file=file,
            remedy="Put the rows into the order of the volumes.",
        )


def _copy_ids(cells: pd.DataFrame, trials: pd.DataFrame, spec: StimulusSpec, file: str | Path) -> None:
    for column in ("stimulus_id", "kind", "set", FILE_COLUMN):
        if column in cells.columns:
            trials[column] = cells[column].where(~cells[column].isin(spec.na), "")
    ids, paths = trials["stimulus_id"].tolist(), trials[FILE_COLUMN].tolist()
    for line, stimulus_id in enumerate(ids, FIRST_LINE):
        if stimulus_id:
            check_id(stimulus_id, file=file, line=line)
    trials[FILE_COLUMN] = [
        stimulus_path(path, file=file, line=line) if path else ""
        for line, path in enumerate(paths, FIRST_LINE)
    ]


def _apply_rules(cells: pd.DataFrame, trials: pd.DataFrame, spec: StimulusSpec, file: str | Path) -> None:
    for (task, session), rows in trials.groupby(["task", "session"], sort=False):
        # A table of responses often lacks the labels by which rules are chosen.
        rule = spec.rule_for(task=str(task), session=str(session)) or next(
            (rule for rule in spec.trials if first_present(rule.id, cells)), spec.trials[0]
        )
        found = identify(cells.loc[rows.index], rule, spec.na, file=file, aligned=True)
        shown = found["fate"] == Fate.TRIAL
        trials.loc[rows.index, "stimulus_id"] = found["stimulus_id"].where(shown, "")
        trials.loc[rows.index, FILE_COLUMN] = found["stim_file"].where(shown, "")
        trials.loc[rows.index, "kind"] = rule.kind
