import multiprocessing
import shutil
import sqlite3
from pathlib import Path

import pytest

from bids_recon.dataset.index import DATABASE
from bids_recon.dataset.layout import find_runs
from bids_recon.errors import CannotCreateError, DataError


def dataset(root: Path, *names: str, sub: str = "01") -> Path:
    """A data set with BOLD files and events of these runs, such as `ses-a_task-x_run-1`."""
    root.mkdir(exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for name in names:
        session = f"{name.split('_')[0]}/" if name.startswith("ses-") else ""
        for end in ("bold.nii.gz", "events.tsv"):
            file = root / f"sub-{sub}/{session}func/sub-{sub}_{name}_{end}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x")
    return root


def names(root: Path, **options: object) -> list[str]:
    return [run.name.removeprefix("sub-01_") for run in find_runs(root, ["01"], **options)["01"]]  # type: ignore


# filters

RUNS = ("ses-a_task-x_run-1", "ses-a_task-x_run-2", "ses-a_task-y", "ses-b_task-x_run-01")


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({}, RUNS),
        ({"session": "a"}, RUNS[:3]),
        ({"session": ["a", "b"], "task": "x"}, (RUNS[0], RUNS[1], RUNS[3])),
        ({"run": 1}, (RUNS[0], RUNS[3])),
        ({"run": "01"}, (RUNS[0], RUNS[3])),
        ({"run": None}, (RUNS[2],)),
        ({"run": "*"}, (RUNS[0], RUNS[1], RUNS[3])),
        ({"run": [2, None]}, (RUNS[1], RUNS[2])),
        ({"session": None}, ()),
        ({"datatype": "func", "suffix": "T1w", "extension": ".json"}, RUNS),
        ({"subject": "99"}, RUNS),
        ({"acquisition": None}, RUNS),
    ],
)
def test_filters(tmp_path: Path, filters: dict[str, object], left: tuple[str, ...]) -> None:
    root = dataset(tmp_path, *RUNS)
    runs = find_runs(root, ["01"], filters=filters)["01"]
    assert tuple(run.name.removeprefix("sub-01_") for run in runs) == left
    assert all(run.bold is not None and run.events is not None for run in runs)


def test_bold_that_is_filtered_out_leaves_no_run_of_events(tmp_path: Path) -> None:
    root = dataset(tmp_path, "ses-a_task-x", "ses-a_task-y")
    for acquisition in ("1", "2"):
        file = root / f"sub-01/ses-a/func/sub-01_ses-a_task-z_acq-{acquisition}_bold.nii.gz"
        file.write_text("x")
    assert names(root, filters={"acquisition": "2"}) == ["ses-a_task-z"]


def test_filters_hold_for_events_without_bold(tmp_path: Path) -> None:
    root = dataset(tmp_path, "ses-a_task-x", "ses-b_task-x")
    for file in root.rglob("*_bold.nii.gz"):
        file.unlink()
    assert names(root, filters={"session": "b"}) == ["ses-b_task-x"]


@pytest.mark.parametrize(
    "filters",
    [{"colour": "red"}, {"sess": "a"}, {"session": {"a": 1}}, {"session": [["a"]]}, {"scope": "raw"}],
)
def test_filter_that_is_none(tmp_path: Path, filters: dict[str, object]) -> None:
    root = dataset(tmp_path, "task-x")
    with pytest.raises(DataError, match=r"cannot be used\. Filters are entities such as") as caught:
        find_runs(root, ["01"], filters=filters)
    assert caught.value.exit_code == 65
    assert next(iter(filters)) in str(caught.value)


# the database


def test_database_is_made_and_used_again(tmp_path: Path) -> None:
    root, kept = dataset(tmp_path / "ds", "task-x", "task-y"), tmp_path / "deep" / "db"
    assert names(root, database_dir=kept) == ["task-x", "task-y"]
    assert [path.name for path in kept.iterdir()] == [DATABASE]
    before = (kept / DATABASE).stat()
    # What is not in the database is not found: the folder was not looked at again.
    dataset(root, "task-z")
    assert names(root, database_dir=kept) == ["task-x", "task-y"]
    after = (kept / DATABASE).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert [path.name for path in root.iterdir() if path.name != "sub-01"] == ["dataset_description.json"]


