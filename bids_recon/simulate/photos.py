"""Crops of the photographs that come with scikit-image and scikit-learn.

Only photographs inside the installed packages are used: nothing is downloaded. A photograph serves training
or test, never both, so that no test picture shows anything that the decoder was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

THUMBNAIL = 8
# Standard deviation of the grey levels of a thumbnail, below which a crop shows next to nothing.
MIN_CONTRAST = 10.0
CANDIDATES_PER_CROP = 8


@dataclass(frozen=True)
class PhotoSource:
    """A photograph that crops are taken from.

    Attributes
    ----------
    name : str
        Short name, used in stimulus ids.
    read : callable
        Gives the photograph, (height, width[, 3]) uint8.
    share : int
        Relative number of crops taken from it.
    licence, credit : str
        Under what terms, and whose work.
    """

    name: str
    read: Callable[[], NDArray[np.uint8]]
    share: int
    licence: str
    credit: str


@dataclass(frozen=True)
class Crop:
    """A square cut out of a photograph.

    Attributes
    ----------
    source : PhotoSource
        The photograph.
    left, top, side : int
        Position and size in the photograph, in pixels.
    extent : (int, int)
        Width and height of the photograph, in pixels.
    mirrored : bool
        Whether left and right are exchanged.
    pixels : ndarray (size, size, 3) uint8
        The picture.
    """

    source: PhotoSource
    left: int
    top: int
    side: int
    extent: tuple[int, int]
    mirrored: bool
    pixels: NDArray[np.uint8]


class _Window(NamedTuple):
    left: int
    top: int
    side: int
    mirrored: bool


def _first_of_pair() -> NDArray[np.uint8]:
    return skimage.data.stereo_motorcycle()[0]


PUBLIC_DOMAIN = "public domain"
CC0 = "CC0 1.0"
CC_BY = "CC BY 2.0"
NO_RESTRICTION = "no known copyright restrictions"

TRAINING_PHOTOS = (
    PhotoSource("china", lambda: load_sample_image("china.jpg"), 5, CC_BY, "danielbuechele"),
    PhotoSource("flower", lambda: load_sample_image("flower.jpg"), 4, CC_BY, "vultilion"),
    PhotoSource(
        "motorcycle",
        _first_of_pair,
        5,
        "as distributed with scikit-image (BSD-3-Clause)",
        "Middlebury College, 2014 stereo benchmark",
    ),
    PhotoSource("retina", skimage.data.retina, 2, CC0, "Mikael Häggström"),
    PhotoSource("tissue", skimage.data.immunohistochemistry, 2, NO_RESTRICTION, "CMMI"),
    PhotoSource("hubble", skimage.data.hubble_deep_field, 1, PUBLIC_DOMAIN, "NASA"),
    PhotoSource("coins", skimage.data.coins, 2, NO_RESTRICTION, "Brooklyn Museum"),
    PhotoSource("moon", skimage.data.moon, 1, NO_RESTRICTION, "as distributed with scikit-image"),
    PhotoSource("gravel", skimage.data.gravel, 1, CC0, "CC0Textures"),
    PhotoSource("clock", skimage.data.clock, 1, PUBLIC_DOMAIN, "Stefan van der Walt"),
)

TEST_PHOTOS = (
    PhotoSource("astronaut", skimage.data.astronaut, 1, PUBLIC_DOMAIN, "NASA"),
    PhotoSource("coffee", skimage.data.coffee, 1, CC0, "Rachel Michetti, Pikolo Espresso Bar"),
    PhotoSource("chelsea", skimage.data.chelsea, 1, CC0, "Stefan van der Walt"),
    PhotoSource("rocket", skimage.data.rocket, 1, PUBLIC_DOMAIN, "SpaceX"),
    PhotoSource("camera", skimage.data.camera, 1, CC0, "Lav Varshney"),
)


def crops(
    sources: Sequence[PhotoSource],
    n: int,
    size: int,
    rng: np.random.Generator,
    *,
    scales: tuple[float, float],
    mirror: bool,
) -> list[Crop]:
    """Take `n` crops that look as little alike as random candidates allow.

    Sources take turns; each gives the candidate whose 8 x 8 thumbnail has the lowest correlation with its
    nearest neighbour among the crops taken so far. Candidates with hardly any contrast are avoided.

    Parameters
    ----------
    sources : sequence of PhotoSource
        Photographs, which give crops in proportion to their `share`.
    n, size : int
        Number of crops and their side in pixels.
    rng : Generator
        Source of randomness.
    scales : (float, float)
        Smallest and largest side of a crop, as a share of the photograph's shorter side.
    mirror : bool
        Whether half of the candidates are mirrored.
    """
    turns = _turns([source.share for source in sources], n)
    photos = [Image.fromarray(source.read()).convert("RGB") for source in sources]
    windows = [
        _windows(photo, CANDIDATES_PER_CROP * turns.count(index), rng, scales, mirror)
        for index, photo in enumerate(photos)
    ]
    looks = [
        np.array([_look(photo, window) for window in some]).reshape(len(some), 3 * THUMBNAIL**2)
        for photo, some in zip(photos, windows, strict=True)
    ]
    # Highest correlation of each candidate with any crop taken so far.
    likeness = [np.full(len(some), -np.inf) for some in windows]
    taken: list[Crop] = []
    for index in turns:
        best = int(np.argmin(likeness[index]))
        window, chosen = windows[index][best], looks[index][best]
        pixels = _cut(photos[index], window, size)
        left, top, side, mirrored = window
        taken.append(Crop(sources[index], left, top, side, photos[index].size, mirrored, pixels))
        for other, look in enumerate(looks):
            likeness[other] = np.maximum(likeness[other], look @ chosen)
        likeness[index][best] = np.inf
    return taken


def _turns(shares: Sequence[int], n: int) -> list[int]:
    """Which source gives each of `n` crops; shares are kept to within one at every point."""
    given = np.zeros(len(shares))
    order = []
    for _ in range(n):
        index = int(np.argmin((given + 1) / np.asarray(shares)))
        given[index] += 1
        order.append(index)
    return order


def _windows(
    photo: Image.Image, n: int, rng: np.random.Generator, scales: tuple[float, float], mirror: bool
) -> list[_Window]:
    """Draw `n` windows; those with hardly any contrast only where there are no others among twice as many."""
    drawn = []
    for _ in range(2 * n):
        side = round(min(photo.size) * np.exp(rng.uniform(*np.log(scales))))
        left, top = (int(rng.integers(0, extent - side + 1)) for extent in photo.size)
        drawn.append(_Window(left, top, side, bool(mirror and rng.random() < 0.5)))
    contrast = [_cut(photo, window, THUMBNAIL).mean(axis=2).std() for window in drawn]
    # Enough contrast is enough: windows that have it stay in the order they were drawn.
    order = np.argsort(-np.minimum(contrast, MIN_CONTRAST), kind="stable")
    return [drawn[index] for index in order[:n]]


def _cut(photo: Image.Image, window: _Window, size: int) -> NDArray[np.uint8]:
    """The part of a photograph that a window shows, (size, size, 3)."""
    left, top, side = window.left, window.top, window.side
    part = photo.resize((size, size), Image.Resampling.BOX, box=(left, top, left + side, top + side))
    pixels = np.asarray(part)
    return np.ascontiguousarray(pixels[:, ::-1] if window.mirrored else pixels)


def _look(photo: Image.Image, window: _Window) -> NDArray[np.float64]:
    """Thumbnail without its mean, of unit length."""
    look = _cut(photo, window, THUMBNAIL).astype(float).ravel()
    look -= look.mean()
    return look / max(float(np.linalg.norm(look)), 1e-12)
