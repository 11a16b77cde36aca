"""How alike two pictures are, pixel by pixel.

Every function takes reconstructions and the pictures seen, both (n, height, width, 3) and of one size (see
`bids_recon.metrics.prepare`), and gives one number a pair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2gray

from bids_recon.metrics.identification import correlation_matrix
from bids_recon.metrics.prepare import unit_float

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5
"""Taps to either side: 11 in all, the window of Wang et al. 2004."""
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2

PictureStack = NDArray[np.uint8] | NDArray[np.floating]


def pixcorr(reconstructed: PictureStack, seen: PictureStack) -> NDArray[np.float64]:
    """Pearson correlation over all pixels and the three colour channels of each pair.

    A picture without any contrast correlates 0 with everything: it carries no information, and leaving it
    out of the mean instead would reward a method for failing.

    Parameters
    ----------
    reconstructed, seen : ndarray (n, height, width, 3), uint8 or floating point in 0..1

    Returns
    -------
    ndarray (n,) float64
        In -1..1.
    """
    _check_pairs(reconstructed, seen)
    pairs = zip(seen.reshape(len(seen), 1, -1), reconstructed.reshape(len(seen), 1, -1), strict=True)
    return np.array([correlation_matrix(truth, picture)[0, 0] for truth, picture in pairs], dtype=np.float64)


def ssim(reconstructed: PictureStack, seen: PictureStack) -> NDArray[np.float64]:
    """Structural similarity of the grey pictures, with a two-dimensional window.

    Wang, Bovik, Sheikh & Simoncelli 2004, IEEE Trans. Image Process. 13:600, equation 13: Gaussian window of
    sigma 1.5 and 11 x 11 pixels, population covariance, K1 0.01, K2 0.03, range 1, mean over the positions
    where the window fits. Equal to `skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1)`. Grey is 0.2125 R + 0.7154 G + 0.0721 B.

    Parameters
    ----------
    reconstructed, seen : ndarray (n, height, width, 3), uint8 or floating point in 0..1

    Returns
    -------
    ndarray (n,) float64
        At most 1.

    Raises
    ------
    ValueError
        When the pictures differ in shape or are smaller than 11 x 11.
    """
    return _mean_ssim(reconstructed, seen, axes=(0, 1))


def ssim_legacy1d(reconstructed: PictureStack, seen: PictureStack) -> NDArray[np.float64]:
    """Structural similarity with a window that runs down each pixel column on its own.

    What published code measured when it passed `multichannel=True` with a grey picture to scikit-image before
    0.20: the picture's width was taken for colour channels. The same call on a later version gives `ssim`.

    Parameters, returns and errors are those of `ssim`.
    """
    return _mean_ssim(reconstructed, seen, axes=(0,))


def _mean_ssim(reconstructed: PictureStack, seen: PictureStack, axes: tuple[int, ...]) -> NDArray[np.float64]:
    _check_pairs(reconstructed, seen)
    if min(seen.shape[1:3]) < 2 * SSIM_RADIUS + 1:
        raise ValueError(f"pictures are {seen.shape[1:3]}; the window of SSIM is {2 * SSIM_RADIUS + 1} wide")
    inside = tuple(slice(SSIM_RADIUS, -SSIM_RADIUS) for _ in axes)
    result = np.empty(len(seen), dtype=np.float64)
    # One pair at a time: the intermediate maps of a single pair stay in the processor's cache.
    for i in range(len(seen)):
        x, y = (rgb2gray(unit_float(pictures[i : i + 1])[0]) for pictures in (reconstructed, seen))
        result[i] = _ssim_map(x, y, axes)[inside].mean(dtype=np.float64)
    return result


def _ssim_map(x: NDArray[np.float32], y: NDArray[np.float32], axes: tuple[int, ...]) -> NDArray[np.float32]:
    """Local SSIM of two grey pictures, windows running along `axes`."""

    def local_mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(gaussian_filter(values, SSIM_SIGMA, radius=SSIM_RADIUS, axes=axes))

    mean_x, mean_y = local_mean(x), local_mean(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = local_mean(x * y) - product
    # Only the sum of the two variances enters, so one filtering serves both.
    variances = local_mean(x * x + y * y) - squares
    similarity = (2 * product + SSIM_C1) * (2 * covariance + SSIM_C2)
    return np.asarray(similarity / ((squares + SSIM_C1) * (variances + SSIM_C2)))


def _check_pairs(reconstructed: PictureStack, seen: PictureStack) -> None:
    if reconstructed.shape != seen.shape:
        raise ValueError(f"reconstructions are {reconstructed.shape}, pictures seen {seen.shape}")
