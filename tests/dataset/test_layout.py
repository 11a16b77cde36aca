import json
from pathlib import Path

import pytest

from bids_recon.dataset.annex import is_fetched
from bids_recon.dataset.layout import BoldRun, find_runs
from bids_recon.errors import DataError

DESCRIPTION = {"Name": "x", "BIDSVersion": "1.8.0"}
EVENTS = "onset\tduration\n"


def dataset(root: Path, *files: str, **contents: object) -> Path:
    for name in ("dataset_description.json", *files):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        content = contents.get(name, DESCRIPTION if name.endswith("description.json") else EVENTS)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def func(
    task: str, run: str = "", *, ses: str = "", sub: str = "01", more: str = "", end: str = "bold"
) -> str:
    folder = f"sub-{sub}/ses-{ses}/func" if ses else f"sub-{sub}/func"
    name = (
        f"sub-{sub}" + (f"_ses-{ses}" if ses else "") + f"_task-{task}{more}" + (f"_run-{run}" if run else "")
    )
    extension = {"bold": ".nii.gz", "events": ".tsv"}[end]
    return f"{folder}/{name}_{end}{extension}"


def runs_of(root: Path, **options: object) -> list[BoldRun]:
    return find_runs(root, ["01"], **options)["01"]  # type: ignore[arg-type]


def names(runs: list[BoldRun]) -> list[str]:
    return [run.name for run in runs]


# runs


def test_runs_are_in_the_order_of_session_task_and_run(tmp_path: Path) -> None:
    wanted = [
        func("a", "2", ses="01"),
        func("a", "10", ses="01"),
        func("b", "1", ses="01"),
        func("a", "1", ses="02"),
    ]
    root = dataset(tmp_path, *reversed(wanted), func("a", ses="01", sub="02"))
    runs = runs_of(root)
    assert [run.bold for run in runs] == [root / name for name in wanted]
    assert [(run.subject, run.session, run.task, run.run) for run in runs] == [
        ("01", "01", "a", "2"),
        ("01", "01", "a", "10"),
        ("01", "01", "b", "1"),
        ("01", "02", "a", "1"),
    ]
    assert names(runs)[0] == "sub-01_ses-01_task-a_run-2"
    assert all(run.events is None for run in runs)


def test_several_participants(tmp_path: Path) -> None:
    root = dataset(tmp_path, func("x"), func("x", sub="02"), func("x", sub="012"))
    assert {key: names(runs) for key, runs in find_runs(root, ["01", "02"]).items()} == {
        "01": ["sub-01_task-x"],
        "02": ["sub-02_task-x"],
    }


def test_sessions_and_tasks(tmp_path: Path) -> None:
    files = [func(task, ses=ses) for ses in ("a", "b") for task in ("x", "5000scenes")]
    root = dataset(tmp_path, *files)
    assert names(runs_of(root, sessions=["b"])) == ["sub-01_ses-b_task-5000scenes", "sub-01_ses-b_task-x"]
    assert names(runs_of(root, sessions=["b"], tasks=["x"])) == ["sub-01_ses-b_task-x"]
    assert runs_of(root, tasks=["rest"]) == []


def test_folders_that_are_not_looked_into(tmp_path: Path) -> None:
    elsewhere = ("stimuli", "sourcedata", "derivatives/x", "code", ".git", ".heudiconv")
    root = dataset(tmp_path, func("x"), *(f"{folder}/{func('y')}" for folder in elsewhere))
    (root / "sub-01/func/._sub-01_task-z_bold.nii.gz").write_text("")
    assert names(runs_of(root)) == ["sub-01_task-x"]


@pytest.mark.parametrize("given", ["../ds", "link"])
def test_folder_by_another_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    dataset(tmp_path / "ds", func("x"), "sub-01/sub-01_task-x_events.tsv")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "ds")
    monkeypatch.chdir(tmp_path / "here")
    (run,) = runs_of(Path(given))
    assert run.bold == (tmp_path / "here" / given / func("x"))
    assert run.events == tmp_path / "here" / given / "sub-01/sub-01_task-x_events.tsv"


# events


@pytest.mark.parametrize(("bold", "events"), [("01", "1"), ("1", "01"), ("1", "1")])
def test_events_of_a_run_numbered_with_other_zeros(tmp_path: Path, bold: str, events: str) -> None:
    root = dataset(tmp_path, func("x", bold), func("x", events, end="events"), func("x", "2", end="events"))
    first, second = runs_of(root)
    assert (first.bold, first.events) == (root / func("x", bold), root / func("x", events, end="events"))
    assert first.run == bold
    assert (second.bold, second.events) == (None, root / func("x", "2", end="events"))


