"""Head motion and the way between references, on a head that is known everywhere."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from known_head import CENTRE, NOISE, POINTS, SHAPE, grid_about, seen, series_of, smooth_motion
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.preprocess.realign import align_references, check_series, realign, realign_run
from bids_recon.preprocess.rigid import matrices, mean_displacement
from bids_recon.rois.grids import Volume

AFFINE = grid_about(SHAPE, (3.4, 3.4, 3.4))


@pytest.fixture(scope="module")
def moved() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    pulls = smooth_motion(10)
    assert 1.2 < mean_displacement(pulls, np.eye(4), POINTS).mean() < 2.2
    return series_of(SHAPE, AFFINE, pulls), pulls


def _error(found: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean displacement of each volume, both relative to the middle volume."""
    middle = len(found) // 2
    return mean_displacement(found @ np.linalg.inv(found[middle]), true @ np.linalg.inv(true[middle]), POINTS)


def test_motion_of_a_run_is_found(moved: tuple[NDArray[np.float32], NDArray[np.float64]]) -> None:
    volumes, pulls = moved
    realignment, mean = realign_run(volumes, AFFINE)
    assert realignment.pull.dtype == np.float64
    assert _error(realignment.pull, pulls).mean() <= 0.01
    # The mean lies as the middle volume does.
    assert mean_displacement(realignment.pull, pulls, POINTS).mean() <= 0.01
    assert realignment.converged.all()
    assert (realignment.residual < 0.1).all()
    assert mean.dtype == np.float32
    # Ten volumes have a third of the noise; what is lost by interpolation is less than that.
    clean = seen(SHAPE, AFFINE, np.eye(4))
    assert np.std((mean - clean)[clean > 500]) < 0.5 * NOISE


def test_motion_relative_to_a_given_reference(moved: tuple[NDArray[np.float32], NDArray[np.float64]]) -> None:
    volumes, pulls = moved
    other_shape = (40, 56, 50)
    other = grid_about(other_shape, (4.0, 3.5, 3.0), (0.1, -0.05, 0.2))
    away = matrices([3, -2, 4, 0.03, 0.02, -0.04], CENTRE)
    # The reference shows a head moved by `away`: its points lie at pull @ inv(away) in the volumes.
    reference = Volume(seen(other_shape, other, away), other)
    realignment = realign(volumes[..., :4], AFFINE, reference)
    true = pulls[:4] @ np.linalg.inv(away)
    assert mean_displacement(realignment.pull, true, POINTS).mean() <= 0.02
    # From the truth, with a mask, it stays there.
    mask = reference.data > 300
    again = realign(volumes[..., :4], AFFINE, reference, mask=mask, start=true)
    assert mean_displacement(again.pull, true, POINTS).mean() <= 0.02


def test_still_head_stays_where_it_is() -> None:
    volume = seen(SHAPE, AFFINE, np.eye(4))
    exactly = np.repeat(volume[..., None], 4, axis=3)
    realignment, mean = realign_run(exactly, AFFINE)
    assert mean_displacement(realignment.pull, np.eye(4), POINTS).max() <= 1e-4
    assert (realignment.residual < 1e-3).all()
    # Planes without a trace of the head count as not measured; they take the value of their neighbours.
    np.testing.assert_allclose(mean, volume, atol=0.5)


def test_still_head_with_noise() -> None:
    still = series_of(SHAPE, AFFINE, np.tile(np.eye(4), (8, 1, 1)))
    realignment, _ = realign_run(still, AFFINE)
    assert mean_displacement(realignment.pull, np.eye(4), POINTS).mean() <= 0.005


def test_a_sudden_movement_is_found() -> None:
    step = matrices([1.7, -1.7, 1.8, *np.deg2rad([2.0, -1.5, 1.7])], CENTRE)
    assert np.linalg.norm(np.rad2deg(np.deg2rad([2.0, -1.5, 1.7]))) == pytest.approx(3, abs=0.1)
    pulls = np.stack([np.eye(4)] * 5 + [step] * 5)
    realignment, _ = realign_run(series_of(SHAPE, AFFINE, pulls), AFFINE)
    error = _error(realignment.pull, pulls)
    assert error[:5].mean() <= 0.01
    assert error[5:].mean() <= 0.01


