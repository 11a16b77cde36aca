"""The table of scores: mean, interval, floor and ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.metrics.bootstrap import Clusters, bootstrap_interval, crossed_bootstrap_interval
from bids_recon.metrics.catalogue import find_metric


def summarise(
    items: Mapping[str, NDArray[np.floating]],
    clusters: Clusters | None = None,
    floor_items: Sequence[Mapping[str, NDArray[np.floating]]] | None = None,
    ceiling_items: Mapping[str, NDArray[np.floating]] | None = None,
    permuted: Mapping[str, NDArray[np.floating]] | None = None,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Table of mean scores with their intervals, floors and ceilings.

    Parameters
    ----------
    items : dict of ndarray (n_items,)
        Score of each item, by metric; NaN items are left out.
    clusters : sequence (n_items,), optional
        Stimulus id of each item (see `bootstrap_interval`).
    floor_items : sequence of dict, optional
        The same scores for decoders fitted to shuffled data, one dict a shuffle, items in the same order.
    ceiling_items : dict of ndarray (any number,), optional
        Scores of what is drawn from true latents.
    permuted : dict of ndarray (n_orders,), optional
        Mean scores with the pictures in other orders (see `bids_recon.metrics.permutation`), by metric.
    n_resamples, level, seed
        Of every bootstrap.

    Returns
    -------
    DataFrame, one row per metric of `items`
        metric; value (mean over items); ci_low, ci_high (pictures resampled); floor (mean over shuffles of
        their means); floor_low, floor_high (interval of the floor, shuffles and pictures resampled);
        p_shuffle ((1 + shuffles that score at least as well) / (1 + shuffles)); p_permutation (the same of
        other orders of the pictures); ceiling (mean); n_items (items that have a score); higher_is_better;
        note (why there is no value, else "").

    Raises
    ------
    ValueError
        When a metric is not in the catalogue.
    """
    rows = []
    for name, scores in items.items():
        metric = find_metric(name)
        if metric is None:
            raise ValueError(f"the catalogue has no metric {name!r}")
        value = mean_score(scores)
        low, high = bootstrap_interval(scores, clusters, n_resamples, level, seed)
        shuffled = np.array([shuffle[name] for shuffle in floor_items or () if name in shuffle])
        floor_low, floor_high = (
            crossed_bootstrap_interval(shuffled, clusters, n_resamples, level, seed)
            if len(shuffled)
            else (np.nan, np.nan)
        )
        floors = np.array([mean_score(shuffle) for shuffle in shuffled])
        n_items = int((~np.isnan(scores)).sum())
        rows.append(
            {
                "metric": name,
                "value": value,
                "ci_low": low,
                "ci_high": high,
                "floor": mean_score(floors),
                "floor_low": floor_low,
                "floor_high": floor_high,
                "p_shuffle": share_as_good(value, floors, metric.higher_is_better),
                "p_permutation": share_as_good(
                    value, np.asarray((permuted or {}).get(name, [])), metric.higher_is_better
                ),
                "ceiling": mean_score(ceiling_items[name])
                if ceiling_items and name in ceiling_items
                else np.nan,
                "n_items": n_items,
                "higher_is_better": metric.higher_is_better,
                "note": ""
                if n_items
                else f"undefined: {metric.undefined}"
                if metric.undefined
                else "no items",
            }
        )
    return pd.DataFrame(rows)


def mean_score(scores: NDArray[np.floating]) -> float:
    """Mean without NaN; NaN where nothing is left."""
    present = np.asarray(scores, dtype=np.float64)
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else float("nan")


def share_as_good(value: float, others: NDArray[np.floating], higher_is_better: bool) -> float:
    """Share of scores that are at least as good as the observed one, which is counted among them."""
    others = others[~np.isnan(others)]
    if np.isnan(value) or not others.size:
        return float("nan")
    gain = others - value if higher_is_better else value - others
    as_good = gain >= -1e-12  # equal means may differ in their last digit
    return float((1 + as_good.sum()) / (1 + others.size))
