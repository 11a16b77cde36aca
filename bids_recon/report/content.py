"""What a report says, before it is laid out: plain arrays, tables and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.report.quality import PreprocessingQuality, ResponseQuality

if TYPE_CHECKING:
    from bids_recon.report.roi_optimal import SyntheticPicture

Picture = NDArray[np.uint8] | Path
"""A picture, (height, width[, 1, 3 or 4]) uint8 sRGB, or the file that holds it."""


@dataclass(frozen=True)
class RunContext:
    """What was run, and on what.

    Attributes
    ----------
    title : str
        Heading of the page.
    command : str
        The command line, as it can be typed again.
    version : str
        Version of bids_recon.
    date : str
        When the run ended, as it is to be shown.
    simulated : bool
        Whether the responses come from a simulated brain; the page then says so in its first line.
    dataset, settings : dict of str to str
        Facts about the data set and settings of the run, shown as two tables.
    warnings : list of str
        Shown before any result.
    notes : list of str
        Paragraphs of the methods boilerplate.
    definitions : dict of str to str
        What a metric measures, by its name in the tables; one sentence each.
    """

    title: str
    command: str
    version: str
    date: str
    simulated: bool = False
    dataset: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GalleryItem:
    """One reconstruction beside what was seen.

    Attributes
    ----------
    subject, method, test_set, stimulus_id : str
        Whose, by what, of what.
    seen, reconstructed : Picture
        What was shown, and what was made of the responses to it.
    ceiling : Picture or None
        What the method makes of the true latents of the seen picture.
    score : float
        What the gallery is sorted by: higher is better, NaN comes last.
    scores : dict of str to float
        Every score of this picture, by metric.
    score_name : str
        What `score` is; where it is a metric of `scores`, under the same name.
    steps : sequence of (int, Picture)
        How a picture that was found by optimisation came into being: iteration and picture, in order, all of
        one size. The last is the reconstruction, or close to it. Empty for a picture that was drawn at once.
    """

    subject: str
    method: str
    test_set: str
    stimulus_id: str
    seen: Picture
    reconstructed: Picture
    ceiling: Picture | None = None
    score: float = float("nan")
    scores: Mapping[str, float] = field(default_factory=dict)
    score_name: str = "score"
    steps: Sequence[tuple[int, Picture]] = ()


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame()


@dataclass(frozen=True)
class SubjectReport:
    """The page of one participant.

    Columns that a table lacks count as missing values; an empty table leaves its section out, or says
    that there is nothing to show.

    Attributes
    ----------
    context : RunContext
        What was run.
    subject : str
        Label without `sub-`.
    runs : DataFrame
        One row per run; any columns.
    sets : DataFrame
        One row per set of the split: set, stimuli, trials, presentations.
    audit : dict
        The leak audit: `{"passed": bool, "checks": [{"name", "passed", "detail", "items"}]}`.
    rois : DataFrame
        Decoding by region: method, roi, n_voxels, test_set, metric, protocol, value, ci_low, ci_high, floor,
        floor_low, floor_high, n_items.
    decoders : DataFrame
        One row per fitted decoder; any columns.
    metrics : DataFrame
        Scores: method, test_set, metric, protocol, value, ci_low, ci_high, floor, floor_low, floor_high,
        ceiling, n_items, and optionally note (why there is no value) and higher_is_better (bool; otherwise
        told by the catalogue of metrics, or from floor and ceiling).
    gallery : list of GalleryItem
        Reconstructions; may be empty.
    quality : PreprocessingQuality or None
        Head motion, alignment and signal; None leaves their sections out.
    responses : ResponseQuality or None
        What the single-trial model found; None leaves its section out.
    """

    context: RunContext
    subject: str
    runs: pd.DataFrame = field(default_factory=_no_rows)
    sets: pd.DataFrame = field(default_factory=_no_rows)
    audit: Mapping[str, Any] = field(default_factory=dict)
    rois: pd.DataFrame = field(default_factory=_no_rows)
    decoders: pd.DataFrame = field(default_factory=_no_rows)
    metrics: pd.DataFrame = field(default_factory=_no_rows)
    gallery: Sequence[GalleryItem] = ()
    quality: PreprocessingQuality | None = None
    responses: ResponseQuality | None = None


@dataclass(frozen=True)
class GroupReport:
    """The page of the group.

    Attributes
    ----------
    context : RunContext
        What was run.
    subjects : DataFrame
        One row per participant, with a column `subject`; any other columns. Rows of `metrics` whose
        subject is not listed here (a reconstruction from averaged latents, say) are shown, but do not
        enter the mean over subjects.
    audit : dict of str to dict
        The leak audit of each participant (see `SubjectReport`).
    rois, metrics : DataFrame
        As in `SubjectReport`, with a column `subject`.
    gallery : list of GalleryItem
        Reconstructions of every participant; may be empty.
    weights : DataFrame
        Strength of regression weights by region (see `weight_charts`); may be empty.
    synthetic : list of SyntheticPicture
        Pictures of synthetic patterns; may be empty.
    """

    context: RunContext
    subjects: pd.DataFrame = field(default_factory=_no_rows)
    audit: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rois: pd.DataFrame = field(default_factory=_no_rows)
    metrics: pd.DataFrame = field(default_factory=_no_rows)
    gallery: Sequence[GalleryItem] = ()
    weights: pd.DataFrame = field(default_factory=_no_rows)
    synthetic: Sequence[SyntheticPicture] = ()
