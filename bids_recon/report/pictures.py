"""Pictures inside the page: each stored once, small, as a data URI."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bids_recon.errors import DataError, MissingInputError
from bids_recon.report.content import Picture

LOSSLESS_EDGE = 64
"""Pictures up to this size (longer edge, pixels) are kept as they are: contrast patches, for example."""

SIZES = ((400, 256, 85), (2500, 128, 80))
"""(number of distinct pictures, longest edge in pixels, JPEG quality): the more pictures, the smaller."""

SMALLEST = (96, 70)


def thumbnail(picture: NDArray[np.uint8], edge: int = SIZES[0][1]) -> NDArray[np.uint8]:
    """A picture at the largest size at which a page shows it, so that no more has to be held for the page.

    `edge` is the longest edge in pixels; steps are shown at `bids_recon.report.films.EDGE`.
    """
    if max(picture.shape[:2]) <= edge:
        return picture
    image = Image.fromarray(picture)
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    return np.asarray(image)


@dataclass(frozen=True)
class EncodedPicture:
    """A picture that a browser can show: its address (a data URI) and its size in pixels."""

    uri: str
    width: int
    height: int


class PicturePool:
    """Collects pictures, gives each distinct one an index, and encodes them all at the end.

    The size of the thumbnails follows from how many there are, so that the page of a large group stays
    usable: 8 participants x 982 pictures make about 20 MB.
    """

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}
        self._pictures: list[Picture] = []

    def add(self, picture: Picture) -> int:
        """Index of a picture; equal arrays, and equal paths, have equal indices.

        Raises
        ------
        ValueError
            When an array is not a uint8 picture.
        """
        key = _fingerprint(picture)
        if key not in self._index:
            self._index[key] = len(self._pictures)
            self._pictures.append(picture)
        return self._index[key]

    def encode(self) -> list[EncodedPicture]:
        """Encode every picture, in order of index."""
        edge, quality = next(
            ((edge, quality) for limit, edge, quality in SIZES if len(self._pictures) <= limit), SMALLEST
        )
        return [_encode(picture, edge, quality) for picture in self._pictures]


def _fingerprint(picture: Picture) -> bytes:
    if isinstance(picture, Path):
        return b"file " + str(picture).encode("utf-8", "surrogateescape")
    _check(picture)
    digest = hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=16)
    return str(picture.shape).encode() + digest.digest()


def _check(picture: NDArray[np.uint8]) -> None:
    if picture.dtype != np.uint8 or not (
        picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (1, 3, 4))
    ):
        raise ValueError(
            f"a picture is (height, width[, 1, 3 or 4]) uint8, not {picture.shape} {picture.dtype}"
        )


def _encode(picture: Picture, edge: int, quality: int) -> EncodedPicture:
    image = as_image(picture)
    if max(image.size) <= LOSSLESS_EDGE:
        return EncodedPicture(png_uri(image), *image.size)
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    return EncodedPicture(data_uri(image, "jpeg", quality=quality, optimize=True), *image.size)


def as_image(picture: Picture) -> Image.Image:
    """Open a picture, in grey or RGB; transparent parts are shown on white, as a picture viewer would.

    Raises
    ------
    ValueError
        When an array is not a uint8 picture.
    ReconError
        When a file is missing or cannot be read.
    """
    image = _opened(picture)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def png_uri(image: Image.Image) -> str:
    """Address, a data URI, of a picture as it is."""
    return data_uri(image, "png", optimize=True)


def data_uri(image: Image.Image, kind: str, **options: int) -> str:
    """Address of a picture as a file of some kind, written with the options of that kind."""
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _opened(picture: Picture) -> Image.Image:
    if isinstance(picture, Path):
        try:
            with Image.open(picture) as image:
                image.load()
                return image
        except FileNotFoundError as error:
            raise MissingInputError(
                "a picture of the report is missing", file=picture, remedy="Run the group level again."
            ) from error
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(
                f"a picture of the report cannot be read ({error})",
                file=picture,
                remedy="Remove the file and run the same command again.",
            ) from error
    _check(picture)
    array: NDArray[np.uint8] = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    return Image.fromarray(np.ascontiguousarray(array))
