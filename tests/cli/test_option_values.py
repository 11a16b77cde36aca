import json
from pathlib import Path

import pytest

from bids_recon.cli.parser import parse_settings
from bids_recon.config import Settings
from bids_recon.errors import DataError, MissingInputError, ReconError, UsageError


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set and derivatives below the current folder."""
    for name in ("ds", "prep", "other/prep", "a=b"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def parse(*options: str) -> Settings:
    return parse_settings(["ds", "out", "participant", *options])


def fails(kind: type[ReconError], code: int, *options: str) -> str:
    with pytest.raises(kind) as caught:
        parse(*options)
    assert type(caught.value) is kind
    assert caught.value.exit_code == code
    return str(caught.value)


# labels


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (["01"], ("01",)),
        (["sub-01", "01"], ("01",)),
        (["10", "sub-02", "01"], ("01", "02", "10")),
        (["01 sub-02  03"], ("01", "02", "03")),
        (["CSI1", "sub-CSI2"], ("CSI1", "CSI2")),
        (["sub-sub"], ("sub",)),
    ],
)
def test_participants(given: list[str], labels: tuple[str, ...]) -> None:
    assert parse("--participant-label", *given).participant_label == labels


def test_prefixes_of_sessions_and_tasks() -> None:
    settings = parse("--session-id", "ses-b", "a", "--task-id", "task-5000scenes")
    assert (settings.session_label, settings.task_id) == (("a", "b"), ("5000scenes",))


def test_lists_may_be_given_in_parts() -> None:
    settings = parse(
        "--participant-label", "02", "--participant_label", "01", "--roi", "V1", "--roi", "V2", "V1"
    )
    assert (settings.participant_label, settings.roi) == (("01", "02"), ("V1", "V2"))


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("list.txt", "01\nsub-03\n\n02\n", ("01", "02", "03")),
        ("list.txt", "01 02\r\n03\r\n", ("01", "02", "03")),
        ("list.txt", "\ufeff01\n", ("01",)),
        ("participants.tsv", "participant_id\tage\nsub-01\t23\nsub-02\tn/a\n", ("01", "02")),
        ("list.csv", "participant_id,sex\r\n01,F\r\n", ("01",)),
        ("prep/labels", "04\n", ("04",)),
    ],
)
def test_participants_of_a_file(name: str, content: str, labels: tuple[str, ...]) -> None:
    Path(name).write_text(content, encoding="utf-8")
    assert parse("--participant-label", name).participant_label == labels
    assert parse("--participant-label", "99", name).participant_label == (*labels, "99")


def test_file_of_labels_that_cannot_be_read() -> None:
    message = fails(MissingInputError, 66, "--participant-label", "none.txt")
    assert message == "none.txt: the list of labels for --participant-label does not exist."
    fails(MissingInputError, 66, "--task-id", "prep/")
    Path("list.txt").write_bytes(b"\xff\xfe01")
    assert "is not UTF-8 text" in fails(DataError, 65, "--participant-label", "list.txt")


@pytest.mark.parametrize(
    "given",
    [["01", "\u2013task-id", "x"], ["\u2014participant-label"], ["sub-"], ["01,02"], ["ses-01_task"], ["ä"]],
)
def test_label_that_is_none(given: list[str]) -> None:
    message = fails(UsageError, 2, "--participant-label", *given)
    assert (
        "is not a label for --participant-label. Labels are letters and digits; was a dash pasted" in message
    )


@pytest.mark.parametrize("given", ["", " ", "empty.txt"])
def test_no_label_does_not_mean_all(given: str) -> None:
    Path("empty.txt").write_text("participant_id\n")
    message = fails(UsageError, 2, "--participant-label", given)
    assert message == "--participant-label names nothing. Leave the option out to take all."


# named folders


def test_derivatives() -> None:
    settings = parse("--derivatives", "betas=prep", "other/prep", "-d", "x=a=b", "./a=b")
    assert settings.derivatives == {
        "betas": Path("prep"),
        "prep": Path("other/prep"),
        "x": Path("a=b"),
        "a=b": Path("./a=b"),
    }


@pytest.mark.parametrize(
    "given", [["x=prep", "x=other/prep"], ["prep", "other/prep"], ["prep=other", "prep"]]
)
def test_derivatives_with_one_name(given: list[str]) -> None:
    message = fails(UsageError, 2, "--derivatives", *given)
    assert "names '" in message
    assert message.endswith("twice. Give each folder a name of its own: NAME=PATH.")


def test_name_of_the_bids_folder_is_taken() -> None:
    assert "the name 'raw' stands for the BIDS folder" in fails(UsageError, 2, "-d", "raw=prep")


@pytest.mark.parametrize(("given", "name"), [("fmriprep=none", "fmriprep"), ("none", "none"), ("x=", "x=")])
def test_derivatives_that_do_not_exist(given: str, name: str) -> None:
    message = fails(MissingInputError, 66, "--derivatives", given)
    assert f"the folder of --derivatives {name} does not exist. Is the volume mounted?" in message


# filters


def test_filter_file_with_queries_of_other_programs() -> None:
    filters = {
        "fmap": {"datatype": "fmap"},
        "bold": {"datatype": "func", "suffix": "bold", "session": "01", "echo": None},
        "t1w": {"session": "*"},
        "roi": {},
    }
    Path("f.json").write_text("\ufeff" + json.dumps(filters), encoding="utf-8")
    assert parse("--bids-filter-file", "f.json").bids_filters == filters
    assert parse("--bids_filter_file", "f.json").bids_filters["bold"]["echo"] is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"bold": ', "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        (b"[]", 'should hold {"bold": {"entity": "value"}}'),
        (b'{"bold": "x"}', 'should hold {"bold": {"entity": "value"}}'),
    ],
)
def test_filter_file_that_cannot_be_used(content: bytes, problem: str) -> None:
    Path("f.json").write_bytes(content)
    message = fails(DataError, 65, "--bids-filter-file", "f.json")
    assert message.startswith("f.json: ")
    assert problem in message


def test_filter_file_that_does_not_exist() -> None:
    message = fails(MissingInputError, 66, "--bids-filter-file", "none.json")
    assert message == "none.json: the filter file does not exist."
