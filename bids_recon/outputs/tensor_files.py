"""safetensors files whose matrices need not fit in memory, neither when written nor when read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from bids_recon.errors import DataError, MissingInputError
from bids_recon.outputs.atomic import atomic_path

_TAGS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_TAG_OF = {np.dtype(kind): tag for tag, kind in _TAGS.items()}
_HEADER_LENGTH = 8


@dataclass(frozen=True)
class ColumnStream:
    """A matrix that is computed some columns at a time, on its way to the disk.

    Attributes
    ----------
    shape : (n_rows, n_columns)
    dtype : numpy dtype
    parts : callable
        Gives pairs of a slice of columns and their values (n_rows, width).
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    parts: Callable[[], Iterator[tuple[slice, NDArray[Any]]]]

    def collect(self) -> NDArray[Any]:
        """The whole matrix in memory."""
        matrix = np.empty(self.shape, self.dtype)
        for part, values in self.parts():
            matrix[:, part] = values
        return matrix


Tensor = NDArray[Any] | ColumnStream


def in_memory(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Named arrays, with streams collected."""
    return {
        name: tensor.collect() if isinstance(tensor, ColumnStream) else tensor
        for name, tensor in tensors.items()
    }


def below(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Write named arrays and streams as one safetensors file, which any reader of the format can open.

    Raises
    ------
    ReconError
        When the file cannot be written.
    """
    # Wide types first, so that every array starts at a multiple of its item size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        shape, dtype = tensors[name].shape, np.dtype(tensors[name].dtype).newbyteorder("<")
        begin, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if dtype not in _TAG_OF:
            raise TypeError(f"the array '{name}' has numbers of the type {dtype}, which cannot be stored")
        header[name] = {"dtype": _TAG_OF[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _HEADER_LENGTH)
    with atomic_path(path) as temporary, temporary.open("r+b") as file:
        file.write(len(text).to_bytes(_HEADER_LENGTH, "little") + text)
        for name in order:
            _write(file, tensors[name])
    return path


def _write(file: BinaryIO, tensor: Tensor) -> None:
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    if not isinstance(tensor, ColumnStream):
        file.write(np.ascontiguousarray(tensor, dtype).data)
        return
    begin = file.tell()
    n_rows, n_columns = tensor.shape
    for part, values in tensor.parts():
        start, stop, _ = part.indices(n_columns)
        own = np.ascontiguousarray(values, dtype)
        if stop - start == n_columns:
            file.write(own.data)
            break
        for row in range(n_rows):
            file.seek(begin + (row * n_columns + start) * dtype.itemsize)
            file.write(own[row].data)
    file.seek(begin + n_rows * n_columns * dtype.itemsize)


def open_tensors(path: Path, remedy: str | None = None) -> dict[str, NDArray[Any]]:
    """Named arrays of a safetensors file, memory-mapped: what is not used is not read.

    Raises
    ------
    MissingInputError
        When there is no such file.
    DataError
        When it is damaged or not of this format.
    """
    if not path.is_file():
        raise MissingInputError("is missing", file=path, remedy=remedy)
    try:
        # Checks that the header fits the file.
        with safe_open(path, framework="np"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", file=path, remedy=remedy) from error
    header.pop("__metadata__", None)
    begin = _HEADER_LENGTH + length
    # One map for all: each would hold the file open, and there may be thousands of arrays.
    whole = np.memmap(path, np.uint8, mode="r", offset=begin) if path.stat().st_size > begin else None
    return {name: _open(path, entry, whole) for name, entry in header.items()}


def _open(path: Path, entry: Mapping[str, Any], whole: NDArray[np.uint8] | None) -> NDArray[Any]:
    if entry["dtype"] not in _TAGS:
        raise DataError(f"holds numbers of the type {entry['dtype']}, which is not used here", file=path)
    dtype, shape = np.dtype(_TAGS[entry["dtype"]]), tuple(entry["shape"])
    first, last = entry["data_offsets"]
    if first == last or whole is None:
        return np.empty(shape, dtype)
    return whole[first:last].view(dtype).reshape(shape)
