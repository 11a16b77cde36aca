"""The tables of scores, row by row, ready to be laid out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_recon.report.measures import Measure, measure_of, pictures_first
from bids_recon.report.tables import MISSING, interval, number, with_columns
from bids_recon.report.tracks import Axis, Score, Track, draw

RANGES = ("value", "ci_low", "ci_high", "floor", "floor_low", "floor_high", "ceiling")


@dataclass(frozen=True)
class ScoreRow:
    """A value with its floor and ceiling, as texts and as a chart."""

    labels: tuple[str, ...]
    value: str
    interval: str
    floor: str
    floor_interval: str
    ceiling: str
    n: str
    verdict: str
    note: str
    track: Track


@dataclass(frozen=True)
class ScoreGroup:
    """Rows that share a measure and hence an axis."""

    measure: Measure
    qualifier: str
    axis: Axis
    rows: tuple[ScoreRow, ...]


def subject_scores(
    metrics: pd.DataFrame, definitions: Mapping[str, str], name_of: Callable[[str], str] | None = None
) -> list[ScoreGroup]:
    """One row per method and test set (and subject, when `name_of` writes subjects), by metric."""
    table = score_table(metrics)
    groups = []
    for (protocol, metric), rows in grouped(table, "protocol", "metric"):
        measure = measure_of(metric, rows, definitions)
        axis = axis_of(rows, measure)
        shown = []
        for row in records(rows):
            labels: tuple[str, ...] = (row["method"] or MISSING, row["test_set"] or MISSING)
            if name_of:
                labels = (name_of(row["subject"]), *labels)
            shown.append(score_row(labels, row, axis, measure))
        groups.append(ScoreGroup(measure, protocol, axis, tuple(shown)))
    return groups


def group_scores(
    metrics: pd.DataFrame,
    participants: list[str],
    name_of: Callable[[str], str],
    definitions: Mapping[str, str],
) -> list[ScoreGroup]:
    """One row per method and test set, with a dot for every participant and their mean.

    Subjects that are no participants (averaged latents) have rows of their own.
    """
    table = score_table(metrics)
    table["alone"] = table["subject"].where(~table["subject"].isin(participants), "")
    groups = []
    for (protocol, metric), rows in grouped(table, "protocol", "metric"):
        measure = measure_of(metric, rows, definitions)
        axis = axis_of(rows, measure)
        shown = []
        for (method, test_set, alone), some in grouped(rows, "method", "test_set", "alone"):
            who = name_of(alone) if alone else "participants"
            labels = (method or MISSING, test_set or MISSING, who)
            shown.append(pooled_row(labels, some, axis, measure, participants, name_of))
        groups.append(ScoreGroup(measure, protocol, axis, tuple(shown)))
    return groups


def subject_rois(rois: pd.DataFrame, definitions: Mapping[str, str]) -> list[ScoreGroup]:
    """Decoding accuracy by region: one row per region, in the order given, by metric, method and test set."""
    groups = []
    for qualifier, measure, axis, rows in _roi_groups(rois, definitions):
        shown = tuple(
            score_row((row["roi"] or MISSING, count(row["n_voxels"])), row, axis, measure)
            for row in records(rows)
        )
        groups.append(ScoreGroup(measure, qualifier, axis, shown))
    return groups


def group_rois(
    rois: pd.DataFrame,
    participants: list[str],
    name_of: Callable[[str], str],
    definitions: Mapping[str, str],
) -> list[ScoreGroup]:
    """Decoding accuracy by region, with a dot for every participant and their mean."""
    groups = []
    for qualifier, measure, axis, rows in _roi_groups(rois, definitions):
        shown = []
        for (roi,), some in grouped(rows, "roi"):
            labels = (roi or MISSING, voxel_range(some["n_voxels"]))
            shown.append(pooled_row(labels, some, axis, measure, participants, name_of))
        groups.append(ScoreGroup(measure, qualifier, axis, tuple(shown)))
    return groups


def _roi_groups(
    rois: pd.DataFrame, definitions: Mapping[str, str]
) -> Iterator[tuple[str, Measure, Axis, pd.DataFrame]]:
    """Rows of each metric, method, test set and protocol; all of a metric share its axis, to be compared."""
    for (metric,), of_metric in grouped(region_table(rois), "metric"):
        measure = measure_of(metric, of_metric, definitions)
        axis = axis_of(of_metric, measure)
        for parts, rows in grouped(of_metric, "method", "test_set", "protocol"):
            yield " · ".join(part for part in parts if part), measure, axis, rows


def region_table(rois: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by region with all its columns."""
    return with_columns(
        rois,
        ("subject", "method", "roi", "test_set", "metric", "protocol", "note"),
        (*RANGES, "n_items", "n_voxels"),
    )


