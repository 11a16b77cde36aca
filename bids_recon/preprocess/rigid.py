"""Rigid movements: six numbers, the matrix that they stand for, and how far it takes points.

A matrix maps x to R (x - c) + c + t, with R from rotations about the fixed axes x, y and z, in this order.
These are the parameters that fMRIPrep's confounds call `trans_x` to `rot_z`, and those of
`bids_recon.simulate.motion`, where c is the scanner's origin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation


def matrices(parameters: ArrayLike, centre: ArrayLike) -> NDArray[np.float64]:
    """Matrices of rigid movements.

    Parameters
    ----------
    parameters : array (..., 6)
        Translation along x, y, z in mm and rotation about x, y, z in radians.
    centre : array (3,)
        Point about which the rotation turns, in mm.

    Returns
    -------
    ndarray (..., 4, 4) float64
    """
    values = np.asarray(parameters, dtype=np.float64)
    about = np.asarray(centre, dtype=np.float64)
    rows = values.reshape(-1, 6)
    result = np.tile(np.eye(4), (len(rows), 1, 1))
    result[:, :3, :3] = Rotation.from_euler("xyz", rows[:, 3:]).as_matrix()
    result[:, :3, 3] = rows[:, :3] + about - result[:, :3, :3] @ about
    return result.reshape(*values.shape[:-1], 4, 4)


def parameters(matrices: ArrayLike, centre: ArrayLike) -> NDArray[np.float64]:
    """Translations and rotations of rigid matrices; the inverse of `matrices`.

    Parameters
    ----------
    matrices : array (..., 4, 4)
        Rigid transforms in mm.
    centre : array (3,)
        Point about which the rotation turns, in mm.

    Returns
    -------
    ndarray (..., 6) float64
        Translation in mm, then rotation in radians; rotations about y lie within ±pi/2.
    """
    values = np.asarray(matrices, dtype=np.float64)
    about = np.asarray(centre, dtype=np.float64)
    rows = values.reshape(-1, 4, 4)
    result = np.empty((len(rows), 6))
    result[:, :3] = rows[:, :3, 3] - about + rows[:, :3, :3] @ about
    result[:, 3:] = Rotation.from_matrix(rows[:, :3, :3]).as_euler("xyz")
    return result.reshape(*values.shape[:-2], 6)


def mean_displacement(
    a: NDArray[np.float64], b: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean distance between where two transforms take the same points.

    Parameters
    ----------
    a, b : ndarray (..., 4, 4)
        Affine transforms in mm; their leading axes are broadcast.
    points : ndarray (n, 3)
        In mm.

    Returns
    -------
    ndarray (...) float64
        In mm.
    """
    change = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    moved = points @ np.swapaxes(change[..., :3, :3], -1, -2) + change[..., None, :3, 3]
    return np.linalg.norm(moved, axis=-1).mean(axis=-1)
