"""Histograms as SVG paths, 100 units wide and high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_recon.report.quality import Floats
from bids_recon.report.tables import number
from bids_recon.report.tracks import Axis

BINS = 40
DISTINCT = 32
"""Values that are no more different than this have a bar each."""


@dataclass(frozen=True)
class Histogram:
    """How values are distributed; `median` is None where there is no value.

    Attributes
    ----------
    name, label : str
        Whose, and the same in words.
    bars : str
        Path of the bars.
    axis : Axis
        Scale of the values.
    median : float or None
        Where it lies, in units from the left.
    median_text, n : str
        The median, and of how many values.
    """

    name: str
    label: str
    bars: str
    axis: Axis
    median: float | None
    median_text: str
    n: str


def histograms(groups: dict[str, Floats], unit: str) -> list[Histogram]:
    """One histogram per group of values, on one scale, each as high as its highest bar.

    Parameters
    ----------
    groups : dict of str to ndarray (n,)
        Values by name; NaN is left out.
    unit : str
        Written after the median.
    """
    finite = {name: np.asarray(values, dtype=float)[np.isfinite(values)] for name, values in groups.items()}
    pooled = np.concatenate([np.zeros(0), *finite.values()])
    if not pooled.size:
        return []
    edges = _edges(pooled)
    axis = Axis(float(edges[0]), float(edges[-1]))
    drawn = []
    for name, values in finite.items():
        median = float(np.median(values)) if values.size else float("nan")
        text = f"{number(median)} {unit}".strip()
        label = f"{name}: median {text} of {values.size} voxels".strip(": ")
        bars = _bars(np.histogram(values, edges)[0], edges, axis)
        drawn.append(Histogram(name, label, bars, axis, axis.at(median), text, str(values.size)))
    return drawn


def _edges(values: Floats) -> NDArray[Any]:
    """Bounds of the bars: halfway between the values where these are few, evenly spaced otherwise."""
    distinct = np.unique(values)
    if len(distinct) > DISTINCT:
        edges: NDArray[Any] = np.histogram_bin_edges(values, BINS)
        return edges
    gaps = np.diff(distinct) if len(distinct) > 1 else np.array([1.0])
    middles = distinct[:-1] + gaps[: len(distinct) - 1] / 2
    return np.concatenate([[distinct[0] - gaps[0] / 2], middles, [distinct[-1] + gaps[-1] / 2]])


def _bars(counts: NDArray[np.intp], edges: Sequence[float] | NDArray[Any], axis: Axis) -> str:
    highest = max(1, int(counts.max()))
    parts = []
    for count, left, right in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        if count:
            start, end = axis.at(float(left)) or 0.0, axis.at(float(right)) or 0.0
            height = 100 * count / highest
            parts.append(f"M{start:g} 100V{100 - height:.4g}H{end:g}V100z")
    return "".join(parts)
