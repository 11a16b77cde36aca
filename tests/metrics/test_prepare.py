"""Resizing: exact weights, the antialias flag, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from bids_recon.metrics.prepare import to_common_size, unit_float


def _row(values: list[int], n_rows: int) -> np.ndarray:
    return np.tile(np.array(values, dtype=np.uint8)[None, :, None], (n_rows, 1, 3))


def test_antialias_halving_has_the_triangle_weights():
    # Output centre at 1.0; triangle of half-width 2: pixels at 0.5, 1.5, 2.5 weigh .75, .75, .25 of 1.75.
    small = to_common_size([_row([0, 0, 255, 255], 4)], 2, antialias=True)
    assert small.dtype == np.float32
    expected = np.rint(255 * 0.25 / 1.75) / 255
    np.testing.assert_allclose(small[0, :, 0], expected, atol=1e-6)
    np.testing.assert_allclose(small[0, :, 1], np.rint(255 * 1.5 / 1.75) / 255, atol=1e-6)


def test_without_antialias_only_the_two_nearest_pixels_count():
    small = to_common_size([_row([0, 100, 255, 255], 4)], 2, antialias=False)
    np.testing.assert_allclose(small[0, :, 0], 50 / 255, atol=1e-6)
    np.testing.assert_allclose(small[0, :, 1], 1.0, atol=1e-6)


@pytest.mark.parametrize("size", [20, 90])
def test_without_antialias_equals_bilinear_interpolation(size):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    y, x = ((np.arange(size) + 0.5) * side / size - 0.5 for side in image.shape[:2])
    grid = np.meshgrid(y, x, indexing="ij")
    expected = np.stack(
        [map_coordinates(image[..., k].astype(float), grid, order=1, mode="nearest") for k in range(3)], -1
    )
    result = to_common_size([image], size, antialias=False)[0] * 255
    assert np.abs(result - expected).max() <= 0.5 + 1e-4
    # Truncating instead of rounding would shift the mean by half a grey level.
    assert abs((result - expected).mean()) < 0.05


def test_flag_changes_a_fine_pattern():
    stripes = _row([0, 255, 255, 0] * 16, 64)
    with_filter, without = (to_common_size([stripes], 16, antialias=flag) for flag in (True, False))
    # Every output centre lies between two white pixels: sampled as points, the stripes become white.
    np.testing.assert_array_equal(without, 1.0)
    np.testing.assert_allclose(with_filter[0, :, 1:-1], 0.5, atol=1 / 255)


def test_varied_sizes_come_to_one_and_the_right_size_is_untouched():
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((30, 50, 3), (16, 16, 3))]
    result = to_common_size(images, 16)
    assert result.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(result[1], images[1].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(to_common_size(result, 16), result)


def test_whole_picture_is_stretched_not_cropped():
    wide = np.zeros((10, 40, 3), dtype=np.uint8)
    wide[:, :10] = 255
    result = to_common_size([wide], 20)
    np.testing.assert_array_equal(result[0, :, :4], 1.0)
    np.testing.assert_array_equal(result[0, :, 6:], 0.0)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [13, 97])
def test_constant_picture_stays_exactly_constant(antialias, size):
    result = to_common_size([np.full((64, 48, 3), 77, dtype=np.uint8)], size, antialias=antialias)
    assert np.unique(result).tolist() == [np.float32(77) / np.float32(255)]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), dtype=np.uint8),
        np.zeros((8, 8, 4), dtype=np.uint8),
        np.zeros((8, 8, 3), dtype=np.int64),
    ],
)
def test_other_pictures_are_refused(image):
    with pytest.raises(ValueError, match=r"\(height, width, 3\) uint8 is expected"):
        to_common_size([image], 8)


def test_float_pictures_of_wrong_size_or_range_are_refused():
    with pytest.raises(ValueError, match=r"are \(8, 8, 3\), not \(16, 16, 3\)"):
        to_common_size(np.zeros((1, 8, 8, 3)), 16)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        unit_float(np.full((1, 8, 8, 3), 200.0))
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        unit_float(np.full((1, 8, 8, 3), np.nan))
    with pytest.raises(ValueError, match="uint8 or floating point"):
        unit_float(np.zeros((1, 8, 8, 3), dtype=np.int32))
