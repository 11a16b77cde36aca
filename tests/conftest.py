"""Fixtures for every room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bids_recon.errors import MissingInputError
from bids_recon.weights.store import find_weight

if TYPE_CHECKING:
    from bids_recon.latents.feature_encoder import FeatureEncoder

# Test data are small: more threads only wait for one another, above all where several processes test.
os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("BIDS_RECON_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "DESIGN.md").is_file():
        pytest.skip(f"reference data not found in {folder} (set BIDS_RECON_SHARED)")
    return folder


@pytest.fixture(scope="session")
def lite0_file() -> Path:
    """Published weights of EfficientNet-Lite0, of an installed package."""
    return _weights("efficientnet-lite0")


@pytest.fixture(scope="session")
def mobilenet_file() -> Path:
    """Published weights of MobileNetV2, of an installed package."""
    return _weights("mobilenet-v2")


def _weights(name: str) -> Path:
    try:
        return find_weight(name)
    except MissingInputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def random_lite0() -> FeatureEncoder:
    """EfficientNet-Lite0 for pictures of 32 x 32 pixels, with weights that nobody trained."""
    import torch

    from bids_recon.latents.encoder_catalogue import ENCODERS
    from bids_recon.latents.feature_encoder import FeatureEncoder
    from bids_recon.models.efficientnet_lite0 import EfficientNetLite0

    network, generator = EfficientNetLite0(), torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, generator=generator)
        if isinstance(module, torch.nn.BatchNorm2d):
            # Without these, no feature of mean grey would have a gradient.
            torch.nn.init.normal_(module.bias, std=0.3, generator=generator)
    return FeatureEncoder(ENCODERS["efficientnet-lite0"], network, 32, "random", torch.device("cpu"))
