"""Carpet plots: the signal of every voxel over a run, as a picture of one column per volume (Power 2017,
NeuroImage 154:150, "A simple but useful way to assess fMRI scan qualities").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bids_recon.report.pictures import png_uri
from bids_recon.report.quality import Floats, RunQuality

MOST_ROWS, FEWEST_ROWS = 240, 40
BUDGET = 3_000_000
"""Pixels, which are bytes before compression, of all carpets of a page."""


@dataclass(frozen=True)
class Carpet:
    """A carpet as a picture (a data URI); `groups` are (label, rows of the picture)."""

    uri: str
    width: int
    height: int
    groups: tuple[tuple[str, int], ...]
    limit: float


def draw_carpets(runs: Sequence[RunQuality]) -> list[Carpet | None]:
    """Carpets of all runs on one scale: mid-grey for no change, black and white for -limit and +limit.

    Rows are means of neighbouring rows, as many as keep a page of many runs small. The limit is the 95th
    percentile of the change, either way, over all runs.
    """
    carpets = [run.carpet for run in runs if run.carpet is not None]
    n_columns = sum(carpet.shape[1] for carpet in carpets)
    n_rows = int(np.clip(BUDGET // max(1, n_columns), FEWEST_ROWS, MOST_ROWS))
    means = [
        None
        if run.carpet is None or not run.carpet.size
        else condense(run.carpet, run.carpet_groups or [("", len(run.carpet))], n_rows)
        for run in runs
    ]
    sizes = [np.abs(rows[np.isfinite(rows)]) for rows, _ in (one for one in means if one is not None)]
    pooled = np.concatenate([np.zeros(0), *sizes])
    limit = float(np.percentile(pooled, 95)) if pooled.size else 0.0
    # Written with one significant digit, to be read off a scale.
    limit = float(f"{limit:.1g}") or 1.0
    return [None if one is None else _drawn(*one, limit) for one in means]


def condense(
    carpet: Floats, groups: Sequence[tuple[str, int]], n_rows: int
) -> tuple[Floats, list[tuple[str, int]]]:
    """Means of neighbouring rows within each group, about `n_rows` in all.

    Parameters
    ----------
    carpet : ndarray (n, n_volumes)
        Percent signal change. NaN counts as missing.
    groups : list of (str, int)
        Label and number of rows of each block.
    n_rows : int
        How many rows are wanted; every block that has rows keeps at least one.

    Returns
    -------
    ndarray (about n_rows, n_volumes) float32, list of (str, int)
        Means, and the blocks they are of.
    """
    parts, kept, start = [], [], 0
    for label, size in groups:
        if not size:
            continue
        wanted = min(size, max(1, round(n_rows * size / len(carpet))))
        block = np.asarray(carpet[start : start + size], dtype=np.float32)
        for rows in np.array_split(block, wanted):
            present = np.isfinite(rows)
            total = np.where(present, rows, 0).sum(axis=0)
            number = present.sum(axis=0)
            parts.append(np.where(number > 0, total / np.maximum(number, 1), np.nan))
        kept.append((label, wanted))
        start += size
    return np.stack(parts).astype(np.float32), kept


def to_greys(rows: Floats, limit: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Grey of every value, uint8: -limit is 0, 0 is 128, +limit is 255; a missing value is 128."""
    shares = np.clip(np.nan_to_num(rows / limit, nan=0.0), -1, 1)
    return np.round(127.5 + 127.5 * shares).astype(np.uint8)


def _drawn(rows: Floats, groups: list[tuple[str, int]], limit: float) -> Carpet:
    height, width = rows.shape
    return Carpet(png_uri(Image.fromarray(to_greys(rows, limit))), width, height, tuple(groups), limit)
