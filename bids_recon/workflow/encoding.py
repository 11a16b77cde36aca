"""True latents of pictures, in memory where they fit and else on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_recon.latents.base import Captions, Image
from bids_recon.methods.base import Method
from bids_recon.outputs.scratch import scratch_array

# Bytes of latents of all spaces up to which they are encoded together.
TOGETHER = 2**30


def encode(
    method: Method,
    space: str,
    images: Sequence[Image],
    scratch: Path | None,
    captions: Captions | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Latents (n, *shape) of pictures in one space at least.

    Where all spaces fit into memory, they are encoded in one go; else the one that is asked for goes to the
    scratch folder.
    """
    spaces = method.latent_spaces
    numbers = sum(math.prod(one.shape) for one in spaces.values())
    if 4 * numbers * len(images) <= TOGETHER or scratch is None:
        return method.encode(images, tuple(spaces), captions)
    out = scratch_array((len(images), *spaces[space].shape), scratch)
    return {space: spaces[space].encode(images, captions, out)}
