"""Least squares of the parametric inversion: encoding, noise across voxels, decoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from bids_recon.errors import DataError

# Voxels that are turned into double precision at a time.
BLOCK = 2048
# Noise of a voxel is taken for at least this share of the deviation of its responses: without noise, there is
# nothing to weigh voxels by.
NOISE_FLOOR = 1e-6
SHRINKAGE_FLOOR = 1e-3


def products(A: NDArray[np.floating], B: NDArray[np.floating]) -> NDArray[np.float64]:
    """Inner products A @ B.T (n, m) float64 of rows, without a float64 copy of either whole matrix."""
    total = np.zeros((len(A), len(B)))
    for start in range(0, A.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        total += A[:, part].astype(np.float64) @ B[:, part].astype(np.float64).T
    return total


def mixtures(weights: NDArray[np.floating], X: NDArray[np.floating]) -> NDArray[np.float64]:
    """Products weights @ X (n, n_voxels) float64, without a float64 copy of X."""
    mixed = np.empty((len(weights), X.shape[1]))
    for start in range(0, X.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        mixed[:, part] = weights @ X[:, part].astype(np.float64)
    return mixed


@dataclass(frozen=True)
class Encoding:
    """Model X = 1 b + Y W of responses X (n_trials, n_voxels) by latents Y (n_trials, n_latents).

    Attributes
    ----------
    weights : ndarray (n_latents, n_voxels)
        W, by least squares; of least norm where Y does not determine it.
    constant : ndarray (n_voxels,)
        b.
    x_mean : ndarray (n_voxels,)
    y_mean : ndarray (n_latents,)
    reached : ndarray (n_trials, 1 + rank)
        Orthonormal directions of trials that the model can reach, the constant first.
    """

    weights: NDArray[np.float64]
    constant: NDArray[np.float64]
    x_mean: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    reached: NDArray[np.float64]

    @property
    def rank(self) -> int:
        """Rank of the centred latents."""
        return self.reached.shape[1] - 1

    def residual_directions(self) -> NDArray[np.float64]:
        """Orthonormal directions of trials (n_trials - 1 - rank, n_trials) that the model cannot reach."""
        return scipy.linalg.qr(self.reached)[0][:, self.reached.shape[1] :].T

    @classmethod
    def fit(cls, X: NDArray[np.floating], Y: NDArray[np.float64]) -> Encoding:
        """Least squares for all voxels at once."""
        x_mean, y_mean = X.mean(axis=0, dtype=np.float64), Y.mean(axis=0)
        # With a constant in the model, least squares on centred variables has the same slopes.
        centred = Y - y_mean
        U, values, Vt = scipy.linalg.svd(centred, full_matrices=False)
        real = values > max(centred.shape) * np.finfo(np.float64).eps * values.max(initial=0.0)
        U, solver = U[:, real], (Vt[real].T / values[real]) @ U[:, real].T
        weights = mixtures(solver, X) - np.outer(solver.sum(axis=1), x_mean)
        reached = np.column_stack([np.full(len(Y), 1.0 / np.sqrt(len(Y))), U])
        return cls(weights, x_mean - y_mean @ weights, x_mean, y_mean, reached)


@dataclass(frozen=True)
class NoiseCovariance:
    """Noise covariance across voxels, C = D^½ ((1 - δ) R + δ μ I) D^½, never written out.

    D has the noise variances of voxels, R = Zᵀ Z / m is their noise correlation from m residuals Z, μ the
    mean of its diagonal. δ is the shrinkage of Ledoit & Wolf (2004, J Multivariate Analysis 88:365) for Z;
    with δ = 1, C is diagonal. What the latents do not explain is noise here, signal of the pictures too.

    Attributes
    ----------
    inverse_scale : ndarray (n_voxels,)
        D^-½; 0 for voxels that do not vary, which then count for nothing.
    residuals : ndarray (m, n_voxels)
        Z; independent, each with the covariance of one trial's noise, where trials have alike Gaussian noise.
    gram : ndarray (m, m)
        Z Zᵀ.
    shrinkage : float
        δ.
    mean : float
        μ.
    """

    inverse_scale: NDArray[np.float64]
    residuals: NDArray[np.float64]
    gram: NDArray[np.float64]
    shrinkage: float
    mean: float

    @classmethod
    def of(cls, X: NDArray[np.floating], encoding: Encoding, kind: str) -> NoiseCovariance:
        """Estimate from training responses (n_trials, n_voxels) and their encoding model.

        Residuals are taken along directions of trials that the model cannot reach, so that what it has fitted
        does not make them small.

        Parameters
        ----------
        X : ndarray (n_trials, n_voxels)
        encoding : Encoding
            Of these responses.
        kind : {"diagonal", "shrunk"}

        Raises
        ------
        DataError
            When the model leaves fewer than two residuals.
        """
        m = len(X) - 1 - encoding.rank
        if m < 2:
            raise DataError(
                f"{encoding.rank} latents are fitted to {len(X)} trials: that leaves no noise to estimate",
                remedy="Decode fewer latents, or take no noise covariance into account.",
            )
        residuals = mixtures(encoding.residual_directions(), X)
        spread = X.std(axis=0, dtype=np.float64)
        varies = spread > 10 * np.finfo(X.dtype).eps * np.abs(encoding.x_mean)
        noise = np.maximum(np.sqrt((residuals**2).mean(axis=0)), NOISE_FLOOR * spread)
        inverse_scale = np.where(varies, 1.0 / np.where(varies, noise, 1.0), 0.0)
        residuals *= inverse_scale
        if kind == "diagonal":
            return cls(inverse_scale, residuals[:0], np.zeros((0, 0)), 1.0, 1.0)
        gram = products(residuals, residuals)
        n_voxels = max(1, int(varies.sum()))
        mean = float(np.trace(gram)) / m / n_voxels
        shrinkage = max(ledoit_wolf(gram, n_voxels), SHRINKAGE_FLOOR)
        return cls(inverse_scale, residuals, gram, shrinkage, mean)

    def solve(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows times the inverse covariance, rows C⁻¹ (k, n_voxels).

        With Woodbury's identity: the inverse of (1 - δ) Zᵀ Z / m + δ μ I is
        (I - Zᵀ (m δ μ / (1 - δ) I + Z Zᵀ)⁻¹ Z) / (δ μ), where only an m x m matrix is inverted.
        """
        scaled = rows * self.inverse_scale
        if self.shrinkage < 1.0 and self.mean > 0:
            m = len(self.gram)
            inner = self.gram + m * self.shrinkage * self.mean / (1.0 - self.shrinkage) * np.eye(m)
            shares = scipy.linalg.solve(inner, products(self.residuals, scaled), assume_a="pos")
            scaled = scaled - mixtures(shares.T, self.residuals)
        return scaled * self.inverse_scale / (self.shrinkage * (self.mean or 1.0))


