"""Targets that need not fit in memory: read a chunk of columns at a time."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Bytes of one chunk of targets; a chunk is in memory once as it was read and once on the device.
CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class RepeatedRows:
    """Targets of trials, stored once per stimulus: row i is `stored[rows[i]]`.

    Attributes
    ----------
    stored : ndarray (n_stimuli, n_targets)
        In memory or memory-mapped.
    rows : ndarray (n_trials,) of int
    """

    stored: NDArray[Any]
    rows: NDArray[np.integer]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_trials, n_targets)."""
        return len(self.rows), self.stored.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return self.stored.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    def __len__(self) -> int:
        return len(self.rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All rows in memory, for code that knows arrays only."""
        return np.asarray(self.stored[self.rows], dtype=dtype)

    def __getitem__(self, item: tuple[Any, Any]) -> NDArray[Any]:
        rows, columns = item
        return self.stored[:, columns][self.rows[rows]]


Targets = NDArray[Any] | RepeatedRows
"""Targets (n_trials, n_targets) as decoders take them."""


def as_targets(Y: ArrayLike | RepeatedRows | None, n_trials: int) -> tuple[Targets, bool]:
    """Targets as a matrix (n_trials, n_targets), and whether there was one target as a vector.

    Memory-mapped targets stay on disk.

    Raises
    ------
    ValueError
        When the shape does not fit the responses, or there are no numbers.
    """
    if Y is None:
        raise ValueError("a decoder requires y to be passed, but the target y is None")
    targets: Any = Y if isinstance(Y, (np.ndarray, RepeatedRows)) else np.asarray(Y)
    if targets.ndim not in (1, 2) or len(targets) != n_trials:
        raise ValueError(
            f"targets of shape {targets.shape} do not fit {n_trials} trials: inconsistent numbers of samples"
        )
    if targets.dtype.kind not in "fiub":
        targets = np.asarray(targets, dtype=np.float64)
    return (targets.reshape(-1, 1), True) if targets.ndim == 1 else (targets, False)


def chunks(n_targets: int, n_rows: int, itemsize: int = 4, *, multiple: int = 1) -> Iterator[slice]:
    """Slices over the targets, such that a chunk of n_rows rows takes about `CHUNK_BYTES` at most.

    Their width is a multiple of a number, but for the last.
    """
    width = max(multiple, CHUNK_BYTES // max(1, n_rows * itemsize) // multiple * multiple)
    for start in range(0, n_targets, width):
        yield slice(start, min(start + width, n_targets))


def read_columns(Y: Targets, part: slice, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A chunk of columns (n_rows, n_columns) in memory, contiguous and of a given type.

    Raises
    ------
    ValueError
        When a value is not finite.
    """
    if isinstance(Y, RepeatedRows):
        return np.ascontiguousarray(read_columns(Y.stored, part, dtype)[Y.rows])
    start, stop, _ = part.indices(Y.shape[1])
    place = _place_in_file(Y)
    stored = Y[:, part] if place is None else _read_rows(Y, place, start, stop)
    chunk = np.ascontiguousarray(stored, dtype)
    # A sum is finite only if its terms are; one that overflows needs the slower look at each.
    with np.errstate(over="ignore", invalid="ignore"):
        total = chunk.sum()
    if not np.isfinite(total) and not np.isfinite(chunk).all():
        raise ValueError(f"targets {start} to {stop - 1} hold NaN or infinity")
    return chunk


def _place_in_file(Y: NDArray[Any]) -> int | None:
    """Position in its file of the first number of a memory map, if it is read only and its rows are whole.

    None for any other array.
    """
    if not (isinstance(Y, np.memmap) and Y.mode == "r" and Y.filename is not None):
        return None
    mapped = Y._mmap  # type: ignore[attr-defined]
    if mapped is None or Y.strides[1] != Y.itemsize or Y.strides[0] < 0:
        return None
    begin = Y.offset - Y.offset % mmap.ALLOCATIONGRANULARITY
    return int(begin + Y.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data)


def _read_rows(Y: NDArray[Any], place: int, start: int, stop: int) -> NDArray[Any]:
    """Some columns of a memory map, read from its file.

    Through the map itself, a system that maps large pages brings the whole file into memory for one chunk.
    """
    rows = np.empty((len(Y), stop - start), Y.dtype)
    with Path(Y.filename).open("rb", buffering=0) as file:  # type: ignore[attr-defined]
        for number, row in enumerate(rows):
            file.seek(place + number * Y.strides[0] + start * Y.itemsize)
            view = memoryview(row).cast("B")
            while len(view):
                n_read = file.readinto(view)
                if not n_read:
                    raise ValueError(f"{Y.filename} ends before the targets do")  # type: ignore[attr-defined]
                view = view[n_read:]
    return rows
