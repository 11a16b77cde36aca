"""Choice of the ridge penalty: held-out errors of many penalties at the cost of few.

All functions give weighted squared errors per penalty and target, so that they can be summed over all
targets, over the targets of a group (a token, a layer), or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.decoders.device import to_device
from bids_recon.decoders.ridge_solver import RidgeFactor, Standardisation, cross_gram
from bids_recon.decoders.targets import RepeatedRows, Targets, chunks, read_columns

# Errors summed over all targets are measured on so many sums of targets at most.
SKETCH = 2048


def compact_targets(Y: Targets, seed: int, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Few columns (n_rows, at most `SKETCH`) whose squared errors stand for those of all targets together.

    Errors of linear predictions are quadratic in the targets. With more targets than `SKETCH`, each of them
    is added with a random sign to one of `SKETCH` columns (a count sketch): products of two targets cancel in
    expectation, and the sum of squared errors over columns is that over targets, to a few parts in a hundred
    for a single direction and far less for a sum over trials. With fewer targets it is exact.

    Parameters
    ----------
    Y : array or RepeatedRows (n_rows, n_targets)
    seed : int
    dtype : numpy dtype
    """
    n_targets = Y.shape[1]
    if isinstance(Y, RepeatedRows):
        return compact_targets(Y.stored, seed, dtype)[Y.rows]
    if n_targets <= SKETCH:
        return read_columns(Y, slice(0, n_targets), dtype)
    rng = np.random.default_rng(seed)
    sums = np.zeros((len(Y), SKETCH), dtype=dtype)
    for part in chunks(n_targets, len(Y), dtype.itemsize, multiple=SKETCH):
        chunk = read_columns(Y, part, dtype)
        signs = rng.choice(np.array([-1, 1], dtype=dtype), chunk.shape[1])
        for start in range(0, chunk.shape[1], SKETCH):
            piece = slice(start, min(start + SKETCH, chunk.shape[1]))
            sums[:, : piece.stop - start] += chunk[:, piece] * signs[piece]
    return sums


@dataclass(frozen=True)
class Basis:
    """Orthonormal basis Q (n_samples, rank) of weighted training samples, with eigenvalues (rank,)."""

    Q: torch.Tensor
    values: torch.Tensor
    root: torch.Tensor

    @classmethod
    def of(cls, factor: RidgeFactor) -> Basis:
        """Basis of the column space of the design matrix."""
        if factor.dual:
            return cls(factor.vectors, factor.values, factor.root)
        real = factor.values > factor.values[-1] * len(factor.values) * torch.finfo(factor.dtype).eps
        V, values = factor.vectors[:, real], factor.values[real]
        return cls(cross_gram(factor.design, V.T, factor.dtype) / values.sqrt(), values, factor.root)

    def residual_shares(self, alphas: NDArray[np.float64]) -> torch.Tensor:
        """α / (λ + α) (n_alphas, rank): what the fit leaves of each direction; all of it for infinity."""
        penalty = torch.from_numpy(alphas).to(self.values)[:, None]
        return 1 / (self.values / penalty + 1)


def gcv_errors(basis: Basis, Y: torch.Tensor, alphas: NDArray[np.float64]) -> torch.Tensor:
    """Generalised cross-validation errors (n_alphas, n_targets).

    Golub, Heath & Wahba (1979): Σ residual² / (1 - trace(S) / n)², where S is the smoother with intercept.

    Parameters
    ----------
    basis : Basis
    Y : Tensor (n_samples, n_targets)
        Centred and weighted.
    alphas : ndarray (n_alphas,)
    """
    left = basis.residual_shares(alphas)
    projected = (basis.Q.T @ Y.to(basis.Q.dtype)).square_()
    # What no fit can reach, because the design has fewer columns than rows.
    outside = (Y.square().sum(dim=0) - projected.sum(dim=0)).clamp_min(0) if _is_thin(basis) else 0.0
    n = len(Y)
    trace = 1 + (1 - left).sum(dim=1)
    return (left**2 @ projected + outside) / (1 - trace / n).clamp_min(1e-12)[:, None] ** 2


def _is_thin(basis: Basis) -> bool:
    return basis.Q.shape[1] < basis.Q.shape[0]


