"""True latents are the same whether they are encoded in one go or one space after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_recon.latents.base import Image, LatentSpace
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.deep_recon import DeepRecon
from bids_recon.methods.eigenimage import Eigenimage
from bids_recon.outputs import scratch
from bids_recon.weights.manifest import weight_named
from bids_recon.weights.store import locate, weights_folder
from bids_recon.workflow import encoding
from bids_recon.workflow.encoding import encode

IMAGES = [np.random.default_rng(n).integers(0, 256, (40, 36, 3), dtype=np.uint8) for n in range(5)]


class Rows(Sequence[Image]):
    """Pictures that are read when they are asked for, and only one at a time."""

    def __getitem__(self, row: Any) -> Any:
        return IMAGES[row]

    def __len__(self) -> int:
        return len(IMAGES)


class Space:
    def __init__(self, name: str, edge: int) -> None:
        self.name, self.identity, self.shape = name, name, (edge, edge, 3)

    def encode(
        self, images: Sequence[Image], captions: Any = None, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        edge = self.shape[0]
        latents = np.empty((len(images), *self.shape), np.float32) if out is None else out
        for row in range(len(images)):
            latents[row] = images[row][:edge, :edge]
        return latents


class Two(Eigenimage):
    """Has two latent spaces of known values."""

    @property
    def latent_spaces(self) -> dict[str, LatentSpace]:
        return {"small": Space("small", 2), "large": Space("large", 6)}


BYTES = 4 * 5 * (12 + 108)


def assert_true(latents: NDArray[np.float32], edge: int) -> None:
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(latents, np.stack([image[:edge, :edge] for image in IMAGES]))


@pytest.mark.parametrize(("room", "spaces"), [(BYTES, {"small", "large"}), (BYTES - 1, {"large"})])
def test_together_where_there_is_room_and_else_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, spaces: set[str]
) -> None:
    monkeypatch.setattr(encoding, "TOGETHER", room)
    monkeypatch.setattr(scratch, "LARGE", 1)
    found = encode(Two(), "large", Rows(), tmp_path / "scratch")
    assert set(found) == spaces
    assert_true(found["large"], 6)
    assert isinstance(found["large"], np.memmap) is (room < BYTES)
    assert_true(encode(Two(), "small", Rows(), tmp_path / "scratch")["small"], 2)


def test_without_a_scratch_folder_all_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "TOGETHER", 0)
    found = encode(Two(), "small", Rows(), None)
    assert_true(found["small"], 2)
    assert_true(found["large"], 6)


def test_features_of_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if locate(weight_named("efficientnet-lite0"), weights_folder()) is None:
        pytest.skip("the weights of EfficientNet-Lite0 are not installed (extra lite)")
    extra = {"encoder": "efficientnet-lite0", "image_size": 32, "layers": ("DNN1-2",)}
    method = DeepRecon(MethodOptions(extra=extra, device="cpu"))
    together = encode(method, "stem", Rows(), tmp_path)
    assert tuple(together) == ("stem", "block1", "block2", "block3") == tuple(method.latent_spaces)
    monkeypatch.setattr(encoding, "TOGETHER", 0)
    monkeypatch.setattr(scratch, "LARGE", 1)
    # Pictures go through the network in other batches.
    monkeypatch.setattr("bids_recon.latents.feature_encoder.MOST_AT_ONCE", 2)
    for layer, latents in together.items():
        alone = encode(method, layer, Rows(), tmp_path)
        assert set(alone) == {layer} and isinstance(alone[layer], np.memmap)
        assert alone[layer].shape == (5, *method.latent_spaces[layer].shape)
        np.testing.assert_allclose(alone[layer], latents, rtol=1e-4, atol=1e-4 * np.abs(latents).max())
