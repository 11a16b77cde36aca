"""Strength of regression weights by region: how latent spaces differ from the one they are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from bids_recon.report.sections import count, grouped, records
from bids_recon.report.tables import TextTable, decimals, text_table
from bids_recon.report.tracks import Axis, Dot, Score, describe, draw


@dataclass(frozen=True)
class WeightRow:
    """One region: a dot for each latent space, with the standard error of the mean as its interval."""

    roi: str
    n_voxels: str
    dots: tuple[Dot, ...]
    height: int
    label: str


@dataclass(frozen=True)
class WeightChart:
    """Differences of one method; all its regions share an axis.

    Attributes
    ----------
    method, baseline : str
    spaces : tuple of str
        In the order of their colours; without the baseline.
    zero : float or None
        Where no difference lies, in percent of the width.
    axis : Axis
    rows : tuple of WeightRow
        None where there is one latent space only, which differs from nothing.
    numbers : TextTable
        The whole table of the method.
    """

    method: str
    baseline: str
    spaces: tuple[str, ...]
    zero: float | None
    axis: Axis
    rows: tuple[WeightRow, ...]
    numbers: TextTable


def weight_charts(table: pd.DataFrame) -> list[WeightChart]:
    """One chart a method, from the means over people.

    Parameters
    ----------
    table : DataFrame
        Columns method, roi, space, baseline, n_people, n_voxels, percentile, percentile_sem, difference,
        difference_sem and note; regions in their order.
    """
    if not len(table):
        return []
    charts = []
    for (method, baseline), own in grouped(table, "method", "baseline"):
        others = own[own["space"] != baseline]
        spaces = tuple(dict.fromkeys(str(space) for space in others["space"]))
        error = others["difference_sem"].fillna(0.0)
        ends = [*(others["difference"] - error), *(others["difference"] + error), 0.0]
        axis = Axis.around(ends)
        rows = tuple(_row(roi, some, spaces, axis) for (roi,), some in grouped(others, "roi"))
        numbers = text_table(own.drop(columns=["method", "baseline"]))
        charts.append(WeightChart(method, baseline, spaces, axis.at(0.0), axis, rows, numbers))
    return charts


def _row(roi: str, rows: pd.DataFrame, spaces: tuple[str, ...], axis: Axis) -> WeightRow:
    scores = []
    for row in records(rows):
        value, error = float(row["difference"]), float(row["difference_sem"])
        ends = (value - error, value + error) if math.isfinite(error) else (math.nan, math.nan)
        place = spaces.index(str(row["space"]))
        scores.append(Score(value, *ends, name=str(row["space"]), colour=place))
    track = draw(axis, scores)
    n_voxels = float(rows["n_voxels"].iloc[0])
    label = "; ".join(describe(score) for score in scores) or decimals(math.nan)
    return WeightRow(
        roi, count(round(n_voxels) if math.isfinite(n_voxels) else math.nan), track.dots, track.height, label
    )
