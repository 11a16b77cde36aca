"""From an events.tsv to the trials of a run, with an account of every row that is not among them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.stimulus_rows import Fate, first_present, identify, matching_rows
from bids_recon.dataset.stimulus_rules import RepeatRule, TrialRule
from bids_recon.dataset.stimulus_spec import StimulusSpec
from bids_recon.dataset.trials import FILE_COLUMN, empty_trials
from bids_recon.errors import DataError, MissingInputError, from_os_error

# Lines whose number of cells is not that of the header, in DataFrame.attrs of what read_events returns.
MALFORMED = "malformed lines"
# An events column with a name that a table of trials uses for something else.
RENAMED = "events_"
SHOWN = 5


@dataclass(frozen=True)
class RunReport:
    """What became of the rows of an events.tsv.

    Every row is counted once: `n_rows` is the sum of `n_trials`, `n_other`, `n_repeats_dropped`, `n_catch`,
    `n_missing` and `n_corrupt`.

    Attributes
    ----------
    subject, session, task, run, file : str
    n_rows : int
        Rows below the header.
    n_trials : int
        Rows that became trials.
    n_other : int
        Rows that show no picture of interest: rest, cues, ratings.
    n_repeats_dropped, n_catch : int
        One-back repeats and catch trials that the spec leaves out.
    n_missing : int
        Stimulus rows without a picture's name.
    n_corrupt : int
        Rows with a cell that cannot be read.
    n_imagery : int
        How many of the trials are imagery.
    messages : tuple of str
        What the user should know, with file and line.
    dropped : DataFrame
        `onset`, `duration` (s) and `reason` of stimulus rows that are no trials though something was shown,
        so that a design matrix can account for them.
    """

    subject: str
    session: str
    task: str
    run: str
    file: str
    n_rows: int = 0
    n_trials: int = 0
    n_other: int = 0
    n_repeats_dropped: int = 0
    n_catch: int = 0
    n_missing: int = 0
    n_corrupt: int = 0
    n_imagery: int = 0
    messages: tuple[str, ...] = ()
    dropped: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)


def read_events(path: str | Path) -> pd.DataFrame:
    """Read an events.tsv as text.

    A byte order mark, any line ends, blank lines and trailing tabs are accepted.

    Returns
    -------
    DataFrame
        Text; the index is the line number in the file (the header being line 1). Lines with too few or too
        many cells are left out and listed in `attrs["malformed lines"]`.

    Raises
    ------
    MissingInputError
        When the file is not there, or is a link to content that was not fetched.
    DataError
        When it is empty, is no text, names a column twice, or lacks the column `onset` or `duration`.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MissingInputError(
            "the events are missing", file=path, remedy="Fetch the file, e.g. with datalad get."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", file=path, remedy="Save it as UTF-8.") from error
    except OSError as error:
        raise from_os_error(error, path) from error
    lines = [(number, line) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1) if line.strip()]
    if not lines:
        raise DataError("is empty", file=path, remedy="Restore the file from the data set.")
    header = [cell.strip() for cell in _cells(lines[0][1])]
    # A name that is missing, as after a trailing tab, is a column that nobody can ask for.
    named = [place for place, name in enumerate(header) if name]
    names = [header[place] for place in named]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"column '{twice}' is there twice", file=path, remedy="Rename one of them.")
    for column in ("onset", "duration"):
        if column not in names:
            raise DataError(
                f"there is no column '{column}'; there are {', '.join(map(repr, names))}",
                file=path,
                remedy="BIDS wants onset and duration, separated from other columns by tabs.",
            )
    width = max(named) + 1
    rows: dict[int, list[str]] = {}
    malformed: list[int] = []
    for number, line in lines[1:]:
        cells = [cell.strip() for cell in _cells(line)]
        if len(cells) < width or any(cells[len(header) :]):
            malformed.append(number)
        else:
            rows[number] = [cells[place] for place in named]
    index = pd.Index(list(rows), dtype="int64", name="line")
    events = pd.DataFrame(list(rows.values()), columns=names, index=index, dtype=str)
    events.attrs[MALFORMED] = malformed
    return events


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter="\t"))
    except csv.Error:
        # A cell of over 131,072 characters: the line is damaged.
        return []


