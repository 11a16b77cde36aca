"""How strongly each voxel answers to a picture.

A voxel sees a patch of the picture in two ways: linearly, through a difference of Gaussians that weighs
luminance and two opponent colours (Zuiderbaan et al. 2012, Journal of Vision 12(3): 10), and through the
energy of Gabor filters in quadrature, as complex cells do (Adelson and Bergen 1985, J Opt Soc Am A 2: 284).
Higher areas see larger patches, pool more filters and are less linear; the order of sizes follows Dumoulin
and Wandell (2008, NeuroImage 39: 647).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bids_recon.simulate.cortex import Cortex

FIELD_PIXELS = 48
FOVEAL_SIZE, SIZE_SLOPE = 0.07, 0.10
# Weight and size of the inhibitory surround, relative to the centre.
SURROUND_WEIGHT, SURROUND_SIZE = 0.7, 3.0
# Standard deviations by which no picture drives a voxel further from its mean.
SATURATION = 3.0
# Brings luminance, red-green and blue-yellow of ordinary pictures to about the same spread.
OPPONENT_GAIN = (1.0, 2.0, 1.6)
N_REFERENCE = 64
REFERENCE_SEED = 20260101


@dataclass(frozen=True)
class AreaModel:
    """What sets one visual area apart.

    Attributes
    ----------
    size : float
        Receptive field size relative to V1.
    filters : int
        Gabor filters that a voxel pools.
    linear : float
        Mean share of the response's variance that is linear in luminance and colour.
    exponent : float
        Power the pooled energy is raised to.
    """

    size: float
    filters: int
    linear: float
    exponent: float


AREAS = {
    "V1": AreaModel(1.0, 2, 0.85, 0.5),
    "V2": AreaModel(1.4, 3, 0.80, 0.5),
    "V3": AreaModel(1.9, 4, 0.75, 0.5),
    "V4": AreaModel(2.8, 6, 0.70, 0.4),
    "HVC": AreaModel(5.0, 10, 0.35, 0.3),
}


class Brain:
    """Visual cortex of one person, as a function from pictures to responses.

    Parameters
    ----------
    cortex : Cortex
        Voxels and the centres of their receptive fields.
    response, modulation : float
        Mean and standard deviation over ordinary pictures of a voxel of average gain, in percent signal
        change. What is ordinary is set by artificial pictures with the spectrum of natural ones, so that
        the response to a picture does not depend on which others are shown.
    rng : Generator
        Draws sizes, preferred colours, orientations and gains.

    Attributes
    ----------
    sizes : ndarray (n_voxels,)
        Standard deviation of the receptive field's centre, in units of half the picture's side.
    """

    def __init__(self, cortex: Cortex, response: float, modulation: float, rng: np.random.Generator) -> None:
        n = len(cortex.area)
        models = [AREAS[name] for name in cortex.area]
        v1_size = FOVEAL_SIZE + SIZE_SLOPE * np.linalg.norm(cortex.centres, axis=1)
        self.centres = cortex.centres
        self.sizes = v1_size * [model.size for model in models] * rng.lognormal(0, 0.1, n)
        linear = np.array([model.linear for model in models])
        self._linear_share = rng.beta(8 * linear, 8 * (1 - linear))
        self._exponent = np.array([model.exponent for model in models])
        colour = rng.normal(size=(n, 3)) * [1.0, 0.7, 0.7]
        self._colour = colour / np.linalg.norm(colour, axis=1, keepdims=True) * OPPONENT_GAIN
        self._blobs = _gaussians(self.centres, self.sizes)
        self._blobs -= SURROUND_WEIGHT * _gaussians(self.centres, SURROUND_SIZE * self.sizes)

        self._pool = np.repeat(np.arange(n), [model.filters for model in models])
        m = len(self._pool)
        # Filters scatter over the receptive field; their own size stays close to that of V1.
        scatter = np.sqrt(np.maximum(self.sizes**2 - v1_size**2, 0))[self._pool]
        filter_centres = self.centres[self._pool] + rng.normal(size=(m, 2)) * scatter[:, None]
        self._even, self._odd = _gabors(
            filter_centres,
            v1_size[self._pool] * rng.lognormal(0, 0.2, m),
            rng.uniform(0, np.pi, m),
        )
        self._gain = rng.lognormal(0, 0.25, n)
        self._response, self._modulation = response, modulation
        blob, energy = self._drives(_reference_pictures())
        self._blob_mean, self._blob_scale = blob.mean(axis=0), blob.std(axis=0)
        self._energy_mean, self._energy_scale = energy.mean(axis=0), energy.std(axis=0)

    def responses(self, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Noiseless responses to pictures.

        Parameters
        ----------
        pictures : ndarray (n, height, width, 3) uint8
            Pictures of one size, which fill the screen.

        Returns
        -------
        ndarray (n, n_voxels) float64
            Percent signal change at the peak.
        """
        blob, energy = self._drives(_screen(pictures))
        share = self._linear_share
        drive = np.sqrt(share) * (blob - self._blob_mean) / self._blob_scale
        drive += np.sqrt(1 - share) * (energy - self._energy_mean) / self._energy_scale
        saturated = SATURATION * np.tanh(drive / SATURATION)
        return self._gain * (self._response + self._modulation * saturated)

    def _drives(self, screen: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Linear and energy drive, each (n, n_voxels), for a screen (n, 3, FIELD_PIXELS**2)."""
        blob = np.zeros((len(screen), len(self._colour)))
        for channel in range(3):
            blob += screen[:, channel] @ self._blobs.T * self._colour[:, channel]
        energy = np.hypot(screen[:, 0] @ self._even.T, screen[:, 0] @ self._odd.T)
        starts = np.flatnonzero(np.diff(self._pool, prepend=-1))
        pooled = np.add.reduceat(energy, starts, axis=1) / np.bincount(self._pool)
        return blob, pooled**self._exponent


def _screen(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Luminance, red-green and blue-yellow signals (n, 3, FIELD_PIXELS**2), 0 for grey, within -1 to 1."""
    size = (FIELD_PIXELS, FIELD_PIXELS)
    small = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX)) for p in pictures]
    return _opponents(np.stack(small).reshape(len(small), -1, 3) / 127.5 - 1)


