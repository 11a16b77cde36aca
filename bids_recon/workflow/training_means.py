"""Means of a picture's training trials as samples of a fit (Ozcelik & VanRullen 2023, 2.1)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.splits import TRAIN, Fold, rows_of
from bids_recon.glm.responses import Responses


def with_mean_training(responses: Responses, fold: Fold) -> Responses:
    """Responses in which the mean of each training picture's training trials stands in their place.

    The means come first, in the order of the first trials, which they are listed as.
    """
    trials = responses.trials
    training = rows_of(trials, TRAIN, fold.train)
    shown = trials["stimulus_id"].to_numpy(dtype=str)
    _, first, place = np.unique(shown[training], return_index=True, return_inverse=True)
    sums = np.zeros((len(first), responses.data.shape[1]))
    for row, own in zip(np.flatnonzero(training), place, strict=True):
        sums[own] += responses.data[row]
    means = (sums / np.bincount(place)[:, None]).astype(np.float32)
    order = np.argsort(first)
    rows = np.flatnonzero(training)[first[order]]
    others = np.flatnonzero(~training)
    return Responses(
        np.concatenate([means[order], responses.data[others]]),
        trials.iloc[np.concatenate([rows, others])].reset_index(drop=True),
        responses.voxels,
    )


def trials_per_sample(trials: pd.DataFrame, fold: Fold) -> float:
    """Mean number of training trials of a training picture."""
    own = trials.loc[rows_of(trials, TRAIN, fold.train), "stimulus_id"]
    return len(own) / own.nunique()


def averaged_like(n_trials: NDArray[np.integer], per_sample: float) -> NDArray[np.floating]:
    """Samples of the fit (n_items,) that test items of so many trials count as: one at least."""
    return np.maximum(n_trials / per_sample, 1.0)
