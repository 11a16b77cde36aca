"""Photographs are recovered from their true features in all layers of EfficientNet-Lite0."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_recon.latents.eigenimage import square_picture
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.deep_recon import DeepRecon
from bids_recon.metrics.pixel import pixcorr
from bids_recon.simulate.photos import TEST_PHOTOS, crops


def recovered(n: int, size: int, **extra: int) -> NDArray[np.float64]:
    """Correlation of pixels between photographs and what was drawn from their features."""
    taken = crops(TEST_PHOTOS, n, 128, np.random.default_rng(0), scales=(0.4, 1.0), mirror=False)
    seen = [crop.pixels for crop in taken]
    options = {"encoder": "efficientnet-lite0", "image_size": size} | extra
    method = DeepRecon(MethodOptions(device="cpu", extra=options))
    assert len(method.settings.drawn_layers) == 19
    drawn = method.ceiling(seen, np.zeros(n, np.uint64))
    small = np.stack([square_picture(picture, size) for picture in seen])
    return np.asarray(pixcorr(drawn / 255, small / 255))


@pytest.mark.usefixtures("lite0_file")
def test_small_photographs_are_recovered_within_few_iterations() -> None:
    assert recovered(2, 32, iterations=40).min() >= 0.94


@pytest.mark.slow
@pytest.mark.usefixtures("lite0_file")
def test_photographs_are_recovered() -> None:
    found = recovered(4, 64)
    assert found.min() >= 0.9
    assert found.mean() >= 0.95