def test_events_are_inherited_and_the_nearest_wins(tmp_path: Path) -> None:
    bold = [func("x", "1", ses="a"), func("x", "2", ses="a"), func("y", ses="a")]
    root = dataset(tmp_path, *bold)
    for level in (
        "task-x_events.tsv",
        "sub-01/sub-01_task-x_events.tsv",
        "sub-01/ses-a/sub-01_ses-a_task-x_events.tsv",
        "sub-01/ses-a/func/sub-01_ses-a_task-x_events.tsv",
    ):
        dataset(root, level)
        runs = runs_of(root)
        assert [run.bold for run in runs] == [root / name for name in bold], f"{level} is no run of its own"
        assert [run.events for run in runs] == [root / level, root / level, None]
    dataset(root, func("x", "2", ses="a", end="events"))
    assert [run.events for run in runs_of(root)][:2] == [
        root / level,
        root / func("x", "2", ses="a", end="events"),
    ]


def test_events_with_an_entity_that_the_bold_has_not(tmp_path: Path) -> None:
    root = dataset(tmp_path, func("x", "1"), func("x", "1", more="_acq-scanner", end="events"))
    (run,) = runs_of(root)
    assert run.events == root / func("x", "1", more="_acq-scanner", end="events")


def test_data_set_of_events_only(tmp_path: Path) -> None:
    root = dataset(tmp_path, func("x", "01", end="events"), func("x", "02", end="events"), "task-x_bold.json")
    (root / "task-x_bold.json").write_text('{"RepetitionTime": 1.5}')
    runs = runs_of(root)
    assert names(runs) == ["sub-01_task-x_run-01", "sub-01_task-x_run-02"]
    assert [(run.bold, run.fetched, run.repetition_time) for run in runs] == [(None, False, 1.5)] * 2


# sidecars


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), (0.8, 0.8), ("2", None), (None, None)])
def test_repetition_time(tmp_path: Path, value: object, expected: float | None) -> None:
    root = dataset(tmp_path, func("x"), "task-x_bold.json", **{"task-x_bold.json": {"RepetitionTime": value}})
    (run,) = runs_of(root)
    assert run.repetition_time == expected


def test_broken_sidecar(tmp_path: Path) -> None:
    root = dataset(tmp_path, func("x"), "task-x_bold.json", **{"task-x_bold.json": "{"})
    with pytest.raises(DataError, match=r"task-x_bold\.json: is not valid JSON") as caught:
        runs_of(root)
    assert caught.value.exit_code == 65
    assert str(root / "task-x_bold.json") in str(caught.value)


# one run, several files


def test_two_echoes(tmp_path: Path) -> None:
    echoes = [f"sub-01/func/sub-01_task-x_run-1_echo-{echo}_bold.nii.gz" for echo in (1, 2)]
    root = dataset(tmp_path, *echoes, func("x", "1", end="events"))
    with pytest.raises(DataError) as caught:
        runs_of(root)
    assert caught.value.exit_code == 65
    assert str(caught.value) == (
        f"{root / echoes[1]}: is the same run as sub-01_task-x_run-1_echo-1_bold.nii.gz. Choose one with"
        ' --bids-filter-file, such as {"bold": {"echo": 2}}.'
    )
    for echo in (2, "2", [2]):
        (run,) = runs_of(root, filters={"echo": echo})
        assert run.bold == root / echoes[1]
        assert run.events == root / func("x", "1", end="events")


def test_doubled_run_of_another_session_does_no_harm(tmp_path: Path) -> None:
    echoes = [func("x", ses="a", more=f"_echo-{echo}") for echo in (1, 2)]
    root = dataset(tmp_path, *echoes, func("x", ses="b"))
    assert names(runs_of(root, sessions=["b"])) == ["sub-01_ses-b_task-x"]


def test_phase_is_left_out(tmp_path: Path) -> None:
    parts = [f"sub-01/func/sub-01_task-x_part-{part}_bold.nii.gz" for part in ("mag", "phase")]
    (run,) = runs_of(dataset(tmp_path, *parts))
    assert run.bold == tmp_path / parts[0]


# content


def test_link_to_content_that_was_not_fetched(tmp_path: Path) -> None:
    root = dataset(tmp_path, func("x", "1"))
    (root / func("x", "2")).symlink_to("../../.git/annex/objects/aa/bb/MD5E-s1.nii.gz")
    runs = runs_of(root)
    assert [(run.run, run.fetched) for run in runs] == [("1", True), ("2", False)]


@pytest.mark.parametrize(
    ("content", "fetched"),
    [
        (b"/annex/objects/MD5E-s100--abc.nii.gz\n", False),
        (b".git/annex/objects/Kx/w3/MD5E-s100--abc/MD5E-s100--abc.nii.gz", False),
        (b"../.git/annex/objects/Kx/w3/x", False),
        (b"../../../.git/annex/objects/Kx/w3/x", False),
        (b"\x1f\x8b a small real file", True),
        (b"/annex/objects/" + b"x" * 2000, True),
        (b"", True),
    ],
)
def test_pointers_of_git_annex(tmp_path: Path, content: bytes, fetched: bool) -> None:
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert is_fetched(tmp_path / "a.nii.gz") is fetched
    assert is_fetched(tmp_path / "b.nii.gz") is False
