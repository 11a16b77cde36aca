"""Where head and slices lie in a session: no two sessions are alike, and none is as the T1w image was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bids_recon.simulate.design import SimulationDesign
from bids_recon.simulate.head import grid_affine
from bids_recon.simulate.motion import HEAD_RADIUS


@dataclass(frozen=True)
class Placement:
    """Head and slices of one session.

    Attributes
    ----------
    position : ndarray (4, 4)
        Takes points of the head from the T1w image to the scanner, in mm.
    affine : ndarray (4, 4)
        Voxel to scanner coordinates of the slices, in mm.
    """

    position: NDArray[np.float64]
    affine: NDArray[np.float64]

    def is_at_rest(self, affine: NDArray[np.float64]) -> bool:
        """Whether the head lies as in the T1w image, and the slices are those of `affine`."""
        return bool((self.position == np.eye(4)).all() and (self.affine == affine).all())


def place_session(design: SimulationDesign, rng: np.random.Generator) -> Placement:
    """Draw where the head of a session lies, and how the slices are laid through it.

    Without `session_shift` the head lies as in the T1w image, in all sessions, and the slices of all sessions
    have one tilt, about the axis from left to right.
    """
    position, centre, axis = np.eye(4), np.zeros(3), np.array([1.0, 0.0, 0.0])
    if design.session_shift:
        shift = design.session_shift * _direction(rng)
        angle = design.session_shift / HEAD_RADIUS / 2
        position[:3, :3] = Rotation.from_rotvec(angle * _direction(rng)).as_matrix()
        position[:3, 3] = shift
        # Whoever lays the slices sees roughly where the head is.
        centre = shift / 2
        axis = np.array([rng.choice([-1.0, 1.0]), *rng.uniform(-0.4, 0.4, 2)])
    affine = grid_affine(design.grid, design.voxel_size)
    if design.oblique or design.session_shift:
        tilt = np.eye(4)
        angle = np.deg2rad(design.oblique)
        tilt[:3, :3] = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
        tilt[:3, 3] = centre
        affine = tilt @ affine
    return Placement(position, affine)


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    """Unit vector (3,), no direction more likely than another."""
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)
