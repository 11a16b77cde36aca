"""Accuracy of decoded features by layer: the scores of many latent spaces in little room."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bids_recon.report.measures import Measure, latent_space, measure_of
from bids_recon.report.sections import (
    ScoreRow,
    axis_of,
    grouped,
    pooled_row,
    records,
    region_table,
    score_row,
    score_table,
    voxel_range,
)
from bids_recon.report.tables import MISSING, decimals
from bids_recon.report.tracks import Axis

FEW = 4
"""Up to so many protocols that name a latent space stay among the other scores."""

METRICS = ("latent-correlation", "profile-correlation", "two-way-a")
"""What is shown of each layer, in this order; the other metrics stay in the tables of the run."""


@dataclass(frozen=True)
class LayerColumn:
    """One measure, with the scale that all tables share."""

    measure: Measure
    axis: Axis


@dataclass(frozen=True)
class LayerTable:
    """Layers, in the order of the scores, by measures.

    Attributes
    ----------
    labels : tuple of str
        Method and test set, on the page of the group also from whom.
    rows : tuple of (str, tuple of ScoreRow or None)
        Name of the layer, and its score by column.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[ScoreRow | None, ...]], ...]


@dataclass(frozen=True)
class LayerScores:
    """All tables of layers; none where there are few latent spaces."""

    columns: tuple[LayerColumn, ...] = ()
    tables: tuple[LayerTable, ...] = ()


@dataclass(frozen=True)
class RegionCell:
    """Value and floor of one layer in one region; `strength` is 0 at the floor, 100 at the best cell."""

    value: str
    floor: str
    strength: int


@dataclass(frozen=True)
class RegionGrid:
    """Layers by regions, for one measure, method and test set.

    Attributes
    ----------
    labels : tuple of str
        Method and test set.
    measure : Measure
    regions : tuple of (str, str)
        Names and numbers of voxels.
    rows : tuple of (str, tuple of RegionCell or None)
        Name of the layer, and its accuracy by region.
    """

    labels: tuple[str, ...]
    measure: Measure
    regions: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[RegionCell | None, ...]], ...]


def split_layers(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take the scores of single latent spaces out, where they are too many to be read among the others.

    Returns
    -------
    layers, others : DataFrame
        Rows whose protocol names a latent space (`latents-1/conv1_1`), and the rest; no layers where there
        are up to `FEW` such protocols.
    """
    if "protocol" not in scores:
        return scores.iloc[:0], scores
    named = scores["protocol"].map(lambda protocol: bool(latent_space(str(protocol))))
    if scores.loc[named, "protocol"].nunique() <= FEW:
        return scores.iloc[:0], scores
    return scores[named], scores[~named]


def subject_layers(layers: pd.DataFrame, definitions: Mapping[str, str]) -> LayerScores:
    """Tables of one participant, one for each method and test set."""

    def cell(rows: pd.DataFrame, column: LayerColumn) -> ScoreRow:
        return score_row((), records(rows)[0], column.axis, column.measure)

    return _layer_scores(layers, definitions, cell, [], None)


def group_layers(
    layers: pd.DataFrame,
    participants: list[str],
    name_of: Callable[[str], str],
    definitions: Mapping[str, str],
) -> LayerScores:
    """Tables of the group, one for each method and test set, with a dot for every participant and their mean.

    Subjects that are no participants (averaged latents) have tables of their own.
    """

    def cell(rows: pd.DataFrame, column: LayerColumn) -> ScoreRow:
        return pooled_row((), rows, column.axis, column.measure, participants, name_of)

    return _layer_scores(layers, definitions, cell, participants, name_of)


def _layer_scores(
    layers: pd.DataFrame,
    definitions: Mapping[str, str],
    cell: Callable[[pd.DataFrame, LayerColumn], ScoreRow],
    participants: list[str],
    name_of: Callable[[str], str] | None,
) -> LayerScores:
    table = _with_layers(score_table(layers))
    # The true features of all layers score 1: drawn, this would take the room that the layers need.
    table["ceiling"] = math.nan
    table["alone"] = table["subject"].where(~table["subject"].isin(participants), "") if name_of else ""
    columns = {
        metric: _column(table[table["metric"] == metric], metric, definitions) for metric in _shown(table)
    }
    tables = []
    for (method, test_set, alone), rows in grouped(table, "method", "test_set", "alone"):
        labels: tuple[str, ...] = (method or MISSING, test_set or MISSING)
        if name_of:
            labels = (*labels, name_of(alone) if alone else "participants")
        shown = []
        for (layer,), of_layer in grouped(rows, "layer"):
            own = {metric: some for (metric,), some in grouped(of_layer, "metric")}
            cells = (
                _aligned(cell(own[metric], column), own[metric]) if metric in own else None
                for metric, column in columns.items()
            )
            shown.append((layer, tuple(cells)))
        tables.append(LayerTable(labels, tuple(shown)))
    return LayerScores(tuple(columns.values()), tuple(tables))


def _aligned(row: ScoreRow, rows: pd.DataFrame) -> ScoreRow:
    return replace(row, value=decimals(rows["value"].mean()), floor=decimals(rows["floor"].mean()))


def region_grids(layers: pd.DataFrame, definitions: Mapping[str, str]) -> list[RegionGrid]:
    """Accuracy by layer and region, averaged over people; one grid for each measure, method and test set."""
    table = _with_layers(region_table(layers))
    grids = []
    for metric in _shown(table):
        of_metric = table[table["metric"] == metric]
        measure = measure_of(metric, of_metric, definitions)
        keys = ["method", "test_set", "layer", "roi"]
        means = of_metric.groupby(keys, sort=False)[["value", "floor"]].mean()
        low, high = float(means["floor"].mean()), float(means["value"].max())
        cells = {
            key: _region_cell(float(value), float(floor), low, high)
            for key, value, floor in zip(means.index, means["value"], means["floor"], strict=True)
        }
        for (method, test_set), rows in grouped(of_metric, "method", "test_set"):
            regions = {roi: voxel_range(some["n_voxels"]) for (roi,), some in grouped(rows, "roi")}
            shown = []
            for (layer,), _ in grouped(rows, "layer"):
                shown.append((layer, tuple(cells.get((method, test_set, layer, roi)) for roi in regions)))
            labels = (method or MISSING, test_set or MISSING)
            grids.append(RegionGrid(labels, measure, tuple(regions.items()), tuple(shown)))
    return grids


def _with_layers(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(layer=[latent_space(protocol) for protocol in table["protocol"]])


def _shown(table: pd.DataFrame) -> Sequence[str]:
    return [metric for metric in METRICS if (table["metric"] == metric).any()]


def _column(rows: pd.DataFrame, metric: str, definitions: Mapping[str, str]) -> LayerColumn:
    measure = measure_of(metric, rows, definitions)
    return LayerColumn(measure, axis_of(rows, measure))


def _region_cell(value: float, floor: float, low: float, high: float) -> RegionCell:
    share = (value - low) / (high - low) if high > low and math.isfinite(value) else 0.0
    return RegionCell(decimals(value), decimals(floor), round(100 * max(share, 0.0)))
