"""When the volumes of a preprocessed series were recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_recon.dataset.annex import is_fetched
from bids_recon.dataset.layout import BoldRun
from bids_recon.errors import DataError
from bids_recon.rois.grids import open_image

_SECONDS = {"msec": 1e-3, "usec": 1e-6}
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SeriesTiming:
    """Times of a series, in s.

    Attributes
    ----------
    repetition_time : float
    start_time : float
        Of the first volume, from the beginning of the recording.
    slice_timing_corrected : bool
        Whether all slices of a volume are of one time, which `start_time` then is.
    warnings : list of str
    """

    repetition_time: float
    start_time: float
    slice_timing_corrected: bool
    warnings: list[str]


def series_timing(root: Path, bold: Path, metadata: Mapping[str, Any], run: BoldRun) -> SeriesTiming:
    """Work out when the volumes of a preprocessed series were recorded.

    What the sidecar says counts. fMRIPrep before 20.2.4 (2021) says nothing of slice timing: then its
    boilerplate text in `logs/CITATION.md` does. It corrected to the middle of the recording of a volume.

    Parameters
    ----------
    root : Path
        Output folder of fMRIPrep.
    bold : Path
        Preprocessed series.
    metadata : mapping
        Its sidecar, inherited.
    run : BoldRun
        The raw run.

    Raises
    ------
    DataError
        When the repetition time is not known, or the series is a single volume.
    """
    repetition_time, warnings = _repetition_time(bold, metadata, run)
    corrected, stated = metadata.get("SliceTimingCorrected"), _number(metadata, "StartTime")
    if corrected is None and stated is None:
        corrected = _boilerplate_says_corrected(root)
        if corrected is None and run.metadata.get("SliceTiming"):
            warnings.append(
                f"{bold}: nothing tells whether slice timing was corrected; the volumes are taken to begin at"
                f" {run.start_time:g} s. If it was, as fMRIPrep does by default, write"
                f' {{"SliceTimingCorrected": true, "StartTime": {_middle(run, repetition_time):g}}} into a'
                " sidecar of the series."
            )
    if stated is not None:
        start_time = stated
    elif corrected:
        start_time = _middle(run, repetition_time)
        warnings.append(
            f"{bold}: slice timing was corrected but its sidecar has no StartTime; the middle of the volume,"
            f" {start_time:g} s, is used, as fMRIPrep does by default."
        )
    else:
        start_time = run.start_time
    return SeriesTiming(repetition_time, start_time, bool(corrected), warnings)


def _repetition_time(bold: Path, metadata: Mapping[str, Any], run: BoldRun) -> tuple[float, list[str]]:
    """Repetition time in s: of the sidecar, else of the raw run's, else of the header."""
    header = open_image(bold).header
    zooms = header.get_zooms()
    if len(zooms) < 4:
        raise DataError(
            "is a single volume, not a series", file=bold, remedy="Run fMRIPrep again for this run."
        )
    in_header = float(zooms[3]) * _SECONDS.get(header.get_xyzt_units()[1], 1.0)
    stated = _number(metadata, "RepetitionTime")
    if stated is None:
        stated = run.repetition_time
    chosen = in_header if stated is None else stated
    if not (np.isfinite(chosen) and chosen > 0):
        raise DataError(
            f"its repetition time is {chosen:g} s",
            file=bold,
            remedy="State RepetitionTime, in seconds, in the JSON sidecar.",
        )
    # fMRIPrep before 20.2.8 left the header without it in some series.
    if in_header > 0 and abs(in_header - chosen) > _TOLERANCE:
        return chosen, [
            f"{bold}: the sidecar's repetition time of {chosen:g} s is used, the header says {in_header:g} s."
        ]
    return chosen, []


def _number(metadata: Mapping[str, Any], key: str) -> float | None:
    value = metadata.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _boilerplate_says_corrected(root: Path) -> bool | None:
    file = root / "logs" / "CITATION.md"
    if not is_fetched(file):
        return None
    text = file.read_text(encoding="utf-8", errors="replace")
    return re.search(r"slice-time\s+corrected", text) is not None


def _middle(run: BoldRun, repetition_time: float) -> float:
    """Middle between the first and the last slice of a volume, in s."""
    slices = run.metadata.get("SliceTiming")
    if not slices:
        return repetition_time / 2
    times = np.asarray(slices, dtype=float)
    return float(np.round((times.min() + times.max()) / 2, 3))
