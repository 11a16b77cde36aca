"""A head made of nested ellipsoids: where the brain is, and how it looks to the scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Radius, as a share of the brain's, at which each tissue begins and ends, with its T1w and EPI intensity.
# White matter, grey matter, fluid, skull, scalp; beyond the last is air.
RADII = (0.00, 0.70, 0.76, 0.93, 0.96, 1.00, 1.03, 1.09, 1.11, 1.18, 1.21)
T1W = (1.00, 1.00, 0.72, 0.72, 0.25, 0.25, 0.06, 0.06, 0.85, 0.85, 0.00)
EPI = (0.78, 0.78, 1.00, 1.00, 1.25, 1.25, 0.05, 0.05, 0.30, 0.30, 0.00)
T2 = (0.45, 0.45, 0.70, 0.70, 1.30, 1.30, 0.05, 0.05, 0.40, 0.40, 0.00)
# Intensity of tissues by contrast, and that of the ventricles.
CONTRASTS = {"T1w": (T1W, 0.25), "EPI": (EPI, 1.30), "T2": (T2, 1.35)}

# What only a head with landmarks has: centre and semi-axes as shares of the brain's, and the place in RADII
# of the tissue. Nothing lies among the visual areas.
LANDMARKS = (
    ((-0.38, 0.25, -0.05), (0.14, 0.22, 0.15), 2),  # deep grey matter, larger on the left
    ((0.36, 0.10, -0.02), (0.10, 0.16, 0.12), 2),
    ((0.40, 0.45, 0.28), (0.16, 0.14, 0.14), 4),  # a cyst on the right, in front
    ((-0.45, -0.10, 0.52), (0.12, 0.16, 0.10), 4),  # a smaller one on the left, above
    ((0.00, 0.48, -0.55), (0.22, 0.12, 0.14), 2),  # grey matter in front and below
    ((0.00, 1.06, -0.52), (0.14, 0.12, 0.22), 8),  # nose
)

CORTEX_RADIUS = 0.94
# Parts along each axis of a voxel over which it averages.
PARTS = 3
BRAIN_RADIUS = 1.0


@dataclass(frozen=True)
class Head:
    """Size of a head.

    Attributes
    ----------
    axes : tuple of 3 float
        Semi-axes of the brain along x (to the right), y (to the front) and z (up), in mm.
    folding : float
        Phase of the folds of the cortex, in radians.
    landmarks : bool
        Whether there are structures that make left, right, front and back differ, and voxels average over
        the tissues they hold.
    """

    axes: tuple[float, float, float]
    folding: float
    landmarks: bool = False

    @classmethod
    def fitted(
        cls, extent: tuple[float, float, float], rng: np.random.Generator, *, landmarks: bool = False
    ) -> Head:
        """Draw a head that fills a field of view of `extent` mm, up to 6 % smaller."""
        largest = np.asarray(extent) / 2 / RADII[-1]
        axes = largest * rng.uniform(0.94, 1.0, 3)
        size = (float(axes[0]), float(axes[1]), float(axes[2]))
        return cls(size, float(rng.uniform(0, 2 * np.pi)), landmarks)

    def radius(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance from the centre as a share of the brain's radius in that direction.

        Parameters
        ----------
        points : ndarray (..., 3)
            Scanner coordinates in mm.

        Returns
        -------
        ndarray (...,)
        """
        return np.linalg.norm(points / np.asarray(self.axes), axis=-1)

    def intensity(self, points: NDArray[np.float64], contrast: str) -> NDArray[np.float64]:
        """Image intensity at `points` (..., 3), about 1 in the brain, for contrast `T1w`, `T2` or `EPI`."""
        values, ventricle = CONTRASTS[contrast]
        unit = points / np.asarray(self.axes)
        # Folds shift the border of grey and white matter, and give registration something to hold on to.
        folds = (
            np.sin(9 * unit[..., 0] + self.folding)
            * np.sin(8 * unit[..., 1])
            * np.sin(7 * unit[..., 2] - self.folding)
        )
        radius = self.radius(points)
        image = np.interp(radius + 0.05 * folds * (radius < CORTEX_RADIUS), RADII, values)
        # Two ventricles beside the midline, in front of the visual areas and above the centre.
        for side in (-1, 1):
            inside = np.linalg.norm((unit - [0.16 * side, 0.1, 0.1]) / [0.09, 0.35, 0.15], axis=-1)
            image = np.where(inside < 1, ventricle, image)
        for centre, size, tissue in LANDMARKS if self.landmarks else ():
            inside = np.linalg.norm((unit - np.asarray(centre)) / np.asarray(size), axis=-1)
            image = np.where(inside < 1, values[tissue], image)
        return image

    def image(
        self, shape: tuple[int, int, int], affine: NDArray[np.float64], contrast: str
    ) -> NDArray[np.float64]:
        """Image (x, y, z) of the head on a grid, given the affine from its voxels to the head at rest.

        The voxels of a head with landmarks average over what they hold; otherwise each shows its centre.
        """
        if not self.landmarks:
            return self.intensity(grid_points(shape, affine), contrast)
        steps = (np.arange(PARTS) + 0.5) / PARTS - 0.5
        image = np.zeros(shape)
        for step in np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3):
            shifted = affine.copy()
            shifted[:3, 3] += affine[:3, :3] @ step
            image += self.intensity(grid_points(shape, shifted), contrast)
        return image / PARTS**3


def grid_affine(shape: tuple[int, int, int], voxel_size: float) -> NDArray[np.float64]:
    """Affine of an isotropic grid (x to the right, y to the front, z up) centred on the scanner's origin."""
    affine = np.diag([voxel_size, voxel_size, voxel_size, 1.0])
    affine[:3, 3] = -voxel_size * (np.asarray(shape) - 1) / 2
    return affine


def grid_points(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scanner coordinates of every voxel, (*shape, 3), in mm."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    return index @ affine[:3, :3].T + affine[:3, 3]
