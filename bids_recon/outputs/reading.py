"""Reading of tables and sidecars, with messages for what is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bids_recon.errors import DataError, ReconError


def read_json(
    file: Path, *, error: type[ReconError] = DataError, remedy: str | None = None
) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ReconError
        Of the class `error`, when the file is not JSON or holds something other than an object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as cause:
        raise error(f"is not valid JSON ({cause})", file=file, remedy=remedy) from cause
    if not isinstance(content, dict):
        raise error("should hold a JSON object", file=file, remedy=remedy)
    return content


def read_tsv(
    file: Path, text: Iterable[str] = (), *, remedy: str = "Delete it and run the level again."
) -> pd.DataFrame:
    """Read a table in which n/a is missing; the columns `text` stay text even where they look like numbers.

    Raises
    ------
    DataError
        When the file is no table.
    """
    try:
        return pd.read_csv(
            file, sep="\t", na_values=["n/a"], keep_default_na=False, dtype=dict.fromkeys(text, str)
        )
    except ValueError as error:
        raise DataError(f"cannot be read as a table ({error})", file=file, remedy=remedy) from error
