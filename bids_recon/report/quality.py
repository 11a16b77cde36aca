"""What the page of a participant says of the data before anything was decoded: plain arrays and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Palette = Literal["sequential", "diverging"]


@dataclass(frozen=True)
class RunQuality:
    """One run. What is None was not measured, and is left out of the page.

    Attributes
    ----------
    name : str
        As a reader knows the run: `ses-01 run-02`, say.
    repetition_time : float
        Seconds between two volumes.
    motion : ndarray (n, 6) or None
        Of every volume kept: translation along x, y, z in mm, then rotation about x, y, z in radians.
    displacement : ndarray (n,) or None
        Framewise displacement in mm; the first is NaN.
    dvars : ndarray (n,) or None
        Root mean square of the change from volume to volume; the first is NaN.
    carpet : ndarray (n_rows, n) float32 or None
        Percent signal change, one row per voxel or mean of voxels. The page shows means of neighbouring
        rows where there are too many.
    carpet_groups : list of (str, int)
        Label and number of rows of each block of the carpet, from the top; the numbers add up to `n_rows`.
        Empty for one block without a label.
    dropped : int
        Volumes left out at the start, before those that the arrays are of.
    tsnr_median : float
        Median over the brain of the temporal signal-to-noise ratio; NaN where it was not measured.

    Raises
    ------
    ValueError
        When the arrays are not of one length, or the groups do not add up to the rows of the carpet.
    """

    name: str
    repetition_time: float
    motion: Floats | None = None
    displacement: Floats | None = None
    dvars: Floats | None = None
    carpet: Floats | None = None
    carpet_groups: Sequence[tuple[str, int]] = ()
    dropped: int = 0
    tsnr_median: float = float("nan")

    def __post_init__(self) -> None:
        lengths = {
            len(values) for values in (self.motion, self.displacement, self.dvars) if values is not None
        }
        if self.carpet is not None:
            lengths.add(self.carpet.shape[1])
            if self.carpet_groups and sum(rows for _, rows in self.carpet_groups) != len(self.carpet):
                raise ValueError(f"the groups of the carpet of {self.name} do not add up to its rows")
        if len(lengths) > 1:
            raise ValueError(f"the traces of {self.name} have different lengths: {sorted(lengths)}")
        if self.motion is not None and self.motion.shape[1:] != (6,):
            raise ValueError(f"motion has six parameters a volume, not shape {self.motion.shape}")

    @property
    def n_volumes(self) -> int:
        """Volumes kept; 0 where nothing was measured."""
        for values in (self.motion, self.displacement, self.dvars):
            if values is not None:
                return len(values)
        return 0 if self.carpet is None else self.carpet.shape[1]


@dataclass(frozen=True)
class Overlay:
    """Two volumes that should lie on each other, to be looked at in turn.

    Attributes
    ----------
    title : str
        What was aligned to what.
    fixed, moving : ndarray (x, y, z)
        On the same grid; NaN or 0 where a volume does not reach.
    affine : ndarray (4, 4) float64
        Voxel to scanner mm (RAS+) of that grid.
    fixed_name, moving_name : str
        What the two are called beneath the pictures.
    """

    title: str
    fixed: Floats
    moving: Floats
    affine: NDArray[np.float64]
    fixed_name: str = "BOLD reference"
    moving_name: str = "T1w"


@dataclass(frozen=True)
class MapFigure:
    """Slices of a volume, with values in colour or regions in outline.

    Attributes
    ----------
    title : str
        What is shown.
    background : ndarray (x, y, z)
        Drawn in grey.
    values : ndarray (x, y, z) or None
        Drawn in colour; where NaN, the background shows.
    outlines : dict of str to ndarray (x, y, z) bool
        Regions by name, all on the grid of the background.
    affine : ndarray (4, 4) float64
        Voxel to scanner mm (RAS+).
    unit : str
        Of the values; empty for a ratio.
    limits : (float, float) or None
        Values at the ends of the colour scale; None for the 2nd and 98th percentile.
    palette : {"sequential", "diverging"}
        The second for values whose sign matters, with limits symmetric about 0.
    """

    title: str
    background: Floats
    affine: NDArray[np.float64]
    values: Floats | None = None
    outlines: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    unit: str = ""
    limits: tuple[float, float] | None = None
    palette: Palette = "sequential"


@dataclass(frozen=True)
class PreprocessingQuality:
    """How the volumes turned out.

    Attributes
    ----------
    runs : list of RunQuality
        In the order in which they were measured.
    overlays : list of Overlay
        Alignments.
    tsnr : MapFigure or None
        Temporal signal-to-noise ratio.
    rois : MapFigure or None
        Outlines of the regions on the BOLD reference.
    notes : list of str
        Paragraphs shown before the first of the sections.
    """

    runs: Sequence[RunQuality] = ()
    overlays: Sequence[Overlay] = ()
    tsnr: MapFigure | None = None
    rois: MapFigure | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ResponseQuality:
    """What the single-trial model found.

    Attributes
    ----------
    hrf_index : MapFigure or None
        Which haemodynamic response of the library was chosen, by voxel.
    times_to_peak : ndarray (n_voxels,) or None
        Of the chosen responses, in seconds; NaN where none was chosen.
    noise_ceiling : dict of str to ndarray (n_voxels,)
        Noise ceiling of every voxel of a region, in percent of the variance of single trials; NaN where it is
        not defined.
    noise_ceiling_trials : {"training", "test"}
        Repeats of which pictures the noise ceiling was measured from; those of test pictures are for
        reporting only.
    noise_ceiling_map : MapFigure or None
        The same by voxel, in percent.
    notes : list of str
        Paragraphs shown first.
    """

    hrf_index: MapFigure | None = None
    times_to_peak: Floats | None = None
    noise_ceiling: Mapping[str, Floats] = field(default_factory=dict)
    noise_ceiling_trials: Literal["training", "test"] = "training"
    noise_ceiling_map: MapFigure | None = None
    notes: Sequence[str] = ()
