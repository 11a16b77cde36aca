"""Writes caffemodels, as Caffe would, for the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

LEGACY, MODERN = "V1", "V2"


def varint(value: int) -> bytes:
    """A number of seven bits a byte, the lowest first."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def number(key: int, value: int) -> bytes:
    """A field that is a number."""
    return varint(key << 3) + varint(value)


def field(key: int, content: bytes) -> bytes:
    """A field of some length."""
    return varint(key << 3 | 2) + varint(len(content)) + content


def encode_blob(values: NDArray[np.float32], form: str, packed: bool = True, double: bool = False) -> bytes:
    """A BlobProto; the old form has always four dimensions."""
    kind, wire, key = ("<f8", 1, 8) if double else ("<f4", 5, 5)
    content = values.astype(kind).tobytes()
    if packed:
        data = field(key, content)
    else:
        size = np.dtype(kind).itemsize
        data = b"".join(varint(key << 3 | wire) + content[i : i + size] for i in range(0, len(content), size))
    if form == LEGACY:
        shape = (1,) * (4 - values.ndim) + values.shape
        return b"".join(number(i, length) for i, length in enumerate(shape, start=1)) + data
    lengths = [varint(length) for length in values.shape]
    return data + field(7, field(1, b"".join(lengths)) if packed else b"".join(b"\x08" + n for n in lengths))


def encode_net(
    blobs: Mapping[str, Sequence[NDArray[np.float32]]], form: str, packed: bool = True, double: bool = False
) -> bytes:
    """A NetParameter with layers of some names and weights."""
    layers = []
    for name, own in blobs.items():
        encoded = [encode_blob(values, form, packed, double) for values in own]
        if form == LEGACY:
            # bottom, top, name, type, blobs.
            layer = field(2, b"below") + field(3, b"above") + field(4, name.encode()) + number(5, 4)
            layers.append(field(2, layer + b"".join(field(6, blob) for blob in encoded)))
        else:
            layer = field(1, name.encode()) + field(2, b"Convolution") + field(3, b"below")
            layers.append(field(100, layer + b"".join(field(7, blob) for blob in encoded)))
    return b"".join(layers)
