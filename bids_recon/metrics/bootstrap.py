"""Intervals of mean scores, by resampling pictures (and shuffles)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clusters = Sequence[Any] | NDArray[Any]


def bootstrap_interval(
    values: NDArray[np.floating],
    clusters: Clusters | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over pictures.

    Pictures are drawn with replacement, each with all of its items, so that several trials of one picture do
    not pass for independent evidence (Davison & Hinkley 1997, section 3.8). With few pictures the interval is
    too narrow: on normal data a nominal 95 % covers about 93 % with 20 pictures, 88 % with 8.

    Parameters
    ----------
    values : ndarray (n_items,)
        Score of each item; NaN items are left out.
    clusters : sequence (n_items,), optional
        Stimulus id of each item; by default every item is a picture of its own.
    n_resamples : int
    level : float
        Coverage, in 0..1.
    seed : int
        The same seed gives the same interval.

    Returns
    -------
    low, high : float
        NaN when fewer than two pictures have a value.
    """
    return crossed_bootstrap_interval(np.asarray(values)[None], clusters, n_resamples, level, seed)


def crossed_bootstrap_interval(
    values: NDArray[np.floating],
    clusters: Clusters | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over shuffles and pictures, both drawn with replacement.

    Shuffles and pictures are crossed: every shuffle scores the same pictures. Rows and columns are therefore
    drawn independently (Owen 2007, Ann. Appl. Stat. 1:386), which errs on the wide side.

    Parameters
    ----------
    values : ndarray (n_shuffles, n_items)
        Score of each item under each shuffle; NaN are left out. With one shuffle only pictures are drawn.
    clusters, n_resamples, level, seed
        As in `bootstrap_interval`.

    Returns
    -------
    low, high : float
        NaN when fewer than two pictures have a value.
    """
    scores = np.asarray(values, dtype=np.float64)
    n_items = scores.shape[1]
    labels = np.arange(n_items) if clusters is None else np.asarray(clusters)
    if labels.shape != (n_items,):
        raise ValueError(f"there are {n_items} items, but clusters are {labels.shape}")
    _, code = np.unique(labels, return_inverse=True)
    member = np.zeros((n_items, code.max(initial=-1) + 1))
    member[np.arange(n_items), code] = 1
    counts = (~np.isnan(scores)).astype(np.float64) @ member
    sums = np.nan_to_num(scores) @ member

    shuffles, pictures = counts.any(axis=1), counts.any(axis=0)
    counts, sums = counts[np.ix_(shuffles, pictures)], sums[np.ix_(shuffles, pictures)]
    n_shuffles, n_pictures = counts.shape
    if n_pictures < 2:
        return float("nan"), float("nan")

    rng = np.random.default_rng(seed)
    times_picture = _draws(rng, n_pictures, n_resamples)
    times_shuffle = _draws(rng, n_shuffles, n_resamples)
    total = ((times_shuffle @ sums) * times_picture).sum(axis=1)
    number = ((times_shuffle @ counts) * times_picture).sum(axis=1)
    means = total[number > 0] / number[number > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws(rng: np.random.Generator, n: int, n_resamples: int) -> NDArray[np.float64]:
    """How often each of n things is drawn when n are drawn with replacement: (n_resamples, n)."""
    drawn = rng.integers(n, size=(n_resamples, n)) + n * np.arange(n_resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=n_resamples * n).reshape(n_resamples, n).astype(np.float64)
