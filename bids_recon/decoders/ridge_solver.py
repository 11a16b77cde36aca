"""Ridge regression by one eigendecomposition that serves every penalty and every target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

# Voxels (or targets) that are turned into double precision at a time.
BLOCK = 2048


def gram(A: NDArray[np.floating], B: NDArray[np.floating]) -> NDArray[np.float64]:
    """Inner products A @ B.T (n, m) float64 of rows, without a float64 copy of either whole matrix."""
    products = np.zeros((len(A), len(B)))
    for start in range(0, A.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        products += A[:, part].astype(np.float64) @ B[:, part].astype(np.float64).T
    return products


def _eigh(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, vectors = scipy.linalg.eigh(matrix, driver="evd", overwrite_a=True, check_finite=False)
    return np.maximum(values, 0.0), vectors


@dataclass(frozen=True)
class RidgeFactor:
    """Eigendecomposition of the smaller side of a design matrix A (n_samples, n_features).

    With `dual` true it is A Aᵀ = U Λ Uᵀ, otherwise Aᵀ A = V Λ Vᵀ. The minimiser of
    ‖Y - A W‖² + α ‖W‖² is then, for every α > 0,

        W = Aᵀ U (Λ + α)⁻¹ Uᵀ Y    or    W = V (Λ + α)⁻¹ Vᵀ Aᵀ Y.
    """

    design: NDArray[np.floating]
    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    dual: bool

    @classmethod
    def of(cls, design: NDArray[np.floating]) -> RidgeFactor:
        """Decompose a centred design matrix (n_samples, n_features)."""
        dual = design.shape[0] < design.shape[1]
        side = design if dual else design.T
        return cls(design, *_eigh(gram(side, side)), dual)

    def rotate(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """New rows (m, n_features) in the eigenbasis: (m, rank)."""
        return (gram(X, self.design) if self.dual else X.astype(np.float64)) @ self.vectors

    def project(self, Y: NDArray[np.floating]) -> NDArray[np.float64]:
        """Targets (n_samples, n_targets) in the eigenbasis: (rank, n_targets)."""
        return self.vectors.T @ (np.asarray(Y, np.float64) if self.dual else gram(self.design.T, Y.T))

    def coefficients(self, Y: NDArray[np.floating], alpha: float) -> NDArray[np.floating]:
        """W (n_features, n_targets), in the precision of the design matrix."""
        weights = self.vectors @ (self.project(Y) / (self.values + alpha)[:, None])
        if not self.dual:
            return weights.astype(self.design.dtype)
        return self.design.T @ weights.astype(self.design.dtype)


def isometric_targets(Y: NDArray[np.floating]) -> NDArray[np.float64]:
    """Targets with the same distances between rows, and at most n_samples columns.

    Ridge predictions are combinations of the rows of Y, so that squared errors depend on Y only through
    distances between its rows: cross-validation over 91,168 targets costs no more than over n_samples.
    """
    if Y.shape[1] <= Y.shape[0]:
        return np.asarray(Y, dtype=np.float64)
    values, vectors = _eigh(_double_centre(gram(Y, Y)))
    return vectors * np.sqrt(values)


def _double_centre(K: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = K.mean(axis=0)
    return K - rows - rows[:, None] + rows.mean()


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
            deviation[part] = np.sqrt(share @ (block - mean[part]) ** 2)
        varies = deviation > 10 * np.finfo(X.dtype).eps * np.abs(mean)
        inverse = np.where(varies, 1.0 / np.where(varies & scale, deviation, 1.0), 0.0)
        return cls(mean.astype(X.dtype), inverse.astype(X.dtype))

    def apply(self, X: NDArray[np.floating]) -> NDArray[np.floating]:
        """Standardise rows (m, n_features) with these statistics, in the precision of X."""
        return (X - self.mean) * self.inverse_scale


def validation_errors(
    X: NDArray[np.floating],
    Y: NDArray[np.floating],
    held_out: NDArray[np.bool_],
    weights: NDArray[np.float64],
    alphas: NDArray[np.float64],
    scale: bool,
) -> tuple[NDArray[np.float64], float]:
    """Weighted squared errors of one fold, for every penalty at the cost of one.

    Parameters
    ----------
    X : ndarray (n_samples, n_features)
    Y : ndarray (n_samples, n_targets)
    held_out : ndarray (n_samples,) bool
        Rows to predict; means, deviations and coefficients come from the others.
    weights : ndarray (n_samples,)
    alphas : ndarray (n_alphas,)
    scale : bool
        Whether columns of X are divided by their deviation.

    Returns
    -------
    errors : ndarray (n_alphas,)
    baseline : float
        Error of predicting the training mean.
    """
    root = np.sqrt(weights[~held_out])[:, None]
    standard = Standardisation.of(X[~held_out], weights[~held_out], scale)
    factor = RidgeFactor.of(standard.apply(X[~held_out]) * root.astype(X.dtype))
    centre = np.average(Y[~held_out], axis=0, weights=weights[~held_out])
    projected = factor.project((Y[~held_out] - centre) * root)
    rotated = factor.rotate(standard.apply(X[held_out]))
    truth = Y[held_out] - centre
    errors = np.empty(len(alphas))
    for position, alpha in enumerate(alphas):
        residual = truth - (rotated / (factor.values + alpha)) @ projected
        errors[position] = weights[held_out] @ np.einsum("ij,ij->i", residual, residual)
    return errors, float(weights[held_out] @ np.einsum("ij,ij->i", truth, truth))
