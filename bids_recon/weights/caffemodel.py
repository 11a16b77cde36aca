"""Reader of caffemodels: the weights in a protocol buffer, without Caffe and without the protobuf package.

The wire format is that of protobuf.dev; field numbers are those of caffe.proto. Networks of before 2015 (V1,
among them VGG-19) hold their layers in another field than later ones. Fields that are not needed are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import DataError, MissingInputError, naming

FETCH_AGAIN = "Delete it, and fetch it again with `bids-recon-weights download`."
"""Remedy for weights that are damaged."""

# Wire types.
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_VARINT_BYTES = 10

# NetParameter: field of the layers -> fields of their name and blobs.
_LAYER_FIELDS = {2: (4, 6), 100: (1, 7)}
# BlobProto.
_LEGACY_SHAPE = (1, 2, 3, 4)
_FLOATS, _SHAPE, _DOUBLES = 5, 7, 8
# BlobShape.
_DIMENSION = 1
# Caffe allows no more.
_MAX_DIMENSIONS = 32


class _Field(NamedTuple):
    """One field of a message: `content` are its bytes, `value` the number if it is a varint."""

    number: int
    wire: int
    content: memoryview
    value: int


def read_caffemodel(path: Path) -> dict[str, list[NDArray[np.float32]]]:
    """Read the weights of a caffemodel of either format.

    The file is mapped into memory; only what is returned is copied.

    Parameters
    ----------
    path : Path
        File written by Caffe.

    Returns
    -------
    dict of list of ndarray float32
        Blobs of each layer that has any, by the layer's name, in the shapes the file states. Old files state
        four dimensions for all: (1, 1, outputs, inputs) for a fully connected layer, (1, 1, 1, n) for a bias.

    Raises
    ------
    MissingInputError
        When there is no such file.
    DataError
        When the file is cut off, damaged, or no caffemodel.
    """
    if not path.is_file():
        raise MissingInputError("is missing", file=path)
    if path.stat().st_size == 0:
        raise DataError("is empty", file=path, remedy=FETCH_AGAIN)
    with naming(path):
        with path.open("rb") as file:
            content = mmap(file.fileno(), 0, access=ACCESS_READ)
        return _read_net(memoryview(content))


def _read_net(net: memoryview) -> dict[str, list[NDArray[np.float32]]]:
    layers: dict[str, list[NDArray[np.float32]]] = {}
    for field in _fields(net):
        if field.number not in _LAYER_FIELDS or field.wire != _LENGTH:
            continue
        name, blobs = _read_layer(field.content, *_LAYER_FIELDS[field.number])
        if name in layers and blobs:
            raise _damaged(f"there are two layers '{name}'")
        if blobs:
            layers[name] = blobs
    if not layers:
        raise DataError("is no caffemodel, or one without weights", remedy=FETCH_AGAIN)
    return layers


def _read_layer(
    layer: memoryview, name_field: int, blobs_field: int
) -> tuple[str, list[NDArray[np.float32]]]:
    name, blobs = "", list[NDArray[np.float32]]()
    for field in _fields(layer):
        if field.number == name_field and field.wire == _LENGTH:
            try:
                name = bytes(field.content).decode()
            except UnicodeDecodeError as error:
                raise _damaged("a layer's name is not text") from error
        elif field.number == blobs_field and field.wire == _LENGTH:
            # Names come first, in the order of the field numbers.
            blobs.append(_read_blob(field.content, name))
    return name, blobs


def _read_blob(blob: memoryview, layer: str) -> NDArray[np.float32]:
    legacy: dict[int, int] = {}
    shape: tuple[int, ...] | None = None
    # These are the only copies. Lists of parts would take many times the memory of single numbers.
    floats, doubles = bytearray(), bytearray()
    for field in _fields(blob):
        if field.number in _LEGACY_SHAPE and field.wire == _VARINT:
            legacy[field.number] = field.value
        elif field.number == _SHAPE and field.wire == _LENGTH:
            shape = tuple(_dimensions(field.content))
        # Repeated numbers come as one field of many, or as many fields of one.
        elif field.number == _FLOATS and field.wire in (_LENGTH, _FOUR_BYTES):
            floats += field.content
        elif field.number == _DOUBLES and field.wire in (_LENGTH, _EIGHT_BYTES):
            doubles += field.content
    values = _numbers(doubles, "<f8") if doubles else _numbers(floats, "<f4")
    if shape is None:
        shape = tuple(legacy.get(number, 0) for number in _LEGACY_SHAPE)
    if len(shape) > _MAX_DIMENSIONS or 0 in shape or math.prod(shape) != values.size:
        raise _damaged(f"a blob of layer '{layer}' has {values.size} numbers, but its shape is {shape}")
    return values.reshape(shape)


def _dimensions(shape: memoryview) -> Iterator[int]:
    for field in _fields(shape):
        if field.number == _DIMENSION and field.wire == _VARINT:
            yield field.value
        elif field.number == _DIMENSION and field.wire == _LENGTH:
            position = 0
            while position < len(field.content):
                value, position = _varint(field.content, position)
                yield value


def _numbers(content: bytearray, kind: str) -> NDArray[np.float32]:
    if len(content) % np.dtype(kind).itemsize:
        raise _damaged("a list of numbers ends within a number")
    return np.frombuffer(content, kind).astype(np.float32, copy=False)


def _fields(message: memoryview) -> Iterator[_Field]:
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        value, length = 0, 0
        begin = position
        if wire == _VARINT:
            value, position = _varint(message, position)
        elif wire == _LENGTH:
            length, begin = _varint(message, position)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire == _EIGHT_BYTES else 4
        if number == 0 or wire not in (_VARINT, _LENGTH, _EIGHT_BYTES, _FOUR_BYTES):
            raise _damaged(f"there is no field {number} of type {wire}")
        if length > len(message) - begin:
            raise DataError(
                f"is cut off or no caffemodel: of {length} bytes that should follow, "
                f"{len(message) - begin} are there",
                remedy=FETCH_AGAIN,
            )
        if wire != _VARINT:
            position = begin + length
        yield _Field(number, wire, message[begin:position], value)


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the position after it."""
    value = 0
    for i in range(_VARINT_BYTES):
        if position + i >= len(message):
            raise DataError("is cut off or no caffemodel: it ends within a number", remedy=FETCH_AGAIN)
        byte = message[position + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, position + i + 1
    raise _damaged("a number does not end")


def _damaged(what: str) -> DataError:
    return DataError(f"is damaged or no caffemodel: {what}", remedy=FETCH_AGAIN)
