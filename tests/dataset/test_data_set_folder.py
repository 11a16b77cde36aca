import json
from pathlib import Path

import pytest

from bids_recon.dataset.layout import (
    BoldRun,
    find_confounds,
    find_runs,
    list_participants,
    read_description,
    select_participants,
)
from bids_recon.errors import InvalidBidsError, MissingInputError, NothingSelectedError

DESCRIPTION = {"Name": "x", "BIDSVersion": "1.8.0"}


def dataset(root: Path, *files: str) -> Path:
    for name in ("dataset_description.json", *files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(DESCRIPTION))
    return root


# the folder


def test_description(tmp_path: Path) -> None:
    assert read_description(dataset(tmp_path)) == DESCRIPTION


def test_description_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    root = dataset(tmp_path, "sub-01/func/sub-01_task-x_bold.nii.gz")
    (root / "dataset_description.json").write_text("\ufeff" + json.dumps(DESCRIPTION), encoding="utf-8")
    assert read_description(root) == DESCRIPTION
    assert [run.name for run in find_runs(root, ["01"])["01"]] == ["sub-01_task-x"]


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidBidsError, match=r"the BIDS folder is empty. Is the volume mounted\?"
    ) as caught:
        read_description(tmp_path)
    assert caught.value.exit_code == 16
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_no_description(tmp_path: Path) -> None:
    (tmp_path / "sub-01").mkdir()
    with pytest.raises(InvalidBidsError, match="is missing, so this is not a BIDS data set") as caught:
        read_description(tmp_path)
    assert caught.value.exit_code == 16
    assert str(tmp_path / "dataset_description.json") in str(caught.value)
    assert '{"Name": "...", "BIDSVersion": "1.10.0"}' in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"Name": ', "is not valid JSON"),
        (b"[]", "should hold a JSON object"),
        (b"\xff", "is not valid JSON"),
    ],
)
def test_broken_description(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "dataset_description.json").write_bytes(content)
    with pytest.raises(InvalidBidsError, match=problem) as caught:
        read_description(tmp_path)
    assert caught.value.exit_code == 16


# participants


def test_participants_are_the_folders(tmp_path: Path) -> None:
    root = dataset(
        tmp_path / "ds",
        "sub-02/a",
        "sub-CSI1/a",
        "sub-01/a",
        "sub-03",
        "sub-/a",
        "sub-01_old/a",
        "derivatives/sub-09/a",
    )
    assert list_participants(root) == ["01", "02", "CSI1"]
    betas = dataset(tmp_path / "betas", "sub-02/a", "sub-07/a")
    assert list_participants(root, [betas]) == ["01", "02", "07", "CSI1"]


def test_selected_participants_are_in_the_order_of_the_data_set(tmp_path: Path) -> None:
    assert select_participants(["01", "02", "03"], ["03", "01"], tmp_path) == ["01", "03"]
    assert select_participants(["01", "02"], [], tmp_path) == ["01", "02"]


def test_missing_participant(tmp_path: Path) -> None:
    with pytest.raises(NothingSelectedError) as caught:
        select_participants(["01", "02"], ["04", "01", "03"], tmp_path)
    assert caught.value.exit_code == 18
    assert str(caught.value) == (
        f"{tmp_path}: no such participant: 03, 04. Available: 01, 02. In a container, check that the data set"
        " is mounted."
    )


def test_many_available_participants_are_cut_short(tmp_path: Path) -> None:
    with pytest.raises(NothingSelectedError, match=r"Available: 000, .*, 019 \.\.\.\."):
        select_participants([f"{number:03d}" for number in range(30)], ["x"], tmp_path)


def test_no_participant_at_all(tmp_path: Path) -> None:
    with pytest.raises(
        NothingSelectedError, match=r"there is no sub- folder. Is the volume mounted\?"
    ) as caught:
        select_participants([], ["01"], tmp_path)
    assert caught.value.exit_code == 18


# confounds


def confounds(root: Path, name: str) -> Path:
    file = root / "sub-01" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("trans_x\n0\n")
    return file


def a_run(session: str = "", task: str = "x", run: str = "") -> BoldRun:
    return BoldRun("01", session, task, run, None, None, {})


@pytest.mark.parametrize(
    "suffix", ["desc-confounds_timeseries", "desc-confounds_regressors", "bold_confounds"]
)
def test_confounds_by_the_names_of_fmriprep(tmp_path: Path, suffix: str) -> None:
    for other in (
        "ses-a_task-x_run-2",
        "ses-b_task-x_run-1",
        "ses-a_task-y_run-1",
        "task-x_run-1",
        "ses-a_task-x",
    ):
        confounds(tmp_path / "b", f"ses-a/func/sub-01_{other}_{suffix}.tsv")
    assert find_confounds([tmp_path / "a", tmp_path / "b"], a_run("a", "x", "01")) is None
    file = confounds(tmp_path / "b", f"ses-a/func/sub-01_ses-a_task-x_run-1_{suffix}.tsv")
    assert find_confounds([tmp_path / "a", tmp_path / "b"], a_run("a", "x", "01")) == file


def test_confounds_of_a_run_without_session_and_number(tmp_path: Path) -> None:
    confounds(tmp_path, "ses-a/func/sub-01_ses-a_task-x_desc-confounds_timeseries.tsv")
    file = confounds(tmp_path, "func/sub-01_task-x_desc-confounds_timeseries.tsv")
    assert find_confounds([tmp_path], a_run()) == file


def test_confounds_that_were_not_fetched(tmp_path: Path) -> None:
    file = confounds(tmp_path, "func/sub-01_task-x_desc-confounds_timeseries.tsv")
    file.unlink()
    file.symlink_to("../.git/annex/objects/gone")
    with pytest.raises(MissingInputError, match=r"is not on this machine\. .*datalad get") as caught:
        find_confounds([tmp_path], a_run())
    assert caught.value.exit_code == 66
    assert str(file) in str(caught.value)
