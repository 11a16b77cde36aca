"""Curves over the volumes of a run, as SVG that stretches with the page.

Across, one volume is one unit, so that volume `k` lies from `k` to `k + 1` as it does in the carpet; down, a
chart is 100 units high.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bids_recon.report.quality import Floats, RunQuality
from bids_recon.report.tables import number
from bids_recon.report.tracks import Axis

DISPLACED = 0.5
"""Framewise displacement, in mm, above which a volume is marked (Power et al. 2012, NeuroImage 59:2142)."""


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes
    ----------
    name, unit, label : str
        What is drawn; `label` says it in words, with the extremes.
    n_volumes : int
        Width, in units.
    ticks : list of (float, str)
        Heights from the top, in units, and labels.
    lines : list of (str, str)
        A class of the style and the path of each curve.
    threshold : float or None
        Height of a line not to be crossed, in units.
    marked : str
        Path of the volumes that moved too far.
    """

    name: str
    unit: str
    label: str
    n_volumes: int
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[tuple[str, str], ...]
    threshold: float | None
    marked: str


@dataclass(frozen=True)
class Quantity:
    """What one chart of every run shows: curves (n, n_curves), drawn in the classes given."""

    name: str
    unit: str
    classes: tuple[str, ...]
    curves: tuple[Floats | None, ...]
    threshold: float | None = None


def quantities(runs: Sequence[RunQuality]) -> list[Quantity]:
    """Translation, rotation (in degrees), framewise displacement and DVARS of every run."""
    motion = [None if run.motion is None else np.asarray(run.motion) for run in runs]
    axes = ("line-0", "line-1", "line-2")
    shifts = tuple(None if one is None else one[:, :3] for one in motion)
    turns = tuple(None if one is None else np.degrees(one[:, 3:]) for one in motion)
    steps = tuple(None if run.displacement is None else np.asarray(run.displacement)[:, None] for run in runs)
    changes = tuple(None if run.dvars is None else np.asarray(run.dvars)[:, None] for run in runs)
    return [
        Quantity("Translation", "mm", axes, shifts),
        Quantity("Rotation", "°", axes, turns),
        Quantity("Displacement", "mm", ("line-3",), steps, DISPLACED),
        Quantity("DVARS", "", ("line-5",), changes),
    ]


def panels(runs: Sequence[RunQuality]) -> list[list[Panel]]:
    """The charts of every run; those of one quantity share their scale, so that runs can be compared."""
    drawn: list[list[Panel]] = [[] for _ in runs]
    for quantity in quantities(runs):
        present = [curves[np.isfinite(curves)] for curves in quantity.curves if curves is not None]
        if not any(values.size for values in present):
            continue
        ends = [float(end) for values in present if values.size for end in (values.min(), values.max())]
        axis = Axis.around([*ends, 0.0, *([] if quantity.threshold is None else [quantity.threshold])])
        for panels_of_run, run, curves in zip(drawn, runs, quantity.curves, strict=True):
            if curves is not None:
                panels_of_run.append(_panel(quantity, run, curves, axis))
    return drawn


def displaced(run: RunQuality) -> list[int]:
    """Volumes whose framewise displacement exceeds `DISPLACED`."""
    if run.displacement is None:
        return []
    return [int(volume) for volume in np.flatnonzero(np.nan_to_num(run.displacement) > DISPLACED)]


def path(values: Floats, axis: Axis) -> str:
    """Path of a curve (n,) through the middle of every volume; missing values leave a gap."""
    parts, joined = [], False
    for volume, value in enumerate(values.tolist()):
        place = axis.at(value)
        if place is None:
            joined = False
            continue
        parts.append(f"{'L' if joined else 'M'}{volume}.5 {100 - place:.4g}")
        joined = True
    if len(parts) == 1:
        # A path of one point draws nothing.
        parts.append("h.01")
    return "".join(parts)


def bands(volumes: Iterable[int]) -> str:
    """Path of full-height bars over some volumes."""
    return "".join(f"M{volume} 0h1v100h-1z" for volume in volumes)


def _panel(quantity: Quantity, run: RunQuality, curves: Floats, axis: Axis) -> Panel:
    ticks = axis.ticks[:: 2 if len(axis.ticks) > 4 else 1]
    finite = curves[np.isfinite(curves)]
    extremes = f"{number(finite.min())} to {number(finite.max())} {quantity.unit}" if finite.size else "n/a"
    threshold = None if quantity.threshold is None else axis.at(quantity.threshold)
    return Panel(
        name=quantity.name,
        unit=quantity.unit,
        label=f"{quantity.name} of {run.name}: {extremes}",
        n_volumes=run.n_volumes,
        ticks=tuple((round(100 - place, 2), label) for place, label in ticks),
        lines=tuple(
            (name, path(curve, axis)) for name, curve in zip(quantity.classes, curves.T, strict=True)
        ),
        threshold=None if threshold is None else round(100 - threshold, 2),
        marked=bands(displaced(run)),
    )
