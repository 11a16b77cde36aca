"""The files that raters hand in: untrusted, and counted only when they answer what this page asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

from bids_recon.errors import DataError, MissingInputError
from bids_recon.outputs.reading import read_json
from bids_recon.report.rating_trials import Trial, draw_trials

FORMAT, VERSION = "bids-recon-ratings", 1
MAX_BYTES = 64 * 2**20
MAX_MS = 1e10
"""A trial may stay on the screen for weeks, not for years."""

RATER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

_AS_SAVED = "Ask the rater for the file as the page saved it."


@dataclass(frozen=True)
class RaterFile:
    """What one rater answered.

    Attributes
    ----------
    file : Path
    page, rater : str
        Which page, by its hash; who, by pseudonym.
    trials : tuple of Trial
        The questions that were answered, in order.
    answers : tuple of int
        Places of the chosen candidates, from 0.
    """

    file: Path
    page: str
    rater: str
    trials: tuple[Trial, ...]
    answers: tuple[int, ...]

    def caught(self) -> tuple[int, int]:
        """Catch trials with the obvious answer, and catch trials answered."""
        right = [
            answer == trial.target
            for trial, answer in zip(self.trials, self.answers, strict=True)
            if trial.catch
        ]
        return sum(right), len(right)


def read_rater_file(file: Path, pages: Mapping[str, Mapping[str, Any]]) -> RaterFile | None:
    """Read and check one file.

    Parameters
    ----------
    file : Path
    pages : mapping
        Data of the pages (`report.rating_page.read_rating_page`) by their hash.

    Returns
    -------
    RaterFile or None
        None when it answers another page than these.

    Raises
    ------
    MissingInputError
        When it is not there.
    DataError
        When it is not a file of answers as the page saves it.
    """
    content = _content(file)
    if (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise DataError("holds no ratings that this version can read", file=file, remedy=_AS_SAVED)
    page, rater, trials = (content.get(key) for key in ("page", "rater", "trials"))
    if not isinstance(page, str):
        raise DataError("does not say which page it answers", file=file, remedy=_AS_SAVED)
    if not isinstance(rater, str) or not RATER.fullmatch(rater):
        raise DataError("has no valid id of a rater", file=file, remedy=_AS_SAVED)
    if page not in pages:
        return None
    if not isinstance(trials, list) or not trials:
        raise DataError("has no answers", file=file, remedy=_AS_SAVED)
    for key in ("started", "ended"):
        _check_time(content.get(key), key, file)
    asked = draw_trials(pages[page], rater)
    if len(trials) > len(asked):
        problem = f"has {len(trials)} answers, but the page asks {rater} {len(asked)} questions"
        raise DataError(problem, file=file, remedy=_AS_SAVED)
    answers = tuple(
        _answer(entry, trial, f"trial {number}", file)
        for number, (entry, trial) in enumerate(zip(trials, asked, strict=False), 1)
    )
    return RaterFile(file, page, rater, tuple(asked[: len(answers)]), answers)


def longest_of_each(found: Iterable[RaterFile]) -> list[RaterFile]:
    """One file for each page and rater: of a file saved half-way and a later one, the later.

    Raises
    ------
    DataError
        When two files of a rater answer the same question differently: two people used one id.
    """
    best: dict[tuple[str, str], RaterFile] = {}
    for one in found:
        other = best.setdefault((one.page, one.rater), one)
        shorter, longer = sorted((other, one), key=lambda file: len(file.answers))
        if longer.answers[: len(shorter.answers)] != shorter.answers:
            raise DataError(
                f"has other answers of {one.rater} than {other.file}",
                file=one.file,
                remedy="Two people may have used one id, or one person began twice: keep one of the files.",
            )
        # Of equally long ones the first stays.
        best[one.page, one.rater] = longer if len(longer.answers) > len(other.answers) else other
    return list(best.values())


def _content(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise MissingInputError("is no file of ratings", file=file, remedy="Check its name.")
    if file.stat().st_size > MAX_BYTES:
        problem = f"is larger than {MAX_BYTES // 2**20} MiB, which no file of ratings is"
        raise DataError(problem, file=file, remedy=_AS_SAVED)
    try:
        return read_json(file, remedy=_AS_SAVED)
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, or brackets within brackets.
        raise DataError("is not valid JSON", file=file, remedy=_AS_SAVED) from error


def _check_time(value: Any, key: str, file: Path) -> None:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"'{key}' is not a time", file=file, remedy=_AS_SAVED) from error


def _answer(entry: Any, trial: Trial, name: str, file: Path) -> int:
    """Place of the answer, from 0."""
    if not isinstance(entry, dict):
        raise DataError(f"{name} is not an object", file=file, remedy=_AS_SAVED)
    given = {key: value for key, value in entry.items() if key not in ("answer", "reaction_ms")}
    if given != trial.record():
        problem = f"{name} is not what the page asks this rater there"
        raise DataError(problem, file=file, remedy=_AS_SAVED)
    answer, reaction = entry.get("answer"), entry.get("reaction_ms")
    if not (_is_number(answer) and isinstance(answer, int)) or not 1 <= answer <= len(trial.candidates):
        problem = f"the answer of {name} is not a whole number from 1 to {len(trial.candidates)}"
        raise DataError(problem, file=file, remedy=_AS_SAVED)
    if not _is_number(reaction) or not 0 <= reaction <= MAX_MS:
        raise DataError(f"the reaction time of {name} is not a number", file=file, remedy=_AS_SAVED)
    return answer - 1


def _is_number(value: Any) -> TypeGuard[int | float]:
    # True is an int to Python.
    return isinstance(value, int | float) and not isinstance(value, bool)