def test_drift_and_a_field_of_view_that_cuts_the_head() -> None:
    """Slices are lost at both ends, brightness drifts by up to 4 % and differently on either side."""
    shape = (50, 60, 26)
    affine = grid_about(shape, (3.4, 3.4, 3.8), (0.06, 0.03, 0))
    pulls = smooth_motion(10, seed=5)
    volumes = series_of(shape, affine, pulls)
    # Prospective correction and distortion correction leave planes without data.
    volumes[:, :, -2:, 3] = 0
    volumes[:, :, :1, 7] = np.nan
    volumes[:3, :, :, 8] = 0
    time = np.linspace(-1, 1, 10)
    side = np.linspace(-1, 1, shape[0])[:, None, None, None]
    volumes *= (1 + 0.04 * time + 0.01 * time * side).astype(np.float32)
    volumes += (5 * time).astype(np.float32)
    realignment, mean = realign_run(volumes, affine)
    assert _error(realignment.pull, pulls).mean() <= 0.03
    assert np.isfinite(mean).all()
    # No volume drags zeros into the mean.
    clean = seen(shape, affine, np.eye(4))
    assert np.abs(mean - clean)[clean > 700].max() < 150


def test_a_spoilt_volume_is_told_and_does_no_harm(
    moved: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> None:
    volumes, pulls = moved[0].copy(), moved[1]
    volumes[..., 2] = np.random.default_rng(0).normal(500, 300, SHAPE)
    realignment, _ = realign_run(volumes, AFFINE)
    sound = np.arange(10) != 2
    assert realignment.residual[2] > 0.9
    assert (realignment.residual[sound] < 0.1).all()
    assert _error(realignment.pull, pulls)[sound].mean() <= 0.01


def test_a_centimetre_and_eight_degrees_are_found_within_a_run() -> None:
    away = matrices([7, -5, 6, *np.deg2rad([6, -4, 4])], CENTRE)
    series = series_of(SHAPE, AFFINE, away[None])
    realignment = realign(series, AFFINE, Volume(seen(SHAPE, AFFINE, np.eye(4)), AFFINE))
    assert realignment.converged.all()
    assert mean_displacement(realignment.pull[0], away, POINTS) <= 0.02


def test_oblique_anisotropic_voxels() -> None:
    shape = (62, 72, 34)
    affine = grid_about(shape, (2.8, 2.8, 4.4), (0.35, -0.2, 0.15))
    pulls = smooth_motion(6, seed=3)
    realignment, _ = realign_run(series_of(shape, affine, pulls), affine)
    assert _error(realignment.pull, pulls).mean() <= 0.01


def test_two_sessions_come_to_one_reference() -> None:
    first_shape, second_shape = SHAPE, (56, 62, 40)
    second_affine = grid_about(second_shape, (3.0, 3.2, 3.6), (0.2, 0.1, -0.1))
    first = series_of(first_shape, AFFINE, np.eye(4)[None], noise=5)[..., 0]
    away = matrices([9, -8, 9, *np.deg2rad([6, 3, -4.5])], CENTRE)
    second = 1.3 * series_of(second_shape, second_affine, away[None], noise=5)[..., 0] + 20
    pull, correlation = align_references(Volume(second, second_affine), Volume(first, AFFINE))
    assert mean_displacement(pull, away, POINTS) <= 0.1
    assert 0.95 < correlation <= 1
    # A start far from the truth does no harm.
    wrong = matrices([-30, 30, 0, 0, 0, 0.3], CENTRE)
    pull, _ = align_references(Volume(second, second_affine), Volume(first, AFFINE), start=wrong)
    assert mean_displacement(pull, away, POINTS) <= 0.1


def test_scanner_coordinates_decimetres_apart() -> None:
    """A table that was not at the same place in the second session."""
    shape = (40, 48, 34)
    affine = grid_about(shape, (4.2, 4.2, 4.2))
    first = Volume(seen(shape, affine, np.eye(4)), affine)
    elsewhere = affine.copy()
    shift = [20, -145, 260]
    elsewhere[:3, 3] += shift
    turned = matrices([0, 0, 0, 0.1, 0, -0.05], CENTRE)
    second = Volume(seen(shape, affine, turned), elsewhere)
    pull, _ = align_references(second, first)
    true = np.eye(4)
    true[:3, 3] = shift
    assert mean_displacement(pull, true @ turned, POINTS) <= 0.1


def test_other_types_and_values_that_are_not_finite(
    moved: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> None:
    volumes, pulls = moved
    whole = np.ascontiguousarray(np.round(np.maximum(volumes[..., 3:7], 0)).astype(np.int16))
    assert _error(realign_run(whole, AFFINE)[0].pull, pulls[3:7]).mean() <= 0.012
    holed = volumes[..., 3:7].copy()
    holed[20:22, 30, 20, :] = np.nan
    holed[12, 30, 20, 1] = np.inf
    assert _error(realign_run(holed, AFFINE)[0].pull, pulls[3:7]).mean() <= 0.02


def test_a_longer_run_needs_no_more_memory() -> None:
    """Of numpy; torch works on a fixed number of points."""
    shape = (34, 40, 28)
    affine = grid_about(shape, (5, 5, 5))
    volume = seen(shape, affine, np.eye(4))
    peaks = []
    for n in (10, 40):
        volumes = np.repeat(volume[..., None], n, axis=3)
        tracemalloc.start()
        realign_run(volumes, affine)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.1 * 30 * volume.nbytes


def test_a_single_volume_is_no_run() -> None:
    volume = seen((30, 34, 24), grid_about((30, 34, 24), (5, 5, 5)), np.eye(4))
    for run in (volume, volume[..., None]):
        with pytest.raises(DataError, match=r"there is nothing to realign, a series is needed.*suffix"):
            realign_run(run, AFFINE)
    with pytest.raises(DataError, match=r"shape \(4, 5\); a run has four dimensions"):
        check_series(np.zeros((4, 5)))
    with pytest.raises(DataError, match=r"shape \(4, 5, 6, 0\)"):
        check_series(np.zeros((4, 5, 6, 0)))
    check_series(np.zeros((4, 5, 6, 2)))


def test_empty_volumes_are_named() -> None:
    shape = (30, 34, 24)
    affine = grid_about(shape, (5, 5, 5))
    volumes = np.repeat(seen(shape, affine, np.eye(4))[..., None], 5, axis=3)
    volumes[..., 3] = 0
    with pytest.raises(DataError, match=r"volume 3 \(counted from 0\) holds one value only"):
        realign_run(volumes, affine)
    volumes[..., 2] = np.nan
    with pytest.raises(DataError, match=r"volume 2 \(counted from 0\) holds one value only"):
        realign_run(volumes, affine)


def test_arrays_that_do_not_fit_are_refused() -> None:
    shape = (30, 34, 24)
    affine = grid_about(shape, (5, 5, 5))
    volume = seen(shape, affine, np.eye(4))
    reference = Volume(volume, affine)
    with pytest.raises(DataError, match=r"series of shape \(30, 34, 24\) cannot be aligned"):
        realign(volume, affine, reference)
    with pytest.raises(DataError, match=r"mask of shape \(3, 3, 3\) does not fit a reference of shape \(30"):
        realign(volume[..., None], affine, reference, mask=np.ones((3, 3, 3), dtype=bool))
    with pytest.raises(DataError, match="the brain mask is empty"):
        realign(volume[..., None], affine, reference, mask=np.zeros(shape, dtype=bool))
    with pytest.raises(DataError, match=r"the reference .* holds one value only"):
        realign(volume[..., None], affine, Volume(np.ones(shape), affine))
    with pytest.raises(DataError, match="three dimensions"):
        align_references(Volume(volume[..., None], affine), reference)
    with pytest.raises(DataError, match=r"volume 0 \(counted from 0\) holds one value only"):
        align_references(Volume(np.zeros(shape), affine), reference)
    far = affine.copy()
    far[:3, 3] += 1000
    with pytest.raises(DataError, match=r"volume 0 \(counted from 0\) does not overlap"):
        realign(volume[..., None], far, reference)
