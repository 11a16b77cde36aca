"""Reading of the tables that the group level writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

SPLIT = "column:picture_set:train=train,natural=natural,shapes=shapes,letters=letters"


def read_metrics(output_dir: Path) -> pd.DataFrame:
    """`group/metrics.tsv`, with subjects as text."""
    return pd.read_csv(
        output_dir / "group" / "metrics.tsv", sep="\t", dtype={"subject": str}, na_values="n/a"
    )


def metric(table: pd.DataFrame, name: str, protocol: str, column: str = "value", **where: str) -> float:
    """One number of the metrics table."""
    rows = table[(table["metric"] == name) & (table["protocol"] == protocol)]
    for key, value in where.items():
        rows = rows[rows[key] == value]
    assert len(rows) == 1, rows
    return float(rows[column].iloc[0])
