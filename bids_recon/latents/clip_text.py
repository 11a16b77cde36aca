"""Tokens of CLIP's text encoder as a latent space: what captions say of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_recon.latents.base import Captions, Image
from bids_recon.latents.clip_encoders import ClipText

# 60 MB of the widest layer of the published network.
CAPTIONS_AT_ONCE = 64


class ClipTextSpace:
    """Normalised tokens of captions, the mean over those of a picture.

    Ozcelik and VanRullen (2023), second stage; the mean is in their programs.

    Parameters
    ----------
    encoder : ClipText
    """

    name = "clip-text"

    def __init__(self, encoder: ClipText) -> None:
        self.encoder = encoder

    @property
    def shape(self) -> tuple[int, ...]:
        """(77, 768) as published."""
        return (self.encoder.n_tokens, self.encoder.width)

    @property
    def identity(self) -> str:
        """Hash over weights, configuration and tokenizer."""
        return self.encoder.identity

    def encode(
        self,
        images: Sequence[Image],
        captions: Captions | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Tokens (n, *shape) of pictures by their captions; written to `out` when it is given.

        Captions that occur more than once are encoded once. The pictures themselves are not looked at.

        Parameters
        ----------
        images : sequence of n pictures
        captions : sequence of n sequences of str
            At least one caption a picture.
        out : ndarray (n, *shape) float32, optional
            Must be readable, too: means are summed up in it.

        Raises
        ------
        ValueError
            When there are no captions, or none of some picture.
        """
        if captions is None or len(captions) != len(images):
            given = "none" if captions is None else f"those of {len(captions)}"
            raise ValueError(f"captions of {len(images)} pictures are needed, {given} are given")
        latents = np.empty((len(images), *self.shape), np.float32) if out is None else out
        latents[...] = 0
        rows = _rows_by_caption(captions)
        distinct = list(rows)
        for start in range(0, len(distinct), CAPTIONS_AT_ONCE):
            texts = distinct[start : start + CAPTIONS_AT_ONCE]
            for text, tokens in zip(texts, self.encoder.tokens(texts).cpu().numpy(), strict=True):
                for row in rows[text]:
                    latents[row] += tokens / np.float32(len(captions[row]))
        return latents


def _rows_by_caption(captions: Captions) -> dict[str, list[int]]:
    """Rows of the pictures that have a caption, as often as they have it, in the order of the pictures."""
    rows: dict[str, list[int]] = {}
    for row, of_picture in enumerate(captions):
        if isinstance(of_picture, str) or not of_picture:
            raise ValueError(f"the picture in row {row} has no sequence of captions, but {of_picture!r}")
        for caption in of_picture:
            rows.setdefault(caption, []).append(row)
    return rows
