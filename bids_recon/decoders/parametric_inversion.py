"""An encoding model with latents as regressors, inverted: the decoder of Mozafari et al. (2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bids_recon.decoders.parametric_solver import Encoding, Inversion, NoiseCovariance
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import RepeatedRows, as_targets, read_columns
from bids_recon.errors import DataError, UsageError

CENTRES = ("training", "test")
NOISE_COVARIANCES = ("none", "diagonal", "shrunk")


class ParametricInversion(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Least-squares encoding from latents to voxels, then least squares across voxels.

    Equations 1 and 2 of Mozafari, Reddy and VanRullen (2020). With responses Y (n, voxels) and latents
    X (n, latents) of training trials, the encoding model Y = 1 b + X W is solved for W and b. A response y is
    decoded by solving y - centre = (x - offset) W for x by least squares over voxels:

        x = offset + (y - centre) Wᵀ (W Wᵀ)⁻¹.

    With the training mean as centre, the mean of the encoding model gives the offset: the mean training
    latent. With the test mean, as published, the offset is unknown and taken as zero.

    Plain least squares is best where noise is white across voxels. With the covariance C of the residuals of
    the encoding model, generalised least squares (Aitken 1936) takes its place:

        x = offset + (y - centre) C⁻¹ Wᵀ (W C⁻¹ Wᵀ)⁻¹.

    The paper has no noise covariance.

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
    noise_covariance : {"none", "diagonal", "shrunk"}
        C: the identity, the noise variances of voxels, or their full covariance with the noise correlation
        shrunk towards the identity (Ledoit & Wolf 2004). From training trials only.

    Attributes
    ----------
    encoding_ : ndarray (n_latents, n_voxels)
        W, response per unit of latent.
    constant_ : ndarray (n_voxels,)
        b, response at the latent zero.
    inverse_ : ndarray (n_voxels, n_latents)
        Wᵀ (W Wᵀ)⁻¹, or C⁻¹ Wᵀ (W C⁻¹ Wᵀ)⁻¹, without the column of the constant.
    noise_shrinkage_ : float or None
        Share of the identity in the noise correlation.
    x_mean_ : ndarray (n_voxels,)
        Mean training response.
    y_mean_ : ndarray (n_latents,)
        Mean training latent.
    """

    name = "parametric-inversion"

    def __init__(
        self,
        centre: str = "training",
        include_constant: bool = False,
        eigenvalue_floor: float = 1e-8,
        noise_covariance: str = "none",
    ) -> None:
        self.centre = centre
        self.include_constant = include_constant
        self.eigenvalue_floor = eigenvalue_floor
        self.noise_covariance = noise_covariance

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike | RepeatedRows,
        groups: ArrayLike | None = None,
        *,
        work: SharedWork | None = None,
    ) -> ParametricInversion:
        """Learn from responses and latents of training trials.

        Parameters
        ----------
        X : array (n_trials, n_voxels), float32 or float64
        Y : array or RepeatedRows (n_trials, n_latents), or array (n_trials,)
        groups : array (n_trials,), optional
            Not used; all decoders take it.
        work : SharedWork, optional
            Not used: what this decoder computes of responses alone is little.

        Raises
        ------
        UsageError
            When `centre` or `noise_covariance` is unknown.
        DataError
            When there are too few trials for a noise covariance.
        ValueError
            When shapes do not fit, or a number is not finite.
        """
        del groups, work
        if self.centre not in CENTRES:
            raise UsageError(f"the centre of the inversion is one of {CENTRES}, not '{self.centre}'")
        if self.noise_covariance not in NOISE_COVARIANCES:
            raise UsageError(
                f"the noise covariance is one of {NOISE_COVARIANCES}, not '{self.noise_covariance}'"
            )
        responses = validate_data(self, X, dtype=(np.float64, np.float32))
        targets, self._one_target = as_targets(Y, len(responses))
        self.n_trials_, self.n_targets_ = targets.shape
        latents = read_columns(targets, slice(0, self.n_targets_), np.dtype(np.float64))
        encoding = Encoding.fit(responses, latents)
        noise = None
        if self.noise_covariance != "none":
            noise = NoiseCovariance.of(responses, encoding, self.noise_covariance)
        rows = encoding.weights
        if self.include_constant:
            rows = np.vstack([rows, encoding.constant])
        inversion = Inversion.of(rows, noise, self.eigenvalue_floor)
        dtype = responses.dtype
        self.rank_ = encoding.rank
        self.n_floored_, self.condition_number_ = inversion.n_floored, inversion.condition_number
        self.noise_shrinkage_ = None if noise is None else noise.shrinkage
        self.inverse_ = inversion.inverse[:, : self.n_targets_].astype(dtype)
        self.x_mean_, self.encoding_ = encoding.x_mean.astype(dtype), encoding.weights.astype(dtype)
        self.y_mean_, self.constant_ = encoding.y_mean, encoding.constant.astype(dtype)
        return self

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
            "noise_covariance": self.noise_covariance,
            "noise_shrinkage": self.noise_shrinkage_,
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
            **(
                {}
                if self.noise_shrinkage_ is None
                else {"noise_shrinkage": np.array([self.noise_shrinkage_])}
            ),
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
            # Decoders saved by earlier versions have no noise covariance.
            shrinkage = state.get("noise_shrinkage")
            counts = [int(count) for count in state["counts"]]
        except KeyError as error:
            raise DataError(f"the saved decoder lacks the array {error}") from error
        decoder.n_trials_, decoder.n_targets_, decoder.rank_, decoder.n_floored_ = counts[:4]
        decoder.noise_shrinkage_ = None if shrinkage is None else float(shrinkage[0])
        decoder._one_target = bool(counts[4])
        decoder.n_features_in_ = decoder.inverse_.shape[0]
        return decoder
