"""Mutual information: values known in closed form, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.preprocess.mutual_information import MutualInformation, mutual_information
from bids_recon.preprocess.rigid import matrices
from bids_recon.rois.grids import Volume

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2.5, 0, -20], [0, 0.3, 3.0, 5], [0, 0, 0, 1]])


def _levels(n_levels: int, shape: tuple[int, int, int] = (16, 16, 16)) -> np.ndarray:
    """As many voxels of each of the values 0 ... n_levels - 1, in random order."""
    size = int(np.prod(shape))
    return np.random.default_rng(1).permutation(np.arange(size) % n_levels).reshape(shape).astype(np.float32)


@pytest.mark.parametrize("n_levels", [2, 4, 8])
def test_a_volume_tells_all_about_its_inverted_self(n_levels: int) -> None:
    levels = _levels(n_levels)
    fixed, moving = Volume(levels, AFFINE), Volume(100 - 7 * levels, AFFINE)
    # One of n equally frequent values, all of it known: log n.
    found = mutual_information(fixed, moving, np.eye(4), n_bins=n_levels)
    assert found == pytest.approx(np.log(n_levels), abs=1e-6)
    assert mutual_information(fixed, moving, np.eye(4), n_bins=n_levels, normalised=True) == pytest.approx(2)


def test_joint_counts_agree_with_numpy() -> None:
    rng = np.random.default_rng(2)
    fixed = rng.uniform(0, 1, (20, 20, 20))
    moving = fixed**2 + rng.normal(0, 0.1, fixed.shape)
    # Values that lie on bin centres: nothing is shared out between neighbours.
    a, b = np.rint(15 * fixed), np.clip(np.rint(15 * moving), 0, 15)
    counts, _, _ = np.histogram2d(a.ravel(), b.ravel(), bins=16, range=[[-0.5, 15.5]] * 2)
    joint = counts / counts.sum()
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    present = joint > 0
    expected = (joint[present] * np.log(joint[present] / independent[present])).sum()
    found = mutual_information(Volume(a, AFFINE), Volume(b, AFFINE), np.eye(4), n_bins=16)
    assert found == pytest.approx(expected, abs=1e-5)


def test_independent_and_constant_volumes_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    one, other = (Volume(rng.normal(size=(40, 40, 40)), AFFINE) for _ in range(2))
    # What is left is the bias of a finite sample, about (n_bins - 1)² / 2n.
    assert mutual_information(one, other, np.eye(4), n_bins=8) < 0.002
    flat = Volume(np.full((40, 40, 40), 3.0), AFFINE)
    assert mutual_information(one, flat, np.eye(4)) == 0
    assert mutual_information(one, flat, np.eye(4), normalised=True) == 1


def test_the_pull_maps_fixed_points_to_moving_points() -> None:
    moved = matrices([9.0, -4.0, 6.0, 0.1, -0.2, 0.15], [10.0, 0.0, 20.0])
    levels = Volume(_levels(4), AFFINE)
    # The same array under a moved affine is the same head, elsewhere.
    other = Volume(levels.data, moved @ AFFINE)
    assert mutual_information(levels, other, moved, n_bins=4) == pytest.approx(np.log(4), abs=1e-3)
    assert mutual_information(levels, other, np.linalg.inv(moved), n_bins=4) < 0.1


def test_a_mask_and_the_field_of_view_decide_what_counts() -> None:
    levels = _levels(4)
    spoilt = levels.copy()
    spoilt[:8] = np.random.default_rng(4).permutation(levels[:8].ravel()).reshape(8, 16, 16)
    good = np.zeros(levels.shape, dtype=bool)
    good[8:] = True
    fixed, moving = Volume(levels, AFFINE), Volume(spoilt, AFFINE)
    assert mutual_information(fixed, moving, np.eye(4), mask=good, n_bins=4) == pytest.approx(
        np.log(4), abs=1e-3
    )
    assert mutual_information(fixed, moving, np.eye(4), n_bins=4) < 1
    # The other half lies outside the moving volume.
    half = Volume(levels[8:], AFFINE @ [[1, 0, 0, 8], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert mutual_information(fixed, half, np.eye(4), n_bins=4) == pytest.approx(np.log(4), abs=1e-3)
    away = np.eye(4)
    away[0, 3] = 1000
    assert mutual_information(fixed, moving, away) == 0


def test_it_changes_smoothly_with_the_transform() -> None:
    rng = np.random.default_rng(5)
    blurred = rng.normal(size=(20, 20, 20)).cumsum(0).cumsum(1)
    volume = Volume(blurred, np.diag([3.0, 3, 3, 1]))
    points = rng.uniform(6, 50, (4000, 3))
    values = MutualInformation(points, points[:, 0] ** 2 - points[:, 1], volume)
    small = matrices([0.001, 0, 0, 0, 0, 0], [30, 30, 30])
    assert 0 < abs(values(small) - values(np.eye(4))) < 1e-3


def test_spikes_and_missing_values_leave_it_nearly_as_it_was() -> None:
    rng = np.random.default_rng(6)
    fixed = rng.normal(size=(20, 20, 20)).cumsum(0)
    moving = -fixed
    before = mutual_information(Volume(fixed, AFFINE), Volume(moving, AFFINE), np.eye(4))
    spoilt = moving.copy()
    spoilt.ravel()[::997] = 1e6
    spoilt[3, 3, 3] = np.nan
    after = mutual_information(Volume(fixed, AFFINE), Volume(spoilt, AFFINE), np.eye(4))
    assert after == pytest.approx(before, rel=0.03)


def test_masks_of_another_shape_or_empty_are_refused() -> None:
    volume = Volume(_levels(4), AFFINE)
    with pytest.raises(ValueError, match="mask has the shape"):
        mutual_information(volume, volume, np.eye(4), mask=np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(ValueError, match="0 points"):
        mutual_information(volume, volume, np.eye(4), mask=np.zeros(volume.shape, dtype=bool))
