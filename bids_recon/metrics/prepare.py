"""Bring pictures to one size before they are compared.

Resizing moves SSIM by more than most methods differ, so it happens here and nowhere else, with every choice
spelled out: Pillow, bilinear, 8 bits, antialiasing on or off by a flag, the whole picture stretched to a
square (nothing cropped).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from bids_recon.latents.base import Image

Pictures = NDArray[np.uint8] | NDArray[np.floating] | Sequence[Image]
"""Pictures: (n, height, width, 3) uint8, or floating point in 0..1, or a list of (height, width, 3) uint8."""


def to_common_size(images: Pictures, size: int, *, antialias: bool = True) -> NDArray[np.float32]:
    """Bring pictures to `size` x `size`, in 0..1.

    Bilinear in both cases: unlike bicubic it cannot overshoot, so nothing is clipped at black and white. The
    result has 8 bits before it is divided by 255, as in published pipelines; a constant picture therefore
    stays exactly constant. A picture that has the size already is not resampled.

    Parameters
    ----------
    images : list of (height, width, 3) uint8, or (n, height, width, 3) uint8
        Sizes may differ. A floating-point array (n, size, size, 3) in 0..1 is returned as float32 as it is,
        so that pictures prepared once can be handed in many times.
    size : int
        Side of the result, in pixels.
    antialias : bool
        True: the triangle filter grows with the reduction (Pillow's `resize`). False: each output pixel is
        interpolated between the four input pixels nearest to its centre, as `torchvision` did for tensors
        before 0.17.

    Returns
    -------
    ndarray (n, size, size, 3) float32
        In 0..1.

    Raises
    ------
    ValueError
        When a picture is not (height, width, 3) uint8, or floating-point pictures are not of that size or
        leave 0..1.
    """
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        if images.shape[1:] != (size, size, 3):
            raise ValueError(f"floating-point pictures are {images.shape[1:]}, not {(size, size, 3)}")
        return unit_float(images)
    common = np.empty((len(images), size, size, 3), dtype=np.uint8)
    for row, image in zip(common, images, strict=True):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(
                f"a picture is {image.shape} {image.dtype}, where (height, width, 3) uint8 is expected"
            )
        row[...] = _resize(image, size, antialias)
    return unit_float(common)


def _resize(image: NDArray[np.uint8] | NDArray[np.floating], size: int, antialias: bool) -> Image:
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return np.asarray(image, dtype=np.uint8)
    if antialias:
        picture = PillowImage.fromarray(np.ascontiguousarray(image, dtype=np.uint8))
        return np.asarray(picture.resize((size, size), PillowImage.Resampling.BILINEAR))
    # `resize` cannot leave the antialiasing out; an affine map with the same corners samples points. It
    # truncates 8-bit results, so the channels go through it as floating point and are rounded here.
    matrix = (width / size, 0.0, 0.0, 0.0, height / size, 0.0)
    channels = [
        PillowImage.fromarray(np.ascontiguousarray(image[..., k], dtype=np.float32)).transform(
            (size, size), PillowImage.Transform.AFFINE, matrix, resample=PillowImage.Resampling.BILINEAR
        )
        for k in range(3)
    ]
    return np.rint(np.stack([np.asarray(channel) for channel in channels], axis=-1)).astype(np.uint8)


def unit_float(images: NDArray[np.uint8] | NDArray[np.floating]) -> NDArray[np.float32]:
    """Pictures of one size (n, height, width, 3), uint8 or floating point in 0..1, as float32 in 0..1.

    Raises
    ------
    ValueError
        When the shape or the type is another, or floating-point values leave 0..1.
    """
    if images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"pictures are {images.shape}, where (n, height, width, 3) is expected")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    if images.dtype.kind != "f":
        raise ValueError(f"pictures are {images.dtype}, where uint8 or floating point is expected")
    result = images.astype(np.float32, copy=False)
    if result.size and not (result.min() >= 0 and result.max() <= 1):
        raise ValueError("floating-point pictures must lie in 0..1")
    return result
