"""Decoded latents brought back to the spread of true ones.

A regression that fits noisy responses shrinks what it predicts. Generators expect latents as far from their
mean as those of real pictures are, so that publications stretch what they decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from bids_recon.decoders.out_of_fold import LeaveOutPredictions, refit_predictions, rows_of, some_stimuli
from bids_recon.decoders.prediction_moments import PredictionMoments, prediction_moments, target_moments
from bids_recon.decoders.registry import decoder_class, make_decoder
from bids_recon.decoders.ridge import stimulus_codes
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import RepeatedRows, Targets, as_targets, chunks
from bids_recon.errors import DataError, UsageError
from bids_recon.outputs.tensor_files import below

STATISTICS = ("out-of-fold", "test")
# Bytes that a number takes while it is rescaled: a few copies in double precision.
ITEM_BYTES = 32


def rescale(
    predicted: NDArray[np.floating],
    n_trials: ArrayLike,
    moments: PredictionMoments,
    out: NDArray[np.floating] | None = None,
) -> NDArray[np.floating]:
    """Decoded latents (n_items, n_latents) with mean and deviation of true training latents.

    (predicted - mean) / deviation · target_std + target_mean, where mean and deviation are those of
    out-of-fold predictions of training trials, averaged as the item is. No item depends on another.

    Parameters
    ----------
    predicted : ndarray (n_items, n_latents)
    n_trials : array (n_items,), or one number for all
        Trials whose responses were averaged into each item.
    moments : PredictionMoments
    out : ndarray (n_items, n_latents), optional
        Where the result is written; may be `predicted`.

    Raises
    ------
    ValueError
        When a number of trials is below one, or shapes do not fit.
    """
    numbers = np.broadcast_to(np.asarray(n_trials, dtype=np.float64), (len(predicted),))
    if not (numbers >= 1).all():
        raise ValueError(f"each item is averaged over one trial at least, not {numbers.min()}")
    out = np.empty_like(predicted) if out is None else out
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        for part in chunks(predicted.shape[1], len(rows), ITEM_BYTES):
            deviation = moments.deviation(number, part)
            varies = deviation > 0
            scale = np.where(varies, moments.target_std[part] / np.where(varies, deviation, 1.0), 0.0)
            distance = predicted[rows, part] - moments.mean[part]
            out[rows, part] = distance * scale + moments.target_mean[part]
    return out


def rescale_by_test_statistics(
    predicted: NDArray[np.floating], target_mean: NDArray[np.floating], target_std: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Decoded latents (n_items, n_latents) with mean and deviation of true training latents, as published.

    Each latent is z-scored over the items given (n in the denominator), then multiplied by target_std and
    added to target_mean: what the released code of IC-GAN (Ozcelik et al. 2022; instance features) and
    Brain-Diffuser (Ozcelik & VanRullen 2023; all latents) does. What one item becomes depends on the others.
    Latents that do not vary over the items become the mean.

    Raises
    ------
    DataError
        When there is one item only.
    """
    if len(predicted) < 2:
        raise DataError(
            "latents cannot be rescaled by the deviation over test items when there is only one",
            remedy="Leave out --legacy-test-statistics, or give more test pictures at once.",
        )
    rescaled = np.empty_like(predicted)
    for part in chunks(predicted.shape[1], len(predicted), ITEM_BYTES):
        values = predicted[:, part].astype(np.float64)
        distance, deviation = values - values.mean(axis=0), values.std(axis=0)
        varies = deviation > 0
        scale = np.where(varies, target_std[part] / np.where(varies, deviation, 1.0), 0.0)
        rescaled[:, part] = distance * scale + target_mean[part]
    return rescaled


