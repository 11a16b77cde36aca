"""Bins of a map of pRF eccentricity."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from bids_recon.errors import DataError, MissingInputError, UsageError
from bids_recon.rois.eccentricity import bin_names, eccentricity_regions, find_eccentricity
from bids_recon.rois.selection import VoxelSelection

SHAPE, AFFINE = (4, 3, 2), np.diag([2.0, 2, 2, 1])
DEGREES = np.array([0.0, 0.2, 0.5, 0.99, 1, 3.9, 4, 30, np.nan, -1, 1.5, 0.1], dtype=np.float32)


@pytest.fixture
def voxels() -> VoxelSelection:
    """The first twelve voxels but for the second, so that places in volume and selection differ."""
    indices = np.delete(np.arange(12), 1)
    return VoxelSelection(SHAPE, AFFINE, indices, {})


def write(path: Path, degrees: np.ndarray = DEGREES, affine: np.ndarray = AFFINE, factor: int = 1) -> Path:
    volume = np.zeros(24, dtype=np.float32)
    volume[: len(degrees)] = degrees
    data = volume.reshape(SHAPE)
    for axis in range(3):
        data = np.repeat(data, factor, axis=axis)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def places(voxels: VoxelSelection, bins: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: voxels.indices[member].tolist() for name, member in bins.items()}


EXPECTED = {"ecc0-0.5": [11], "ecc0.5-1": [2, 3], "ecc1-2": [4, 10], "ecc2-4": [5], "ecc4+": [6, 7]}


def test_bins_by_hand(tmp_path, voxels):
    assert bin_names() == list(EXPECTED)
    bins, warnings = eccentricity_regions(write(tmp_path / "map.nii.gz"), voxels)
    assert places(voxels, bins) == EXPECTED
    assert warnings == []


def test_another_grid_is_brought_over_and_told(tmp_path, voxels):
    fine = AFFINE / 2
    fine[:3, 3], fine[3, 3] = -0.5, 1
    bins, warnings = eccentricity_regions(write(tmp_path / "map.nii.gz", affine=fine, factor=2), voxels)
    assert places(voxels, bins) == EXPECTED
    assert len(warnings) == 1 and "8x6x4 voxels of 1x1x1 mm" in warnings[0]


def test_a_map_on_the_anatomy_is_placed_by_the_registration(tmp_path, voxels):
    moved = AFFINE.copy()
    moved[:3, 3] = 100
    file = write(tmp_path / "sub-01_space-T1w_eccentricity.nii.gz", affine=moved)
    bins, warnings = eccentricity_regions(file, voxels, anatomy_affine=moved)
    assert places(voxels, bins) == EXPECTED and warnings == []
    with pytest.raises(DataError, match="gives no voxel of the responses an eccentricity"):
        eccentricity_regions(file, voxels)


def test_a_map_of_nothing_is_refused(tmp_path, voxels):
    with pytest.raises(DataError, match="above 0"):
        eccentricity_regions(write(tmp_path / "map.nii.gz", np.full(12, np.nan)), voxels)
    with pytest.raises(MissingInputError):
        eccentricity_regions(tmp_path / "absent.nii.gz", voxels)


def test_finding_the_map(tmp_path):
    prf, other = tmp_path / "prf", tmp_path / "other"
    assert find_eccentricity("01", [prf, other], None) is None
    own = write(prf / "sub-01" / "func" / "sub-01_desc-eccentricity_statmap.nii.gz")
    write(prf / "sub-02" / "sub-02_eccentricity.nii.gz")
    write(prf / "sub-01" / "sub-01_space-MNI152_eccentricity.nii.gz")
    (prf / "sub-01" / "sub-01_desc-eccentricity_statmap.json").write_text("{}")
    write(prf / "sub-01" / "sub-01_desc-eccentricityerror_statmap.nii.gz")
    # The same folder twice is one map.
    assert find_eccentricity("01", [prf, other, prf], None) == own
    in_t1w = write(other / "sub-01" / "anat" / "sub-01_space-T1w_eccentricity.nii.gz")
    assert find_eccentricity("01", [prf, other], "T1w") == in_t1w
    write(other / "sub-01" / "prf_eccentricity.nii.gz")
    with pytest.raises(UsageError, match=r"2 maps of eccentricity.*--eccentricity"):
        find_eccentricity("01", [prf, other], None)
