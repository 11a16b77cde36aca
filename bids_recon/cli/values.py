"""Values of options: numbers, sizes, labels, filters and named folders."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bids_recon.errors import DataError, MissingInputError, UsageError

MEMORY = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
# Name of the BIDS folder in the links of the output's description.
RAW = "raw"


def whole_number(text: str) -> int:
    """Read a whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above zero")
    return int(text)


def seed_number(text: str) -> int:
    """Read a whole number from zero up."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from zero up")
    return int(text)


def seconds(text: str) -> float:
    """Read a finite number."""
    return _number(text, math.isfinite, "a number of seconds")


def finite_number(text: str) -> float:
    """Read a finite number."""
    return _number(text, math.isfinite, "a finite number")


def fraction(text: str) -> float:
    """Read a number from zero to one."""
    return _number(text, lambda value: 0 <= value <= 1, "a number from zero to one")


def positive_number(text: str) -> float:
    """Read a finite number above zero."""
    return _number(text, lambda value: math.isfinite(value) and value > 0, "a number above zero")


def _number(text: str, suits: Callable[[float], bool], what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not suits(value):
        raise argparse.ArgumentTypeError(f"'{text}' is not {what}")
    return value


def memory(text: str) -> int:
    """Read a size with its unit (8G, 8000M, 8GiB; a bare number is MB) as MB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?)?", text.strip(), flags=re.IGNORECASE)
    size = round(float(found[1]) * MEMORY[(found[2] or "M").upper()]) if found else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 8G, 8000M or 8000 (MB)")
    return size


def read_labels(given: Sequence[str], prefix: str, option: str) -> tuple[str, ...]:
    """Read labels with or without their prefix, or from text files; sorted, each once.

    Raises
    ------
    UsageError
        When something is no label, or there is none.
    MissingInputError, DataError
        When a file of labels is not there or not text.
    """
    name = f"--{option.replace('_', '-')}"
    words: list[str] = []
    for item in given:
        if item.endswith((".txt", ".tsv", ".csv")) or "/" in item:
            words += _listed(Path(item), name)
        else:
            words += item.split()
    labels = tuple(sorted({word.removeprefix(prefix) for word in words}))
    if given and not labels:
        # An empty shell variable must not mean "all".
        raise UsageError(f"{name} names nothing", remedy="Leave the option out to take all.")
    for label in labels:
        if not re.fullmatch(r"[A-Za-z0-9+]+", label):
            # A pasted en dash turns an option into a label.
            raise UsageError(
                f"'{label}' is not a label for {name}",
                remedy="Labels are letters and digits; was a dash pasted from a document?",
            )
    return labels


def _listed(file: Path, option: str) -> list[str]:
    """Labels in a text file: its words, or the first column of a table such as participants.tsv."""
    if not file.is_file():
        raise MissingInputError(f"the list of labels for {option} does not exist", file=file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"the list of labels for {option} is not UTF-8 text", file=file) from error
    if file.suffix in {".tsv", ".csv"}:
        words = [re.split(r"[\t,]", line)[0].strip() for line in text.splitlines()]
    else:
        words = text.split()
    return [word for word in words if word and word not in {"participant_id", "session_id"}]


def read_filters(file: Path) -> dict[str, dict[str, Any]]:
    """Read a BIDS filter file.

    Raises
    ------
    MissingInputError, DataError
        When it is not there or not JSON of the form `{query: {entity: value}}`.
    """
    try:
        filters = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingInputError("the filter file does not exist", file=file) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"is not valid JSON ({error})", file=file) from error
    if not isinstance(filters, dict) or not all(isinstance(query, dict) for query in filters.values()):
        raise DataError('should hold {"bold": {"entity": "value"}}', file=file)
    return filters


def read_named_paths(given: Sequence[str]) -> dict[str, Path]:
    """Read NAME=PATH, or a path, which is named after its folder.

    Raises
    ------
    UsageError
        When a name is given twice or kept for the BIDS folder.
    """
    named: dict[str, Path] = {}
    for item in given:
        # A path may hold "=" too; a name has no slash.
        found = re.fullmatch(r"([^/=]+)=(.+)", item)
        path = Path(found[2] if found else item)
        name = found[1] if found else path.resolve().name
        if name in named or name == RAW:
            raise UsageError(
                f"--derivatives names '{name}' twice"
                if name in named
                else f"--derivatives: the name '{RAW}' stands for the BIDS folder itself",
                remedy="Give each folder a name of its own: NAME=PATH.",
            )
        named[name] = path
    return named
