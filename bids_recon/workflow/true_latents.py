"""Latents of the pictures that were seen, which decoded ones are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.methods.base import Method
from bids_recon.workflow.decoding import DecodedFold
from bids_recon.workflow.encoding import encode


class TrueLatents:
    """True latents of seen pictures, encoded once in each latent space, however often they are asked for.

    Parameters
    ----------
    methods : dict of str to Method
        The fitted method, by fold.
    stimuli : StimulusSet
        Has the pictures, which are read one at a time.
    folder : Path, optional
        Large latents are kept there, in files without a name, instead of in memory.
    """

    def __init__(
        self, methods: Mapping[str, Method], stimuli: StimulusSet, folder: Path | None = None
    ) -> None:
        self._methods, self._stimuli, self._folder = methods, stimuli, folder
        self._known: dict[tuple[str, str, tuple[str, ...]], NDArray[np.float32]] = {}

    def of(self, fold: DecodedFold, space: str, ids: Sequence[str]) -> NDArray[np.float32]:
        """Latents (n, *shape) of some pictures in a latent space of a fold."""
        key = (fold.identity, space, tuple(ids))
        if key not in self._known:
            method, images = self._methods[fold.name], self._stimuli.images(ids)
            captions = self._stimuli.captions(ids)
            for name, latents in encode(method, space, images, self._folder, captions).items():
                self._known[fold.identity, name, tuple(ids)] = latents
        return self._known[key]
