"""A layer as a latent space: shape, identity, and features written where they are wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_recon.latents import feature_encoder
from bids_recon.latents.base import LatentSpace
from bids_recon.latents.feature_encoder import FeatureEncoder
from bids_recon.latents.feature_layer import FeatureLayerSpace


def noise(n: int) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize(("layer", "shape"), [("block3", (24, 8, 8)), ("logits", (1000,))])
def test_a_layer_is_a_latent_space(random_lite0: FeatureEncoder, layer: str, shape: tuple[int, ...]) -> None:
    space = FeatureLayerSpace(random_lite0, layer)
    assert isinstance(space, LatentSpace)
    assert (space.name, space.shape, space.identity) == (layer, shape, random_lite0.identity(layer))
    pictures = noise(3)
    features = space.encode(pictures, ["what", "is", "said"])
    assert features.dtype == np.float32
    expected = random_lite0.features(pictures, [layer])[layer].numpy()
    np.testing.assert_array_equal(features, expected)
    assert np.ptp(features, axis=0).max() > 0.1


def test_features_go_to_disk_a_few_at_a_time(
    random_lite0: FeatureEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, pictures = FeatureLayerSpace(random_lite0, "block5"), noise(7)
    expected = space.encode(pictures)
    monkeypatch.setattr(feature_encoder, "MOST_AT_ONCE", 3)
    file = tmp_path / "features.npy"
    disk = np.lib.format.open_memmap(file, "w+", np.float32, (7, *space.shape))
    assert space.encode(pictures, out=disk) is disk
    disk.flush()
    np.testing.assert_allclose(np.load(file), expected, rtol=1e-5, atol=1e-5)


def test_no_picture_has_no_features(random_lite0: FeatureEncoder) -> None:
    assert FeatureLayerSpace(random_lite0, "stem").encode([]).shape == (0, 32, 16, 16)
