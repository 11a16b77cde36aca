"""The features of one layer of a network as a latent space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_recon.latents.base import Captions, Image
from bids_recon.latents.feature_encoder import FeatureEncoder


class FeatureLayerSpace:
    """Features of a layer, as they are before its ReLU (Shen et al. 2017, "Deep neural network features").

    Parameters
    ----------
    encoder : FeatureEncoder
    layer : str
    """

    def __init__(self, encoder: FeatureEncoder, layer: str) -> None:
        self._encoder, self.name = encoder, layer

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width), or (units,) of a fully-connected layer."""
        return self._encoder.shapes[self.name]

    @property
    def identity(self) -> str:
        """Hash over network, weights, size of pictures and layer."""
        return self._encoder.identity(self.name)

    def encode(
        self,
        images: Sequence[Image],
        captions: Captions | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Features (n, *shape) of pictures, read a few at a time; written to `out` when it is given."""
        del captions
        features = np.empty((len(images), *self.shape), np.float32) if out is None else out
        for rows, found in self._encoder.feature_batches(images, [self.name]):
            features[rows] = found[self.name]
        return features
