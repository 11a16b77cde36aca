"""Slices of a volume are recorded one after the other: their series are brought to one time.

Each slice's series is interpolated to the middle of the slice times, as fMRIPrep does; that time is then the
`StartTime` of the series. Reference: Henson et al., "The slice-timing problem in event-related fMRI",
NeuroImage 9:S125 (1999); Sladky et al., "Slice-timing effects and their correction in functional MRI",
NeuroImage 58:588 (2011).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from bids_recon.errors import DataError

# Slice times are rounded in sidecars (to 2.5 ms in those made from Siemens' DICOM headers).
_TOLERANCE = 5e-3
# Times that differ by less change nothing that could be seen.
_SAME_TIME = 1e-4
_DEGREE = 5
# Samples by which a series is prolonged at each end; a spline forgets what is further away.
_PROLONGED = 8
_AXES = {"i": 0, "j": 1, "k": 2}


@dataclass(frozen=True)
class SliceTiming:
    """When each slice of a volume was recorded.

    Attributes
    ----------
    times : ndarray (n_slices,) float64
        Seconds after the beginning of the volume, by index along the axis.
    axis : {0, 1, 2}
        Axis of the volume along which slices are counted.
    reference_time : float
        Middle between the first and the last slice time, in seconds.
    """

    times: NDArray[np.float64]
    axis: int
    reference_time: float


def slice_times(
    metadata: Mapping[str, Any],
    shape: Sequence[int],
    repetition_time: float,
    *,
    file: Path | None = None,
) -> SliceTiming | None:
    """Slice times that a sidecar states.

    Parameters
    ----------
    metadata : mapping
        The sidecar: `SliceTiming` (seconds), `SliceEncodingDirection` (`i`, `j`, `k`; with `-` the times are
        in the order of decreasing index), `SliceTimingCorrected`.
    shape : sequence of int
        Of the volume (x, y, z); what follows is ignored.
    repetition_time : float
        In seconds.
    file : Path, optional
        Named in errors.

    Returns
    -------
    SliceTiming or None
        None when nothing is to be corrected: no times are stated, all are equal, or the correction was done.

    Raises
    ------
    DataError
        When the times are no numbers, are not as many as slices, or do not lie between 0 and the repetition
        time.
    """
    stated = metadata.get("SliceTiming")
    if stated is None or metadata.get("SliceTimingCorrected") is True:
        return None
    direction = metadata.get("SliceEncodingDirection", "k")
    if not isinstance(direction, str) or direction.removesuffix("-") not in _AXES:
        raise DataError(
            f"SliceEncodingDirection is {direction!r}",
            file=file,
            remedy="It is i, j or k, with a - after it when the slices were counted backwards.",
        )
    axis = _AXES[direction.removesuffix("-")]
    times = _checked(stated, int(shape[axis]), repetition_time, file)
    if direction.endswith("-"):
        times = times[::-1].copy()
    if np.ptp(times) < _SAME_TIME:
        return None
    return SliceTiming(times, axis, float(times.min() + times.max()) / 2)


def correct_slice_timing(
    volumes: NDArray[np.float32], timing: SliceTiming, repetition_time: float
) -> NDArray[np.float32]:
    """Bring all slices to the reference time, in place.

    Every series is interpolated by a spline of degree 5 through its samples. Beyond its ends it is taken to
    go on as its mirror image turned about the last sample, so that a drift keeps its slope; times before the
    first sample or after the last get the value of that sample. Signals up to a quarter of the sampling rate
    come back to 0.5 % of their amplitude, except at the ends.

    Parameters
    ----------
    volumes : ndarray (x, y, z, n_volumes) float32
        One run; overwritten. What is needed besides is twice the size of a slice's series.
    timing : SliceTiming
    repetition_time : float
        In seconds.

    Returns
    -------
    ndarray (x, y, z, n_volumes) float32
        The array that was given.

    Raises
    ------
    ValueError
        When the volumes have not as many slices as `timing`.
    """
    if volumes.shape[timing.axis] != len(timing.times):
        raise ValueError(f"{volumes.shape[timing.axis]} slices, {len(timing.times)} slice times")
    n_volumes = volumes.shape[3]
    if n_volumes < 2:
        return volumes
    shifts = (timing.reference_time - timing.times) / repetition_time
    slices = np.moveaxis(volumes, (timing.axis, 3), (0, 1))
    # Slices recorded at once share an operator.
    for shift in np.unique(shifts.round(9)):
        if abs(shift) * repetition_time < _SAME_TIME:
            continue
        operator = _shift_operator(n_volumes, float(shift))
        for number in np.flatnonzero(np.abs(shifts - shift) < 1e-8):
            series = slices[number].reshape(n_volumes, -1)
            slices[number] = (operator @ series).reshape(slices[number].shape)
    return volumes


def start_time(
    metadata: Mapping[str, Any], timing: SliceTiming | None, repetition_time: float, *, n_dropped: int = 0
) -> float:
    """Time that the first volume kept stands for, in seconds from the beginning of the recording.

    Parameters
    ----------
    metadata : mapping
        The sidecar, whose `StartTime` counts (0 where it states none) unless slices were corrected.
    timing : SliceTiming or None
        What the slices were corrected by: its reference time counts.
    repetition_time : float
        In seconds.
    n_dropped : int
        Volumes left out at the beginning.
    """
    stated = metadata.get("StartTime")
    begin = float(stated) if isinstance(stated, int | float) else 0.0
    return (begin if timing is None else timing.reference_time) + n_dropped * repetition_time


def _checked(stated: Any, n_slices: int, repetition_time: float, file: Path | None) -> NDArray[np.float64]:
    try:
        times = np.asarray(stated, dtype=np.float64)
    except (TypeError, ValueError):
        times = np.array(np.nan)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise DataError(
            "SliceTiming is no list of numbers", file=file, remedy="Give one time in seconds for each slice."
        )
    if len(times) != n_slices:
        raise DataError(
            f"SliceTiming has {len(times)} times, the volumes have {n_slices} slices",
            file=file,
            remedy="Correct SliceTiming or SliceEncodingDirection, or switch slice timing off.",
        )
    latest = repetition_time + _TOLERANCE
    if times.min() < 0 or times.max() > latest:
        in_ms = times.min() >= 0 and times.max() <= 1000 * latest and times.max() > 10 * repetition_time
        raise DataError(
            f"SliceTiming goes from {times.min():g} to {times.max():g}, the repetition time is"
            f" {repetition_time:g} s" + ("; the times seem to be in milliseconds" if in_ms else ""),
            file=file,
            remedy="Divide the slice times by 1000: BIDS has them in seconds."
            if in_ms
            else "Correct SliceTiming or RepetitionTime in the sidecar, or switch slice timing off.",
        )
    return times


def _shift_operator(n_volumes: int, shift: float) -> NDArray[np.float32]:
    """Matrix (n_volumes, n_volumes) that gives series at times later by `shift` repetition times."""
    prolonged = min(_PROLONGED, n_volumes - 1)
    samples = np.pad(np.eye(n_volumes), ((prolonged, prolonged), (0, 0)), mode="reflect", reflect_type="odd")
    times = np.arange(-prolonged, n_volumes + prolonged)
    wanted = np.clip(np.arange(n_volumes) + shift, 0, n_volumes - 1)
    degree = min(_DEGREE, (len(times) - 1) // 2 * 2 - 1)
    return make_interp_spline(times, samples, k=degree)(wanted).astype(np.float32)