def leave_out_errors(
    basis: Basis, Y: torch.Tensor, alphas: NDArray[np.float64], stimulus: NDArray[np.int64]
) -> torch.Tensor:
    """Errors (n_alphas, n_targets) of each stimulus when the fit is made without its trials: exact.

    With the smoother S (intercept included), the residuals of the trials g of a stimulus are, in a fit
    without them, (I - S_gg)⁻¹ times those of the fit with them. With one trial a stimulus this is
    leave-one-out.

    Parameters
    ----------
    basis : Basis
    Y : Tensor (n_samples, n_targets)
        Centred and weighted.
    alphas : ndarray (n_alphas,)
    stimulus : ndarray (n_samples,) of int
        Code of each sample's stimulus, 0 to n_stimuli - 1.
    """
    Y = Y.to(basis.Q.dtype)
    projected = basis.Q.T @ Y
    weighed = basis.root.to(Y.dtype)
    unit = weighed / weighed.square().sum().sqrt()
    by_size = _rows_by_size(stimulus, Y.device)
    errors = torch.zeros((len(alphas), Y.shape[1]), dtype=Y.dtype, device=Y.device)
    for position, left in enumerate(basis.residual_shares(alphas)):
        residual = Y - basis.Q @ ((1 - left)[:, None] * projected)
        for rows in by_size:
            Qg = basis.Q[rows]
            hat = (Qg * (1 - left)) @ Qg.mT + unit[rows][:, :, None] * unit[rows][:, None, :]
            eye = torch.eye(rows.shape[1], dtype=Y.dtype, device=Y.device)
            left_out = torch.linalg.inv(eye - hat) @ residual[rows]
            errors[position] += left_out.square_().sum(dim=(0, 1))
    return errors


def _rows_by_size(stimulus: NDArray[np.int64], device: torch.device) -> list[torch.Tensor]:
    """Row numbers (n_stimuli, size) of the stimuli of each number of trials."""
    order = np.argsort(stimulus, kind="stable")
    counts = np.bincount(stimulus)
    members = np.split(order, np.cumsum(counts)[:-1])
    return [
        torch.from_numpy(np.stack([rows for rows in members if len(rows) == size])).to(device)
        for size in np.unique(counts[counts > 0])
    ]


@dataclass(frozen=True)
class FoldFit:
    """What predicts the held-out samples of one fold from targets of the others.

    Attributes
    ----------
    values : Tensor (side,)
    left : Tensor (n_training, side)
        Projects weighted targets.
    rotated : Tensor (n_held_out, side)
        Held-out responses in the eigenbasis.
    root : Tensor (n_training,) float64
    """

    values: torch.Tensor
    left: torch.Tensor
    rotated: torch.Tensor
    root: torch.Tensor

    @classmethod
    def of(
        cls,
        X: NDArray[np.floating],
        weights: NDArray[np.float64],
        held_out: NDArray[np.bool_],
        scale: bool,
        device: torch.device,
        double: bool,
    ) -> FoldFit:
        """Decompose the training part of a fold; means, deviations and factor come from it alone."""
        training = X[~held_out]
        standard = Standardisation.of(training, weights[~held_out], scale)
        factor = RidgeFactor.of(standard.apply(training), weights[~held_out], device, double)
        new = to_device(standard.apply(X[held_out]), device)
        V = factor.vectors
        if factor.dual:
            left, rotated = V, cross_gram(new, factor.design, factor.dtype) @ V
        else:
            left, rotated = cross_gram(factor.design, V.T, factor.dtype), new.to(factor.dtype) @ V
        return cls(factor.values, left, rotated, factor.root)

    def errors(
        self,
        Y_train: torch.Tensor,
        Y_held_out: torch.Tensor,
        weights: torch.Tensor,
        alphas: NDArray[np.float64],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted squared errors (n_alphas, n_targets), and those of the training mean (n_targets,)."""
        dtype = self.values.dtype
        root = self.root.to(dtype)
        centre = (root**2 / (root**2).sum()) @ Y_train.to(dtype)
        projected = self.left.T @ ((Y_train.to(dtype) - centre) * root[:, None])
        truth = Y_held_out.to(dtype) - centre
        weights = weights.to(dtype)
        errors = torch.stack(
            [
                weights @ (truth - (self.rotated / (self.values + float(alpha))) @ projected).square_()
                for alpha in alphas
            ]
        )
        return errors, weights @ truth.square()
