"""Masks planted on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest

SHAPE = (6, 5, 4)
AFFINE = np.array([[3.0, 0, 0, -9], [0, 3.0, 0, -6], [0, 0, 3.0, -3], [0, 0, 0, 1]])

Plant = Callable[..., Path]


@pytest.fixture
def reference() -> nibabel.Nifti1Image:
    """A series on the grid of the responses."""
    return nibabel.Nifti1Image(np.zeros((*SHAPE, 2), dtype=np.float32), AFFINE)


@pytest.fixture
def plant() -> Plant:
    """Write a volume that has the given values at the given voxels, and 0 elsewhere."""

    def write(
        path: Path,
        voxels: Sequence[tuple[int, int, int]],
        values: float | Sequence[float] = 1,
        *,
        shape: tuple[int, ...] = SHAPE,
        affine: np.ndarray = AFFINE,
    ) -> Path:
        data = np.zeros(shape, dtype=np.float32)
        if voxels:
            data[tuple(np.array(voxels).T)] = values
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(data, affine), path)
        return path

    return write
