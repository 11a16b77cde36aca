"""Charts of numbers on a line: dots with intervals, between a floor and a ceiling.

Positions are percentages of the width, so that a chart stretches with the page while its text does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bids_recon.report.tables import interval, number

MARGIN = 0.05
DOT_PITCH = 9
"""Distance of the dots of two subjects, in CSS pixels."""


@dataclass(frozen=True)
class Axis:
    """A scale shared by the charts of one group of rows."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float]) -> Axis:
        """Cover the finite ones of `values`, with a margin."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        spread = (high - low) or abs(high) or 1.0
        return cls(low - MARGIN * spread, high + MARGIN * spread)

    def at(self, value: float) -> float | None:
        """Position in percent; None for a missing value."""
        if not math.isfinite(value):
            return None
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels of about four round values."""
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(factor for factor in (1, 2, 2.5, 5, 10) if (self.high - self.low) / (factor * step) <= 5)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [
            (self.at(k * step) or 0.0, f"{k * step:.6g}".replace("-", "−")) for k in range(first, last + 1)
        ]


@dataclass(frozen=True)
class Dot:
    """One value with its interval; `colour` is an index into the palette of participants."""

    x: float
    y: float
    low: float | None
    high: float | None
    colour: int | None
    title: str


@dataclass(frozen=True)
class Track:
    """One chart line: positions in percent, None for what is missing; heights in CSS pixels."""

    dots: tuple[Dot, ...]
    floor: float | None
    floor_band: tuple[float, float] | None
    ceiling: float | None
    chance: float | None
    mean: float | None
    grid: tuple[float, ...]
    height: int
    label: str


@dataclass(frozen=True)
class Score:
    """One value to draw, with its interval and whose it is."""

    value: float
    low: float = math.nan
    high: float = math.nan
    name: str = ""
    colour: int | None = 0


def draw(
    axis: Axis,
    scores: list[Score],
    *,
    floor: float = math.nan,
    floor_interval: tuple[float, float] = (math.nan, math.nan),
    ceiling: float = math.nan,
    chance: float = math.nan,
    mean: float = math.nan,
) -> Track:
    """Lay out one chart line; several scores lie under one another, in their order."""
    height = max(30, DOT_PITCH * (len(scores) + 1))
    top = (height - DOT_PITCH * (len(scores) - 1)) / 2
    dots = []
    for row, score in enumerate(scores):
        x = axis.at(score.value)
        if x is not None:
            ends = axis.at(score.low), axis.at(score.high)
            dots.append(Dot(x, top + DOT_PITCH * row, *ends, score.colour, describe(score)))
    band = axis.at(floor_interval[0]), axis.at(floor_interval[1])
    return Track(
        dots=tuple(dots),
        floor=axis.at(floor),
        floor_band=None if band[0] is None or band[1] is None else (band[0], round(band[1] - band[0], 2)),
        ceiling=axis.at(ceiling),
        chance=axis.at(chance),
        mean=axis.at(mean),
        grid=tuple(x for x, _ in axis.ticks),
        height=height,
        label="; ".join(
            [describe(score) for score in scores]
            + ([f"mean {number(mean)}"] if math.isfinite(mean) else [])
            + [f"floor {number(floor)}", f"ceiling {number(ceiling)}"]
        ),
    )


def describe(score: Score) -> str:
    """Say a score in words."""
    return " ".join(
        part for part in (score.name, number(score.value), interval(score.low, score.high)) if part
    )