def _opponents(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    red, green, blue = np.moveaxis(rgb, -1, 0)
    luminance = 0.3 * red + 0.59 * green + 0.11 * blue
    return np.stack([luminance, (red - green) / 2, (blue - (red + green) / 2) / 2], axis=1)


def _field() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position of each pixel of the screen to the right and up, each (FIELD_PIXELS**2,)."""
    axis = (np.arange(FIELD_PIXELS) + 0.5) / FIELD_PIXELS * 2 - 1
    right, down = np.meshgrid(axis, axis)
    return right.ravel(), -down.ravel()


def _gaussians(centres: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussians (n, FIELD_PIXELS**2) of unit volume, less what lies beyond the screen."""
    right, up = _field()
    squared = (right - centres[:, :1]) ** 2 + (up - centres[:, 1:]) ** 2
    pixel_area = (2 / FIELD_PIXELS) ** 2
    variance = sizes[:, None] ** 2
    return np.exp(-squared / (2 * variance)) * pixel_area / (2 * np.pi * variance)


def _gabors(
    centres: NDArray[np.float64], sizes: NDArray[np.float64], orientations: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gabor filters in quadrature, each (m, FIELD_PIXELS**2); one cycle spans four standard deviations."""
    right, up = _field()
    envelope = _gaussians(centres, sizes)
    across = (right - centres[:, :1]) * np.cos(orientations)[:, None]
    across += (up - centres[:, 1:]) * np.sin(orientations)[:, None]
    phase = 2 * np.pi * across / (4 * sizes[:, None])
    even, odd = envelope * np.cos(phase), envelope * np.sin(phase)
    # A uniform picture must not excite the even filter.
    even -= envelope * even.sum(axis=1, keepdims=True) / envelope.sum(axis=1, keepdims=True).clip(1e-12)
    return even, odd


def _reference_pictures() -> NDArray[np.float64]:
    """Screens (N_REFERENCE, 3, FIELD_PIXELS**2) of noise with the 1/f amplitudes of natural pictures."""
    rng = np.random.default_rng(REFERENCE_SEED)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(FIELD_PIXELS)] * 2))
    amplitude = 1 / np.maximum(frequency, 1 / FIELD_PIXELS)
    white = rng.normal(size=(N_REFERENCE, 3, FIELD_PIXELS, FIELD_PIXELS))
    noise = np.fft.ifft2(np.fft.fft2(white) * amplitude).real
    noise /= noise.std(axis=(1, 2, 3), keepdims=True)
    # Red, green and blue share most of what they show.
    rgb = 0.45 * (0.85 * noise[:, :1] + 0.5 * noise)
    return _opponents(np.moveaxis(rgb.clip(-1, 1), 1, -1).reshape(N_REFERENCE, -1, 3))
