"""The linear least-squares problems of which each gives one step of a registration."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

LEAST_GAIN = 0.1
"""Of the reference in a volume, both standardised. A reference that explains less, or the negative of a
volume, would ask for steps without bounds."""

LEAST_OVERLAP = 0.2
"""Part of the points that have to lie within both fields of view; with fewer, nothing moves."""


class StepEquations:
    """Linear least-squares problems of some volumes: which movement, gain and offset fit them best.

    Parameters
    ----------
    columns : tensor (n, 8, n_points) float32
        Derivatives of the reference by three translations and three rotations, the reference itself, and one.
    values : tensor (n, n_points) float32
        Of the volumes.
    weights : tensor (n, n_points) float32
        Of the points in each volume.
    """

    def __init__(self, columns: torch.Tensor, values: torch.Tensor, weights: torch.Tensor) -> None:
        self._values, self._weights = values, weights
        self._weighted = columns * weights[:, None]
        normal = (self._weighted @ columns.mT).double().cpu().numpy()
        scale = np.sqrt(np.maximum(np.diagonal(normal, axis1=1, axis2=2), 1e-12))
        unscaled = normal / scale[:, :, None] / scale[:, None, :]
        # A single slice says nothing of some movements; they are then left at zero.
        self._inverse = (
            np.linalg.pinv(unscaled, rcond=1e-6, hermitian=True) / scale[:, :, None] / scale[:, None, :]
        )
        self._count = np.maximum(normal[:, -1, -1], 1)
        self._apart = normal[:, -1, -1] < LEAST_OVERLAP * values.shape[1]
        spread = self._sum(weights * values**2) - self._sum(weights * values) ** 2 / self._count
        self._deviation = np.sqrt(np.maximum(spread, 1e-30) / self._count)
        self._fitted = np.tile([1.0, 0.0], (len(normal), 1))
        self.renew(columns[:, 6].flatten())

    def renew(self, predicted: torch.Tensor) -> None:
        """Take the reference's values (n * n_points,) where the points have come to lie."""
        gain, offset = torch.from_numpy(self._fitted.astype(np.float32)).to(predicted.device).T[..., None]
        self._difference = self._values - gain * predicted.view_as(self._values) - offset

    def solve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Movements (n, 6) in units of the derivatives, and residuals (n,) once they are made.

        A residual is the deviation of what is unexplained over that of the volume; 1 without overlap.
        """
        right = (self._weighted @ self._difference[..., None])[..., 0].double().cpu().numpy()
        solution = (self._inverse @ right[..., None])[..., 0]
        left = self._sum(self._weights * self._difference**2) - (solution * right).sum(1)
        residual = np.sqrt(np.maximum(left, 0) / self._count) / self._deviation
        residual[self._apart], solution[self._apart] = 1, 0
        self._fitted += solution[:, 6:]
        gain = np.maximum(self._fitted[:, :1], LEAST_GAIN * self._deviation[:, None])
        return solution[:, :6] / gain, residual

    def of(self, volumes: NDArray[np.bool_]) -> StepEquations:
        """The problems of some of the volumes."""
        if volumes.all():
            return self
        part = object.__new__(StepEquations)
        for name, value in vars(self).items():
            setattr(part, name, value[volumes])
        return part

    @staticmethod
    def _sum(terms: torch.Tensor) -> NDArray[np.float64]:
        return terms.sum(1, dtype=torch.float64).cpu().numpy()
