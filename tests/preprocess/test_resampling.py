"""Interpolation on another grid, against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_recon.preprocess.resampling import Interpolator, iterate_resampled, resample
from bids_recon.preprocess.rigid import matrices

SHAPE = (20, 23, 17)
AFFINE = np.array([[-3.0, 0.2, 0, 40], [0.3, 2.9, 0.1, -30], [0, -0.1, 4.1, -20], [0, 0, 0, 1]])
PULL = matrices([1.3, -0.8, 2.1, 0.05, -0.08, 0.1], [5, 4, 3])


def _volume(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (2000 + 2000 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.0)).astype(np.float32)


def _places(shape: tuple[int, int, int], target_affine: np.ndarray, pull: np.ndarray = PULL) -> np.ndarray:
    """Voxel coordinates (x, y, z, 3) in the source of every voxel of the target."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    matrix = np.linalg.inv(AFFINE) @ pull @ target_affine
    return voxels @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_identity_gives_the_volume_back(order: int, layout: str) -> None:
    volume = np.asarray(_volume(), order=layout)
    found = resample(volume, AFFINE, np.eye(4), SHAPE, AFFINE, order=order)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, volume, rtol=1e-5)


@pytest.mark.parametrize("order", [1, 3])
def test_agrees_with_scipy(order: int) -> None:
    target_affine, shape = np.diag([2.5, 3.5, 3.0, 1]), (15, 14, 13)
    target_affine[:3, 3] = AFFINE[:3, :3] @ [19, 4, 2] + AFFINE[:3, 3]
    volume = _volume()
    places = _places(shape, target_affine)
    inside = ((places >= 0) & (places <= np.array(SHAPE) - 1)).all(axis=-1)
    assert inside.sum() > 500
    expected = ndimage.map_coordinates(
        volume.astype(np.float64), np.moveaxis(places, -1, 0), order=order, mode="mirror"
    )
    found = resample(volume, AFFINE, PULL, shape, target_affine, order=order)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4)


def test_nearest_neighbour() -> None:
    volume = _volume()
    places = np.clip(_places(SHAPE, AFFINE), 0, np.array(SHAPE) - 1)
    expected = volume[tuple(np.moveaxis(np.floor(places + 0.5).astype(int), -1, 0))]
    assert (resample(volume, AFFINE, PULL, SHAPE, AFFINE, order=0) == expected).mean() > 0.9999


def test_a_plane_is_followed_in_scanner_coordinates() -> None:
    """A volume that shows its own x coordinate shows, once pulled, where the pull took it from."""
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    volume = (voxels @ AFFINE[0, :3] + AFFINE[0, 3]).astype(np.float32)
    places = _places(SHAPE, AFFINE)
    middle = ((places >= 0) & (places <= np.array(SHAPE) - 1)).all(axis=-1)
    found = resample(volume, AFFINE, PULL, SHAPE, AFFINE, order=1)
    expected = (np.c_[voxels.reshape(-1, 3), np.ones(voxels[..., 0].size)] @ (PULL @ AFFINE)[0]).reshape(
        SHAPE
    )
    np.testing.assert_allclose(found[middle], expected[middle], atol=1e-3)


def test_outside_is_the_nearest_edge_or_zero() -> None:
    volume = _volume()
    shift = np.eye(4)
    shift[:3, 3] = AFFINE[:3, :3] @ [4.0, 0, 0]
    nearest = resample(volume, AFFINE, shift, SHAPE, AFFINE)
    zero = resample(volume, AFFINE, shift, SHAPE, AFFINE, outside="zero")
    np.testing.assert_allclose(nearest[:-4], volume[4:], rtol=1e-4)
    np.testing.assert_allclose(nearest[-4:], np.repeat(volume[-1:], 4, axis=0), rtol=1e-4)
    np.testing.assert_array_equal(zero[:-4], nearest[:-4])
    assert (zero[-4:] == 0).all()
    # Less than half a voxel beyond the middle of the last voxel is still within that voxel.
    shift[:3, 3] = AFFINE[:3, :3] @ [4.4, 0, 0]
    zero = resample(volume, AFFINE, shift, SHAPE, AFFINE, outside="zero")
    assert (zero[-5] > 0).all()
    assert (zero[-4:] == 0).all()


def test_a_series_has_a_pull_for_each_volume_or_one_for_all() -> None:
    series = np.stack([_volume(0), _volume(1), _volume(2)], axis=-1)
    pulls = matrices(np.random.default_rng(3).normal(0, 0.05, (3, 6)), [0, 0, 0])
    found = resample(series, AFFINE, pulls, SHAPE, AFFINE)
    assert found.shape == (*SHAPE, 3)
    for number in range(3):
        expected = resample(series[..., number], AFFINE, pulls[number], SHAPE, AFFINE)
        np.testing.assert_array_equal(found[..., number], expected)
    one = list(iterate_resampled(series, AFFINE, pulls[1], SHAPE, AFFINE))
    np.testing.assert_array_equal(one[1], found[..., 1])
    assert len(one) == 3


def test_integers_and_what_is_not_finite() -> None:
    whole = np.round(_volume()).astype(np.int16)
    np.testing.assert_allclose(resample(whole, AFFINE, np.eye(4), SHAPE, AFFINE), whole, rtol=1e-5)
    holed = whole.astype(np.float32)
    holed[5, 6, 7], holed[8, 8, 8] = np.nan, np.inf
    found = resample(holed, AFFINE, np.eye(4), SHAPE, AFFINE)
    assert found[5, 6, 7] == pytest.approx(0, abs=0.1)
    assert found[8, 8, 8] == pytest.approx(0, abs=0.1)
    holed[[5, 8], [6, 8], [7, 8]] = 0
    np.testing.assert_allclose(found, holed, rtol=1e-5, atol=0.1)


def test_a_single_slice() -> None:
    volume = _volume()[:, :, :1]
    np.testing.assert_allclose(resample(volume, AFFINE, np.eye(4), volume.shape, AFFINE), volume, rtol=1e-5)


def test_gradient_is_that_of_the_interpolated_values() -> None:
    volume = torch.from_numpy(_volume() / 1000)
    interpolate = Interpolator(volume, 3)
    rng = np.random.default_rng(4)
    coordinates = torch.from_numpy(rng.uniform(1, 14, (3, 500)).astype(np.float32))
    values, gradient = interpolate.with_gradient(coordinates)
    torch.testing.assert_close(values, interpolate(coordinates))
    for axis in range(3):
        step = torch.zeros(3, 1)
        step[axis] = 0.02
        slope = (interpolate(coordinates + step) - interpolate(coordinates - step)) / 0.04
        torch.testing.assert_close(gradient[axis], slope, rtol=0, atol=2e-3)
    assert gradient.abs().mean() > 0.1


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"transforms of shape \(2, 4, 4\) do not fit a series"):
        resample(_volume()[..., None], AFFINE, np.stack([PULL, PULL]), SHAPE, AFFINE)
    with pytest.raises(ValueError, match="no interpolation of order 2"):
        resample(_volume(), AFFINE, PULL, SHAPE, AFFINE, order=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="four dimensions"):
        iterate_resampled(_volume(), AFFINE, PULL, SHAPE, AFFINE)
