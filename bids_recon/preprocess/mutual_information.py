"""How much one volume tells about another that shows the same head in another contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from bids_recon.rois.grids import Volume

RANGE_PERCENTILES = (0.5, 99.5)
"""Intensities beyond these percentiles share the outermost bins: spikes would empty the others."""

LEAST_OVERLAP = 0.3
"""Share of the points that must lie within the other volume; below it nothing is known."""


class MutualInformation:
    """Mutual information of values at fixed points and of a volume that is placed over them.

    Binning follows Mattes et al. (IEEE Trans. Med. Imaging 22, 2003, 120-128): a box for the values at the
    fixed points, a smooth window, here a triangle in place of a cubic spline, for the moving volume. It is
    continuous in the transform, as linear interpolation is.

    Parameters
    ----------
    points : ndarray (n, 3)
        In mm, in the space of the fixed volume.
    values : ndarray (n,)
        Of the fixed volume at the points.
    moving : Volume
        The other volume.
    n_bins : int
        Bins along each side of the joint histogram.
    """

    def __init__(
        self, points: NDArray[np.floating], values: NDArray[np.floating], moving: Volume, *, n_bins: int = 32
    ) -> None:
        if len(points) != len(values) or len(points) == 0:
            raise ValueError(f"{len(points)} points and {len(values)} values")
        self.n_bins = n_bins
        self._points = np.ascontiguousarray(np.asarray(points, dtype=np.float64).T)
        self._rows = np.rint(_bin_positions(np.asarray(values), n_bins)).astype(np.int64) * n_bins
        self._positions = _bin_positions(np.asarray(moving.data), n_bins).astype(np.float32)
        self._to_voxels = np.linalg.inv(moving.affine)
        self._last = np.array(self._positions.shape)[:, None] - 0.5

    def histogram(self, pull: NDArray[np.float64]) -> NDArray[np.float64]:
        """Joint histogram (n_bins, n_bins) of the points that fall into the moving volume, as counts.

        Parameters
        ----------
        pull : ndarray (4, 4)
            Maps points of the fixed space to points of the moving space, in mm.
        """
        matrix = self._to_voxels @ pull
        voxels = matrix[:3, :3] @ self._points + matrix[:3, 3:]
        inside = ((voxels > -0.5) & (voxels < self._last)).all(axis=0)
        rows = self._rows
        if not inside.all():
            voxels, rows = voxels[:, inside], rows[inside]
        position = map_coordinates(self._positions, voxels, order=1, mode="nearest")
        lower = np.minimum(position.astype(np.int64), self.n_bins - 2)
        share = (position - lower).astype(np.float64)
        cells, size = rows + lower, self.n_bins**2
        # The two bins that share a value are neighbours in memory.
        counts = np.bincount(cells, 1 - share, size) + np.bincount(cells + 1, share, size)
        return np.asarray(counts, dtype=np.float64).reshape(self.n_bins, self.n_bins)

    def __call__(self, pull: NDArray[np.float64], *, normalised: bool = False) -> float:
        """Mutual information in nats; see `mutual_information`."""
        counts = self.histogram(pull)
        total = counts.sum()
        if total < LEAST_OVERLAP * len(self._rows):
            return 0.0
        joint = counts / total
        fixed, moving = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
        both = _entropy(joint)
        if normalised:
            return (fixed + moving) / both if both > 0 else 1.0
        return fixed + moving - both


def mutual_information(
    fixed: Volume,
    moving: Volume,
    pull: NDArray[np.float64],
    *,
    mask: NDArray[np.bool_] | None = None,
    n_bins: int = 32,
    normalised: bool = False,
) -> float:
    """Mutual information of two volumes, at the voxels of the first.

    Parameters
    ----------
    fixed, moving : Volume
        Three-dimensional.
    pull : ndarray (4, 4) float64
        Maps points of the space of `fixed` to points of the space of `moving`, in mm.
    mask : ndarray (x, y, z) bool, optional
        Voxels of `fixed` that count; all by default.
    n_bins : int
        Bins along each side of the joint histogram.
    normalised : bool
        Give (H(fixed) + H(moving)) / H(fixed, moving), from 1 (independent) to 2 (one determines the other),
        which depends less on the overlap (Studholme et al., Pattern Recognition 32, 1999, 71-86).

    Returns
    -------
    float
        In nats. Voxels of `fixed` outside `moving` do not count; 0 (1 if normalised) says that less than
        `LEAST_OVERLAP` of them are inside, or that one volume is constant.

    Raises
    ------
    ValueError
        If the mask is empty or of another shape.
    """
    chosen = np.ones(fixed.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if chosen.shape != fixed.shape:
        raise ValueError(f"the mask has the shape {chosen.shape}, the volume {fixed.shape}")
    points = np.argwhere(chosen) @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    value = MutualInformation(points, fixed.data[chosen], moving, n_bins=n_bins)(pull, normalised=normalised)
    return max(value, 1.0) if normalised else max(value, 0.0)


def _bin_positions(values: NDArray[np.floating], n_bins: int) -> NDArray[np.floating]:
    """Values scaled to 0 ... n_bins - 1 between `RANGE_PERCENTILES`; what is not finite is 0."""
    values = np.nan_to_num(values.astype(np.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, RANGE_PERCENTILES)
    if high <= low:
        # A small object in an empty field of view.
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros_like(values)
    return np.clip((values - low) * ((n_bins - 1) / (high - low)), 0, n_bins - 1)


def _entropy(probabilities: NDArray[np.float64]) -> float:
    present = probabilities[probabilities > 0]
    return float(-(present * np.log(present)).sum())
