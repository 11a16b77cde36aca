"""Sparse linear regression of each unit: the decoder of Horikawa and Kamitani (2017), Shen et al. (2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from bids_recon.decoders.ard_solver import ArdFit, fit_ard
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import RepeatedRows
from bids_recon.decoders.unit_decoder import UnitDecoder
from bids_recon.decoders.unit_problem import UnitChunk, UnitProblem
from bids_recon.decoders.unit_systems import UnitSystems
from bids_recon.decoders.unit_weights import UnitWeights
from bids_recon.decoders.workers import map_on_threads
from bids_recon.errors import DataError, UsageError

# Units that are solved as one batch. On the CPU each thread has one: its matrices stay in the cache and
# become as small as its own pruning allows.
BATCH = {"cpu": 1, "cuda": 64}


class SparseDecoder(UnitDecoder):
    """Linear regression of each unit with a relevance prior that prunes voxels.

    The voxels of a unit are first chosen by their absolute correlation with it. Prior and noise precisions
    are then updated as in Bishop (2006), section 7.2.1; see `ard_solver`. Targets are centred, and divided by
    their deviation, for the fit; predictions are in the units of Y.

    Parameters
    ----------
    n_iterations : int
        Updates of the precisions, 200 as published.
    n_voxels_per_unit : int
        Voxels with the largest absolute correlation over training trials; all that vary when there are no
        more.
    prune_threshold : float
        A voxel leaves the model when the prior says this many times more about its weight than the data do.
    tolerance : float, optional
        Stop a unit before the last iteration when no weight changes by more than this share of its largest
        weight.
    standardise : bool
        Divide centred voxels by their deviation (ddof 1). It only matters for where the precisions start.
    device : {"auto", "cpu", "cuda"}

    Attributes
    ----------
    weights_ : UnitWeights
        Voxels that stayed and their weights, in the precision of X.
    n_chosen_ : int
        Number of voxels that the fit of each unit started with.
    n_iter_ : ndarray (n_targets,) int64
        Updates that were made.
    n_constant_voxels_ : int
        Voxels that could not be chosen.
    """

    name = "sparse"

    def __init__(
        self,
        n_iterations: int = 200,
        n_voxels_per_unit: int = 500,
        prune_threshold: float = 1e3,
        tolerance: float | None = None,
        standardise: bool = True,
        device: str = "auto",
    ) -> None:
        self.n_iterations = n_iterations
        self.n_voxels_per_unit = n_voxels_per_unit
        self.prune_threshold = prune_threshold
        self.tolerance = tolerance
        self.standardise = standardise
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike | RepeatedRows,
        groups: ArrayLike | None = None,
        *,
        work: SharedWork | None = None,
    ) -> SparseDecoder:
        """Learn from responses and latents of training trials.

        Parameters
        ----------
        X : array (n_trials, n_voxels), float32 or float64
            The solution is computed in float64 in any case.
        Y : array (n_trials, n_targets) or (n_trials,), or RepeatedRows
            In memory or memory-mapped; it is read a chunk of columns at a time.
        groups : array (n_trials,), optional
            Not used; all decoders take it.
        work : SharedWork, optional
            What fits on the same X have in common.

        Raises
        ------
        UsageError
            When a parameter is out of its range, or there is no such device.
        """
        del groups
        shared = SharedWork.of(X, work)
        self._check_parameters()
        responses = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=2)
        problem = UnitProblem.of(responses, Y, shared, self.n_voxels_per_unit, self.standardise, self.device)
        self._describe(problem)
        offset = np.empty(self.n_targets_, dtype=responses.dtype)
        counts = np.zeros(self.n_targets_, dtype=np.int64)
        self.n_iter_ = np.zeros(self.n_targets_, dtype=np.int64)
        voxels, weights = [], []
        for chunk in problem.chunks(torch.float64):
            found, self.n_iter_[chunk.part] = self._solve(problem, chunk)
            stays = found != 0
            scaled = found * chunk.scale
            offset[chunk.part] = chunk.targets.mean.cpu().numpy()
            counts[chunk.part] = stays.sum(dim=1).cpu().numpy()
            voxels.append(chunk.chosen[stays].to(torch.int32).cpu().numpy())
            weights.append(scaled[stays].cpu().numpy())
        x_mean = problem.moments.mean.cpu().numpy()
        self.weights_ = UnitWeights.of(counts, voxels, weights, offset, x_mean)
        return self

    def _check_parameters(self) -> None:
        if self.n_iterations < 1:
            raise UsageError(f"the sparse regression needs at least one iteration, not {self.n_iterations}")
        if not (math.isfinite(self.prune_threshold) and self.prune_threshold > 0):
            raise UsageError(f"the threshold of pruning must be above zero, not {self.prune_threshold}")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise UsageError(f"the tolerance must not be below zero, but is {self.tolerance}")

    def _solve(self, problem: UnitProblem, chunk: UnitChunk) -> tuple[torch.Tensor, NDArray[np.int64]]:
        """Weights (n_units, n_chosen) of scaled voxels, and updates made (n_units,)."""
        weights = torch.zeros(chunk.chosen.shape, dtype=torch.float64, device=chunk.chosen.device)
        made = np.zeros(len(weights), dtype=np.int64)
        units = torch.nonzero(chunk.targets.deviation)[:, 0]
        if self.n_chosen_ == 0 or len(units) == 0:
            return weights, made
        systems, right_sides = problem.systems(torch.float64), chunk.right_sides
        batches = list(torch.split(units, BATCH[weights.device.type]))

        def solve_batch(batch: torch.Tensor) -> ArdFit:
            return self._solve_batch(systems, chunk, right_sides, batch)

        for batch, fit in zip(batches, map_on_threads(solve_batch, batches, weights.device), strict=True):
            weights[batch] = fit.weights * chunk.targets.deviation[batch, None]
            made[batch.cpu().numpy()] = fit.n_iterations.cpu().numpy()
        return weights, made

    def _solve_batch(
        self, systems: UnitSystems, chunk: UnitChunk, right_sides: torch.Tensor, batch: torch.Tensor
    ) -> ArdFit:
        deviation, chosen = chunk.targets.deviation[batch], chunk.chosen[batch]
        n_trials, k = len(chunk.targets.centred), chosen.shape[1]
        buffer = torch.zeros(len(batch), k, k, dtype=torch.float64, device=chosen.device)
        return fit_ard(
            systems.gather(chosen, buffer),
            right_sides[batch] / deviation[:, None],
            torch.full_like(deviation, n_trials - 1),
            n_trials,
            n_iterations=self.n_iterations,
            prune_threshold=self.prune_threshold,
            tolerance=self.tolerance,
        )

    def summary(self) -> dict[str, Any]:
        """What the sidecar says of the fit."""
        check_is_fitted(self)
        kept = np.diff(self.weights_.starts)
        facts: dict[str, Any] = {
            "decoder": self.name,
            "selection": "largest absolute correlation over training trials, for each unit",
            "n_voxels_per_unit": self.n_chosen_,
            "n_voxels_kept": {
                "mean": float(kept.mean()), "smallest": int(kept.min()), "largest": int(kept.max())
            },
            "n_iterations": int(self.n_iter_.max()),
            "prune_threshold": float(self.prune_threshold),
            "tolerance": self.tolerance,
            "n_trials": self.n_trials_,
            "n_voxels": len(self.weights_.x_mean),
            "n_constant_voxels": self.n_constant_voxels_,
            "n_targets": self.n_targets_,
            "standardise": self.standardise,
        }  # fmt: skip
        return facts | self._warning()

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that, with `get_params()`, rebuild the fitted decoder."""
        return super().state() | {"n_iter": self.n_iter_}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Self:
        """Rebuild a fitted decoder from the arrays of `state` and its parameters (others are ignored).

        Raises
        ------
        DataError
            When an array is missing.
        """
        decoder = super().from_state(state, params)
        if "n_iter" not in state:
            raise DataError("the saved decoder lacks the array 'n_iter'")
        decoder.n_iter_ = state["n_iter"]
        return decoder
