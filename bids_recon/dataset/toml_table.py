"""Reading TOML that a user wrote: every key is checked, and a mistake is named with its file and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any, TypeVar

from bids_recon.errors import DataError

Value = TypeVar("Value")


class TomlTable:
    """Takes values out of a TOML table, checks their types, and complains about what nobody took.

    Parameters
    ----------
    content : object
        The parsed table.
    file : str
        Named in messages.
    prefix : str
        Where the table lies in the file, such as "stimuli".

    Raises
    ------
    DataError
        Here and in every method, when the file does not hold what it should.
    """

    def __init__(self, content: object, file: str, prefix: str = "") -> None:
        self.file, self.prefix = file, prefix
        if not isinstance(content, dict):
            raise self.wrong("", "is not a table")
        self.content: dict[str, Any] = dict(content)

    def wrong(self, key: str, problem: str) -> DataError:
        """Error about a key of this table."""
        name = f"{self.prefix}.{key}".strip(".")
        return DataError(f"key {name!r} {problem}", file=self.file, remedy="Correct that key.")

    def take(self, key: str, default: Value, check: Callable[[Any], Value | None], expected: str) -> Value:
        """Take a value that `check` turns into what is wanted, or into None when it is something else."""
        if key not in self.content:
            return default
        value = check(self.content.pop(key))
        if value is None:
            raise self.wrong(key, f"is not {expected}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Take a text."""
        return self.take(key, default, lambda value: value if isinstance(value, str) else None, "text")

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """Take one of some texts."""
        listed = f"one of {', '.join(map(repr, choices))}"
        return self.take(key, default, lambda value: value if value in choices else None, listed)

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Take a list of texts; a single text counts as a list of one."""
        return self.take(key, default, _texts, "text or a list of texts")

    def whole(self, key: str, least: int) -> int | None:
        """Take a whole number of at least `least`; None when it is not there."""

        def check(value: Any) -> int | None:
            return value if type(value) is int and value >= least else None

        return self.take(key, None, check, f"a whole number of at least {least}")

    def pattern(self, key: str, default: str, groups: int | None = None) -> str:
        """Take a regular expression, with exactly `groups` groups if given."""
        pattern = self.text(key, default)
        self.check_patterns(key, (pattern,))
        if groups is not None and pattern and (found := re.compile(pattern).groups) != groups:
            raise self.wrong(key, f"needs {groups} group in parentheses, not {found}")
        return pattern

    def patterns(self, key: str) -> dict[str, tuple[str, ...]]:
        """Take a table of lists of regular expressions."""
        columns = self.table(key)
        found = {column: columns.texts(column, ()) for column in list(columns.content)}
        for column, values in found.items():
            columns.check_patterns(column, values)
        return found

    def check_patterns(self, key: str, patterns: tuple[str, ...]) -> None:
        """Refuse what is no regular expression."""
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise self.wrong(key, f"has {pattern!r}, not a regular expression ({error})") from error

    def table(self, key: str) -> TomlTable:
        """Take a table; an empty one when it is not there."""
        return TomlTable(self.content.pop(key, {}), self.file, f"{self.prefix}.{key}".strip("."))

    def finish(self) -> None:
        """Refuse keys that were not taken."""
        if self.content:
            raise self.wrong(next(iter(self.content)), "is unknown")


def parse_toml(text: str, file: str) -> TomlTable:
    """Parse a TOML document."""
    try:
        return TomlTable(tomllib.loads(text), file)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"is not valid TOML: {error}", file=file, remedy="Correct that line.") from error


def _texts(value: object) -> tuple[str, ...] | None:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        return None
    return tuple(values)