def test_database_serves_other_participants_too(tmp_path: Path) -> None:
    root, kept = dataset(tmp_path / "ds", "task-x"), tmp_path / "db"
    dataset(root, "task-y", sub="02")
    names(root, database_dir=kept)
    inode = (kept / DATABASE).stat().st_ino
    assert [run.task for run in find_runs(root, ["02"], database_dir=kept)["02"]] == ["y"]
    assert (kept / DATABASE).stat().st_ino == inode


def test_database_without_a_participant_is_made_anew(tmp_path: Path) -> None:
    root, kept = dataset(tmp_path / "ds", "task-x"), tmp_path / "db"
    names(root, database_dir=kept)
    dataset(root, "task-y", sub="02")
    assert [run.task for run in find_runs(root, ["02"], database_dir=kept)["02"]] == ["y"]


@pytest.mark.parametrize(
    "state", ["text", "empty", "other tables", "half", "other data set", "gone data set"]
)
def test_database_that_is_of_no_use_is_made_anew(tmp_path: Path, state: str) -> None:
    root, kept = dataset(tmp_path / "ds", "task-x"), tmp_path / "db"
    kept.mkdir()
    if state == "text":
        (kept / DATABASE).write_text("this is no database")
    elif state == "empty":
        (kept / DATABASE).touch()
    elif state == "other tables":
        with sqlite3.connect(kept / DATABASE) as connection:
            connection.execute("CREATE TABLE layout_info (root TEXT)")
            connection.execute("INSERT INTO layout_info VALUES (?)", (str(root),))
    elif state == "half":
        names(root, database_dir=kept)
        with sqlite3.connect(kept / DATABASE) as connection:
            connection.execute("DELETE FROM tags")
            connection.execute("DELETE FROM files")
    else:
        other = dataset(tmp_path / "other", "task-y")
        assert names(other, database_dir=kept) == ["task-y"]
        if state == "gone data set":
            shutil.rmtree(other)
    assert names(root, database_dir=kept) == ["task-x"]
    assert names(root, database_dir=kept) == ["task-x"]
    assert [path.name for path in kept.iterdir()] == [DATABASE]


def find_and_compare(root: Path, kept: Path) -> None:
    assert names(root, database_dir=kept) == ["task-x", "task-y"]


def test_several_processes_make_the_database_at_once(tmp_path: Path) -> None:
    root, kept = dataset(tmp_path / "ds", "task-x", "task-y"), tmp_path / "db"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=find_and_compare, args=(root, kept)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [path.name for path in kept.iterdir()] == [DATABASE]


def test_database_of_a_linked_folder(tmp_path: Path) -> None:
    root, kept = dataset(tmp_path / "ds", "ses-a_task-x"), tmp_path / "db"
    names(root, database_dir=kept)
    inode = (kept / DATABASE).stat().st_ino
    (tmp_path / "link").symlink_to(root)
    (root / "sub-01/ses-a/sub-01_ses-a_task-x_bold.json").write_text('{"RepetitionTime": 2}')
    (run,) = find_runs(tmp_path / "link", ["01"], database_dir=kept)["01"]
    assert (kept / DATABASE).stat().st_ino == inode
    assert run.bold == tmp_path / "link/sub-01/ses-a/func/sub-01_ses-a_task-x_bold.nii.gz"
    assert run.repetition_time == 2.0


def test_database_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    root, kept = dataset(tmp_path / "ds", "task-x"), tmp_path / "db"
    names(root, database_dir=kept)
    (kept / DATABASE).chmod(0o400)
    kept.chmod(0o500)
    try:
        assert names(root, database_dir=kept) == ["task-x"]
    finally:
        kept.chmod(0o700)


def test_database_where_none_can_be_made(tmp_path: Path) -> None:
    root = dataset(tmp_path / "ds", "task-x")
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError, match="cannot be written") as caught:
        find_runs(root, ["01"], database_dir=tmp_path / "file")
    assert caught.value.exit_code == 73
    assert str(tmp_path / "file") in str(caught.value)
