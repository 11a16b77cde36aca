"""Lookup tables of segmentations: which value is which region."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from bids_recon.errors import DataError


def read_table(path: Path) -> dict[int, str]:
    """Read a lookup table; the background (0) and regions without a name are left out.

    Parameters
    ----------
    path : Path
        Tab-separated, with the columns `index` and `name`.

    Returns
    -------
    dict of int to str

    Raises
    ------
    DataError
        If the file is no such table.
    """
    remedy = "Give it the columns index (whole numbers) and name, separated by tabs."
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as a table ({error})", file=path, remedy=remedy) from error
    if not {"index", "name"} <= set(table.columns):
        columns = ", ".join(table.columns)
        raise DataError(f"lacks the column index or name (it has {columns})", file=path, remedy=remedy)
    regions = {}
    for text, name in zip(table["index"], table["name"], strict=True):
        try:
            index = float(text)
        except ValueError:
            index = math.nan
        if not index.is_integer():
            raise DataError(f"{text!r} is not a whole number in the column index", file=path, remedy=remedy)
        if index != 0 and name not in ("", "n/a"):
            regions[int(index)] = name
    return regions
