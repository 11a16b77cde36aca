"""Which penalty a ridge takes: one for all targets, one for each group of them, or one for each."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bids_recon.decoders.device import numpy_dtype, to_device
from bids_recon.decoders.ridge_selection import (
    Basis,
    FoldFit,
    compact_targets,
    gcv_errors,
    leave_out_errors,
)
from bids_recon.decoders.ridge_solver import RidgeFactor
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import Targets, chunks, read_columns
from bids_recon.errors import UsageError

SELECTIONS = ("k-fold", "leave-out", "gcv")
UNITS = ("space", "group", "target")


@dataclass(frozen=True)
class Problem:
    """Training data of one fit, and what is known of its responses.

    Attributes
    ----------
    X : ndarray (n_trials, n_voxels)
    targets : array or RepeatedRows (n_trials, n_targets)
    stimulus : ndarray (n_trials,) of int
    weights : ndarray (n_trials,)
    scale : bool
        Whether voxels are divided by their deviation.
    factor : RidgeFactor
    work : SharedWork
    key : hashable
        Of the factor in `work`.
    double : bool
        Whether the penalties that are tried ask for double precision.
    """

    X: NDArray[np.floating]
    targets: Targets
    stimulus: NDArray[np.int64]
    weights: NDArray[np.float64]
    scale: bool
    factor: RidgeFactor
    work: SharedWork
    key: Hashable
    double: bool


@dataclass(frozen=True)
class PenaltyChoice:
    """Checked settings of the choice.

    Attributes
    ----------
    alphas : ndarray (n_alphas,)
        Increasing.
    selection, alpha_per, n_folds, seed
        As for `RidgeDecoder`.
    groups : array or None
        Label of each target.
    """

    alphas: NDArray[np.float64]
    selection: str
    alpha_per: str
    groups: ArrayLike | None
    n_folds: int
    seed: int

    @classmethod
    def checked(
        cls,
        alphas: Sequence[float],
        selection: str,
        alpha_per: str,
        groups: ArrayLike | None,
        n_folds: int,
        seed: int,
    ) -> PenaltyChoice:
        """Settings in order.

        Raises
        ------
        UsageError
            When a penalty is not above zero, or another setting does not exist.
        """
        values = np.sort(np.atleast_1d(np.asarray(alphas, dtype=np.float64)))
        if values.size == 0 or not (np.isfinite(values).all() and values[0] > 0):
            raise UsageError(f"penalties of the ridge must be numbers above zero, not {list(alphas)}")
        if n_folds < 2:
            raise UsageError(f"cross-validation needs at least two folds, not {n_folds}")
        if selection not in SELECTIONS:
            raise UsageError(f"the selection of penalties is one of {SELECTIONS}, not '{selection}'")
        if alpha_per not in UNITS:
            raise UsageError(f"penalties are chosen per one of {UNITS}, not '{alpha_per}'")
        if alpha_per == "group" and groups is None:
            raise UsageError("penalties per group need target_groups, a label for each target")
        return cls(values, selection, alpha_per, groups, n_folds, seed)

    def count_folds(self, n_stimuli: int) -> int:
        """Folds that are made; 0 when there are none to make."""
        folds = min(self.n_folds, n_stimuli)
        return folds if folds > 1 and len(self.alphas) > 1 and self.selection == "k-fold" else 0

    def choose(self, problem: Problem) -> tuple[float | NDArray[np.float64], NDArray[np.float64]]:
        """Penalty, or penalties (n_targets,), and held-out explained variance of all that were tried.

        The latter is (n_alphas,) for one penalty, else (n_alphas, n_groups or n_targets).

        Raises
        ------
        ValueError
            When there is not one group label for each target.
        """
        n_targets = problem.targets.shape[1]
        if len(self.alphas) == 1 or problem.stimulus.max() == 0:
            middle = float(self.alphas[len(self.alphas) // 2])
            return middle, np.full(len(self.alphas), np.nan)
        if self.alpha_per == "space":
            few = compact_targets(problem.targets, self.seed, numpy_dtype(problem.factor.dtype))
            errors, baseline = self._errors(problem, few, slice(0, few.shape[1]))
            explained = _explained(errors.sum(axis=1), baseline.sum())
            return float(self.alphas[_best(explained[:, None])[0]]), explained
        codes = np.arange(n_targets)
        if self.alpha_per == "group":
            codes = np.unique(np.asarray(self.groups), return_inverse=True)[1].reshape(-1)
            if codes.shape != (n_targets,):
                raise ValueError(f"target_groups has {len(codes)} labels, but there are {n_targets} targets")
        n_units = int(codes.max()) + 1
        pooled, base = np.zeros((len(self.alphas), n_units)), np.zeros(n_units)
        for part in chunks(n_targets, len(problem.X), problem.X.itemsize):
            errors, baseline = self._errors(problem, problem.targets, part)
            np.add.at(base, codes[part], baseline)
            for row, own in zip(pooled, errors, strict=True):
                np.add.at(row, codes[part], own)
        explained = _explained(pooled, base)
        return self.alphas[_best(explained)][codes], explained

    def _errors(
        self, problem: Problem, targets: Targets, part: slice
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Errors (n_alphas, width) of held-out targets, and of their training means (width,)."""
        factor = problem.factor
        Y = to_device(read_columns(targets, part, numpy_dtype(factor.dtype)), factor.design.device)
        if self.selection == "k-fold":
            return self._fold_errors(problem, Y)
        basis = problem.work.get((problem.key, "basis"), lambda: Basis.of(factor))
        weighed, _ = factor.weigh(Y)
        # An infinite penalty predicts the training mean.
        alphas = np.append(self.alphas, np.inf)
        if self.selection == "gcv":
            errors = gcv_errors(basis, weighed, alphas)
        else:
            errors = leave_out_errors(basis, weighed, alphas, problem.stimulus)
        known = errors.double().numpy(force=True)
        return known[:-1], known[-1]

    def _fold_errors(
        self, problem: Problem, Y: torch.Tensor
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        errors, baseline = np.zeros((len(self.alphas), Y.shape[1])), np.zeros(Y.shape[1])
        for held_out, fold in self._folds(problem):
            rows = torch.from_numpy(held_out).to(Y.device)
            weights = torch.from_numpy(problem.weights).to(Y.device)[rows]
            more = fold.errors(Y[~rows], Y[rows], weights, self.alphas)
            errors += more[0].double().numpy(force=True)
            baseline += more[1].double().numpy(force=True)
        return errors, baseline

    def _folds(self, problem: Problem) -> Iterator[tuple[NDArray[np.bool_], FoldFit]]:
        n_folds = self.count_folds(int(problem.stimulus.max()) + 1)
        device = problem.factor.design.device
        for number in range(n_folds):
            held_out = problem.stimulus % n_folds == number

            def decompose(held_out: NDArray[np.bool_] = held_out) -> FoldFit:
                return FoldFit.of(problem.X, problem.weights, held_out, problem.scale, device, problem.double)

            key = (problem.key, "fold", np.packbits(held_out).tobytes())
            yield held_out, problem.work.get(key, decompose)


def _explained(errors: NDArray[np.float64], baseline: Any) -> NDArray[np.float64]:
    """Explained variance; NaN where there is nothing to explain."""
    known = np.asarray(baseline) > 0
    return np.where(known, 1.0 - errors / np.where(known, baseline, 1.0), np.nan)


def _best(explained: NDArray[np.float64]) -> NDArray[np.intp]:
    """Place of the best penalty (n_units,); the middle one where held-out data do not tell them apart."""
    silent = np.isnan(explained).any(axis=0) | (np.ptp(explained, axis=0) == 0)
    best = np.argmax(np.nan_to_num(explained, nan=-np.inf), axis=0)
    return np.where(silent, len(explained) // 2, best)
