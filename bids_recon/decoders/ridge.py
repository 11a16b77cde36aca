"""Ridge regression from responses to latents, its penalty chosen across training stimuli."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bids_recon.decoders.ridge_solver import (
    BLOCK,
    RidgeFactor,
    Standardisation,
    isometric_targets,
    validation_errors,
)
from bids_recon.errors import DataError, UsageError

# Four steps a decade cost nothing more than one, since an eigendecomposition serves them all. With z-scored
# voxels, eigenvalues of the Gram matrix are of the order of the number of voxels: the ends are far from use.
DEFAULT_ALPHAS = tuple(float(alpha) for alpha in np.logspace(0, 7, 29))


def stimulus_codes(groups: ArrayLike | None, n_trials: int) -> NDArray[np.int64]:
    """Integer code (n_trials,) of each trial's stimulus, by sorted id; each trial its own without groups."""
    if groups is None:
        return np.arange(n_trials)
    labels = np.asarray(groups)
    if labels.shape != (n_trials,):
        raise ValueError(f"groups has shape {labels.shape}, but there are {n_trials} trials")
    labels = labels.astype(str) if labels.dtype == object else labels
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


class RidgeDecoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression with one penalty for all targets, chosen by cross-validation across stimuli.

    Voxels are centred and divided by their deviation over the training trials, targets are centred. The
    penalty is the one with the largest explained variance of held-out latents, pooled over targets (the sum
    of squared errors of the whole latent vector against that of the training mean). Folds hold out stimuli
    with all their trials: sorted stimulus ids are dealt out in turn.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from, all above zero; a single one is taken as it is.
    n_folds : int
        Folds of the cross-validation; fewer when there are fewer stimuli.
    standardise : bool
        Divide voxels by their deviation.
    balance_stimuli : bool
        Weigh each trial by the reciprocal of the number of trials of its stimulus, so that the fit, its means
        and the choice of the penalty treat pictures alike however often each was shown.

    Attributes
    ----------
    coef_ : ndarray (n_targets, n_voxels)
        Per unit of response as given; zero for voxels that do not vary.
    intercept_ : ndarray (n_targets,)
    alpha_ : float
    x_mean_ : ndarray (n_voxels,)
    y_mean_ : ndarray (n_targets,)
    alphas_ : ndarray (n_alphas,)
    explained_variance_ : ndarray (n_alphas,)
        Held-out explained variance of each penalty; NaN when it was not measured.
    """

    name = "ridge"

    def __init__(
        self,
        alphas: Sequence[float] = DEFAULT_ALPHAS,
        n_folds: int = 5,
        standardise: bool = True,
        balance_stimuli: bool = True,
    ) -> None:
        self.alphas = alphas
        self.n_folds = n_folds
        self.standardise = standardise
        self.balance_stimuli = balance_stimuli

    def fit(self, X: ArrayLike, Y: ArrayLike, groups: ArrayLike | None = None) -> RidgeDecoder:
        """Learn from responses and latents of training trials.

        Parameters
        ----------
        X : array (n_trials, n_voxels), float32 or float64
        Y : array (n_trials, n_targets) or (n_trials,)
        groups : array (n_trials,), optional
            Stimulus ids; without them each trial counts as a stimulus of its own.

        Raises
        ------
        UsageError
            When a penalty is not above zero, or there are fewer than two folds.
        """
        responses, latents = validate_data(
            self, X, Y, multi_output=True, y_numeric=True, dtype=(np.float64, np.float32)
        )
        targets = latents.reshape(len(latents), -1)
        n_trials = len(responses)
        self.alphas_ = self._checked_alphas()
        stimulus = stimulus_codes(groups, n_trials)
        counts = np.bincount(stimulus)
        weights = 1.0 / counts[stimulus] if self.balance_stimuli else np.ones(n_trials)
        weights *= n_trials / weights.sum()
        self.n_trials_, self.n_stimuli_, self.n_targets_ = n_trials, len(counts), targets.shape[1]
        self.n_folds_ = self._count_folds()
        self.explained_variance_ = self._cross_validate(responses, targets, stimulus, weights)
        self.alpha_ = self._choose()
        self._refit(responses, targets, weights)
        self._one_target = latents.ndim == 1
        return self

    def _checked_alphas(self) -> NDArray[np.float64]:
        alphas = np.sort(np.atleast_1d(np.asarray(self.alphas, dtype=np.float64)))
        if alphas.size == 0 or not (np.isfinite(alphas).all() and alphas[0] > 0):
            raise UsageError(f"penalties of the ridge must be numbers above zero, not {list(self.alphas)}")
        if self.n_folds < 2:
            raise UsageError(f"cross-validation needs at least two folds, not {self.n_folds}")
        return alphas

    def _count_folds(self) -> int:
        folds = min(self.n_folds, self.n_stimuli_)
        return folds if folds > 1 and len(self.alphas_) > 1 else 0

    def _cross_validate(
        self,
        X: NDArray[np.floating],
        Y: NDArray[np.floating],
        stimulus: NDArray[np.int64],
        weights: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        errors, baseline = np.zeros(len(self.alphas_)), 0.0
        if self.n_folds_:
            compact = isometric_targets(Y)
            for fold in range(self.n_folds_):
                held_out = stimulus % self.n_folds_ == fold
                fold_errors, fold_baseline = validation_errors(
                    X, compact, held_out, weights, self.alphas_, self.standardise
                )
                errors += fold_errors
                baseline += fold_baseline
        return 1.0 - errors / baseline if baseline > 0 else np.full(len(errors), np.nan)

    def _choose(self) -> float:
        scores = self.explained_variance_
        if np.isnan(scores).all() or np.ptp(scores) == 0:
            return float(self.alphas_[len(self.alphas_) // 2])
        return float(self.alphas_[np.argmax(scores)])

    def _refit(self, X: NDArray[np.floating], Y: NDArray[np.floating], weights: NDArray[np.float64]) -> None:
        root = np.sqrt(weights)[:, None]
        standard = Standardisation.of(X, weights, self.standardise)
        factor = RidgeFactor.of(standard.apply(X) * root.astype(X.dtype))
        coefficients = np.empty((Y.shape[1], X.shape[1]), dtype=X.dtype)
        centre = np.empty(Y.shape[1])
        for start in range(0, Y.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            block = Y[:, part].astype(np.float64)
            centre[part] = np.average(block, axis=0, weights=weights)
            fitted = factor.coefficients((block - centre[part]) * root, self.alpha_)
            coefficients[part] = (fitted * standard.inverse_scale[:, None]).T
        self.x_mean_, self.y_mean_ = standard.mean, centre.astype(X.dtype)
        self.n_constant_voxels_ = int(np.count_nonzero(standard.inverse_scale == 0))
        self.coef_ = coefficients

    @property
    def intercept_(self) -> NDArray[np.floating]:
        """Prediction (n_targets,) for a response of zero."""
        return self.y_mean_ - self.coef_ @ self.x_mean_

    def predict(self, X: ArrayLike) -> NDArray[np.floating]:
        """Latents (n_trials, n_targets) of responses (n_trials, n_voxels); (n_trials,) if Y was 1-d."""
        check_is_fitted(self)
        responses = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        predicted = (responses - self.x_mean_) @ self.coef_.T + self.y_mean_
        return predicted[:, 0] if self._one_target else predicted

    def summary(self) -> dict[str, Any]:
        """What the sidecar says of the fit."""
        check_is_fitted(self)
        facts: dict[str, Any] = {
            "decoder": self.name,
            "alpha": self.alpha_,
            "alphas": self.alphas_.tolist(),
            "criterion": "explained variance of held-out latents, pooled over targets",
            "explained_variance": [None if np.isnan(v) else float(v) for v in self.explained_variance_],
            "n_folds": self.n_folds_,
            "n_trials": self.n_trials_,
            "n_stimuli": self.n_stimuli_,
            "n_voxels": int(self.coef_.shape[1]),
            "n_constant_voxels": self.n_constant_voxels_,
            "n_targets": self.n_targets_,
            "standardise": self.standardise,
            "balance_stimuli": self.balance_stimuli,
        }
        warning = self._warning()
        return facts | ({"warning": warning} if warning else {})

    def _warning(self) -> str | None:
        if len(self.alphas_) == 1:
            return None
        if self.n_stimuli_ < 2:
            return "there is one training stimulus: the penalty could not be chosen and nothing can be learnt"
        if np.isnan(self.explained_variance_).all() or np.ptp(self.explained_variance_) == 0:
            return "held-out stimuli do not tell penalties apart: the middle one was taken"
        if self.alpha_ == self.alphas_[-1]:
            return "the largest penalty was chosen: responses hardly predict the latents of held-out stimuli"
        return None

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that, with `get_params()`, rebuild the fitted decoder."""
        check_is_fitted(self)
        counts = [
            self.n_trials_, self.n_stimuli_, self.n_targets_, self.n_folds_, self.n_constant_voxels_,
            int(self._one_target),
        ]  # fmt: skip
        return {
            "coef": self.coef_,
            "x_mean": self.x_mean_,
            "y_mean": self.y_mean_,
            "alpha": np.array([self.alpha_]),
            "alphas": self.alphas_,
            "explained_variance": self.explained_variance_,
            "counts": np.array(counts, dtype=np.int64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> RidgeDecoder:
        """Rebuild a fitted decoder from the arrays of `state` and its parameters (others are ignored).

        Raises
        ------
        DataError
            When an array is missing.
        """
        decoder = cls(**{key: params[key] for key in cls._get_param_names() if key in params})
        try:
            decoder.coef_, decoder.x_mean_, decoder.y_mean_ = state["coef"], state["x_mean"], state["y_mean"]
            decoder.alpha_, decoder.alphas_ = float(state["alpha"][0]), state["alphas"]
            decoder.explained_variance_ = state["explained_variance"]
            counts = [int(count) for count in state["counts"]]
        except KeyError as error:
            raise DataError(f"the saved ridge decoder lacks the array {error}") from error
        decoder.n_trials_, decoder.n_stimuli_, decoder.n_targets_, decoder.n_folds_ = counts[:4]
        decoder.n_constant_voxels_, decoder._one_target = counts[4], bool(counts[5])
        decoder.n_features_in_ = decoder.coef_.shape[1]
        return decoder
