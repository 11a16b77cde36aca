"""Weights of decoders whose units each see few voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from bids_recon.errors import DataError

# Units whose weights are spread out over all voxels at a time.
UNITS = 2048


@dataclass(frozen=True)
class UnitWeights:
    """Linear predictions from few voxels per unit: offset + (x - x_mean) · weights.

    Attributes
    ----------
    starts : ndarray (n_targets + 1,) int64
        The weights of target i are those from `starts[i]` to before `starts[i + 1]`.
    voxels : ndarray (n_weights,) int32
        Voxel of each weight, increasing within a target.
    weights : ndarray (n_weights,)
        Per unit of response as given.
    offset : ndarray (n_targets,)
        Prediction at the mean response.
    x_mean : ndarray (n_voxels,) float64
        Mean training response.
    """

    starts: NDArray[np.int64]
    voxels: NDArray[np.int32]
    weights: NDArray[np.floating]
    offset: NDArray[np.floating]
    x_mean: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        counts: ArrayLike,
        voxels: Sequence[NDArray[np.integer]],
        weights: Sequence[NDArray[np.floating]],
        offset: NDArray[np.floating],
        x_mean: NDArray[np.float64],
    ) -> UnitWeights:
        """Put together voxels and weights of consecutive targets, `counts` (n_targets,) of them each."""
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        flat = np.concatenate(voxels, dtype=np.int32, casting="same_kind")
        return cls(starts, flat, np.concatenate(weights, dtype=offset.dtype), offset, x_mean)

    def dense(self, part: slice = slice(None)) -> NDArray[np.floating]:
        """Weights of some targets over all voxels (n_targets, n_voxels)."""
        first, last, _ = part.indices(len(self.offset))
        begin, end = self.starts[first], self.starts[last]
        rows = (self.weights[begin:end], self.voxels[begin:end], self.starts[first : last + 1] - begin)
        spread: NDArray[np.floating] = scipy.sparse.csr_array(
            rows, shape=(last - first, len(self.x_mean))
        ).toarray()
        return spread

    def intercept(self) -> NDArray[np.floating]:
        """Prediction (n_targets,) for a response of zero."""
        return self.predict(np.zeros((1, len(self.x_mean)), dtype=self.x_mean.dtype))[0]

    def predict(self, X: NDArray[np.floating]) -> NDArray[np.floating]:
        """Predictions (n_trials, n_targets) from responses (n_trials, n_voxels)."""
        centred = (X - self.x_mean).astype(X.dtype)
        predicted = np.empty((len(X), len(self.offset)), dtype=centred.dtype)
        for start in range(0, len(self.offset), UNITS):
            part = slice(start, start + UNITS)
            predicted[:, part] = centred @ self.dense(part).T + self.offset[part]
        return predicted

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> UnitWeights:
        """Rebuild from the arrays of `state`; others are ignored.

        Raises
        ------
        DataError
            When an array is missing.
        """
        try:
            return cls(**{name: state[name] for name in cls.__dataclass_fields__})
        except KeyError as error:
            raise DataError(f"the saved decoder lacks the array {error}") from error
