import json
import os
from pathlib import Path

import numpy as np
import pytest

import bids_recon
from bids_recon.outputs.atomic import TEMPORARY_PREFIX
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.stage_cache import (
    StageCache,
    fingerprint,
    region_hashes,
    remove_leftovers,
    stage_key,
)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    file = tmp_path / "out.nii.gz"
    file.write_text("responses")
    return file


@pytest.fixture
def cache(tmp_path: Path) -> StageCache:
    return StageCache(tmp_path / "work", "01")


def test_key_depends_on_every_input_and_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    key = stage_key({"a": 1, "b": [1, None, "x"], "c": Path("y")})
    assert key == stage_key({"c": Path("y"), "b": [1, None, "x"], "a": 1})
    assert len({key, stage_key({"a": 1}), stage_key({"a": 2}), stage_key({"a": "1"}), stage_key({})}) == 5
    monkeypatch.setattr(bids_recon, "__version__", "0.0.0.other")
    assert stage_key({"a": 1, "b": [1, None, "x"], "c": Path("y")}) != key


def test_fingerprint_tells_a_change(output: Path) -> None:
    before = fingerprint(output)
    assert before == fingerprint(output)
    assert json.loads(json.dumps(before)) == before
    output.write_text("responses!")
    assert fingerprint(output) != before
    changed = fingerprint(output)
    os.utime(output, ns=(0, changed[2] + 1))
    assert fingerprint(output) != changed


def test_fingerprint_is_of_the_file_and_not_of_its_path(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(output.parent)
    assert fingerprint(Path(output.name)) == fingerprint(output)


def test_hit(cache: StageCache, output: Path, tmp_path: Path) -> None:
    assert cache.outputs("glm", "key") is None
    other = tmp_path / "b.json"
    other.write_text("{}")
    cache.finish("glm", "key", [output, other])
    assert cache.outputs("glm", "key") == [output, other]
    assert StageCache(tmp_path / "work", "01").outputs("glm", "key") == [output, other]


def test_miss(cache: StageCache, output: Path, tmp_path: Path) -> None:
    cache.finish("glm", "key", [output])
    assert cache.outputs("glm", "other key") is None
    assert cache.outputs("decoder", "key") is None
    assert StageCache(tmp_path / "work", "02").outputs("glm", "key") is None
    assert StageCache(tmp_path / "elsewhere", "01").outputs("glm", "key") is None


def test_changed_output_is_a_miss(cache: StageCache, output: Path) -> None:
    cache.finish("glm", "key", [output])
    output.write_text("something else")
    assert cache.outputs("glm", "key") is None
    cache.finish("glm", "key", [output])
    assert cache.outputs("glm", "key") == [output]


def test_output_of_the_same_size_and_another_time_is_a_miss(cache: StageCache, output: Path) -> None:
    cache.finish("glm", "key", [output])
    os.utime(output, ns=(1, 1))
    assert cache.outputs("glm", "key") is None


def test_deleted_output_is_a_miss(cache: StageCache, output: Path) -> None:
    cache.finish("glm", "key", [output])
    output.unlink()
    assert cache.outputs("glm", "key") is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        "{}",
        '{"key": "key"}',
        '{"key": "key", "outputs": 3}',
        '{"key": "key", "outputs": [3]}',
        '{"key": "key", "outputs": [[]]}',
        '{"key": "key", "outputs": [[3]]}',
        '{"outputs": []}',
        b"\xff",
    ],
)
def test_corrupt_stamp_is_a_miss(cache: StageCache, output: Path, content: str | bytes) -> None:
    cache.finish("glm", "key", [output])
    (stamp,) = cache.folder.iterdir()
    stamp.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert cache.outputs("glm", "key") is None
    cache.finish("glm", "key", [output])
    assert cache.outputs("glm", "key") == [output]


def test_stage_without_outputs(cache: StageCache) -> None:
    cache.finish("audit", "key", [])
    assert cache.outputs("audit", "key") == []


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    keep = [tmp_path / "a.tsv", tmp_path / "func" / "b.nii.gz", tmp_path / "func" / "not.tmp-x"]
    leftover = [tmp_path / f"{TEMPORARY_PREFIX}1.tsv", tmp_path / "func" / f"{TEMPORARY_PREFIX}2.nii.gz"]
    (tmp_path / "func").mkdir()
    for file in [*keep, *leftover]:
        file.touch()
    remove_leftovers(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(keep)
    remove_leftovers(tmp_path / "none")


def test_region_hashes_tell_which_voxels_and_not_how_many() -> None:
    def hashes(**rois: list[bool]) -> dict[str, str]:
        members = {name: np.array(member) for name, member in rois.items()}
        return region_hashes(VoxelSelection((9, 1, 1), np.eye(4), np.array([2, 5, 7]), members))

    before = hashes(V1=[True, False, True], V2=[False, True, False])
    assert before == hashes(V1=[True, False, True], V2=[False, True, False])
    after = hashes(V1=[True, True, False], V2=[False, True, False])
    assert after["V1"] != before["V1"] and after["V2"] == before["V2"]
