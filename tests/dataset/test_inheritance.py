import json
from pathlib import Path

import pytest

from bids_recon.dataset.inheritance import (
    applicable_files,
    entities_of,
    inherited_file,
    inherited_metadata,
    same_run,
    same_value,
    suffix_of,
)
from bids_recon.errors import DataError, MissingInputError

BOLD = "sub-01/ses-a/func/sub-01_ses-a_task-view_run-01_bold.nii.gz"


def put(root: Path, name: str, content: object = "") -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


# names


def test_entities_and_suffix() -> None:
    name = "a-b/sub-01_ses-x_task-5000scenes_run-03_echo-2_bold.nii.gz"
    assert entities_of(name) == {"sub": "01", "ses": "x", "task": "5000scenes", "run": "03", "echo": "2"}
    assert suffix_of(name) == "bold"
    assert entities_of("bold.json") == {}
    assert suffix_of(Path("x/bold.json")) == "bold"


@pytest.mark.parametrize(
    ("key", "first", "second", "same"),
    [
        ("run", "1", "01", True),
        ("echo", "002", "2", True),
        ("run", "1", "2", False),
        ("run", "1", "", False),
        ("sub", "1", "01", False),
        ("ses", "1", "01", False),
        ("run", "²", "2", False),
        ("run", "a", "a", True),
    ],
)
def test_values_of_entities(key: str, first: str, second: str, same: bool) -> None:
    assert same_value(key, first, second) is same
    assert same_value(key, second, first) is same


def test_same_run_looks_at_four_entities_only() -> None:
    run = {"sub": "01", "ses": "a", "task": "x", "run": "1"}
    assert same_run(run, {**run, "run": "01", "space": "T1w", "desc": "preproc"})
    assert not same_run(run, {**run, "ses": "b"})
    assert not same_run(run, {"sub": "01", "task": "x", "run": "1"})


# which files apply


def test_files_from_root_to_run_the_nearest_last(tmp_path: Path) -> None:
    names = [
        "bold.json",
        "task-view_bold.json",
        "sub-01/sub-01_task-view_bold.json",
        "sub-01/ses-a/sub-01_ses-a_bold.json",
        "sub-01/ses-a/func/sub-01_ses-a_task-view_bold.json",
        "sub-01/ses-a/func/sub-01_ses-a_task-view_run-1_bold.json",
    ]
    for name in [
        *names,
        "task-rest_bold.json",
        "sub-02/sub-02_bold.json",
        "sub-01/ses-a/func/sub-01_ses-a_task-view_run-02_bold.json",
        "sub-01/ses-a/func/sub-01_ses-a_task-view_echo-1_bold.json",
        "sub-01/ses-a/func/sub-01_ses-a_task-view_sbref.json",
        "sub-01/ses-a/func/sub-01_ses-a_task-view_acq-bold.json",
        "._bold.json",
    ]:
        put(tmp_path, name)
    found = applicable_files(tmp_path, tmp_path / BOLD, "bold", ".json")
    assert [file.relative_to(tmp_path).as_posix() for file in found] == names


def test_metadata_is_merged_and_the_nearest_wins(tmp_path: Path) -> None:
    put(tmp_path, "task-view_bold.json", {"RepetitionTime": 1.0, "EchoTime": 0.03, "TaskName": "view"})
    put(tmp_path, "sub-01/ses-a/sub-01_ses-a_bold.json", {"EchoTime": 0.04})
    near = "sub-01/ses-a/func/sub-01_ses-a_task-view_run-01_bold.json"
    put(tmp_path, near, '\ufeff{"RepetitionTime": 2.5}')
    assert inherited_metadata(tmp_path, tmp_path / BOLD) == {
        "RepetitionTime": 2.5,
        "EchoTime": 0.04,
        "TaskName": "view",
    }


def test_no_sidecar_is_no_metadata(tmp_path: Path) -> None:
    assert inherited_metadata(tmp_path, tmp_path / BOLD) == {}


def test_of_tables_only_the_nearest_counts(tmp_path: Path) -> None:
    run = tmp_path / BOLD
    assert inherited_file(tmp_path, run, "events", ".tsv") is None
    order = [
        "task-view_events.tsv",
        "sub-01/sub-01_task-view_events.tsv",
        "sub-01/ses-a/sub-01_ses-a_task-view_events.tsv",
        "sub-01/ses-a/func/sub-01_ses-a_task-view_events.tsv",
        "sub-01/ses-a/func/sub-01_ses-a_task-view_run-1_events.tsv",
    ]
    for name in order:
        put(tmp_path, name)
        assert inherited_file(tmp_path, run, "events", ".tsv") == tmp_path / name


def test_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "ds/sub-01/sub-01_task-view_bold.json", {"RepetitionTime": 3})
    monkeypatch.chdir(tmp_path)
    assert inherited_metadata(Path("ds"), Path("ds") / BOLD) == {"RepetitionTime": 3}
    assert inherited_metadata(Path("ds"), tmp_path / "ds" / BOLD) == {"RepetitionTime": 3}


def test_file_outside_the_root_takes_from_the_root_only(tmp_path: Path) -> None:
    put(tmp_path, "ds/task-view_bold.json", {"RepetitionTime": 3})
    put(tmp_path, "other/task-view_bold.json", {"RepetitionTime": 4})
    assert inherited_metadata(tmp_path / "ds", tmp_path / "other" / "sub-01_task-view_bold.nii.gz") == {
        "RepetitionTime": 3
    }


# bad sidecars


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"RepetitionTime": 2', ": is not valid JSON"),
        ("", ": is not valid JSON"),
        ("[1, 2]", ": should hold a JSON object"),
        (b"\xff\xfe\x00", ": is not valid JSON"),
    ],
)
def test_broken_sidecar(tmp_path: Path, content: str | bytes, problem: str) -> None:
    file = put(tmp_path, "task-view_bold.json")
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=problem) as caught:
        inherited_metadata(tmp_path, tmp_path / BOLD)
    assert caught.value.exit_code == 65
    assert str(caught.value).startswith(f"{file}: ")


def test_sidecar_that_was_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "task-view_bold.json").symlink_to(".git/annex/objects/gone")
    with pytest.raises(MissingInputError, match=r"is not on this machine\. .*datalad get") as caught:
        inherited_metadata(tmp_path, tmp_path / BOLD)
    assert caught.value.exit_code == 66
