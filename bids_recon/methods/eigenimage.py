"""Eigenimages: principal components of pictures, decoded linearly and summed up again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import UsageError
from bids_recon.latents.base import Captions, Image, LatentSpace
from bids_recon.latents.eigenimage import EigenimageSpace
from bids_recon.methods.base import Decoder, Method, MethodOptions
from bids_recon.methods.decoder_choice import choose_decoder

SMALLEST_PICTURE = 8


class Eigenimage(Method):
    """The PCA model of Mozafari, Reddy and VanRullen (2020), section III.C.

    Reads of the options: `decoder` (`ridge` by default) with all that belongs to it, `rescale` (not by
    default), `legacy_test_statistics` (centres test responses by their own mean, as published, in parametric
    inversion) and, in `extra`, `n_components` (120) and `image_size` (64).

    Raises
    ------
    UsageError
        When an option has a value that does not exist.
    """

    name: ClassVar[str] = "eigenimage"
    quick_render: ClassVar[bool] = True
    reference: ClassVar[str] = (
        "Mozafari M, Reddy L, VanRullen R (2020). Reconstructing natural scenes from fMRI patterns using"
        " BigBiGAN. International Joint Conference on Neural Networks (IJCNN); eigen-image model, III.C-D."
    )

    def __init__(self, options: MethodOptions | None = None) -> None:
        super().__init__(options)
        # An option that does not suit is found before hours of computing.
        choose_decoder(self.options)
        self._space = EigenimageSpace(
            self._whole_number("n_components", default=120, smallest=1),
            self._whole_number("image_size", default=64, smallest=SMALLEST_PICTURE),
        )

    def _whole_number(self, option: str, *, default: int, smallest: int) -> int:
        value = self.options.extra.get(option)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < smallest:
            raise UsageError(f"{option} of the method {self.name} is {value}, expected {smallest} or more")
        return int(value)

    def fit_latent_spaces(
        self,
        images: Sequence[Image],
        extra_images: Sequence[Image] = (),
        captions: Captions | None = None,
    ) -> None:
        """Find the components of training pictures together with unrelated ones."""
        del captions
        # One after the other: thousands of full-size pictures need not be in memory.
        self._space.fit(itertools.chain(images, extra_images))

    @property
    def latent_spaces(self) -> dict[str, LatentSpace]:
        """The one space of this method."""
        return {self._space.name: self._space}

    def make_decoder(self, space: str) -> Decoder:
        """Make an unfitted decoder of scores."""
        if space != self._space.name:
            raise KeyError(space)
        return choose_decoder(self.options)

    def render(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """Pictures (n, image_size, image_size, 3) from scores; nothing is drawn, so seeds do not matter."""
        del seeds
        return self._space.decode(latents[self._space.name])

    def state(self) -> dict[str, NDArray[Any]]:
        """Mean, components and identity of the fitted space."""
        return self._space.state()

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Rebuild the fitted space."""
        self._space = EigenimageSpace.from_state(state)
