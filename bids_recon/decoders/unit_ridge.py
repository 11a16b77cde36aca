"""Voxel selection and ridge regression for each unit: the present decoder of the Kamitani lab."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted, validate_data

from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import RepeatedRows
from bids_recon.decoders.unit_decoder import UnitDecoder
from bids_recon.decoders.unit_problem import UnitChunk, UnitProblem
from bids_recon.decoders.unit_ridge_solver import UnitSolution, solve_together, solve_units
from bids_recon.decoders.unit_weights import UnitWeights
from bids_recon.errors import UsageError


class UnitRidgeDecoder(UnitDecoder):
    """Ridge regression of each unit on the voxels that correlate best with it.

    The decoder of the Kamitani lab since 2021, published as PyFastL2LiR. With `standardise=False` the numbers
    are those of its class FastL2LiR, but for two cases: voxels that do not vary never get a weight, also
    where fewer voxels vary than are asked for, and a unit that is constant is predicted as it is.

    Parameters
    ----------
    alpha : float
        Penalty, the same for all units.
    n_voxels_per_unit : int
        Voxels with the largest absolute correlation over training trials; all that vary when there are no
        more.
    standardise : bool
        Divide centred voxels by their deviation (ddof 1), as Kamitani's pipelines do before the fit. They do
        so with targets too, which changes nothing in predictions in the units of Y.
    penalise_intercept : bool
        Penalise the intercept like a weight, as FastL2LiR does. It makes no difference when voxels and
        targets are standardised: the intercept is zero then.
    device : {"auto", "cpu", "cuda"}

    Attributes
    ----------
    weights_ : UnitWeights
        Voxels and weights of each unit, in the precision of X.
    n_chosen_ : int
        Number of voxels of each unit.
    n_constant_voxels_ : int
        Voxels that could not be chosen.
    """

    name = "unit-ridge"

    def __init__(
        self,
        alpha: float = 100.0,
        n_voxels_per_unit: int = 500,
        standardise: bool = True,
        penalise_intercept: bool = True,
        device: str = "auto",
    ) -> None:
        self.alpha = alpha
        self.n_voxels_per_unit = n_voxels_per_unit
        self.standardise = standardise
        self.penalise_intercept = penalise_intercept
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike | RepeatedRows,
        groups: ArrayLike | None = None,
        *,
        work: SharedWork | None = None,
    ) -> UnitRidgeDecoder:
        """Learn from responses and latents of training trials.

        Parameters
        ----------
        X : array (n_trials, n_voxels), float32 or float64
            Its precision is that of the solution; voxels are chosen in float64 in any case.
        Y : array (n_trials, n_targets) or (n_trials,), or RepeatedRows
            In memory or memory-mapped; it is read a chunk of columns at a time.
        groups : array (n_trials,), optional
            Not used; all decoders take it.
        work : SharedWork, optional
            What fits on the same X have in common.

        Raises
        ------
        UsageError
            When the penalty or the number of voxels is not above zero, the penalty is too small for the
            precision of X, or there is no such device.
        """
        del groups
        shared = SharedWork.of(X, work)
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise UsageError(f"the penalty of the regression must be a number above zero, not {self.alpha}")
        responses = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=2)
        problem = UnitProblem.of(responses, Y, shared, self.n_voxels_per_unit, self.standardise, self.device)
        self._describe(problem)
        offset = np.empty(self.n_targets_, dtype=responses.dtype)
        voxels, weights = [], []
        # All units have the same voxels where no more vary: double precision costs little then.
        precision = torch.float64 if problem.same_voxels else problem.moments.responses.dtype
        for chunk in problem.chunks(precision):
            try:
                solution = self._solve(problem, chunk)
            except torch.linalg.LinAlgError as error:
                raise UsageError(
                    f"the penalty {self.alpha:g} is too small for these responses: a system cannot be solved",
                    remedy="Give a larger --alpha.",
                ) from error
            scaled = solution.weights * chunk.scale
            offset[chunk.part] = solution.offset.cpu().numpy()
            voxels.append(chunk.chosen.to(torch.int32).cpu().numpy().reshape(-1))
            weights.append(scaled.to(problem.moments.responses.dtype).cpu().numpy().reshape(-1))
        x_mean = problem.moments.mean.cpu().numpy()
        counts = np.full(self.n_targets_, self.n_chosen_)
        self.weights_ = UnitWeights.of(counts, voxels, weights, offset, x_mean)
        return self

    def _solve(self, problem: UnitProblem, chunk: UnitChunk) -> UnitSolution:
        moments = problem.moments
        # Standardised voxels have the mean zero, and the penalty of the intercept then acts on zero.
        mean = moments.mean if self.penalise_intercept and not self.standardise else None
        if not problem.same_voxels:
            systems = problem.systems(moments.responses.dtype)
            return solve_units(systems, chunk.chosen, chunk.right_sides, chunk.targets, self.alpha, mean)
        voxels = moments.varying
        factor = problem.work.get(
            ("unit-ridge-factor", self.alpha, *problem.key),
            lambda: torch.linalg.cholesky(problem.systems(torch.float64).penalised(voxels, self.alpha).mT),
        )
        means = None if mean is None else mean[voxels]
        return solve_together(factor, chunk.right_sides, chunk.targets, self.alpha, means)

    def summary(self) -> dict[str, Any]:
        """What the sidecar says of the fit."""
        check_is_fitted(self)
        facts: dict[str, Any] = {
            "decoder": self.name,
            "alpha": float(self.alpha),
            "selection": "largest absolute correlation over training trials, for each unit",
            "n_voxels_per_unit": self.n_chosen_,
            "n_trials": self.n_trials_,
            "n_voxels": len(self.weights_.x_mean),
            "n_constant_voxels": self.n_constant_voxels_,
            "n_targets": self.n_targets_,
            "standardise": self.standardise,
            "penalise_intercept": self.penalise_intercept,
        }
        return facts | self._warning()