class RescaledDecoder(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """A decoder whose predictions are rescaled to the spread of true training latents.

    Out-of-fold predictions are exact leave-one-stimulus-out ones where the decoder gives them (a method
    `leave_out`); else it is fitted again in folds of stimuli.

    Parameters
    ----------
    decoder : decoder
        Fitted as a clone.
    statistics : {"out-of-fold", "test"}
        Mean and deviation of predictions: of training trials (`rescale`), or, as published, of the items
        given to `predict` (`rescale_by_test_statistics`).
    n_folds : int
        Folds of the refits.
    max_out_of_fold : int
        Trials that are predicted at most; stimuli are drawn by chance where there are more.
    seed : int
        Of that draw.

    Attributes
    ----------
    decoder_ : fitted decoder
    moments_ : PredictionMoments
        Only with out-of-fold statistics.
    target_mean_, target_std_ : ndarray (n_latents,) float64
        Of the latents of all training stimuli.
    """

    name = "rescaled"

    def __init__(
        self,
        decoder: Any,
        statistics: str = "out-of-fold",
        n_folds: int = 5,
        max_out_of_fold: int = 1000,
        seed: int = 0,
    ) -> None:
        self.decoder = decoder
        self.statistics = statistics
        self.n_folds = n_folds
        self.max_out_of_fold = max_out_of_fold
        self.seed = seed

    def fit(
        self,
        X: NDArray[np.floating],
        Y: ArrayLike | RepeatedRows,
        groups: ArrayLike | None = None,
        *,
        work: SharedWork | None = None,
    ) -> RescaledDecoder:
        """Learn from responses and latents of training trials.

        Parameters
        ----------
        X : ndarray (n_trials, n_voxels), float32 or float64
        Y : array or RepeatedRows (n_trials, n_latents), or array (n_trials,)
        groups : array (n_trials,), optional
            Stimulus ids; without them each trial counts as a stimulus of its own.
        work : SharedWork, optional
            Of X, handed to the decoder.

        Raises
        ------
        UsageError
            When a setting does not exist, or there are fewer than two folds.
        DataError
            When there are fewer than three stimuli.
        """
        if self.statistics not in STATISTICS:
            raise UsageError(f"statistics of rescaling are one of {STATISTICS}, not '{self.statistics}'")
        if self.n_folds < 2:
            raise UsageError(f"out-of-fold predictions need at least two folds, not {self.n_folds}")
        targets, self._one_target = as_targets(Y, len(X))
        stimulus = stimulus_codes(groups, len(X))
        shared = {} if work is None else {"work": work}
        self.decoder_ = clone(self.decoder).fit(X, targets, groups, **shared)
        self.target_mean_, self.target_std_ = target_moments(targets, stimulus)
        self._leaves_out = hasattr(self.decoder_, "leave_out")
        if self.statistics == "out-of-fold":
            self._measure(X, targets, stimulus)
        return self

    def _measure(self, X: NDArray[np.floating], Y: Targets, stimulus: NDArray[np.integer]) -> None:
        rows = some_stimuli(stimulus, self.max_out_of_fold, np.random.default_rng(self.seed))
        predicted: Any
        if self._leaves_out:
            predicted = LeaveOutPredictions(self.decoder_.leave_out(rows), len(rows), Y.shape[1])
        else:
            predicted = refit_predictions(self.decoder, X, Y, stimulus, rows, self.n_folds)
        codes = np.unique(stimulus[rows], return_inverse=True)[1].reshape(-1)
        of_all = (self.target_mean_, self.target_std_)
        self.moments_ = prediction_moments(predicted, rows_of(Y, rows), codes, of_all)

    def predict(
        self, X: ArrayLike, n_trials: ArrayLike = 1, out: NDArray[np.floating] | None = None
    ) -> NDArray[np.floating]:
        """Rescaled latents (n_items, n_latents) of responses (n_items, n_voxels); (n_items,) if Y was 1-d.

        Parameters
        ----------
        X : array (n_items, n_voxels)
        n_trials : array (n_items,), or one number for all
            Trials that were averaged into each response; not used with statistics of the test items.
        out : ndarray (n_items, n_latents), optional
            Where latents are written, by a decoder that can.

        Raises
        ------
        DataError
            When statistics of the test items are asked for and there is one only.
        """
        check_is_fitted(self)
        predicted = self.decoder_.predict(X) if out is None else self.decoder_.predict(X, out=out)
        if self.statistics == "test":
            predicted[:] = rescale_by_test_statistics(predicted, self.target_mean_, self.target_std_)
        else:
            rescale(predicted, n_trials, self.moments_, out=predicted)
        return predicted[:, 0] if self._one_target else predicted

    def summary(self) -> dict[str, Any]:
        """What the sidecar says of the fit."""
        check_is_fitted(self)
        inner = self.decoder_.summary()
        facts: dict[str, Any] = {
            "decoder": self.name,
            "rescaled_decoder": inner,
            "statistics": self.statistics,
        }
        if self.statistics == "out-of-fold":
            moments = self.moments_
            total = moments.signal_variance + moments.noise_variance
            share = np.divide(moments.signal_variance, total, out=np.zeros_like(total), where=total > 0)
            facts |= {
                "out_of_fold_predictions": "leave one stimulus out"
                if self._leaves_out
                else f"{self.n_folds} folds",
                "n_out_of_fold_stimuli": moments.n_stimuli,
                "noise_measured": "between repeats" if moments.from_repeats else "linear model of the signal",
                "median_signal_share_of_single_trial_predictions": float(np.median(share)),
            }
        return facts | ({"warning": inner["warning"]} if "warning" in inner else {})

    def state(self) -> dict[str, Any]:
        """Arrays that, with the `params` of `describe_decoder`, rebuild the fitted decoder."""
        check_is_fitted(self)
        arrays: dict[str, Any] = {f"decoder/{key}": value for key, value in self.decoder_.state().items()}
        arrays["flags"] = np.array([int(self._one_target), int(self._leaves_out)], dtype=np.int64)
        if self.statistics == "out-of-fold":
            return arrays | {f"moments/{key}": value for key, value in self.moments_.state().items()}
        return arrays | {"target_mean": self.target_mean_, "target_std": self.target_std_}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> RescaledDecoder:
        """Rebuild a fitted decoder from the arrays of `state` and its parameters (others are ignored).

        Parameters
        ----------
        state : dict
        params : dict
            As `describe_decoder` gives them: `decoder` is the name and the parameters of the decoder inside.

        Raises
        ------
        DataError
            When an array or the decoder inside is missing.
        """
        try:
            inside = params["decoder"]
            settings = {key: params[key] for key in cls._get_param_names() if key in params}
            rescaled = cls(**(settings | {"decoder": make_decoder(inside)}))
            kind = decoder_class(inside["name"])
            rescaled.decoder_ = kind.from_state(below("decoder/", state), inside["params"])
            rescaled._one_target, rescaled._leaves_out = (bool(flag) for flag in state["flags"])
            if rescaled.statistics == "out-of-fold":
                rescaled.moments_ = moments = PredictionMoments.from_state(below("moments/", state))
                rescaled.target_mean_, rescaled.target_std_ = moments.target_mean, moments.target_std
            else:
                rescaled.target_mean_, rescaled.target_std_ = state["target_mean"], state["target_std"]
        except KeyError as error:
            raise DataError(f"the saved rescaled decoder lacks {error}") from error
        return rescaled