def trials_of_run(
    events: pd.DataFrame,
    spec: StimulusSpec,
    *,
    subject: str,
    session: str | None,
    task: str,
    run: str | None,
    file: str | Path,
) -> tuple[pd.DataFrame, RunReport]:
    """Trials of a run.

    Parameters
    ----------
    events : DataFrame
        As `read_events` returns it.
    spec : StimulusSpec
    subject, session, task, run
        Labels without prefix; None where the run has none.
    file : path
        The events.tsv, for messages.

    Returns
    -------
    trials : DataFrame
        See `bids_recon.dataset.trials`, in the order of the rows. `stim_file` is the path of the picture
        below the stimulus folder, or ""; `set` is "", to be filled by a split. Columns of the events that
        share a name with one of a table of trials get the prefix "events_".
    report : RunReport

    Raises
    ------
    DataError
        When a column that the spec names is not there, or a picture is outside the data set.
    """
    labels = {"subject": subject, "session": session or "", "task": task, "run": run or ""}
    malformed = [int(line) for line in events.attrs.get(MALFORMED, [])]
    n_rows = len(events) + len(malformed)
    report = RunReport(subject, session or "", task, run or "", str(file), n_rows=n_rows)
    if n_rows == 0:
        # Such files exist in public data, and tell nothing about columns.
        return empty_trials(), replace(report, messages=(f"{file}: has a header but no events",))
    rule = spec.rule_for(task=task, session=session or "")
    if rule is None:
        message = f"{file}: the stimulus spec '{spec.name}' has no trials for runs like this"
        return empty_trials(), replace(report, n_other=n_rows, messages=(message,))
    found = identify(events, rule, spec.na, file=file)
    times = events[["onset", "duration"]].apply(pd.to_numeric, errors="coerce").astype("float64")
    readable = np.isfinite(times["onset"]) & np.isfinite(times["duration"]) & (times["duration"] >= 0)
    problems = [(line, "has another number of cells than the header") for line in malformed]
    problems += _problems(events, found, readable)
    repeated = _repeats(events, found, rule.repeats, malformed)
    found.loc[(found["fate"] == Fate.TRIAL) & ~readable, "fate"] = Fate.CORRUPT.value
    found.loc[(found["fate"] == Fate.TRIAL) & repeated, "fate"] = Fate.REPEAT.value
    kept = (found["fate"] == Fate.TRIAL).to_numpy()
    trials = _assemble(events[kept], found[kept], times[kept], labels, rule)
    count = found["fate"].value_counts()
    shown = ~found["fate"].isin([Fate.TRIAL, Fate.OTHER]) & readable
    dropped = times[shown].assign(reason=found.loc[shown, "fate"]).reset_index(drop=True)
    return trials, replace(
        report,
        n_trials=len(trials),
        n_other=int(count.get(Fate.OTHER, 0)),
        n_repeats_dropped=int(count.get(Fate.REPEAT, 0)),
        n_catch=int(count.get(Fate.CATCH, 0)),
        n_missing=int(count.get(Fate.MISSING, 0)),
        n_corrupt=int(count.get(Fate.CORRUPT, 0)) + len(malformed),
        n_imagery=len(trials) if rule.kind == "imagery" else 0,
        messages=_messages(file, n_rows, trials, problems),
        dropped=dropped,
    )


def _problems(events: pd.DataFrame, found: pd.DataFrame, readable: pd.Series[bool]) -> list[tuple[int, str]]:
    """Line and complaint of each stimulus row that cannot be used."""
    problems = []
    for line, fate, fine in zip(events.index, found["fate"], readable, strict=True):
        if fate == Fate.MISSING:
            problems.append((int(line), "names no picture"))
        elif fate == Fate.CORRUPT:
            problems.append((int(line), "has no picture of the right size"))
        elif fate == Fate.TRIAL and not fine:
            onset, duration = events.loc[line, ["onset", "duration"]]
            problems.append((int(line), f"has onset '{onset}' and duration '{duration}'"))
    return problems


def _repeats(
    events: pd.DataFrame, found: pd.DataFrame, rule: RepeatRule, malformed: list[int]
) -> pd.Series[bool]:
    """Rows that show a picture once more, for the participant's one-back task."""
    if rule.kind == "column":
        return matching_rows(events, {rule.column: rule.values})
    repeated = pd.Series(False, index=events.index)
    if rule.kind == "keep":
        return repeated
    previous: str | None = None
    breaks = iter(sorted(malformed))
    next_break = next(breaks, None)
    for line, fate, stimulus_id in zip(events.index, found["fate"], found["stimulus_id"], strict=True):
        # Behind a row that shows another or an unknown picture, the same picture is no one-back repeat.
        while next_break is not None and next_break < line:
            previous, next_break = None, next(breaks, None)
        if fate == Fate.TRIAL:
            repeated[line] = stimulus_id == previous
            previous = stimulus_id
        elif fate != Fate.OTHER:
            previous = None
    return repeated


def _assemble(
    events: pd.DataFrame, found: pd.DataFrame, times: pd.DataFrame, labels: dict[str, str], rule: TrialRule
) -> pd.DataFrame:
    if events.empty:
        return empty_trials()
    own = {
        **labels,
        "onset": times["onset"],
        "duration": times["duration"],
        "stimulus_id": found["stimulus_id"],
        "trial_index": np.arange(len(events), dtype=np.int64),
        "kind": rule.kind,
        "set": "",
        FILE_COLUMN: found["stim_file"],
    }
    given = ["onset", "duration"]
    if first_present(rule.file, events) == FILE_COLUMN:
        given.append(FILE_COLUMN)
    extra = events.drop(columns=given)
    taken = {column: RENAMED + column for column in extra.columns if column in own}
    trials = pd.concat([pd.DataFrame(own, index=events.index), extra.rename(columns=taken)], axis=1)
    trials.attrs = {}
    return trials.reset_index(drop=True)


def _messages(
    file: str | Path, n_rows: int, trials: pd.DataFrame, problems: list[tuple[int, str]]
) -> tuple[str, ...]:
    messages = [
        f"{file}: line {line} {problem}; the row is left out" for line, problem in sorted(problems)[:SHOWN]
    ]
    if len(problems) > SHOWN:
        messages.append(f"{file}: {len(problems) - SHOWN} more rows are left out for such reasons")
    if trials.empty:
        messages.append(f"{file}: none of {n_rows} rows is a trial")
    if not trials["onset"].is_monotonic_increasing:
        messages.append(f"{file}: onsets are not in order; the order of the rows is kept")
    return tuple(messages)