def ledoit_wolf(gram: NDArray[np.float64], n_features: int) -> float:
    """Shrinkage of Ledoit & Wolf (2004) from the Gram matrix (m, m) of m centred samples.

    Sums over all pairs of features are sums over all pairs of samples: Σᵢⱼ (Zᵀ Z)ᵢⱼ² = Σₛₜ (Z Zᵀ)ₛₜ², and
    Σᵢⱼ Σₛ zₛᵢ² zₛⱼ² = Σₛ (Z Zᵀ)ₛₛ².
    """
    m = len(gram)
    squared_norm = float((gram**2).sum()) / m**2
    mean = float(np.trace(gram)) / m / n_features
    distance = squared_norm - n_features * mean**2
    error = (float((np.diag(gram) ** 2).sum()) / m - squared_norm) / m
    return float(np.clip(error / distance, 0.0, 1.0)) if distance > 0 else 1.0


@dataclass(frozen=True)
class Inversion:
    """Solution of y = x W for x by least squares over voxels, x = y C⁻¹ Wᵀ (W C⁻¹ Wᵀ)⁻¹.

    Attributes
    ----------
    inverse : ndarray (n_voxels, k)
        C⁻¹ Wᵀ (W C⁻¹ Wᵀ)⁻¹.
    condition_number : float
        Of W C⁻¹ Wᵀ with its rows scaled.
    n_floored : int
        Eigenvalues that were raised.
    """

    inverse: NDArray[np.float64]
    condition_number: float
    n_floored: int

    @classmethod
    def of(cls, rows: NDArray[np.float64], noise: NoiseCovariance | None, floor: float) -> Inversion:
        """Invert the rows W (k, n_voxels) of an encoding model.

        Parameters
        ----------
        rows : ndarray (k, n_voxels)
        noise : NoiseCovariance, optional
            C; the identity if left out.
        floor : float
            Eigenvalues below this share of the largest are raised to it.
        """
        weighed = rows if noise is None else noise.solve(rows)
        gram = products(weighed, rows)
        # Rows of unit length: the condition then tells of collinear rows, not of the units of latents.
        lengths = np.sqrt(np.maximum(np.diag(gram), 0.0))
        lengths = np.where(lengths > 0, lengths, 1.0)
        values, vectors = scipy.linalg.eigh((gram + gram.T) / 2 / np.outer(lengths, lengths))
        largest = max(float(values[-1]), np.finfo(np.float64).tiny)
        floored = values < floor * largest
        condition = float(largest / max(values[0], np.finfo(np.float64).eps * largest))
        values = np.where(floored, floor * largest, values)
        solution = (vectors / values) @ vectors.T / np.outer(lengths, lengths)
        return cls(weighed.T @ solution, condition, int(np.count_nonzero(floored)))
