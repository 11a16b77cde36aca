"""The sections on preprocessing and on single-trial responses, ready to be laid out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_recon.report.carpet import Carpet, draw_carpets
from bids_recon.report.histograms import Histogram, histograms
from bids_recon.report.maps import DrawnMap, DrawnOverlay, draw_map, draw_overlay
from bids_recon.report.quality import Floats, PreprocessingQuality, ResponseQuality, RunQuality
from bids_recon.report.tables import TextTable, number, text_table
from bids_recon.report.traces import DISPLACED, Panel, displaced, panels
from bids_recon.report.tracks import Axis

OPEN_RUNS = 2
"""How many runs show their traces without being asked."""


@dataclass(frozen=True)
class RunChart:
    """Traces and carpet of one run above a common axis of time.

    Attributes
    ----------
    name, summary : str
        Of the run.
    n_displaced : int
        How many volumes moved too far.
    panels : list of Panel
        Charts from the top.
    carpet : Carpet or None
        Beneath them.
    time : Axis
        Seconds since the first volume kept.
    open : bool
        Whether it shows at once.
    """

    name: str
    summary: str
    n_displaced: int
    panels: tuple[Panel, ...]
    carpet: Carpet | None
    time: Axis
    open: bool


@dataclass(frozen=True)
class QualityView:
    """What the template draws; empty parts leave their sections out.

    Attributes
    ----------
    notes, response_notes : list of str
        Paragraphs.
    table : TextTable
        One row per run.
    charts : list of RunChart
        Of the runs of which there is anything to draw.
    overlays : list of DrawnOverlay
    rois, tsnr, hrf, ceiling_map : DrawnMap or None
    times_to_peak, ceilings : list of Histogram
    ceiling_trials : str
        training or test.
    """

    notes: tuple[str, ...]
    table: TextTable
    charts: tuple[RunChart, ...]
    overlays: tuple[DrawnOverlay, ...]
    rois: DrawnMap | None
    tsnr: DrawnMap | None
    response_notes: tuple[str, ...]
    hrf: DrawnMap | None
    times_to_peak: tuple[Histogram, ...]
    ceilings: tuple[Histogram, ...]
    ceiling_map: DrawnMap | None
    ceiling_trials: str

    @property
    def too_far(self) -> str:
        """Displacement above which a volume is marked, as text."""
        return f"{DISPLACED:g} mm"

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Anchor and title of every section that has something to show, in their order."""
        present = {
            ("motion", "Head motion"): bool(self.table.rows),
            ("alignment", "Alignment"): bool(self.overlays or self.rois),
            ("signal", "Signal quality"): self.tsnr is not None,
            ("responses", "Responses"): bool(
                self.hrf or self.times_to_peak or self.ceilings or self.ceiling_map
            ),
        }
        return [section for section, shown in present.items() if shown]


def quality_view(quality: PreprocessingQuality | None, responses: ResponseQuality | None) -> QualityView:
    """Draw everything that there is.

    Raises
    ------
    ValueError
        When volumes of one figure are not on one grid.
    """
    quality, responses = quality or PreprocessingQuality(), responses or ResponseQuality()
    times = responses.times_to_peak
    return QualityView(
        notes=tuple(quality.notes),
        table=text_table(motion_table(quality)),
        charts=tuple(_charts(quality)),
        overlays=tuple(draw_overlay(overlay) for overlay in quality.overlays),
        rois=draw_map(quality.rois) if quality.rois else None,
        tsnr=draw_map(quality.tsnr) if quality.tsnr else None,
        response_notes=tuple(responses.notes),
        hrf=draw_map(responses.hrf_index) if responses.hrf_index else None,
        times_to_peak=tuple(histograms({} if times is None else {"": times}, "s")),
        ceilings=tuple(histograms(dict(responses.noise_ceiling), "%")),
        ceiling_map=draw_map(responses.noise_ceiling_map) if responses.noise_ceiling_map else None,
        ceiling_trials=responses.noise_ceiling_trials,
    )


def motion_table(quality: PreprocessingQuality) -> pd.DataFrame:
    """One row per run: volumes kept and dropped, displacement, median tSNR."""
    return pd.DataFrame(
        [
            {
                "run": run.name,
                "TR, s": run.repetition_time,
                "volumes": run.n_volumes or None,
                "dropped": run.dropped,
                "mean displacement, mm": _mean(run),
                "largest, mm": _largest(run),
                f"volumes above {DISPLACED:g} mm": None if run.displacement is None else len(displaced(run)),
                "median tSNR": run.tsnr_median,
            }
            for run in quality.runs
        ]
    )


def mean_displacement(quality: PreprocessingQuality) -> float:
    """Mean framewise displacement over the volumes of all runs, in mm; NaN without any."""
    steps = np.concatenate([np.zeros(0), *map(_steps, quality.runs)])
    return float(steps.mean()) if steps.size else math.nan


def _charts(quality: PreprocessingQuality) -> list[RunChart]:
    charts: list[RunChart] = []
    for run, shown, carpet in zip(
        quality.runs, panels(quality.runs), draw_carpets(quality.runs), strict=True
    ):
        if shown or carpet:
            charts.append(
                RunChart(
                    name=run.name,
                    summary=_summary(run),
                    n_displaced=len(displaced(run)),
                    panels=tuple(shown),
                    carpet=carpet,
                    time=Axis(0.0, run.n_volumes * run.repetition_time),
                    open=len(charts) < OPEN_RUNS,
                )
            )
    return charts


def _summary(run: RunQuality) -> str:
    parts = [f"{run.n_volumes} volumes"]
    if math.isfinite(_mean(run)):
        parts.append(f"displacement {number(_mean(run))} mm on average, {number(_largest(run))} mm at most")
    return ", ".join(parts)


def _mean(run: RunQuality) -> float:
    steps = _steps(run)
    return float(steps.mean()) if steps.size else math.nan


def _largest(run: RunQuality) -> float:
    steps = _steps(run)
    return float(steps.max()) if steps.size else math.nan


def _steps(run: RunQuality) -> Floats:
    """Framewise displacements that are there; the first volume has none."""
    steps = np.zeros(0) if run.displacement is None else np.asarray(run.displacement)
    return steps[np.isfinite(steps)]
