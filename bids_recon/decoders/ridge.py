"""Ridge regression from responses to latents, its penalty chosen across training stimuli."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bids_recon.decoders.device import find_device, numpy_dtype, to_device
from bids_recon.decoders.ridge_choice import PenaltyChoice, Problem
from bids_recon.decoders.ridge_predictor import StoredCoefficients, TargetSmoother
from bids_recon.decoders.ridge_solver import RidgeFactor, Standardisation, largest_eigenvalue, needs_double
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import CHUNK_BYTES, RepeatedRows, as_targets, chunks, read_columns
from bids_recon.errors import DataError
from bids_recon.outputs.tensor_files import Tensor

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
    """Ridge regression whose penalty is chosen by cross-validation across stimuli.

    Voxels are centred and divided by their deviation over the training trials, targets are centred. One
    eigendecomposition of the responses serves all penalties and targets, and other decoders of the same
    responses (`SharedWork`). Targets are read in chunks, when the penalty is chosen and when something is
    predicted, and may be a memory map. No copy is kept of large ones: leave them unchanged while the decoder
    is in use.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from, all above zero; a single one is taken as it is.
    selection : {"k-fold", "leave-out", "gcv"}
        How held-out errors are measured: in folds that hold out stimuli with all their trials (sorted
        stimulus ids are dealt out in turn); leaving out each stimulus in turn, exactly; or by generalised
        cross-validation, which is the fastest but counts each trial as a sample of its own, so that repeats
        of a picture inform one another.
    alpha_per : {"space", "group", "target"}
        One penalty for all targets, one for each group of targets (a token, a layer), or one for each target.
        It is the one with the largest explained variance of held-out latents, pooled over the targets it
        is for: the sum of squared errors against that of the training mean.
    target_groups : array (n_targets,), optional
        Label of each target's group, for `alpha_per="group"`.
    n_folds : int
        Folds of the cross-validation; fewer when there are fewer stimuli.
    standardise : bool
        Divide voxels by their deviation.
    balance_stimuli : bool
        Weigh each trial by the reciprocal of the number of trials of its stimulus, so that the fit, its means
        and the choice of the penalty treat pictures alike however often each was shown.
    device : {"auto", "cpu", "cuda"}
    seed : int
        Of the signs by which more than 2,048 targets are pooled for the choice of one penalty.

    Attributes
    ----------
    alpha_ : float, or ndarray (n_targets,)
    alphas_ : ndarray (n_alphas,)
    explained_variance_ : ndarray (n_alphas,), or (n_alphas, n_groups or n_targets)
        Held-out explained variance of each penalty; NaN when it was not measured.
    coef_ : ndarray (n_targets, n_voxels)
        Per unit of response as given; zero for voxels that do not vary. Computed when asked for: see
        `coefficients` for a part of them.
    intercept_ : ndarray (n_targets,)
    x_mean_ : ndarray (n_voxels,)
    """

    name = "ridge"

    def __init__(
        self,
        alphas: Sequence[float] = DEFAULT_ALPHAS,
        selection: str = "k-fold",
        alpha_per: str = "space",
        target_groups: ArrayLike | None = None,
        n_folds: int = 5,
        standardise: bool = True,
        balance_stimuli: bool = True,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.alphas = alphas
        self.selection = selection
        self.alpha_per = alpha_per
        self.target_groups = target_groups
        self.n_folds = n_folds
        self.standardise = standardise
        self.balance_stimuli = balance_stimuli
        self.device = device
        self.seed = seed

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike | RepeatedRows,
        groups: ArrayLike | None = None,
        *,
        work: SharedWork | None = None,
    ) -> RidgeDecoder:
        """Learn from responses and latents of training trials.

        Parameters
        ----------
        X : array (n_trials, n_voxels), float32 or float64
        Y : array or RepeatedRows (n_trials, n_targets), or array (n_trials,)
        groups : array (n_trials,), optional
            Stimulus ids; without them each trial counts as a stimulus of its own.
        work : SharedWork, optional
            Of X: the decomposition is found there, or left there for other decoders.

        Raises
        ------
        UsageError
            When a penalty is not above zero, there are fewer than two folds, or a setting does not exist.
        ValueError
            When shapes do not fit, or a number is not finite.
        """
        choice = PenaltyChoice.checked(
            self.alphas, self.selection, self.alpha_per, self.target_groups, self.n_folds, self.seed
        )
        device = find_device(self.device)
        work = SharedWork.of(X, work)
        responses = validate_data(self, X, dtype=(np.float64, np.float32))
        n_trials = len(responses)
        targets, self._one_target = as_targets(Y, n_trials)
        if isinstance(targets, np.ndarray) and not isinstance(targets, np.memmap):
            targets = self._own_copy(targets)
        stimulus = stimulus_codes(groups, n_trials)
        counts = np.bincount(stimulus)
        weights = 1.0 / counts[stimulus] if self.balance_stimuli else np.ones(n_trials)
        weights *= n_trials / weights.sum()
        of_responses = (self.name, hashlib.sha256(weights.tobytes()).digest(), self.standardise, device.type)
        self._standard = work.get(
            of_responses, lambda: Standardisation.of(responses, weights, self.standardise)
        )

        def standardised() -> NDArray[np.floating]:
            return self._standard.apply(responses)

        # With one penalty there is nothing to choose, and the solution looks after its own precision.
        double = len(choice.alphas) > 1 and needs_double(
            responses.shape,
            float(choice.alphas[0]),
            lambda: work.get(
                (of_responses, "largest"), lambda: largest_eigenvalue(to_device(standardised(), device))
            ),
        )
        key = (of_responses, "factor", double)
        factor = work.get(key, lambda: RidgeFactor.of(standardised(), weights, device, double))
        self.n_trials_, self.n_stimuli_, self.n_targets_ = n_trials, len(counts), targets.shape[1]
        problem = Problem(responses, targets, stimulus, weights, self.standardise, factor, work, key, double)
        self.alphas_ = choice.alphas
        self.n_folds_ = choice.count_folds(self.n_stimuli_)
        self.alpha_, self.explained_variance_ = choice.choose(problem)
        self._stimulus = stimulus
        self._predictor: TargetSmoother | StoredCoefficients = TargetSmoother(factor, targets, self.alpha_)
        self.x_mean_ = self._standard.mean
        self.n_constant_voxels_ = int(np.count_nonzero(self._standard.inverse_scale == 0))
        return self

    @staticmethod
    def _own_copy(targets: NDArray[Any]) -> NDArray[Any]:
        """A copy of targets that fit in a chunk: what the caller does to them later does not matter then."""
        if targets.nbytes > CHUNK_BYTES:
            return targets
        return read_columns(targets, slice(0, targets.shape[1]), targets.dtype).copy()

    def predict(self, X: ArrayLike, out: NDArray[np.floating] | None = None) -> NDArray[np.floating]:
        """Latents (n_trials, n_targets) of responses (n_trials, n_voxels); (n_trials,) if Y was 1-d.

        Parameters
        ----------
        X : array (n_trials, n_voxels)
        out : ndarray (n_trials, n_targets), optional
            Where predictions are written, a memory map for example, and returned.
        """
        new = self._standardised(X)
        if out is None:
            out = np.empty((len(new), self.n_targets_), dtype=numpy_dtype(new.dtype))
        for part, predicted in self._predictor.parts(new):
            out[:, part] = predicted
        return out[:, 0] if self._one_target else out

    def _standardised(self, X: ArrayLike) -> torch.Tensor:
        check_is_fitted(self)
        responses = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        responses = responses.astype(self._standard.mean.dtype, copy=False)
        return to_device(self._standard.apply(responses), find_device(self.device))

    def leave_out(self, rows: ArrayLike) -> Callable[[slice], NDArray[np.floating]]:
        """Predict training trials by fits without their stimulus, with the penalty chosen; exactly.

        Parameters
        ----------
        rows : array (n_rows,) of int
            Training trials, by their place in X.

        Returns
        -------
        callable
            Gives the latents (n_rows, width) of a slice of the targets.

        Raises
        ------
        DataError
            When the decoder was read from disk: the training targets are not there.
        """
        check_is_fitted(self)
        smoother = self._predictor
        if isinstance(smoother, StoredCoefficients):
            raise DataError(
                "predictions of training trials need training targets, which a saved decoder does not hold",
                remedy="Fit the decoder again.",
            )
        smoothers = smoother.leave_out(np.asarray(rows), self._stimulus)
        return lambda part: np.concatenate([block for _, block in smoother.apply(smoothers, part)], axis=1)

    def leave_out_predictions(self, rows: ArrayLike, part: slice = slice(None)) -> NDArray[np.floating]:
        """Latents (n_rows, width) of training trials by fits without their stimulus: see `leave_out`."""
        return self.leave_out(rows)(part)

    @property
    def intercept_(self) -> NDArray[np.floating]:
        """Prediction (n_targets,) for a response of zero."""
        return self.predict(np.zeros((1, self.n_features_in_), dtype=self.x_mean_.dtype)).reshape(-1)

    @property
    def coef_(self) -> NDArray[np.floating]:
        """All primal coefficients (n_targets, n_voxels)."""
        check_is_fitted(self)
        return self.coefficients().T

    def coefficients(self, part: slice = slice(None)) -> NDArray[np.floating]:
        """Primal coefficients (n_voxels, width) of some targets, per unit of response as given."""
        check_is_fitted(self)
        start, stop, _ = part.indices(self.n_targets_)
        result = np.empty((self.n_features_in_, stop - start), dtype=self.x_mean_.dtype)
        for piece in chunks(stop - start, max(result.shape[0], self.n_trials_), result.itemsize):
            columns = slice(start + piece.start, start + piece.stop)
            result[:, piece] = self._predictor.primal(columns) * self._standard.inverse_scale[:, None]
        return result

    def summary(self) -> dict[str, Any]:
        """What the sidecar says of the fit."""
        check_is_fitted(self)
        facts: dict[str, Any] = {
            "decoder": self.name,
            "alphas": self.alphas_.tolist(),
            "selection": self.selection if len(self.alphas_) > 1 else "none: one penalty was given",
            "alpha_per": self.alpha_per,
            "criterion": "explained variance of held-out latents, pooled over targets",
            "n_folds": self.n_folds_,
            "n_trials": self.n_trials_,
            "n_stimuli": self.n_stimuli_,
            "n_voxels": int(self.n_features_in_),
            "n_constant_voxels": self.n_constant_voxels_,
            "n_targets": self.n_targets_,
            "standardise": self.standardise,
            "balance_stimuli": self.balance_stimuli,
        }
        if isinstance(self.alpha_, float):
            known = [None if np.isnan(value) else float(value) for value in self.explained_variance_]
            facts |= {"alpha": self.alpha_, "explained_variance": known}
        else:
            values, counts = np.unique(self.alpha_, return_counts=True)
            facts["targets_by_alpha"] = {f"{v:g}": int(c) for v, c in zip(values, counts, strict=True)}
        warning = self._warning()
        return facts | ({"warning": warning} if warning else {})

    def _warning(self) -> str | None:
        if len(self.alphas_) == 1:
            return None
        if self.n_stimuli_ < 2:
            return "there is one training stimulus: the penalty could not be chosen and nothing can be learnt"
        if np.isnan(self.explained_variance_).all() or np.ptp(self.explained_variance_) == 0:
            return "held-out stimuli do not tell penalties apart: the middle one was taken"
        if (np.asarray(self.alpha_) == self.alphas_[-1]).all():
            return "the largest penalty was chosen: responses hardly predict the latents of held-out stimuli"
        return None

    def state(self) -> dict[str, Tensor]:
        """Arrays that, with `get_params()`, rebuild the fitted decoder.

        Coefficients come as a stream of columns: primal ones, or dual ones with the training responses where
        those take less room.
        """
        check_is_fitted(self)
        counts = [
            self.n_trials_, self.n_stimuli_, self.n_targets_, self.n_folds_, self.n_constant_voxels_,
            int(self._one_target),
        ]  # fmt: skip
        return {
            **self._predictor.tensors(),
            "x_mean": self.x_mean_,
            "x_inverse_scale": self._standard.inverse_scale,
            "alpha": np.atleast_1d(self.alpha_),
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
            decoder._predictor = StoredCoefficients.of(state, find_device(decoder.device))
            decoder._standard = Standardisation(state["x_mean"], state["x_inverse_scale"])
            alpha = state["alpha"]
            decoder.alpha_ = float(alpha[0]) if len(alpha) == 1 else alpha
            decoder.alphas_, decoder.explained_variance_ = state["alphas"], state["explained_variance"]
            counts = [int(count) for count in state["counts"]]
        except KeyError as error:
            raise DataError(f"the saved ridge decoder lacks the array {error}") from error
        decoder.n_trials_, decoder.n_stimuli_, decoder.n_targets_, decoder.n_folds_ = counts[:4]
        decoder.n_constant_voxels_, decoder._one_target = counts[4], bool(counts[5])
        decoder.x_mean_, decoder.n_features_in_ = decoder._standard.mean, len(decoder._standard.mean)
        return decoder
