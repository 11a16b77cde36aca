"""Tokens of CLIP's picture encoder as a latent space: where things are, and what they look like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_recon.latents.base import Captions, Image
from bids_recon.latents.clip_encoders import ClipVision

# 135 MB of the widest layer of the published network.
PICTURES_AT_ONCE = 32


class ClipVisionSpace:
    """Normalised tokens of pictures (Ozcelik and VanRullen 2023, second stage).

    Parameters
    ----------
    encoder : ClipVision
    """

    name = "clip-vision"

    def __init__(self, encoder: ClipVision) -> None:
        self.encoder = encoder

    @property
    def shape(self) -> tuple[int, ...]:
        """(257, 768) as published: one token for the whole picture, then 16 x 16 for its places."""
        return (self.encoder.n_tokens, self.encoder.width)

    @property
    def identity(self) -> str:
        """Hash over weights, configuration and preprocessing."""
        return self.encoder.identity

    def encode(
        self,
        images: Sequence[Image],
        captions: Captions | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Tokens (n, *shape) of pictures, read some at a time; written to `out` when it is given.

        Captions are not used.
        """
        del captions
        latents = np.empty((len(images), *self.shape), np.float32) if out is None else out
        for start in range(0, len(images), PICTURES_AT_ONCE):
            stop = min(start + PICTURES_AT_ONCE, len(images))
            tokens = self.encoder.tokens([images[row] for row in range(start, stop)])
            latents[start:stop] = tokens.cpu().numpy()
        return latents
