"""Arrays for which there may be no room in memory."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from bids_recon.errors import InputOutputError, ReconError
from bids_recon.outputs import scratch
from bids_recon.outputs.scratch import scratch_array

SHAPE = (3, 5, 7)
N_BYTES = 4 * 3 * 5 * 7


@pytest.mark.parametrize("room", [N_BYTES - 1, N_BYTES, N_BYTES + 1])
def test_only_large_arrays_are_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(scratch, "LARGE", room)
    folder = tmp_path / "deep" / "scratch"
    array = scratch_array(SHAPE, folder)
    assert isinstance(array, np.memmap) is (room <= N_BYTES)
    assert array.shape == SHAPE and array.dtype == np.float32 and not array.any()
    values = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    array[:] = values
    np.testing.assert_array_equal(array, values)
    # The file has no name, and none is left behind by a program that is killed.
    assert not folder.exists() if room > N_BYTES else list(folder.iterdir()) == []


def test_two_maps_do_not_share_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "LARGE", 1)
    first, second = scratch_array((4,), tmp_path), scratch_array((4,), tmp_path, np.int64)
    first[:] = 1
    second[:] = -2
    assert second.dtype == np.int64
    assert (first.tolist(), second.tolist()) == ([1.0] * 4, [-2] * 4)


def test_without_a_folder_all_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "LARGE", 1)
    assert not isinstance(scratch_array(SHAPE, None), np.memmap)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "LARGE", 1)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        # As root, the mode of a folder refuses nothing.
        patch.setattr(scratch.tempfile, "TemporaryFile", refused)
        with pytest.raises(ReconError, match="scratch") as caught:
            scratch_array(SHAPE, tmp_path / "scratch")
        assert caught.value.file == tmp_path / "scratch"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReconError, match="file"):
        scratch_array(SHAPE, tmp_path / "file" / "scratch")


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(scratch.os, "posix_fallocate", full)
    with pytest.raises(InputOutputError, match="space"):
        scratch_array((10, 10), tmp_path)


def test_a_file_system_that_cannot_reserve_is_used_all_the_same(tmp_path, monkeypatch):
    def unable(descriptor, offset, length):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(scratch.os, "posix_fallocate", unable)
    array = scratch_array((2, 3), tmp_path)
    array[:] = 4
    assert array.sum() == 24
