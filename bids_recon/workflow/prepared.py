"""BOLD series that estimators can read: all of one grid, with their confounds and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.outputs.reading import read_tsv
from bids_recon.rois.brain import BrainMask
from bids_recon.rois.grids import Volume


@dataclass(frozen=True)
class PreparedRun:
    """One run, ready for the GLM.

    Attributes
    ----------
    name : str
        Of the run (`BoldRun.name`).
    bold : Path
        Series on the common grid.
    repetition_time : float or None
        In s; None leaves it to the header.
    start_time : float
        What the first volume of the series stands for, in s from the start of the recording.
    confounds : DataFrame or None
        One row a volume.
    sources : tuple of Path
        Files that the series was made from.
    facts : dict
        For the table of runs in the report.
    """

    name: str
    bold: Path
    repetition_time: float | None
    start_time: float
    confounds: pd.DataFrame | None
    sources: tuple[Path, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_confounds(file: Path | None) -> pd.DataFrame | None:
    """Confounds of a run, as text; None where there is no table."""
    if file is None:
        return None
    return read_tsv(file, remedy="Confounds are tab-separated, with a header.")


@dataclass(frozen=True)
class RunRecord:
    """What the report shows of one run.

    Attributes
    ----------
    name : str
    repetition_time : float
    motion : ndarray (n_volumes, 6) or None
        mm and radians.
    confounds : DataFrame
    carpet : ndarray (n_rows, n_volumes) float32 or None
        Percent signal change.
    n_dropped : int
    tsnr : float
        Median over the brain.
    """

    name: str
    repetition_time: float
    motion: NDArray[np.float64] | None
    confounds: pd.DataFrame
    carpet: NDArray[np.float32] | None
    n_dropped: int
    tsnr: float


@dataclass(frozen=True)
class PreparedBold:
    """The runs of one participant and where their common grid lies.

    Attributes
    ----------
    runs : dict of str to PreparedRun
        By name.
    reference : Volume or None
        Mean BOLD volume on the common grid; None when the series were taken as they are.
    brain : ndarray (x, y, z) bool or None
        Brain mask on the common grid.
    anatomy_affine : ndarray (4, 4) or None
        Affine of the common grid in the space of the T1w image; None where only the header says.
    space : str or None
        BIDS `space` label of the grid; None for the native space.
    description : dict
        For sidecars.
    records : sequence of RunRecord
        For the report.
    tsnr : ndarray (x, y, z) or None
    anatomy : Volume or None
        The T1w image on the common grid.
    warnings : tuple of str
    """

    runs: Mapping[str, PreparedRun]
    reference: Volume | None = None
    brain: BrainMask | None = None
    anatomy_affine: NDArray[np.float64] | None = None
    space: str | None = None
    description: Mapping[str, Any] = field(default_factory=dict)
    records: Sequence[RunRecord] = ()
    tsnr: NDArray[np.float32] | None = None
    anatomy: Volume | None = None
    warnings: tuple[str, ...] = ()
