"""Caffemodels: what a small encoder writes is read back, and what is damaged is refused."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from caffe_encoder import LEGACY, MODERN, encode_net, field, number
from numpy.typing import NDArray

from bids_recon.errors import DataError, MissingInputError
from bids_recon.weights.caffemodel import read_caffemodel

Blobs = dict[str, list[NDArray[np.float32]]]


@pytest.fixture
def blobs() -> Blobs:
    rng = np.random.default_rng(0)
    return {
        "conv": [rng.standard_normal((4, 3, 3, 3), np.float32), rng.standard_normal(4, np.float32)],
        "fc": [rng.standard_normal((5, 64), np.float32), rng.standard_normal(5, np.float32)],
    }


def write(folder: Path, content: bytes) -> Path:
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
def test_later_format_keeps_names_shapes_and_numbers(
    tmp_path: Path, blobs: Blobs, packed: bool, double: bool
) -> None:
    found = read_caffemodel(write(tmp_path, encode_net(blobs, MODERN, packed=packed, double=double)))
    assert list(found) == ["conv", "fc"]
    for name, expected in blobs.items():
        for got, values in zip(found[name], expected, strict=True):
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, values)
            assert got.flags.writeable


@pytest.mark.parametrize("packed", [True, False])
def test_old_format_states_four_dimensions(tmp_path: Path, blobs: Blobs, packed: bool) -> None:
    found = read_caffemodel(write(tmp_path, encode_net(blobs, LEGACY, packed=packed)))
    assert [b.shape for b in found["conv"]] == [(4, 3, 3, 3), (1, 1, 1, 4)]
    assert [b.shape for b in found["fc"]] == [(1, 1, 5, 64), (1, 1, 1, 5)]
    for name, expected in blobs.items():
        for got, values in zip(found[name], expected, strict=True):
            np.testing.assert_array_equal(got.ravel(), values.ravel())


def test_layers_without_weights_and_unknown_fields_are_skipped(tmp_path: Path, blobs: Blobs) -> None:
    extra = (
        field(1, b"VGG")
        + number(6, 300)
        + struct.pack("<Bf", 15 << 3 | 5, 1.5)
        + struct.pack("<Bd", 14 << 3 | 1, 2.5)
    )
    content = extra + encode_net({"relu": [], **blobs}, MODERN) + field(2000, b"\xff" * 9)
    assert list(read_caffemodel(write(tmp_path, content))) == ["conv", "fc"]


@pytest.mark.parametrize("form", [LEGACY, MODERN])
def test_a_file_cut_off_anywhere_is_refused_or_lacks_layers(tmp_path: Path, blobs: Blobs, form: str) -> None:
    content = encode_net(blobs, form)
    first = len(encode_net({"conv": blobs["conv"]}, form))
    for length in [*range(1, 40), first - 1, first + 1, len(content) // 2, len(content) - 1]:
        path = write(tmp_path, content[:length])
        with pytest.raises(DataError, match=r"net\.caffemodel: is (cut off|no caffemodel).*fetch it again"):
            read_caffemodel(path)
    # Between two layers nothing shows here; the network's own list of layers does (test_caffe_networks).
    assert list(read_caffemodel(write(tmp_path, content[:first]))) == ["conv"]


@pytest.mark.parametrize(("content", "problem"), [
    (b"", "is empty"),
    (b"<!DOCTYPE html><html><body>Not found</body></html>", "no caffemodel"),
    (b"PK\x03\x04" + bytes(200), "no caffemodel"),
    (bytes(100), "no field 0"),
    (b"\xff" * 100, "does not end"),
    (field(1, b"a name and no layers"), "without weights"),
    # A length of 2**63 - 1 bytes.
    (b"\x12" + b"\xff" * 8 + b"\x7f", "is cut off"),
])  # fmt: skip
def test_what_is_no_caffemodel_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=rf"net\.caffemodel: .*{problem}.*fetch it again"):
        read_caffemodel(write(tmp_path, content))


@pytest.mark.parametrize(("blob", "problem"), [
    (field(5, bytes(16)) + field(7, number(1, 5)), r"'fc' has 4 numbers, but its shape is \(5,\)"),
    (field(5, bytes(16)), r"shape is \(0, 0, 0, 0\)"),
    (field(5, bytes(15)) + field(7, number(1, 4)), "ends within a number"),
    # Shapes that no memory would hold, or whose product is zero.
    (field(5, bytes(16)) + field(7, number(1, 2**62) * 4), "4 numbers, but its shape"),
    (field(7, number(1, 0) + number(1, 2**62)), "0 numbers, but its shape"),
    (field(5, bytes(4)) + field(7, number(1, 1) * 33), "1 numbers, but its shape"),
    (field(5, bytes(16)) + field(7, field(1, b"\x80")), "is cut off"),
])  # fmt: skip
def test_impossible_blobs_are_refused_at_no_cost(tmp_path: Path, blob: bytes, problem: str) -> None:
    path = write(tmp_path, field(100, field(1, b"fc") + field(7, blob)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=problem):
            read_caffemodel(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_flipped_byte_never_escapes_as_another_error(tmp_path: Path, blobs: Blobs) -> None:
    content = encode_net(blobs, MODERN)
    rng = np.random.default_rng(1)
    refused = 0
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        try:
            read_caffemodel(write(tmp_path, bytes(damaged)))
        except DataError:
            refused += 1
    # Most bytes are those of numbers, where nothing shows.
    assert 0 < refused < len(content) // 7


def test_two_layers_of_one_name_are_refused(tmp_path: Path, blobs: Blobs) -> None:
    with pytest.raises(DataError, match="two layers 'conv'"):
        read_caffemodel(write(tmp_path, encode_net(blobs, MODERN) * 2))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"none\.caffemodel: is missing"):
        read_caffemodel(tmp_path / "none.caffemodel")
