"""Which rows of a table show a picture, and which one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from bids_recon.dataset.stimulus_rules import Patterns, TrialRule
from bids_recon.errors import DataError

STIMULUS_FOLDER = "stimuli"
# Ids may hold dots (3079230.008270): only what looks like an extension is one.
EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


class Fate(StrEnum):
    """What becomes of a row."""

    TRIAL = "trial"
    OTHER = "other"
    REPEAT = "repeat"
    CATCH = "catch"
    MISSING = "missing"
    CORRUPT = "corrupt"


def stimulus_path(text: str, *, file: str | Path, line: int | None = None) -> str:
    """Path of a picture below the stimulus folder, from what a table says.

    Parameters
    ----------
    text : str
        A cell such as `faces/a.png` or `stimuli/faces/a.png` (BIDS wants the former, people write both).
    file, line
        Where the cell stands, for the message.

    Returns
    -------
    str
        Relative, with forward slashes, without `.` and `..`.

    Raises
    ------
    DataError
        When the path is absolute, written with back-slashes, a URL, leads out of the stimulus folder or
        names no file.
    """
    if "\\" in text:
        raise _outside(text, "it has back-slashes", file, line)
    if "://" in text:
        raise _outside(text, "it is a URL", file, line)
    if text.startswith(("/", "~/")) or PureWindowsPath(text).drive:
        raise _outside(text, "it is absolute", file, line)
    if not text.isprintable():
        raise _outside(text, "it has control characters", file, line)
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if parts and parts[0] == STIMULUS_FOLDER:
        parts = parts[1:]
    inside: list[str] = []
    for part in parts:
        if part != "..":
            inside.append(part)
        elif inside:
            inside.pop()
        else:
            raise _outside(text, "'..' leaves the folder", file, line)
    if not inside or text.endswith("/") or parts[-1] == "..":
        raise _outside(text, "it names no file", file, line)
    return "/".join(inside)


def parse_id(cell: str, rule: TrialRule, *, file: str | Path, line: int | None = None) -> str | None:
    """Stimulus id in a cell; None when a picture of bits has the wrong length or other characters.

    Raises
    ------
    DataError
        When the cell leads out of the stimulus folder.
    """
    if rule.parse == "bits":
        rows, columns = rule.bits_shape or (0, 0)
        return cell if len(cell) == rows * columns and set(cell) <= {"0", "1"} else None
    if rule.parse == "text":
        check_id(cell, file=file, line=line)
        return cell
    path = stimulus_path(cell, file=file, line=line)
    if rule.parse == "stem":
        path = PurePosixPath(path).name
    return EXTENSION.sub("", path) or path


def check_id(stimulus_id: str, *, file: str | Path, line: int | None = None) -> None:
    """Refuse an id that would lead out of the stimulus folder when it becomes part of a path.

    Raises
    ------
    DataError
        When it is absolute or has a part `..`.
    """
    parts = re.split(r"[/\\]", stimulus_id)
    if ".." in parts:
        raise _outside(stimulus_id, "'..' leaves the folder", file, line)
    if parts[0] == "" or (len(parts) > 1 and PureWindowsPath(stimulus_id).drive):
        raise _outside(stimulus_id, "it is absolute", file, line)


def _outside(text: str, why: str, file: str | Path, line: int | None) -> DataError:
    where = f"line {line}: " if line is not None else ""
    return DataError(
        f"{where}'{text}' is a picture outside the data set ({why})",
        file=file,
        remedy=f"Write the path relative to the folder {STIMULUS_FOLDER}, with forward slashes.",
    )


def first_present(columns: Sequence[str], table: pd.DataFrame) -> str | None:
    """First of the columns that the table has."""
    return next((column for column in columns if column in table.columns), None)


def matching_rows(table: pd.DataFrame, patterns: Patterns | Mapping[str, Sequence[str]]) -> pd.Series[bool]:
    """Rows where, in every column that is named, one of the patterns matches the cell in full."""
    matched = pd.Series(True, index=table.index)
    for column, choices in patterns.items():
        # Series.str.fullmatch may use another regex engine (Arrow's), which knows less.
        compiled = [re.compile(choice) for choice in choices]
        found = [any(pattern.fullmatch(cell) for pattern in compiled) for cell in table[column]]
        matched &= pd.Series(found, index=table.index, dtype=bool)
    return matched


def identify(
    table: pd.DataFrame, rule: TrialRule, na: Sequence[str], *, file: str | Path, aligned: bool = False
) -> pd.DataFrame:
    """Find the picture of each row.

    Parameters
    ----------
    table : DataFrame
        Text; the index is the line number in the file.
    rule : TrialRule
    na : sequence of str
        Cells that mean "nothing here".
    file : path
        For messages.
    aligned : bool
        Each row belongs to a volume of responses: columns that only sort out rows may be absent.

    Returns
    -------
    DataFrame
        With the index of `table` and the columns `fate` (TRIAL, OTHER, CATCH, MISSING or CORRUPT),
        `stimulus_id` and `stim_file` ("" where there is none).

    Raises
    ------
    DataError
        When no column holds ids, a column of the rule is absent, or a picture is outside the data set.
    """
    id_column = first_present(rule.id, table)
    needed = [*rule.select, *rule.catch]
    if rule.repeats.kind == "column":
        needed.append(rule.repeats.column)
    absent = [] if aligned else [column for column in needed if column not in table.columns]
    if id_column is None or absent:
        if id_column is None:
            lack = f"no column {' or '.join(map(repr, rule.id))}, which would tell the picture"
        else:
            lack = f"no column '{absent[0]}', by which rows are chosen"
        raise DataError(
            f"there is {lack}; there are {_listed(table.columns)}",
            file=file,
            remedy="Name the data set's way of writing stimuli with --stimulus-spec.",
        )
    present = [column for column in rule.select if column in table.columns]
    selected = matching_rows(table, {column: rule.select[column] for column in present})
    codes = {column: rule.catch[column] for column in rule.catch if column in table.columns}
    caught = matching_rows(table, codes) if codes else pd.Series(False, index=table.index)
    empty = table[id_column].isin(na)
    # Without a column that marks stimulus rows, an empty cell is how a row says that it is none.
    fate = pd.Series(Fate.TRIAL.value, index=table.index)
    fate[empty] = Fate.MISSING.value if present else Fate.OTHER.value
    fate[~selected] = Fate.OTHER.value
    fate[caught] = Fate.CATCH.value
    fates, lines, cells = fate.tolist(), table.index.tolist(), table[id_column].tolist()
    file_column = first_present(rule.file, table)
    paths = table[file_column].tolist() if file_column is not None else [""] * len(cells)
    ids, files = [""] * len(cells), [""] * len(cells)
    for row, line in enumerate(lines):
        if fates[row] != Fate.TRIAL:
            continue
        stimulus_id = parse_id(cells[row], rule, file=file, line=line)
        if stimulus_id is None:
            fates[row] = Fate.CORRUPT.value
            continue
        ids[row] = stimulus_id
        if paths[row] not in na:
            files[row] = stimulus_path(paths[row], file=file, line=line)
    return pd.DataFrame({"fate": fates, "stimulus_id": ids, "stim_file": files}, index=table.index)


def _listed(columns: pd.Index) -> str:
    return ", ".join(repr(str(column)) for column in columns) or "none"
