"""Decoded-feature accuracy, unit by unit: the profile correlation.

Horikawa & Kamitani 2017 and Shen et al. 2019 (supplementary figure 1): the correlation of a unit's decoded
with its true values over test pictures, averaged over units. The pattern correlation, of one picture over
units, is `latent-correlation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.metrics.bootstrap import bootstrap_interval
from bids_recon.metrics.catalogue import METRICS
from bids_recon.metrics.identification import target_rows
from bids_recon.metrics.protocols import PROFILES_1
from bids_recon.metrics.summary import mean_score, share_as_good

FEWEST_PICTURES = 3
"""With two pictures a correlation is 1 or -1, whatever was decoded."""
_UNITS_AT_ONCE = 4096
_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class ProfileAccuracy:
    """Profile correlations of many units in short.

    Attributes
    ----------
    mean, half_width : float
        Mean over units and half the width of its 95 % interval over units; NaN where it is undefined.
    n_units, n_constant : int
        Units that have a correlation, and those left out because their true value is always the same.
    """

    mean: float
    half_width: float
    n_units: int
    n_constant: int


def profile_correlations(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], target: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """Correlation of decoded with true values of each unit, over test pictures.

    Predictions of one picture are averaged first. Sums run in double precision over blocks of units, so that
    large or memory-mapped arrays are never copied whole.

    Parameters
    ----------
    predicted : ndarray (n_predicted, *shape)
    truth : ndarray (n_truth, *shape)
        Each test picture once.
    target : ndarray (n_predicted,) of int, optional
        Row of `truth` that each prediction should match; by default the same position.

    Returns
    -------
    ndarray (n_units,) float64
        In -1..1. NaN where the true value is always the same, and for all units when fewer than three
        pictures were decoded. A decoded value that is always the same gives 0: left out, it would raise the
        mean of a decoder that fails on some units.

    Raises
    ------
    DataError
        When a value is NaN or infinite.
    ValueError
        When shapes do not fit.
    """
    decoded, true = predicted.reshape(len(predicted), -1), truth.reshape(len(truth), -1)
    if decoded.shape[1] != true.shape[1]:
        raise ValueError(f"truth has {true.shape[1]} units, the prediction {decoded.shape[1]}")
    rows = target_rows(target, len(decoded), len(true))
    order = np.argsort(rows, kind="stable")
    shown, first, counts = np.unique(rows[order], return_index=True, return_counts=True)
    correlations = np.full(true.shape[1], np.nan)
    if len(shown) < FEWEST_PICTURES:
        return correlations
    for start in range(0, true.shape[1], _UNITS_AT_ONCE):
        block = slice(start, start + _UNITS_AT_ONCE)
        x, x2 = _centred(true[:, block][shown].astype(np.float64), true.dtype, "true")
        values = decoded[:, block][order].astype(np.float64)
        if len(order) > len(shown):
            values = np.add.reduceat(values, first, axis=0) / counts[:, None]
        y, y2 = _centred(values, decoded.dtype, "decoded")
        r = np.where(x2 > 0, 0.0, np.nan)
        both = (x2 > 0) & (y2 > 0)
        np.divide(np.einsum("ij,ij->j", x, y), np.sqrt(x2 * y2), out=r, where=both)
        correlations[block] = np.clip(r, -1.0, 1.0)
    return correlations


def _centred(
    values: NDArray[np.float64], stored: np.dtype, kind: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values (n_pictures, n_units) less their mean, and sums of squares (n_units,), 0 for mere rounding."""
    means = values.mean(axis=0)
    if bad := int((~np.isfinite(means)).sum()):
        raise DataError(
            f"{kind} values of {bad} units are NaN or infinite",
            remedy="Look for voxels or targets without variation in the training data.",
        )
    values -= means
    precision = np.finfo(stored).eps if stored.kind == "f" else np.finfo(np.float64).eps
    rounding = len(values) * (4 * precision * means) ** 2
    squares = np.einsum("ij,ij->j", values, values)
    return values, np.where(squares > rounding, squares, 0.0)


def profile_accuracy(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], target: NDArray[np.integer] | None = None
) -> ProfileAccuracy:
    """Mean of `profile_correlations` over units, with the 95 % interval over units that is published with it.

    The interval is that of a mean of independent values (1.96 standard errors). Neighbouring units are not
    independent, so that it is narrow, and it does not speak of other pictures.
    """
    correlations = profile_correlations(predicted, truth, target)
    defined = correlations[~np.isnan(correlations)]
    half_width = _NORMAL_95 * defined.std(ddof=1) / np.sqrt(len(defined)) if len(defined) > 1 else np.nan
    return ProfileAccuracy(
        mean_score(defined), float(half_width), len(defined), len(correlations) - len(defined)
    )


def summarise_profiles(
    accuracy: ProfileAccuracy, floors: Sequence[ProfileAccuracy] = (), *, seed: int = 0
) -> pd.DataFrame:
    """Table of one row, with the columns of `summarise`.

    Parameters
    ----------
    accuracy : ProfileAccuracy
    floors : sequence of ProfileAccuracy
        Of decoders fitted to shuffled data.
    seed : int
        Of the bootstrap over shuffles, which gives the interval of the floor.

    Returns
    -------
    DataFrame
        `n_items` are units. The ceiling is 1: true values correlate with themselves.
    """
    (metric,) = (METRICS[name] for name in PROFILES_1.metrics)
    means = np.array([floor.mean for floor in floors])
    floor_low, floor_high = bootstrap_interval(means, seed=seed)
    left_out = f"{accuracy.n_constant} units whose true value is constant are left out"
    note = left_out if accuracy.n_constant else ""
    return pd.DataFrame(
        [
            {
                "metric": metric.name,
                "value": accuracy.mean,
                "ci_low": accuracy.mean - accuracy.half_width,
                "ci_high": accuracy.mean + accuracy.half_width,
                "floor": mean_score(means),
                "floor_low": floor_low,
                "floor_high": floor_high,
                "p_shuffle": share_as_good(accuracy.mean, means, metric.higher_is_better),
                "p_permutation": np.nan,
                "ceiling": 1.0 if accuracy.n_units else np.nan,
                "n_items": accuracy.n_units,
                "higher_is_better": metric.higher_is_better,
                "note": note if accuracy.n_units else f"undefined: {metric.undefined}",
            }
        ]
    )
