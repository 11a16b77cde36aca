"""Predictions of training trials by fits without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from bids_recon.decoders.targets import RepeatedRows, Targets


@dataclass(frozen=True)
class LeaveOutPredictions:
    """Predictions that a fitted decoder works out for each stimulus left out, when columns are asked for.

    Attributes
    ----------
    predict : callable
        What `leave_out` of the decoder gave: (n_rows, width) numbers for a slice of the latents.
    n_rows, n_latents : int
    """

    predict: Callable[[slice], NDArray[np.floating]]
    n_rows: int
    n_latents: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_latents)."""
        return self.n_rows, self.n_latents

    def __getitem__(self, item: tuple[slice, slice]) -> NDArray[np.floating]:
        rows, part = item
        return self.predict(part)[rows]


def some_stimuli(stimulus: NDArray[np.integer], limit: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of at most `limit` trials, in order: all trials of stimuli that were drawn by chance.

    At least three stimuli are taken, and all when the limit allows it.

    Parameters
    ----------
    stimulus : ndarray (n_trials,) of int
        Codes, 0 to n_stimuli - 1.
    limit : int
    rng : numpy Generator
    """
    if len(stimulus) <= limit:
        return np.arange(len(stimulus))
    counts = np.bincount(stimulus)
    order = rng.permutation(len(counts))
    n_taken = max(3, int(np.searchsorted(np.cumsum(counts[order]), limit, side="right")))
    return np.flatnonzero(np.isin(stimulus, order[:n_taken]))


def rows_of(Y: Targets, rows: NDArray[np.integer]) -> Targets:
    """Some trials of targets; what lies on disk stays there."""
    if isinstance(Y, RepeatedRows):
        return RepeatedRows(Y.stored, Y.rows[rows])
    return RepeatedRows(Y, rows) if isinstance(Y, np.memmap) else Y[rows]


def refit_predictions(
    decoder: Any,
    X: NDArray[np.floating],
    Y: Targets,
    stimulus: NDArray[np.integer],
    rows: NDArray[np.integer],
    n_folds: int,
) -> NDArray[np.float32]:
    """Predictions (n_rows, n_latents) of some training trials, by refits without their stimuli.

    Stimuli are dealt out in turn over the folds. A refit has fewer stimuli than the fit it stands for and
    shrinks predictions more; with five folds their deviation is a few per cent too small.

    Parameters
    ----------
    decoder : unfitted decoder
        A clone of it is fitted in each fold, to all trials whose stimuli are not held out.
    X : ndarray (n_trials, n_voxels)
    Y : array or RepeatedRows (n_trials, n_latents)
    stimulus : ndarray (n_trials,) of int
        Codes, 0 to n_stimuli - 1.
    rows : ndarray (n_rows,) of int
        Trials to predict.
    n_folds : int
        Fewer are made when there are fewer stimuli.
    """
    predicted = np.empty((len(rows), Y.shape[1]), dtype=np.float32)
    folds = stimulus % min(n_folds, int(stimulus.max()) + 1)
    for fold in np.unique(folds[rows]):
        others = np.flatnonzero(folds != fold)
        fitted = clone(decoder).fit(X[others], rows_of(Y, others), stimulus[others])
        inside = folds[rows] == fold
        predicted[inside] = fitted.predict(X[rows[inside]])
    return predicted
