"""An encoding model with latents as regressors, inverted: the decoder of Mozafari et al. (2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bids_recon.decoders.ridge_solver import gram
from bids_recon.errors import DataError, UsageError

CENTRES = ("training", "test")


class ParametricInversion(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Least-squares encoding from latents to voxels, then least squares across voxels.

    Equations 1 and 2 of Mozafari, Reddy and VanRullen (2020). With responses Y (n, voxels) and latents
    X (n, latents) of training trials, the encoding model Y = 1 b + X W is solved for W and b. A response y is
    decoded by solving y - centre = (x - offset) W for x by least squares over voxels:

        x = offset + (y - centre) Wᵀ (W Wᵀ)⁻¹.

    With the training mean as centre, the mean of the encoding model gives the offset: the mean training
    latent. With the test mean, as published, the offset is unknown and taken as zero.

    Parameters
    ----------
    centre : {"training", "test"}
        Which mean response is subtracted: that of the training trials, or, as published, that of the trials
        given to `predict` (a statistic of the test set: it needs two trials at least, and what is
        predicted for one trial then depends on the others).
    include_constant : bool
        Append b to W as a further row whose coefficient is dropped after inversion, as published (121 rows).
        What responses have along b, a gain common to all pictures, then does not enter the latents. Where
        responses are z-scored, b has little but noise and lies largely in the span of W: leave it out.
    eigenvalue_floor : float
        Eigenvalues of W Wᵀ (rows scaled to unit length) below this share of the largest are raised to it
        before the inversion.

    Attributes
    ----------
    encoding_ : ndarray (n_latents, n_voxels)
        W, response per unit of latent.
    constant_ : ndarray (n_voxels,)
        b, response at the latent zero.
    inverse_ : ndarray (n_voxels, n_latents)
        Wᵀ (W Wᵀ)⁻¹, without the column of the constant.
    x_mean_ : ndarray (n_voxels,)
        Mean training response.
    y_mean_ : ndarray (n_latents,)
        Mean training latent.
    """

    name = "parametric-inversion"

    def __init__(
        self, centre: str = "training", include_constant: bool = False, eigenvalue_floor: float = 1e-8
    ) -> None:
        self.centre = centre
        self.include_constant = include_constant
        self.eigenvalue_floor = eigenvalue_floor

    def fit(self, X: ArrayLike, Y: ArrayLike, groups: ArrayLike | None = None) -> ParametricInversion:
        """Learn from responses and latents of training trials.

        Parameters
        ----------
        X : array (n_trials, n_voxels), float32 or float64
        Y : array (n_trials, n_latents) or (n_trials,)
        groups : array (n_trials,), optional
            Not used; all decoders take it.

        Raises
        ------
        UsageError
            When `centre` is unknown.
        """
        del groups
        if self.centre not in CENTRES:
            raise UsageError(f"the centre of the inversion is one of {CENTRES}, not '{self.centre}'")
        responses, targets = validate_data(
            self, X, Y, multi_output=True, y_numeric=True, dtype=(np.float64, np.float32)
        )
        latents = targets.reshape(len(targets), -1).astype(np.float64)
        self.n_trials_, self.n_targets_ = latents.shape
        x_mean, self.y_mean_ = responses.mean(axis=0, dtype=np.float64), latents.mean(axis=0)
        # With a constant in the model, least squares on centred variables has the same slopes.
        solver, rank = scipy.linalg.pinv(latents - self.y_mean_, return_rank=True)
        self.rank_ = int(rank)
        encoding = gram(solver, responses.T) - np.outer(solver.sum(axis=1), x_mean)
        constant = x_mean - self.y_mean_ @ encoding
        dtype = responses.dtype
        self._invert(encoding, constant, dtype)
        self.x_mean_, self.encoding_ = x_mean.astype(dtype), encoding.astype(dtype)
        self.constant_ = constant.astype(dtype)
        self._one_target = targets.ndim == 1
        return self

    def _invert(
        self, encoding: NDArray[np.float64], constant: NDArray[np.float64], dtype: np.dtype[Any]
    ) -> None:
        rows = np.vstack([encoding, constant]) if self.include_constant else encoding
        # Rows of unit length: the condition then tells of collinear rows, not of the units of latents.
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(lengths > 0, lengths, 1.0)
        values, vectors = scipy.linalg.eigh(rows @ rows.T)
        largest = max(float(values[-1]), np.finfo(np.float64).tiny)
        floored = values < self.eigenvalue_floor * largest
        self.n_floored_ = int(np.count_nonzero(floored))
        self.condition_number_ = float(largest / max(values[0], np.finfo(np.float64).eps * largest))
        values = np.where(floored, self.eigenvalue_floor * largest, values)
        inverse = rows.T @ (vectors / values) @ vectors.T / np.where(lengths > 0, lengths, 1.0).T
        self.inverse_ = inverse[:, : len(encoding)].astype(dtype)

    def predict(self, X: ArrayLike) -> NDArray[np.floating]:
        """Latents (n_trials, n_latents) of responses (n_trials, n_voxels); (n_trials,) if Y was 1-d.

        Raises
        ------
        DataError
            When responses are to be centred across test trials and there is one only.
        """
        check_is_fitted(self)
        responses = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        if self.centre == "training":
            predicted = (responses - self.x_mean_) @ self.inverse_ + self.y_mean_.astype(responses.dtype)
        elif len(responses) < 2:
            raise DataError(
                "responses cannot be centred across test trials when there is only one: it would become zero",
                remedy="Leave out --legacy-test-statistics, or give more test trials at once.",
            )
        else:
            centre = responses.mean(axis=0, dtype=np.float64).astype(responses.dtype)
            predicted = (responses - centre) @ self.inverse_
        return predicted[:, 0] if self._one_target else predicted

    def summary(self) -> dict[str, Any]:
        """What the sidecar says of the fit."""
        check_is_fitted(self)
        facts: dict[str, Any] = {
            "decoder": self.name,
            "centre": self.centre,
            "include_constant": self.include_constant,
            "eigenvalue_floor": self.eigenvalue_floor,
            "condition_number": self.condition_number_,
            "n_floored_eigenvalues": self.n_floored_,
            "n_trials": self.n_trials_,
            "n_voxels": int(self.inverse_.shape[0]),
            "n_targets": self.n_targets_,
            "rank_of_latents": self.rank_,
        }
        if self.rank_ < self.n_targets_:
            facts["warning"] = (
                f"the training latents span {self.rank_} of {self.n_targets_} dimensions: the encoding model"
                " is not determined, and the pseudo-inverse was taken"
            )
        elif self.inverse_.shape[0] < self.n_targets_:
            facts["warning"] = "there are fewer voxels than latents: the inversion is not determined"
        return facts

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that, with `get_params()`, rebuild the fitted decoder."""
        check_is_fitted(self)
        return {
            "encoding": self.encoding_,
            "constant": self.constant_,
            "inverse": self.inverse_,
            "x_mean": self.x_mean_,
            "y_mean": self.y_mean_,
            "condition_number": np.array([self.condition_number_]),
            "counts": np.array(
                [self.n_trials_, self.n_targets_, self.rank_, self.n_floored_, int(self._one_target)],
                dtype=np.int64,
            ),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> ParametricInversion:
        """Rebuild a fitted decoder from the arrays of `state` and its parameters (others are ignored).

        Raises
        ------
        DataError
            When an array is missing.
        """
        decoder = cls(**{key: params[key] for key in cls._get_param_names() if key in params})
        try:
            decoder.encoding_, decoder.constant_ = state["encoding"], state["constant"]
            decoder.inverse_, decoder.x_mean_ = state["inverse"], state["x_mean"]
            decoder.y_mean_ = state["y_mean"]
            decoder.condition_number_ = float(state["condition_number"][0])
            counts = [int(count) for count in state["counts"]]
        except KeyError as error:
            raise DataError(f"the saved decoder lacks the array {error}") from error
        decoder.n_trials_, decoder.n_targets_, decoder.rank_, decoder.n_floored_ = counts[:4]
        decoder._one_target = bool(counts[4])
        decoder.n_features_in_ = decoder.inverse_.shape[0]
        return decoder
