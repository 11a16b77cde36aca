"""Head motion: positions over a run, and volumes taken of a head that is not where it was.

Positions are rows of six numbers: translation along x, y, z in mm, rotation about x, y, z in radians, in the
order and units of the columns `trans_x` to `rot_z` of fMRIPrep's confounds. They move the head, about the
scanner's origin; a realignment has to undo them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter1d
from scipy.spatial.transform import Rotation

PARAMETERS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
HEAD_RADIUS = 50.0
SMOOTHING = 3.0


def draw_motion(n_volumes: int, size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a smooth random walk of the head.

    Parameters
    ----------
    n_volumes : int
        Volumes of the run.
    size : float
        Standard deviation over the run of each translation, in mm; rotations move a point at 50 mm as far.
    rng : Generator
        Source of randomness.

    Returns
    -------
    ndarray (n_volumes, 6)
        Positions; the first is zero.
    """
    walk = gaussian_filter1d(np.cumsum(rng.normal(size=(n_volumes, 6)), axis=0), SMOOTHING, axis=0)
    walk -= walk[0]
    walk *= size / np.maximum(walk.std(axis=0), 1e-12)
    walk[:, 3:] /= HEAD_RADIUS
    return walk


def motion_matrix(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rigid transform (4, 4) that takes the head's points from rest to `position` (6,)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", position[3:]).as_matrix()
    matrix[:3, 3] = position[:3]
    return matrix


def moved(
    volumes: NDArray[np.float32], affine: NDArray[np.float64], positions: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Volumes as they look after the head has moved.

    Parameters
    ----------
    volumes : ndarray (n_volumes, x, y, z)
        Volumes of the head at rest.
    affine : ndarray (4, 4)
        Voxel to scanner coordinates.
    positions : ndarray (n_volumes, 6)
        Positions of the head.
    """
    poses = np.stack([motion_matrix(position) for position in positions])
    return seen(volumes, affine, poses, affine)


def seen(
    volumes: NDArray[np.float32],
    head_affine: NDArray[np.float64],
    poses: NDArray[np.float64],
    affine: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Volumes of a head that has been moved, on a grid of the scanner.

    Parameters
    ----------
    volumes : ndarray (n_volumes, x, y, z)
        Volumes of the head at rest.
    head_affine : ndarray (4, 4)
        Their voxels to coordinates of the head at rest, in mm.
    poses : ndarray (n_volumes, 4, 4)
        Take the head's points from rest to where they are in the scanner.
    affine : ndarray (4, 4)
        Voxels of the scanner's grid, which has the same shape, to scanner coordinates.
    """
    result = np.empty_like(volumes)
    for volume, pose, target in zip(volumes, poses, result, strict=True):
        pull = voxel_pull(head_affine, pose, affine)
        affine_transform(volume, pull[:3, :3], pull[:3, 3], output=target, order=3, mode="nearest")
    return result


def voxel_pull(
    head_affine: NDArray[np.float64], pose: NDArray[np.float64], affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Matrix (4, 4) from a voxel of the scanner to the voxel of the head at rest that has come to it."""
    return np.linalg.inv(head_affine) @ np.linalg.inv(pose) @ affine
