"""Matrices that are written and read a part at a time, in files that any reader of the format opens."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bids_recon.errors import DataError, MissingInputError
from bids_recon.outputs.tensor_files import ColumnStream, in_memory, open_tensors, write_tensors

MATRIX = np.arange(35, dtype=np.float32).reshape(5, 7)


def stream(matrix: np.ndarray, width: int) -> ColumnStream:
    def parts() -> Iterator[tuple[slice, np.ndarray]]:
        for start in range(0, matrix.shape[1], width):
            part = slice(start, min(start + width, matrix.shape[1]))
            yield part, matrix[:, part]

    return ColumnStream(matrix.shape, matrix.dtype, parts)


@pytest.mark.parametrize("width", [1, 3, 7])
def test_streams_and_arrays(tmp_path: Path, width: int) -> None:
    arrays = {
        "b/flag": np.array([True, False]),
        "a": np.arange(6, dtype=np.int64).reshape(2, 3),
        "empty": np.empty((0, 4), dtype=np.float64),
        "turned": MATRIX.T[::-1],
        "bytes": np.arange(3, dtype=np.uint8),
    }
    file = write_tensors(tmp_path / "x.safetensors", {**arrays, "wide": stream(MATRIX, width)})
    expected = {**arrays, "wide": MATRIX}
    for read in (load_file(file), open_tensors(file)):
        assert set(read) == set(expected)
        for name, array in expected.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)
    assert isinstance(open_tensors(file)["wide"], np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_files_of_the_library_are_read(tmp_path: Path) -> None:
    save_file({"x": MATRIX, "y": MATRIX.astype(np.float16)}, tmp_path / "x.safetensors", {"note": "of it"})
    read = open_tensors(tmp_path / "x.safetensors")
    assert set(read) == {"x", "y"}
    np.testing.assert_array_equal(read["x"], MATRIX)


def test_collecting() -> None:
    found = in_memory({"a": stream(MATRIX, 2), "b": MATRIX})
    np.testing.assert_array_equal(found["a"], found["b"])


def test_a_stream_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Iterator[tuple[slice, Any]]:
        yield slice(0, 2), MATRIX[:, :2]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_tensors(tmp_path / "x.safetensors", {"x": ColumnStream((5, 7), np.dtype(np.float32), parts)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "header"])
def test_damaged_files_are_named(tmp_path: Path, damage: str) -> None:
    file = write_tensors(tmp_path / "x.safetensors", {"x": MATRIX})
    whole = file.read_bytes()
    file.write_bytes(
        {
            "truncated": whole[:-3],
            "empty": b"",
            "text": b"not a tensor in sight, but long enough for a header",
            "header": (2**60).to_bytes(8, "little") + whole[8:],
        }[damage]
    )
    with pytest.raises(DataError, match=r"x.safetensors: cannot be read .*Once more"):
        open_tensors(file, remedy="Once more.")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="is missing"):
        open_tensors(tmp_path / "x.safetensors")


def test_a_file_of_many_arrays_is_opened_once(tmp_path):
    arrays = {f"a{number:04d}": np.full(3, number, np.float32) for number in range(300)}
    file = write_tensors(tmp_path / "many.safetensors", arrays)
    before, after = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 40, after))
    try:
        found = open_tensors(file)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, after))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
