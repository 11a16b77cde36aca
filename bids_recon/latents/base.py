"""What a latent space has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""A picture: (height, width, 3) uint8, sRGB."""
Captions = Sequence[Sequence[str]]
"""What was written of each of some pictures: any number of captions a picture."""


@runtime_checkable
class LatentSpace(Protocol):
    """A map from pictures to vectors (or tensors), stateless once it is fitted or loaded."""

    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the latent of one picture."""
        ...

    @property
    def identity(self) -> str:
        """Hash that is equal for two spaces exactly when their latents can be averaged."""
        ...

    def encode(
        self,
        images: Sequence[Image],
        captions: Captions | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Latents (n, *shape) of n pictures, in `out` when it is given (a memory map, where n is large)."""
        ...