def axis_of(rows: pd.DataFrame, measure: Measure) -> Axis:
    """Scale that covers some rows, and chance."""
    return Axis.around([*rows[list(RANGES)].to_numpy().ravel(), measure.chance])


def score_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Scores with all their columns, those of pictures first."""
    table = with_columns(
        metrics, ("subject", "method", "test_set", "metric", "protocol", "note"), (*RANGES, "n_items")
    )
    if "higher_is_better" in metrics:
        table["higher_is_better"] = metrics["higher_is_better"].to_numpy()
    return pictures_first(table)


def grouped(table: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Groups in the order in which they first appear; the columns hold text."""
    for key, rows in table.groupby(list(columns), sort=False):
        yield tuple(str(part) for part in key), rows


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings."""
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def score_row(labels: tuple[str, ...], row: Mapping[str, Any], axis: Axis, measure: Measure) -> ScoreRow:
    """Lay out one row of a table of scores."""
    floor_interval = row["floor_low"], row["floor_high"]
    return ScoreRow(
        labels=labels,
        value=number(row["value"]),
        interval=interval(row["ci_low"], row["ci_high"]),
        floor=number(row["floor"]),
        floor_interval=interval(*floor_interval),
        ceiling=number(row["ceiling"]),
        n=count(row["n_items"]),
        verdict=verdict(row, measure.lower_is_better),
        note=row["note"],
        track=draw(
            axis,
            [Score(row["value"], row["ci_low"], row["ci_high"])],
            floor=row["floor"],
            floor_interval=floor_interval,
            ceiling=row["ceiling"],
            chance=measure.chance,
        ),
    )


def pooled_row(
    labels: tuple[str, ...],
    rows: pd.DataFrame,
    axis: Axis,
    measure: Measure,
    participants: list[str],
    name_of: Callable[[str], str],
) -> ScoreRow:
    """Lay out rows of several participants as one, with a dot for each and their mean."""
    means = {name: float(rows[name].mean()) for name in ("value", "floor", "ceiling")}
    values = rows["value"].dropna()
    scores = []
    for row in records(rows):
        subject = row["subject"]
        colour = participants.index(subject) if subject in participants else None
        scores.append(Score(row["value"], row["ci_low"], row["ci_high"], name_of(subject), colour))
    return ScoreRow(
        labels=labels,
        value=number(means["value"]),
        interval=interval(values.min(), values.max()) if len(values) > 1 else "",
        floor=number(means["floor"]),
        floor_interval="",
        ceiling=number(means["ceiling"]),
        n=str(len(values)) if set(rows["subject"]) <= set(participants) else "–",
        verdict="",
        note="; ".join(dict.fromkeys(note for note in rows["note"] if note)),
        track=draw(
            axis,
            scores,
            floor=means["floor"],
            floor_interval=(float(rows["floor_low"].min()), float(rows["floor_high"].max())),
            ceiling=means["ceiling"],
            chance=measure.chance,
            mean=means["value"] if len(values) > 1 else math.nan,
        ),
    )


def count(value: float) -> str:
    """Write a count that may be missing."""
    return str(int(value)) if math.isfinite(value) else MISSING


def voxel_range(sizes: pd.Series) -> str:
    """Write the numbers of voxels that a region has in several people."""
    known = sizes.dropna()
    least, most = (count(known.min()), count(known.max())) if len(known) else (MISSING, MISSING)
    return least if least == most else f"{least}–{most}"


def verdict(row: Mapping[str, Any], lower_is_better: bool = False) -> str:
    """Say where a value lies against its floor: above, near (their intervals overlap), below, or nothing.

    A missing interval counts as having no width.
    """
    value, floor = row["value"], row["floor"]
    if not (math.isfinite(value) and math.isfinite(floor)):
        return ""
    low, high = _ends(row["ci_low"], row["ci_high"], value)
    floor_low, floor_high = _ends(row["floor_low"], row["floor_high"], floor)
    if low <= floor_high and floor_low <= high:
        return "near"
    return "above" if (value > floor) != lower_is_better else "below"


def _ends(low: float, high: float, middle: float) -> tuple[float, float]:
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (middle, middle)
