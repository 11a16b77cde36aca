"""Named, versioned sets of metrics, and the table of scores with floor and ceiling.

A protocol never changes once released: whatever would move a number (the size of comparison, the resize, a
metric's definition) makes a new version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.errors import UsageError
from bids_recon.metrics.bootstrap import Clusters, bootstrap_interval, crossed_bootstrap_interval
from bids_recon.metrics.catalogue import METRICS
from bids_recon.metrics.identification import correlation_matrix, two_way_a, two_way_b, two_way_c
from bids_recon.metrics.pixel import pixcorr, ssim, ssim_legacy1d
from bids_recon.metrics.prepare import Pictures, to_common_size

Items = dict[str, NDArray[np.float64]]
"""Score of each prediction, (n_predicted,), by metric."""


@dataclass(frozen=True)
class Protocol:
    """A named, versioned set of metrics and the conditions under which they are taken.

    Attributes
    ----------
    name : str
    version : int
    metrics : tuple of str
        Names of metrics, in the order of the table.
    image_size : int or None
        Side in pixels at which pictures are compared; None for a protocol of latents.
    antialias : bool
        Whether the resize to that size is antialiased.
    notes : str
        What was chosen, and why.
    """

    name: str
    version: int
    metrics: tuple[str, ...]
    image_size: int | None
    antialias: bool = True
    notes: str = ""

    @property
    def key(self) -> str:
        """Name and version, as written in tables: `pixels-1`."""
        return f"{self.name}-{self.version}"


PIXELS_1 = Protocol(
    "pixels",
    1,
    ("pixcorr", "ssim", "ssim-legacy1d", "two-way-a", "two-way-b", "two-way-c"),
    image_size=128,
    notes=(
        "Compared at 128 x 128 after a bilinear antialiased resize: no finer than most methods draw, so that "
        "invented detail is not scored, and an 11-pixel SSIM window spans a twelfth of the picture. "
        "Identification by Pearson correlation over all pixels and colours. SSIM depends on the size: not "
        "comparable with figures published at 425 x 425."
    ),
)
LATENTS_1 = Protocol(
    "latents",
    1,
    ("latent-correlation", "two-way-a", "two-way-b", "two-way-c"),
    image_size=None,
    notes="Pearson correlation over latent dimensions as they are: not centred, not scaled by dimension.",
)
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({p.key: p for p in (PIXELS_1, LATENTS_1)})

_PICTURE_METRICS = {"pixcorr": pixcorr, "ssim": ssim, "ssim-legacy1d": ssim_legacy1d}


def _own_correlation(C: NDArray[np.float64], target: NDArray[np.integer]) -> NDArray[np.float64]:
    return C[target, np.arange(len(target))]


_CORRELATION_METRICS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "latent-correlation": _own_correlation,
    "two-way-a": two_way_a,
    "two-way-b": two_way_b,
    "two-way-c": two_way_c,
}


def get_protocol(protocol: str | Protocol) -> Protocol:
    """Protocol of a key such as `pixels-1`; a protocol is handed back.

    Raises
    ------
    UsageError
        When no protocol has that key.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"there is no metric protocol {protocol!r}", remedy=f"Known ones: {', '.join(PROTOCOLS)}."
        )
    return PROTOCOLS[protocol]


def evaluate_pictures(
    reconstructed: Pictures,
    seen: Pictures,
    target: NDArray[np.integer] | None = None,
    protocol: str | Protocol = "pixels-1",
) -> Items:
    """Score reconstructed pictures against those seen.

    Parameters
    ----------
    reconstructed : n_predicted pictures, of any sizes
        To score many sets against the same pictures, prepare `seen` once with `to_common_size`.
    seen : n_truth pictures, of any sizes
        Each test picture once: identification compares with every other one of them.
    target : ndarray (n_predicted,) of int, optional
        Index in `seen` of what each reconstruction should show; by default the same position.
    protocol : str or Protocol

    Returns
    -------
    dict of ndarray (n_predicted,)
        By metric; NaN where a metric is undefined (`Metric.undefined` says why).

    Raises
    ------
    UsageError
        When the protocol is unknown.
    ValueError
        When the protocol has no picture size, or shapes do not fit.
    """
    chosen = get_protocol(protocol)
    if chosen.image_size is None:
        raise ValueError(f"protocol {chosen.key} does not score pictures")
    pictures, truths = (
        to_common_size(images, chosen.image_size, antialias=chosen.antialias)
        for images in (reconstructed, seen)
    )
    rows = _target(target, len(pictures), len(truths))
    items = _evaluate_vectors(pictures, truths, rows, chosen)
    for name in chosen.metrics:
        if name in _PICTURE_METRICS:
            items[name] = _PICTURE_METRICS[name](pictures, truths[rows])
    return {name: items[name] for name in chosen.metrics}


