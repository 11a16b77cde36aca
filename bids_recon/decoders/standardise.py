"""Responses on a common scale, by statistics of the training trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_recon.decoders.ridge_solver import BLOCK
from bids_recon.errors import DataError, UsageError

MODES = ("run", "all", "none")
# The mean of a single trial is the trial itself: it would become zero.
FEWEST_TRIALS = 2


class RunwiseStandardiser:
    """Z-score of each voxel, by training trials only.

    In mode `run`, the mean over the training trials of a run is subtracted from all its trials, and the
    deviation of training trials around the means of their runs, pooled over runs, divides them. Runs with
    fewer than two training trials take the mean of all training trials. In mode `all`, mean and deviation
    are those of all training trials; `none` leaves responses as they are. Constant voxels become zero.

    Centring by run removes drifts between sessions, and with them the differences between the pictures of
    one run and those of another: where runs show different kinds of pictures, `all` or `none` serve better.

    Parameters
    ----------
    mode : {"run", "all", "none"}
    legacy : bool
        Z-score every run by the mean and deviation of all its own trials, test trials included, as several
        publications did (in mode `run`), or by all trials (in mode `all`).
    """

    def __init__(self, mode: str = "run", *, legacy: bool = False) -> None:
        if mode not in MODES:
            raise UsageError(f"the mode of standardisation is one of {MODES}, not '{mode}'")
        self.mode, self.legacy = mode, legacy

    def fit(self, X: NDArray[np.floating], runs: ArrayLike, training: ArrayLike) -> RunwiseStandardiser:
        """Measure means and deviations.

        Parameters
        ----------
        X : ndarray (n_trials, n_voxels)
            Responses of training and test trials; test trials are not looked at unless `legacy`.
        runs : array (n_trials,)
            Label of each trial's run, unique within the subject.
        training : array (n_trials,) bool
            Whether a trial belongs to a training picture.

        Raises
        ------
        DataError
            When there are too few trials for a deviation.
        """
        labels = np.asarray(runs).astype(str)
        used = np.ones(len(X), dtype=bool) if self.legacy else np.asarray(training, dtype=bool)
        self.run_labels_ = [str(label) for label in np.unique(labels)]
        if self.mode == "none":
            return self
        n_used = int(used.sum())
        if n_used < FEWEST_TRIALS:
            raise DataError(f"{n_used} training trial(s) are too few to standardise responses")
        self.overall_mean_, squares = _moments(X, np.flatnonzero(used))
        self.means_ = np.tile(self.overall_mean_, (len(self.run_labels_), 1))
        freedom = n_used - 1
        spread: NDArray[np.float64] | None = None
        if self.mode == "run":
            members = [np.flatnonzero(used & (labels == label)) for label in self.run_labels_]
            own = [place for place, rows in enumerate(members) if len(rows) >= FEWEST_TRIALS]
            self._need_own_trials(own)
            # Trials of the runs without a mean of their own measure the spread between runs, not within.
            within = [_moments(X, members[place]) for place in own]
            self.means_[own] = [mean for mean, _ in within]
            squares = np.sum([square for _, square in within], axis=0)
            freedom = sum(len(members[place]) for place in own) - len(own)
            if self.legacy:
                variances = [
                    square / len(members[place]) for place, (_, square) in zip(own, within, strict=True)
                ]
                spread = np.sqrt(variances)
        if spread is None:
            spread = np.tile(np.sqrt(squares / freedom), (len(self.run_labels_), 1))
        varies = spread > 10 * np.finfo(X.dtype).eps * np.abs(self.means_)
        self.inverse_scales_ = np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0)
        return self

    def _need_own_trials(self, own: list[int]) -> None:
        if self.legacy and len(own) < len(self.run_labels_):
            alone = [label for place, label in enumerate(self.run_labels_) if place not in own]
            raise DataError(
                f"a run of one trial has no deviation of its own (run {', '.join(alone)})",
                remedy="Leave out --legacy-test-statistics, or standardise over all runs.",
            )
        if not own:
            raise DataError(
                "no run has two training trials, so that responses cannot be standardised within runs",
                remedy="Standardise over all runs (--zscore all), or not at all (--zscore none).",
            )

    def transform(self, X: NDArray[np.floating], runs: ArrayLike) -> NDArray[np.floating]:
        """Standardise trials (n_trials, n_voxels), in the precision of X; `runs` (n_trials,) as in `fit`.

        Raises
        ------
        DataError
            When a run was not there at the fit, in legacy mode.
        """
        if self.mode == "none":
            return np.asarray(X)
        position = {label: row for row, label in enumerate(self.run_labels_)}
        labels = [str(label) for label in np.asarray(runs)]
        unknown = sorted({label for label in labels if label not in position})
        if unknown and self.legacy:
            raise DataError(f"run {', '.join(unknown)} was not there when responses were standardised")
        # One row more, for runs that were not there: the mean of all training trials, the pooled deviation.
        means = np.vstack([self.means_, self.overall_mean_]).astype(X.dtype)
        inverse = np.vstack([self.inverse_scales_, self.inverse_scales_[:1]]).astype(X.dtype)
        rows = np.array([position.get(label, len(position)) for label in labels])
        result = np.empty_like(X)
        for row in np.unique(rows):
            # One run at a time: means and scales of every trial would fill several times the memory of X.
            result[rows == row] = (X[rows == row] - means[row]) * inverse[row]
        return result

    def params(self) -> dict[str, Any]:
        """What `from_state` needs beside the arrays, JSON-ready."""
        return {"mode": self.mode, "legacy": self.legacy, "runs": self.run_labels_}

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that, with `params()`, rebuild the fitted standardiser; none in mode `none`."""
        if self.mode == "none":
            return {}
        return {
            "means": self.means_,
            "inverse_scales": self.inverse_scales_,
            "overall_mean": self.overall_mean_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> RunwiseStandardiser:
        """Rebuild a fitted standardiser.

        Raises
        ------
        DataError
            When an array or a parameter is missing.
        """
        try:
            standardiser = cls(params["mode"], legacy=params["legacy"])
            standardiser.run_labels_ = [str(label) for label in params["runs"]]
            if standardiser.mode != "none":
                standardiser.means_ = state["means"]
                standardiser.inverse_scales_ = state["inverse_scales"]
                standardiser.overall_mean_ = state["overall_mean"]
        except KeyError as error:
            raise DataError(f"the saved standardisation lacks {error}") from error
        return standardiser


def _moments(
    X: NDArray[np.floating], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and sum of squared deviations (n_voxels,) over some trials, in double precision."""
    mean, squares = np.empty(X.shape[1]), np.empty(X.shape[1])
    for start in range(0, X.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        values = X[rows, part].astype(np.float64)
        mean[part] = values.mean(axis=0)
        squares[part] = ((values - mean[part]) ** 2).sum(axis=0)
    return mean, squares


def shuffled_order(
    n_trials: int, rng: np.random.Generator, blocks: ArrayLike | None = None
) -> NDArray[np.intp]:
    """Random order (n_trials,) of training responses, so that they no longer belong to their pictures.

    Single trials are permuted, not whole pictures: if responses say nothing of the pictures, any order of the
    trials is as likely as any other, so the permutation is exact, also where pictures were shown unequally
    often. It keeps voxel statistics, targets and folds of the fit as they are. Everything
    after it is done as with true responses, and the test trials stay as they are.

    Parameters
    ----------
    n_trials : int
    rng : numpy Generator
    blocks : array (n_trials,), optional
        Permute within blocks only (runs, for example), so that differences between them stay.
    """
    order = np.arange(n_trials)
    if blocks is None:
        return rng.permutation(order)
    labels = np.asarray(blocks).astype(str)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order[members] = rng.permutation(members)
    return order


def shuffle_responses(
    X: NDArray[np.floating], rng: np.random.Generator, blocks: ArrayLike | None = None
) -> NDArray[np.floating]:
    """Training responses X (n_trials, n_voxels) in an order of `shuffled_order`."""
    return X[shuffled_order(len(X), rng, blocks)]
