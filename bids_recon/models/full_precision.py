"""Convolutions on a GPU in the precision that their numbers have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute convolutions of float32 in float32.

    By default cuDNN rounds them to ten bits of mantissa (TF32). Latents that people regress on would then
    depend on the device by a thousandth.
    """
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    ):
        yield
