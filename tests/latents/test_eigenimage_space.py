"""Eigenimages: exact components, whatever the order, number and shape of pictures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.latents import eigenimage
from bids_recon.latents.base import LatentSpace
from bids_recon.latents.eigenimage import EigenimageSpace, square_picture


def noise_pictures(n: int, size: int = 16, seed: int = 0) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(n)]


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    pictures = noise_pictures(12)
    space = EigenimageSpace(n_components=5, size=16).fit(pictures)
    pixels = np.stack([picture.ravel() for picture in pictures]).astype(float)
    _, singular, expected = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)

    overlap = space.components.astype(float) @ expected[:5].T
    np.testing.assert_allclose(np.abs(overlap), np.eye(5), atol=1e-5)
    np.testing.assert_allclose(space.mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(space.explained_variance_ratio, singular[:5] ** 2 / (singular**2).sum())
    largest = np.abs(space.components).argmax(axis=1)
    assert (space.components[np.arange(5), largest] > 0).all()


def test_lanczos_finds_the_same_components(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = noise_pictures(80, size=8)
    full = EigenimageSpace(n_components=6, size=8).fit(pictures)
    monkeypatch.setattr(eigenimage, "FULL_LIMIT", 20)
    lanczos = EigenimageSpace(n_components=6, size=8).fit(pictures)

    np.testing.assert_allclose(lanczos.components, full.components, atol=2e-4)
    assert lanczos.identity == full.identity


def test_training_pictures_come_back_when_all_components_are_kept() -> None:
    pictures = noise_pictures(9)
    space = EigenimageSpace(size=16).fit(pictures)

    assert space.shape == (8,)
    latents = space.encode(pictures)
    assert latents.shape == (9, 8)
    assert latents.dtype == np.float32
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=1e-2)
    difference = space.decode(latents).astype(int) - np.stack(pictures)
    assert np.abs(difference).max() <= 1


def test_latents_planted_in_pictures_are_recovered() -> None:
    rng = np.random.default_rng(1)
    patterns, _ = np.linalg.qr(rng.standard_normal((16 * 16 * 3, 3)))
    scores = rng.standard_normal((40, 3)) * [600, 300, 100]
    scores -= scores.mean(axis=0)
    pixels = np.clip(np.rint(128 + scores @ patterns.T), 0, 255).astype(np.uint8)
    space = EigenimageSpace(n_components=3, size=16).fit(list(pixels.reshape(-1, 16, 16, 3)))

    rotation, *_ = np.linalg.lstsq(space.encode(list(pixels.reshape(-1, 16, 16, 3))), scores, rcond=None)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=0.05)


def test_order_and_repetition_of_pictures_change_nothing() -> None:
    pictures = noise_pictures(7)
    space = EigenimageSpace(size=16).fit(pictures)
    other = EigenimageSpace(size=16).fit([*pictures[::-1], pictures[2], pictures[2]])

    assert other.identity == space.identity
    np.testing.assert_array_equal(other.components, space.components)
    np.testing.assert_array_equal(other.mean, space.mean)


@pytest.mark.parametrize("change", ["picture", "size", "n_components"])
def test_identity_tells_different_spaces_apart(change: str) -> None:
    pictures = noise_pictures(7)
    space = EigenimageSpace(4, 16).fit(pictures)
    others = {
        "picture": (EigenimageSpace(4, 16), noise_pictures(7, seed=5)),
        "size": (EigenimageSpace(4, 8), pictures),
        "n_components": (EigenimageSpace(3, 16), pictures),
    }
    other, others_pictures = others[change]
    assert other.fit(others_pictures).identity != space.identity


@pytest.mark.parametrize(("n", "copies"), [(1, 1), (1, 4), (0, 1)])
def test_two_different_pictures_are_needed(n: int, copies: int) -> None:
    with pytest.raises(DataError, match="at least two different training pictures"):
        EigenimageSpace(size=16).fit(noise_pictures(n) * copies)


def test_dimensions_without_variance_are_dropped() -> None:
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 200, np.uint8)
    grey = np.full((16, 16, 3), 100, np.uint8)
    space = EigenimageSpace(size=16).fit([black, white, grey])

    assert space.shape == (1,)
    assert (space.decode(space.encode([grey])) == 100).all()


def test_whole_picture_is_squeezed_and_not_cropped() -> None:
    wide = np.zeros((20, 100, 3), np.uint8)
    wide[:, :10], wide[:, -10:] = (255, 0, 0), (0, 0, 255)
    square = square_picture(wide, 40)

    assert square.shape == (40, 40, 3)
    np.testing.assert_array_equal(square[20, 0], [255, 0, 0])
    np.testing.assert_array_equal(square[20, -1], [0, 0, 255])
    tall = square_picture(wide.transpose(1, 0, 2), 40)
    np.testing.assert_array_equal(tall, square.transpose(1, 0, 2))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3)),
        np.zeros((0, 8, 3), "u1"),
    ],
)
def test_what_is_not_a_colour_picture_is_refused(picture: NDArray[np.generic]) -> None:
    with pytest.raises(DataError, match=r"expected \(height, width, 3\) uint8"):
        square_picture(picture, 8)


def test_decoded_pictures_are_clipped() -> None:
    space = EigenimageSpace(size=16).fit(noise_pictures(5))
    extreme = space.decode(np.full((1, 4), 1e6))

    assert extreme.dtype == np.uint8
    assert set(np.unique(extreme)) == {0, 255}


def test_state_rebuilds_the_space() -> None:
    pictures = noise_pictures(6)
    space = EigenimageSpace(3, 16).fit(pictures)
    rebuilt = EigenimageSpace.from_state(space.state())

    assert isinstance(rebuilt, LatentSpace)
    assert (rebuilt.identity, rebuilt.shape, rebuilt.size) == (space.identity, (3,), 16)
    np.testing.assert_array_equal(rebuilt.encode(pictures), space.encode(pictures))
    with pytest.raises(DataError, match="lack the array 'mean'"):
        EigenimageSpace.from_state({key: value for key, value in space.state().items() if key != "mean"})
