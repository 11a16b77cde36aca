"""What decoders of single units share once they are fitted: predictions, weights, arrays for the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bids_recon.decoders.unit_problem import UnitProblem
from bids_recon.decoders.unit_weights import UnitWeights
from bids_recon.errors import DataError


class UnitDecoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """A linear decoder whose units each see few voxels; a subclass fits it.

    Attributes
    ----------
    weights_ : UnitWeights
        Voxels and weights of each unit, in the precision of X.
    n_chosen_ : int
        Voxels that were chosen for each unit.
    n_constant_voxels_ : int
        Voxels that could not be chosen.
    """

    name: ClassVar[str]
    n_voxels_per_unit: int
    weights_: UnitWeights

    def _describe(self, problem: UnitProblem) -> None:
        """Keep what there is to say of the input."""
        self.n_trials_, self.n_targets_ = problem.targets.shape
        self.n_chosen_, self.n_constant_voxels_ = problem.n_chosen, problem.n_constant
        self._one_target = problem.one_target

    @property
    def coef_(self) -> NDArray[np.floating]:
        """Weights (n_targets, n_voxels) per unit of response as given; zero for voxels without one."""
        return self.weights_.dense()

    @property
    def intercept_(self) -> NDArray[np.floating]:
        """Prediction (n_targets,) for a response of zero."""
        return self.weights_.intercept()

    def predict(self, X: ArrayLike) -> NDArray[np.floating]:
        """Latents (n_trials, n_targets) of responses (n_trials, n_voxels); (n_trials,) if Y was 1-d."""
        check_is_fitted(self)
        predicted = self.weights_.predict(validate_data(self, X, reset=False, dtype=(np.float64, np.float32)))
        return predicted[:, 0] if self._one_target else predicted

    def _warning(self) -> dict[str, str]:
        """What the summary warns of; empty when there is nothing."""
        if self.n_chosen_ == 0:
            return {"warning": "no voxel varies over training trials: nothing can be learnt"}
        if self.n_chosen_ < self.n_voxels_per_unit:
            asked, vary = self.n_voxels_per_unit, self.n_chosen_
            return {"warning": f"{asked} voxels per unit were asked for, but only {vary} vary"}
        return {}

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that, with `get_params()`, rebuild the fitted decoder."""
        check_is_fitted(self)
        counts = [self.n_trials_, self.n_targets_, self.n_chosen_, self.n_constant_voxels_, self._one_target]
        return self.weights_.state() | {"counts": np.array(counts, dtype=np.int64)}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Self:
        """Rebuild a fitted decoder from the arrays of `state` and its parameters (others are ignored).

        Raises
        ------
        DataError
            When an array is missing.
        """
        decoder = cls(**{key: params[key] for key in cls._get_param_names() if key in params})
        decoder.weights_ = UnitWeights.from_state(state)
        if "counts" not in state:
            raise DataError("the saved decoder lacks the array 'counts'")
        counts = [int(count) for count in state["counts"]]
        decoder.n_trials_, decoder.n_targets_, decoder.n_chosen_, decoder.n_constant_voxels_ = counts[:4]
        decoder._one_target = bool(counts[4])
        decoder.n_features_in_ = len(decoder.weights_.x_mean)
        return decoder
