"""Numbers and tables as text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

MISSING = "n/a"


def number(value: Any) -> str:
    """Write a number with three significant digits (integers in full), a missing one as n/a.

    At most three decimals are kept, so that 0.0004 and 0 can be told apart by the exponent of the former.
    """
    if not isinstance(value, (bool, np.bool_)) and isinstance(value, (int, np.integer)):
        return str(int(value))
    try:
        value = float(value)
    except (TypeError, ValueError):
        return MISSING
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -3 or magnitude > 5:
        return f"{value:.2e}".replace("-", "−")
    return f"{value:.{min(3, max(0, 2 - magnitude))}f}".replace("-", "−")


def decimals(value: float) -> str:
    """Write a score within -1..1 with three decimals, so that columns of them can be compared."""
    return f"{value:.3f}".replace("-0.000", "0.000").replace("-", "−") if math.isfinite(value) else MISSING


def interval(low: Any, high: Any) -> str:
    """Write an interval as [low, high]; empty when an end is missing."""
    ends = number(low), number(high)
    return "" if MISSING in ends else f"[{ends[0]}, {ends[1]}]"


def is_missing(value: Any) -> bool:
    """Whether a cell has nothing to say."""
    return (
        value is None
        or (np.ndim(value) == 0 and bool(pd.isna(value)))
        or (isinstance(value, str) and not value)
    )


@dataclass(frozen=True)
class TextTable:
    """A table ready to be laid out.

    Attributes
    ----------
    columns : tuple of str
        Headings.
    numeric : tuple of bool
        Which columns are to be aligned right.
    rows : tuple of tuples of str
        Cells.
    """

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


def text_table(frame: pd.DataFrame) -> TextTable:
    """Write any table as text; columns without a single value are left out."""
    columns, numeric, texts = [], [], []
    for name, column in frame.items():
        if all(is_missing(value) for value in column):
            continue
        columns.append(str(name).replace("_", " "))
        numeric.append(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))
        texts.append(_column_text(column))
    return TextTable(tuple(columns), tuple(numeric), tuple(zip(*texts, strict=True)) if texts else ())


def _column_text(column: pd.Series) -> list[str]:
    values = column.tolist()
    present = [value for value in values if not is_missing(value)]
    if all(isinstance(value, (bool, np.bool_)) for value in present):
        return [MISSING if is_missing(value) else ("yes" if value else "no") for value in values]
    if all(isinstance(value, float) and value.is_integer() for value in present):
        # A count read from a file with gaps comes as float.
        return [MISSING if is_missing(value) else str(int(value)) for value in values]
    return [cell(value) for value in values]


def cell(value: Any) -> str:
    """Write one value of any type."""
    if is_missing(value):
        return MISSING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return number(value) if isinstance(value, (int, float, np.number)) else str(value)


def with_columns(frame: pd.DataFrame, texts: tuple[str, ...], numbers: tuple[str, ...]) -> pd.DataFrame:
    """Give a table the columns that a section needs: texts as str, numbers as float, NaN where absent."""
    shaped = frame.reindex(columns=[*texts, *numbers]).reset_index(drop=True)
    for name in texts:
        shaped[name] = pd.Series(
            ["" if is_missing(value) else str(value) for value in shaped[name]], dtype=object
        )
    for name in numbers:
        shaped[name] = pd.to_numeric(shaped[name], errors="coerce").astype(float)
    return shaped
