"""Registration by DIPY, which is always there.

Garyfallidis et al., Frontiers in Neuroinformatics 8, 2014, 8; SyN after Avants et al., Medical Image Analysis
12, 2008, 26-41.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from bids_recon.rois.grids import Volume

_ITERATIONS = (20, 10)
_FACTORS = (2, 1)
_SIGMAS = (1.0, 0.0)


def linear(
    fixed: Volume,
    moving: Volume,
    start: NDArray[np.float64],
    *,
    fixed_mask: NDArray[np.bool_] | None = None,
    kind: str = "rigid",
    seed: int = 0,  # noqa: ARG001  one signature for both backends
) -> NDArray[np.float64]:
    """Maximise mutual information over rigid or affine transforms.

    Parameters
    ----------
    fixed, moving : Volume
        Of about the same voxel size.
    start : ndarray (4, 4)
        Pull to begin with, in mm.
    fixed_mask : ndarray (x, y, z) bool, optional
        Voxels of `fixed` that count.
    kind : {"rigid", "affine"}
        6 or 12 parameters.
    seed : int
        Not needed: every voxel is used.

    Returns
    -------
    ndarray (4, 4) float64
        Pull, in mm.
    """
    from dipy.align.imaffine import AffineRegistration, MutualInformationMetric
    from dipy.align.transforms import AffineTransform3D, RigidTransform3D

    # Transforms turn about the origin: with the head there, turning and shifting do not compete.
    centre = _middle(fixed)
    there = start[:3, :3] @ centre + start[:3, 3]
    with _quiet():
        registration = AffineRegistration(
            metric=MutualInformationMetric(nbins=32),
            level_iters=list(_ITERATIONS),
            sigmas=list(_SIGMAS),
            factors=list(_FACTORS),
            verbosity=0,
        )
        found = registration.optimize(
            np.asarray(fixed.data, dtype=np.float64),
            np.asarray(moving.data, dtype=np.float64),
            AffineTransform3D() if kind == "affine" else RigidTransform3D(),
            None,
            static_grid2world=_shift(-centre) @ fixed.affine,
            moving_grid2world=_shift(-there) @ moving.affine,
            starting_affine=_shift(-there) @ start @ _shift(centre),
            static_mask=None if fixed_mask is None else fixed_mask.astype(np.int32),
        )
    return np.asarray(_shift(there) @ found.affine @ _shift(-centre))


def deformation(
    fixed: Volume,
    moving: Volume,
    affine: NDArray[np.float64],
    *,
    seed: int = 0,  # noqa: ARG001  one signature for both backends
) -> NDArray[np.float32]:
    """Symmetric diffeomorphic registration (SyN) by local cross-correlation.

    Parameters
    ----------
    fixed, moving : Volume
        Of one contrast and about the same voxel size.
    affine : ndarray (4, 4)
        Pull that aligns them up to the deformation, in mm.
    seed : int
        Not needed: nothing is drawn.

    Returns
    -------
    ndarray (x, y, z, 3) float32
        Displacement u at each voxel of `fixed`, in mm: the point x is found at ``affine @ (x + u)``.
    """
    from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
    from dipy.align.metrics import CCMetric

    with _quiet():
        registration = SymmetricDiffeomorphicRegistration(metric=CCMetric(3), level_iters=[50, 30, 8])
        registration.verbosity = 0
        mapping = registration.optimize(
            np.asarray(fixed.data, dtype=np.float64),
            np.asarray(moving.data, dtype=np.float64),
            static_grid2world=fixed.affine,
            moving_grid2world=moving.affine,
            prealign=affine,
        )
    return np.asarray(mapping.get_forward_field(), dtype=np.float32)


def _middle(volume: Volume) -> NDArray[np.float64]:
    """Centre of the field of view (3,), in mm."""
    return np.asarray(volume.affine[:3, :3] @ ((np.array(volume.shape) - 1) / 2) + volume.affine[:3, 3])


def _shift(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave DIPY's progress out of the log."""
    logger = logging.getLogger("dipy")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
