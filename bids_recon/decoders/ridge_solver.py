"""Ridge regression by one eigendecomposition that serves every penalty and every target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.decoders.device import to_device

# Voxels that are turned into double precision at a time.
BLOCK = 2048
# Rows of a Gram matrix that are computed at a time; half of the matrix follows by symmetry.
ROWS = 512
# Up to this side of the matrix, double precision costs next to nothing.
SMALL_SIDE = 1024
# Largest ratio of eigenvalue to penalty at which single precision keeps predictions to 1e-5.
SINGLE_PRECISION_LIMIT = 50.0
# The same for held-out errors, of which the smallest of many is wanted: to a part in a hundred.
SELECTION_LIMIT = 1e5


def gram(A: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Inner products A Aᵀ (n, n) of rows, without a copy of A in another precision.

    Parameters
    ----------
    A : Tensor (n, m)
    dtype : torch dtype, optional
        Precision of products and result; that of A if left out.
    """
    dtype = dtype or A.dtype
    n = len(A)
    products = torch.zeros((n, n), dtype=dtype, device=A.device)
    for start in range(0, A.shape[1], A.shape[1] if dtype == A.dtype else BLOCK):
        block = A[:, start : start + BLOCK].to(dtype) if dtype != A.dtype else A
        for first in range(0, n, ROWS):
            products[first:, first : first + ROWS] += block[first:] @ block[first : first + ROWS].T
    for first in range(0, n, ROWS):
        products[first : first + ROWS, first + ROWS :] = products[first + ROWS :, first : first + ROWS].T
    return products