def evaluate_latents(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    target: NDArray[np.integer] | None = None,
    protocol: str | Protocol = "latents-1",
) -> Items:
    """Score decoded latents against those of the pictures seen.

    Parameters
    ----------
    predicted : ndarray (n_predicted, *shape)
    truth : ndarray (n_truth, *shape)
        Each test picture once.
    target : ndarray (n_predicted,) of int, optional
        Row of `truth` that each prediction should match; by default the same position.
    protocol : str or Protocol

    Returns
    -------
    dict of ndarray (n_predicted,)
        By metric; NaN where a metric is undefined (`Metric.undefined` says why).

    Raises
    ------
    UsageError
        When the protocol is unknown.
    DataError
        When a latent holds NaN or infinite values.
    ValueError
        When the protocol is one of pictures, or shapes do not fit.
    """
    chosen = get_protocol(protocol)
    if chosen.image_size is not None:
        raise ValueError(f"protocol {chosen.key} does not score latents")
    return _evaluate_vectors(predicted, truth, _target(target, len(predicted), len(truth)), chosen)


def _evaluate_vectors(
    predicted: NDArray, truth: NDArray, target: NDArray[np.intp], chosen: Protocol
) -> Items:
    """Scores of those metrics of a protocol that rest on the correlations of all with all."""
    C = correlation_matrix(truth, predicted)
    names = [name for name in chosen.metrics if name in _CORRELATION_METRICS]
    return {name: _CORRELATION_METRICS[name](C, target) for name in names}


def _target(target: NDArray[np.integer] | None, n_predicted: int, n_truth: int) -> NDArray[np.intp]:
    if target is None:
        if n_predicted != n_truth:
            raise ValueError(f"{n_predicted} predictions and {n_truth} truths need a target")
        return np.arange(n_truth)
    rows = np.asarray(target, dtype=np.intp)
    if rows.shape != (n_predicted,) or (rows.size and not (rows.min() >= 0 and rows.max() < n_truth)):
        raise ValueError(
            f"target {rows.shape} must name one of {n_truth} truths for {n_predicted} predictions"
        )
    return rows


def summarise(
    items: Mapping[str, NDArray[np.floating]],
    clusters: Clusters | None = None,
    floor_items: Sequence[Mapping[str, NDArray[np.floating]]] | None = None,
    ceiling_items: Mapping[str, NDArray[np.floating]] | None = None,
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
    n_resamples, level, seed
        Of every bootstrap.

    Returns
    -------
    DataFrame, one row per metric of `items`
        metric; value (mean over items); ci_low, ci_high (pictures resampled); floor (mean over shuffles of
        their means); floor_low, floor_high (interval of the floor, shuffles and pictures resampled);
        p_shuffle ((1 + shuffles that score at least as well) / (1 + shuffles)); ceiling (mean); n_items
        (items that have a score); higher_is_better; note (why there is no value, else "").
    """
    rows = []
    for name, scores in items.items():
        metric = METRICS[name]
        value = _mean(scores)
        low, high = bootstrap_interval(scores, clusters, n_resamples, level, seed)
        shuffled = np.array([shuffle[name] for shuffle in floor_items or () if name in shuffle])
        floor_low, floor_high = (
            crossed_bootstrap_interval(shuffled, clusters, n_resamples, level, seed)
            if len(shuffled)
            else (np.nan, np.nan)
        )
        floors = np.array([_mean(shuffle) for shuffle in shuffled])
        n_items = int((~np.isnan(scores)).sum())
        rows.append(
            {
                "metric": name,
                "value": value,
                "ci_low": low,
                "ci_high": high,
                "floor": _mean(floors),
                "floor_low": floor_low,
                "floor_high": floor_high,
                "p_shuffle": _p_shuffle(value, floors, metric.higher_is_better),
                "ceiling": _mean(ceiling_items[name]) if ceiling_items and name in ceiling_items else np.nan,
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


def _mean(scores: NDArray[np.floating]) -> float:
    """Mean without NaN; NaN where nothing is left."""
    present = np.asarray(scores, dtype=np.float64)
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else float("nan")


def _p_shuffle(value: float, floors: NDArray[np.float64], higher_is_better: bool) -> float:
    """Share of shuffles that do at least as well, the observed score counted among them."""
    floors = floors[~np.isnan(floors)]
    if np.isnan(value) or not floors.size:
        return float("nan")
    gain = floors - value if higher_is_better else value - floors
    as_good = gain >= -1e-12  # equal means may differ in their last digit
    return float((1 + as_good.sum()) / (1 + floors.size))
