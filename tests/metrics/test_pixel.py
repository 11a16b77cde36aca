"""PixCorr and both SSIMs: golden values, parity with scikit-image, constant pictures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from skimage.transform import resize

from bids_recon.metrics.pixel import pixcorr, ssim, ssim_legacy1d

SKIMAGE = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}


def _stack(grey: np.ndarray) -> np.ndarray:
    """A grey picture as a stack of one colour picture; the weights of grey sum to 1."""
    return np.repeat(grey[None, :, :, None], 3, axis=3)


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return rgb2gray(resize(data.astronaut(), (425, 425)))


# Measured independently with scikit-image 0.26; pictures resized by skimage.transform.resize, then made grey.
@pytest.mark.parametrize(
    ("other", "expected", "expected_legacy"),
    [
        ("blur", 0.4963, 0.6100),
        ("constant", 0.3438, 0.4720),
        ("noise", 0.3433, 0.2883),
        ("chelsea", 0.2218, 0.3651),
    ],
)
def test_golden_values(astronaut, other, expected, expected_legacy):
    noise = np.random.default_rng(0).normal(0, 0.1, astronaut.shape)
    picture = {
        "blur": lambda: gaussian_filter(astronaut, 8),
        "constant": lambda: np.full_like(astronaut, astronaut.mean()),
        "noise": lambda: np.clip(astronaut + noise, 0, 1),
        "chelsea": lambda: rgb2gray(resize(data.chelsea(), (425, 425))),
    }[other]()
    assert ssim(_stack(picture), _stack(astronaut))[0] == pytest.approx(expected, abs=5e-5)
    assert ssim_legacy1d(_stack(picture), _stack(astronaut))[0] == pytest.approx(expected_legacy, abs=5e-5)


def test_ssim_agrees_with_scikit_image_on_colour_pictures():
    rng = np.random.default_rng(0)
    seen = rng.random((3, 40, 52, 3))
    reconstructed = np.clip(seen + rng.normal(0, [[[[0.05]]], [[[0.2]]], [[[0.5]]]], seen.shape), 0, 1)
    pairs = [(rgb2gray(r), rgb2gray(s)) for r, s in zip(reconstructed, seen, strict=True)]
    np.testing.assert_allclose(
        ssim(reconstructed, seen), [structural_similarity(r, s, **SKIMAGE) for r, s in pairs], atol=1e-5
    )
    np.testing.assert_allclose(
        ssim_legacy1d(reconstructed, seen),
        [structural_similarity(r, s, channel_axis=-1, **SKIMAGE) for r, s in pairs],
        atol=1e-5,
    )


def test_legacy_window_runs_down_columns_only():
    # Columns shuffled alike in both pictures change the picture but not any column.
    rng = np.random.default_rng(2)
    seen = gaussian_filter(rng.random((1, 32, 32, 3)), (0, 2, 2, 0))
    reconstructed = gaussian_filter(rng.random((1, 32, 32, 3)), (0, 2, 2, 0))
    order = rng.permutation(32)
    shuffled = reconstructed[:, :, order], seen[:, :, order]
    assert ssim_legacy1d(*shuffled)[0] == pytest.approx(ssim_legacy1d(reconstructed, seen)[0], abs=1e-5)
    assert abs(ssim(*shuffled)[0] - ssim(reconstructed, seen)[0]) > 0.01


def test_identical_pictures_score_one_in_each_and_8_bits_equal_floats():
    pictures = np.random.default_rng(1).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    other = pictures[::-1].copy()
    for metric in (pixcorr, ssim, ssim_legacy1d):
        np.testing.assert_allclose(metric(pictures, pictures), 1.0, atol=1e-6)
        np.testing.assert_allclose(metric(other, pictures), metric(other / 255, pictures / 255), atol=1e-6)


def test_pixcorr_is_the_correlation_over_all_colours():
    rng = np.random.default_rng(0)
    seen, reconstructed = rng.random((2, 5, 12, 14, 3))
    expected = [np.corrcoef(r.ravel(), s.ravel())[0, 1] for r, s in zip(reconstructed, seen, strict=True)]
    np.testing.assert_allclose(pixcorr(reconstructed, seen), expected, atol=1e-12)


def test_negative_picture_correlates_minus_one():
    seen = np.random.default_rng(0).integers(0, 256, (1, 12, 12, 3), dtype=np.uint8)
    assert pixcorr(255 - seen, seen)[0] == pytest.approx(-1)
    assert ssim(255 - seen, seen)[0] < 0


def test_constant_picture_scores_zero_correlation_but_a_high_ssim(astronaut):
    seen = _stack(astronaut).astype(np.float32)
    for level in (0.0, 0.1, 0.5, 1.0):
        assert pixcorr(np.full_like(seen, level), seen).tolist() == [0.0]
    # The trap that floors are there for: grey of the right brightness "resembles" the photograph.
    assert ssim(np.full_like(seen, seen.mean()), seen)[0] > 0.3


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="11 wide"):
        ssim(np.zeros((1, 10, 20, 3)), np.zeros((1, 10, 20, 3)))
    with pytest.raises(ValueError, match=r"reconstructions are \(2, 12, 12, 3\)"):
        pixcorr(np.zeros((2, 12, 12, 3)), np.zeros((1, 12, 12, 3)))