def cross_gram(A: torch.Tensor, B: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Inner products A Bᵀ (n, m) of rows, without a copy of either in another precision."""
    if A.dtype == B.dtype == dtype:
        return A @ B.T
    products = torch.zeros((len(A), len(B)), dtype=dtype, device=A.device)
    for start in range(0, A.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        products += A[:, part].to(dtype) @ B[:, part].to(dtype).T
    return products


def largest_eigenvalue(A: torch.Tensor, n_steps: int = 12) -> float:
    """Largest eigenvalue of A Aᵀ, to a few percent from below, by power iteration."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(A.shape[1], generator=generator).to(A)
    value = torch.zeros(1)
    for _ in range(n_steps):
        vector = A.T @ (A @ (vector / vector.norm().clamp_min(torch.finfo(A.dtype).tiny)))
        value = vector.norm()
    return float(value)


def needs_double(shape: tuple[int, ...], smallest_alpha: float, largest: Callable[[], float]) -> bool:
    """Whether single precision could not tell held-out errors at the smallest penalty that is tried.

    `largest` gives the largest eigenvalue; small problems are in double precision without asking.
    """
    return min(shape) > SMALL_SIDE and largest() > SELECTION_LIMIT * smallest_alpha


def eigh(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues (n,), increasing and not below zero, and eigenvectors (n, n) of a Gram matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return values.clamp_min(0), vectors


@dataclass(frozen=True)
class Standardisation:
    """Centre and scale of voxels, from training trials; the scale is 0 where a voxel does not vary."""

    mean: NDArray[np.floating]
    inverse_scale: NDArray[np.floating]

    @classmethod
    def of(cls, X: NDArray[np.floating], weights: NDArray[np.float64], scale: bool) -> Standardisation:
        """Weighted mean and, if `scale`, deviation of the columns of X (n_samples, n_features)."""
        share = weights / weights.sum()
        mean = np.empty(X.shape[1])
        deviation = np.empty(X.shape[1])
        for start in range(0, X.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            block = X[:, part].astype(np.float64)
            mean[part] = share @ block
            block -= mean[part]
            np.square(block, out=block)
            deviation[part] = np.sqrt(share @ block)
        varies = deviation > 10 * np.finfo(X.dtype).eps * np.abs(mean)
        inverse = np.where(varies, 1.0 / np.where(varies & scale, deviation, 1.0), 0.0)
        return cls(mean.astype(X.dtype), inverse.astype(X.dtype))

    def apply(self, X: NDArray[np.floating]) -> NDArray[np.floating]:
        """Standardise rows (m, n_features) with these statistics, in the precision of X."""
        centred = X - self.mean
        centred *= self.inverse_scale
        return centred


@dataclass(frozen=True)
class RidgeFactor:
    """Eigendecomposition of the smaller side of a weighted design matrix A (n_samples, n_features).

    Rows of A are standardised responses times the square root of the weight of their sample. With `dual` true
    it is A Aᵀ = V Λ Vᵀ, otherwise Aᵀ A = V Λ Vᵀ. The minimiser of Σ wᵢ ‖yᵢ - b - xᵢ W‖² + α ‖W‖² is then, for
    every α > 0 and with Y centred and weighted like A,

        W = Aᵀ V (Λ + α)⁻¹ Vᵀ Y    or    W = V (Λ + α)⁻¹ Vᵀ Aᵀ Y.

    Attributes
    ----------
    design : Tensor (n_samples, n_features)
        A, float32 or float64.
    root : Tensor (n_samples,) float64
        Square roots of the weights.
    values, vectors : Tensor (side,), (side, side)
        Λ and V; float64 where the side is small or A is float64.
    dual : bool
    """

    design: torch.Tensor
    root: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor
    dual: bool
    _last: dict[float, torch.Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        standardised: NDArray[np.floating],
        weights: NDArray[np.float64],
        device: torch.device,
        double: bool = False,
    ) -> RidgeFactor:
        """Decompose standardised responses (n_samples, n_features) with weights (n_samples,).

        In double precision where that is asked for, or the matrix is small.
        """
        design = to_device(standardised, device)
        root = torch.from_numpy(np.sqrt(weights)).to(device)
        if not bool((root == 1).all()):
            design = design * root.to(design.dtype)[:, None]
        dual = design.shape[0] < design.shape[1]
        double = double or min(design.shape) <= SMALL_SIDE
        values, vectors = eigh(gram(design if dual else design.T, torch.float64 if double else design.dtype))
        return cls(design, root, values, vectors, dual)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the decomposition."""
        return self.values.dtype

    def is_exact(self, alpha: float) -> bool:
        """Whether the decomposition's precision is enough for predictions with this penalty."""
        return self.dtype == torch.float64 or float(self.values[-1]) <= SINGLE_PRECISION_LIMIT * alpha

    def solve(self, B: torch.Tensor, alpha: float) -> torch.Tensor:
        """(Λ-side matrix + α)⁻¹ B (side, k).

        In the eigenbasis, or, where single precision is not enough for so small a penalty, by Cholesky
        factorisation in double precision.
        """
        if not self.is_exact(alpha):
            return torch.cholesky_solve(B.double(), self._kept(alpha, self._cholesky))
        B = B.to(self.dtype)
        if B.shape[1] <= len(self.values):
            return self.vectors @ ((self.vectors.T @ B) / (self.values + alpha)[:, None])
        # One product with many columns in place of two.
        return self._kept(alpha, self._inverse) @ B

    def _kept(self, alpha: float, make: Callable[[float], torch.Tensor]) -> torch.Tensor:
        """What was made for this penalty. Only the last is kept: equal penalties come one after the other."""
        if alpha not in self._last:
            self._last.clear()
            self._last[alpha] = make(alpha)
        return self._last[alpha]

    def _cholesky(self, alpha: float) -> torch.Tensor:
        shifted = gram(self.design if self.dual else self.design.T, torch.float64)
        shifted.diagonal().add_(alpha)
        return torch.linalg.cholesky(shifted)

    def _inverse(self, alpha: float) -> torch.Tensor:
        return (self.vectors / (self.values + alpha)) @ self.vectors.T

    def smoother(self, X: torch.Tensor, alpha: float) -> torch.Tensor:
        """Matrix S (m, n_samples) that turns training targets into predictions: Ŷ = S Y.

        Centring of the targets and their weights are inside, so that Y is as it was given.

        Parameters
        ----------
        X : Tensor (m, n_features)
            Standardised responses, not weighted.
        alpha : float
        """
        precision = torch.float64 if not self.is_exact(alpha) else self.dtype
        root = self.root.to(precision)
        if self.dual:
            H = self.solve(cross_gram(self.design, X, precision), alpha).T
        else:
            H = cross_gram(self.solve(X.T.to(precision), alpha).T, self.design, precision)
        H = H * root
        share = root**2 / (root**2).sum()
        return H + (1 - H.sum(dim=1, keepdim=True)) * share

    def dual_coefficients(self, Y: torch.Tensor, alpha: float) -> torch.Tensor:
        """Coefficients D (n_samples, n_targets) of training responses: W = Aᵀ D, of a dual factor.

        Parameters
        ----------
        Y : Tensor (n_samples, n_targets)
            Targets, centred and weighted (see `weigh`).
        """
        return self.solve(Y, alpha).to(self.design.dtype)

    def coefficients(self, Y: torch.Tensor, alpha: float) -> torch.Tensor:
        """Primal coefficients W (n_features, n_targets) from centred and weighted targets."""
        if self.dual:
            return self.design.T @ self.solve(Y, alpha).to(self.design.dtype)
        return self.solve(self.design.T @ Y.to(self.design.dtype), alpha).to(self.design.dtype)

    def weigh(self, Y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets (n_samples, n_targets) centred and weighted, and their weighted means (n_targets,)."""
        share = (self.root**2 / (self.root**2).sum()).to(Y.dtype)
        centre = share @ Y
        return (Y - centre) * self.root.to(Y.dtype)[:, None], centre
