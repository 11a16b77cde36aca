"""A head that is a formula: a moved volume needs no interpolation, and the truth has no error of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_recon.preprocess.rigid import matrices

CENTRE = np.array([2.0, -15.0, 8.0])
RADII = np.array([66.0, 82.0, 60.0])
NOISE = 0.015 * 1000
SHAPE = (50, 60, 42)
"""Of volumes of 3.4 mm that hold the whole head."""

_rng = np.random.default_rng(7)
# Grey and white matter: waves of 14 to 40 mm in all directions.
_WAVES = _rng.normal(size=(20, 3))
_WAVES *= (2 * np.pi / _rng.uniform(14, 40, 20) / np.linalg.norm(_WAVES, axis=1))[:, None]
POINTS = CENTRE + _rng.uniform(-0.55, 0.55, (400, 3)) * RADII


def brightness(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Of the head at rest at points (n, 3) in mm: a brain with soft edges, about 1000 within."""
    near = np.linalg.norm((points - CENTRE) / RADII, axis=1) < 1.25
    inner = points[near].astype(np.float32)
    depth = (1 - np.linalg.norm((inner - CENTRE) / RADII, axis=1)) * RADII.mean()
    value = 1000 + 80 * np.cos(inner @ _WAVES.T.astype(np.float32)).sum(axis=1)
    result = np.zeros(len(points), dtype=np.float32)
    result[near] = value / (1 + np.exp(-depth / 1.7))
    return result


def grid_about(
    shape: tuple[int, ...], sizes: tuple[float, float, float], oblique: tuple[float, float, float] = (0, 0, 0)
) -> NDArray[np.float64]:
    """Affine of a grid about the head; radiological, as most scanners store it."""
    affine = matrices([0, 0, 0, *oblique], np.zeros(3)) @ np.diag([-sizes[0], sizes[1], sizes[2], 1])
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def seen(
    shape: tuple[int, ...], affine: NDArray[np.float64], pull: NDArray[np.float64]
) -> NDArray[np.float32]:
    """What a scanner sees of the head that `pull` has moved."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    back = np.linalg.inv(pull) @ affine
    return brightness(voxels @ back[:3, :3].T + back[:3, 3]).reshape(shape)


def series_of(
    shape: tuple[int, ...], affine: NDArray[np.float64], pulls: NDArray[np.float64], noise: float = NOISE
) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    result = np.empty((*shape, len(pulls)), dtype=np.float32, order="F")
    for number, pull in enumerate(pulls):
        result[..., number] = seen(shape, affine, pull) + noise * rng.standard_normal(shape, dtype=np.float32)
    return result


def smooth_motion(n: int, size: float = 0.9, seed: int = 2) -> NDArray[np.float64]:
    """Smooth movements, zero in the middle volume, that displace the head by 1.5 mm on average."""
    walk = np.cumsum(np.random.default_rng(seed).normal(size=(n, 6)), axis=0)
    walk = ndimage.gaussian_filter1d(walk, 1, axis=0)
    walk *= size / walk.std(axis=0)
    walk -= walk[n // 2]
    walk[:, 3:] /= 60
    return matrices(walk, CENTRE)
