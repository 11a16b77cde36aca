"""A network with weights, which computes the features of pictures in its layers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bids_recon.latents.base import Image
from bids_recon.latents.eigenimage import square_picture
from bids_recon.latents.encoder_catalogue import ENCODERS, EncoderSpec
from bids_recon.models.efficientnet_lite0 import EfficientNetLite0
from bids_recon.models.feature_network import FeatureNetwork
from bids_recon.models.vgg19 import Vgg19
from bids_recon.weights.caffe_networks import read_vgg19_state
from bids_recon.weights.checkpoint import load_state, load_strictly
from bids_recon.weights.checksums import content_hash, file_state
from bids_recon.weights.store import find_weight

# Of the features of all layers of the pictures that go through the network at a time: 60 MB each in VGG19.
BATCH_BYTES = 2**28
MOST_AT_ONCE = 32


class FeatureEncoder:
    """A feature network and the units of its input.

    Parameters
    ----------
    spec : EncoderSpec
    network : FeatureNetwork
        On `device`.
    size : int
        Height and width of its input in pixels.
    source : str
        Tells these weights from others, such as the hash of their file.
    device : torch.device
    """

    def __init__(
        self, spec: EncoderSpec, network: FeatureNetwork, size: int, source: str, device: torch.device
    ) -> None:
        self.spec, self.network, self.size, self.source, self.device = spec, network, size, source, device
        self._mean = torch.tensor(spec.mean, device=device)[:, None, None]
        with torch.no_grad():
            features = network.layer_features(self.start(1), spec.layers)
        self.shapes = {layer: tuple(values.shape[1:]) for layer, values in features.items()}
        """Shape of the features of one picture, by layer."""

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """Pictures as the network takes them, (n, 3, size, size) float32."""
        squares = np.stack([square_picture(image, self.size) for image in images])
        ordered = squares[..., ::-1] if self.spec.colours == "BGR" else squares
        levels = torch.from_numpy(np.ascontiguousarray(ordered)).to(self.device).permute(0, 3, 1, 2).float()
        return ((levels - self._mean) / self.spec.scale).contiguous()

    def pictures(self, pixels: Tensor) -> NDArray[np.uint8]:
        """Pictures (n, height, width, 3) from what the network takes; grey levels are rounded and clipped."""
        levels = (pixels.detach() * self.spec.scale + self._mean).round().clamp(0, 255)
        pictures = levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return np.ascontiguousarray(pictures[..., ::-1] if self.spec.colours == "BGR" else pictures)

    def start(self, n: int) -> Tensor:
        """`n` pictures of the mean colour, as the network takes them."""
        return torch.zeros(n, 3, self.size, self.size, device=self.device)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The grey levels 0 and 255, (3, 1, 1), in the units of the input."""
        return (0 - self._mean) / self.spec.scale, (255 - self._mean) / self.spec.scale

    def features(self, images: Sequence[Image], layers: Sequence[str]) -> dict[str, Tensor]:
        """Features (n, *shape) of pictures by layer."""
        with torch.inference_mode():
            return self.network.layer_features(self.pixels(images), layers)

    def feature_batches(
        self, images: Sequence[Image], layers: Sequence[str]
    ) -> Iterator[tuple[slice, dict[str, NDArray[np.float32]]]]:
        """Features of many pictures, read when they are needed, about `BATCH_BYTES` at a time.

        Gives rows and the features (n_rows, *shape) of these pictures by layer.
        """
        bytes_each = 4 * sum(int(np.prod(shape)) for shape in self.shapes.values())
        at_once = max(1, min(MOST_AT_ONCE, BATCH_BYTES // bytes_each))
        for start in range(0, len(images), at_once):
            rows = slice(start, min(start + at_once, len(images)))
            features = self.features([images[row] for row in range(rows.start, rows.stop)], layers)
            yield rows, {layer: values.cpu().numpy() for layer, values in features.items()}

    def identity(self, layer: str) -> str:
        """Hash that tells the features of this layer from those of other networks, weights and sizes."""
        described = f"{self.spec.name} {self.source} {self.size} {layer}"
        return hashlib.sha256(described.encode()).hexdigest()


def load_encoder(
    spec: EncoderSpec, size: int, device: torch.device, weights: Path | None = None
) -> FeatureEncoder:
    """Load a network with its published weights.

    Parameters
    ----------
    spec : EncoderSpec
    size : int
        Of `encoder_spec`.
    device : torch.device
    weights : Path, optional
        Folder of weights; by default that of `bids_recon.weights.store.weights_folder`.

    Raises
    ------
    MissingInputError
        When the weights are not there.
    DataError
        When they are damaged, or those of another network.
    """
    file = find_weight(spec.weight, weights)
    return _load(spec.name, size, device, file, file_state(file))


@lru_cache(maxsize=1)
def _load(name: str, size: int, device: torch.device, file: Path, state: tuple[int, int]) -> FeatureEncoder:
    """Load a network, or take the one at hand: folds and people share it. `state` tells changed files."""
    del state
    spec = ENCODERS[name]
    network, read = _network(spec)
    load_strictly(network, read(file), file)
    # Weights of a network do not learn here; only pixels have gradients.
    network.requires_grad_(False).eval().to(device)
    return FeatureEncoder(spec, network, size, content_hash(file), device)  # type: ignore[arg-type]


def _network(spec: EncoderSpec) -> tuple[nn.Module, Callable[[Path], dict[str, Tensor]]]:
    # No memory for weights that are replaced at once.
    with torch.device("meta"):
        if spec.weight == "vgg19-caffe":
            return Vgg19(**spec.options), read_vgg19_state  # type: ignore[arg-type]
        return EfficientNetLite0(), load_state
