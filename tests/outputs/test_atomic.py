import errno
import gzip
import json
import multiprocessing
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from bids_recon.errors import CannotCreateError, DataError, InputOutputError
from bids_recon.outputs.atomic import (
    atomic_path,
    write_json,
    write_nifti,
    write_png,
    write_safetensors,
    write_text,
    write_tsv,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# appearing


def test_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    final = tmp_path / "new" / "deep" / "a.nii.gz"
    with atomic_path(final) as temporary:
        assert temporary.parent == final.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"whole")
        assert not final.exists()
    assert final.read_bytes() == b"whole"
    assert names(final.parent) == ["a.nii.gz"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(3), DataError("bad")])
@pytest.mark.parametrize("previous", [None, "old"])
def test_nothing_appears_when_the_block_fails(
    tmp_path: Path, error: BaseException, previous: str | None
) -> None:
    final = tmp_path / "a.txt"
    if previous is not None:
        final.write_text(previous)
    with pytest.raises(type(error)), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == ([] if previous is None else ["a.txt"])
    assert previous is None or final.read_text() == previous


def test_previous_content_stays_until_the_end(tmp_path: Path) -> None:
    final = write_text(tmp_path / "a.txt", "old")
    with atomic_path(final) as temporary:
        temporary.write_text("new")
        assert final.read_text() == "old"
    assert final.read_text() == "new"


def test_failure_to_tidy_does_not_hide_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "unlink", broken)
    with pytest.raises(ValueError, match="the cause"), atomic_path(tmp_path / "a.txt"):
        raise ValueError("the cause")


# the disk


def full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    final = write_text(tmp_path / "a.json", "old")
    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(Path, "write_text", full)
        elif step == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(InputOutputError) as caught:
            write_json(final, {"a": 1})
    assert caught.value.exit_code == 74
    assert str(caught.value) == (
        f"{final}: no space is left on the device. Free some space and run the same command again."
    )
    assert names(tmp_path) == ["a.json"]
    assert final.read_text() == "old"


def test_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for final in (tmp_path / "file" / "a.txt", tmp_path / "file" / "deep" / "a.txt"):
        with pytest.raises(CannotCreateError, match="cannot be written") as caught:
            write_text(final, "x")
        assert caught.value.exit_code == 73
        assert str(final) in str(caught.value)


def test_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(CannotCreateError, match="Is a directory"):
        write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_rights(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(CannotCreateError, match="Permission denied"):
        write_text(tmp_path / "closed" / "a.txt", "x")


def test_name_too_long(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match="File name too long"):
        write_text(tmp_path / ("a" * 300), "x")
    assert names(tmp_path) == []


# rights


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_umask_is_respected(tmp_path: Path, umask: int, mode: int) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.float32), np.eye(4))
    before = os.umask(umask)
    try:
        written = [
            write_text(tmp_path / "a.txt", "x"),
            write_json(tmp_path / "a.json", {}),
            write_tsv(tmp_path / "a.tsv", pd.DataFrame({"a": [1]})),
            write_nifti(tmp_path / "a.nii.gz", image),
            write_png(tmp_path / "a.png", np.zeros((2, 2, 3), dtype=np.uint8)),
            write_safetensors(tmp_path / "a.safetensors", {"a": np.zeros(2)}),
        ]
    finally:
        os.umask(before)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in written} == {
        path.name: oct(mode) for path in written
    }


# several writers


def write_many(folder: str, letter: str) -> None:
    for _ in range(20):
        write_text(Path(folder) / "shared.txt", letter * 200_000)


def test_concurrent_writers_leave_one_whole_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(str(tmp_path), letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "shared.txt").exists():
            seen = (tmp_path / "shared.txt").read_text()
            assert seen in {"a" * 200_000, "b" * 200_000}
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["shared.txt"]


# formats


def test_json_holds_plain_values(tmp_path: Path) -> None:
    content = {
        "nan": float("nan"),
        "inf": np.float32(np.inf),
        "int": np.int64(3),
        "float": np.float64(0.5),
        "bool": np.bool_(True),
        "array": np.array([[1.0, np.nan]]),
        "set": {"b", "a"},
        "tuple": (1, None),
        "path": Path("x/y"),
        3: "ä",
    }
    file = write_json(tmp_path / "a.json", content)
    assert json.loads(file.read_text(encoding="utf-8")) == {
        "nan": None,
        "inf": None,
        "int": 3,
        "float": 0.5,
        "bool": True,
        "array": [[1.0, None]],
        "set": ["a", "b"],
        "tuple": [1, None],
        "path": "x/y",
        "3": "ä",
    }
    assert "ä" in file.read_text(encoding="utf-8")
    assert file.read_text(encoding="utf-8").endswith("}\n")


def test_json_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert names(tmp_path) == []


def test_tsv_is_that_of_bids(tmp_path: Path) -> None:
    table = pd.DataFrame({"onset": [0.5, np.nan], "name": ["a", None], "n": [1, 2]}, index=[7, 8])
    file = write_tsv(tmp_path / "a.tsv", table)
    assert file.read_bytes() == b"onset\tname\tn\n0.5\ta\t1\nn/a\tn/a\t2\n"


def test_nifti_is_gzipped_where_the_name_says_so(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    image = nib.Nifti1Image(data, np.diag([2.0, 2.0, 3.0, 1.0]))
    packed = write_nifti(tmp_path / "sub-01_task-a.b_statmap.nii.gz", image)
    plain = write_nifti(tmp_path / "a.nii", image)
    assert len(gzip.decompress(packed.read_bytes())) == plain.stat().st_size
    assert plain.read_bytes()[344:347] == b"n+1"
    read = nib.load(packed)
    np.testing.assert_array_equal(read.get_fdata(), data)
    np.testing.assert_array_equal(read.affine, image.affine)


def test_nifti_is_the_same_each_time(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((2, 2, 2), dtype=np.float32), np.eye(4))
    first = write_nifti(tmp_path / "a.nii.gz", image).read_bytes()
    assert write_nifti(tmp_path / "b.nii.gz", image).read_bytes() == first


def test_png_keeps_pixels_under_any_name(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    for name in ("a.png", "n01443537.12345.png", "no_suffix"):
        with Image.open(write_png(tmp_path / name, picture)) as opened:
            assert opened.format == "PNG"
            np.testing.assert_array_equal(np.asarray(opened), picture)
    grey = write_png(tmp_path / "grey.png", picture[:, :, 0])
    with Image.open(grey) as opened:
        assert opened.mode == "L"


def test_safetensors_keep_arrays_that_are_not_contiguous(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    file = write_safetensors(tmp_path / "a.safetensors", {"a": array, "n": np.array([3])}, {"info": "x"})
    read = load_file(file)
    np.testing.assert_array_equal(read["a"], array)
    assert read["n"].dtype == np.int64
    save_file({"a": np.ascontiguousarray(array), "n": np.array([3])}, tmp_path / "b", metadata={"info": "x"})
    assert file.read_bytes() == (tmp_path / "b").read_bytes()
