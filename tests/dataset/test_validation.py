import json
import sys
import time
from pathlib import Path

import pytest

from bids_recon.dataset import validation
from bids_recon.dataset.validation import validate

ISSUES = [
    {"code": "NOT_INCLUDED", "severity": "error"},
    {"code": "JSON_KEY_RECOMMENDED", "severity": "warning"},
    {"code": "EMPTY_FILE", "severity": "error"},
    {"code": "NOT_INCLUDED", "severity": "error"},
    {"code": "IGNORED", "severity": "ignore"},
]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the validator is looked for, beside Python; nothing on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(validation.sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return folder


def install(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / "bids-validator-deno"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def answer(folder: Path, issues: object, code: int = 0) -> None:
    text = json.dumps({"issues": {"issues": issues}, "summary": {}})
    install(folder, f"echo '{text}'; exit {code}")


def test_errors_are_counted_the_most_common_first(programs: Path, tmp_path: Path) -> None:
    answer(programs, ISSUES, code=16)
    assert validate(tmp_path) == [
        "BIDS validator: NOT_INCLUDED (2 times)",
        "BIDS validator: EMPTY_FILE (1 times)",
    ]


def test_no_error(programs: Path, tmp_path: Path) -> None:
    answer(programs, ISSUES[1:2])
    assert validate(tmp_path) == []


def test_not_installed(programs: Path, tmp_path: Path) -> None:
    assert validate(tmp_path) == []


def test_found_on_the_path(programs: Path, tmp_path: Path) -> None:
    answer(tmp_path / "nothing", ISSUES[2:3])
    assert validate(tmp_path) == ["BIDS validator: EMPTY_FILE (1 times)"]


def test_program_gets_the_folder_and_the_options(programs: Path, tmp_path: Path) -> None:
    install(programs, f'for word in "$@"; do echo "$word"; done > "{tmp_path}/arguments"')
    validate(tmp_path / "my data")
    words = (tmp_path / "arguments").read_text().splitlines()
    assert words == [str(tmp_path / "my data"), "--json", "--ignoreNiftiHeaders"]


@pytest.mark.parametrize(
    "script", ["echo no json", "exit 3", "echo '[]'", "echo '{\"issues\": 3}'", "echo null"]
)
def test_answer_that_is_not_understood(programs: Path, tmp_path: Path, script: str) -> None:
    install(programs, script)
    assert validate(tmp_path) == [
        "The BIDS validator could not be run; use --skip-bids-validation to leave it out."
    ]


def test_program_that_cannot_be_started(programs: Path, tmp_path: Path) -> None:
    install(programs, "")
    (programs / "bids-validator-deno").write_text("#!/no/such/interpreter\n")
    assert validate(tmp_path) == [
        "The BIDS validator could not be run; use --skip-bids-validation to leave it out."
    ]


def test_time_limit(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "TIME_LIMIT", 0.2)
    install(programs, "exec /bin/sleep 30")
    start = time.monotonic()
    assert validate(tmp_path) == ["The BIDS validator did not finish in 0 s and was stopped."]
    assert time.monotonic() - start < 5


@pytest.mark.skipif(
    not (Path(sys.executable).parent / "bids-validator-deno").is_file(),
    reason="bids-validator-deno not found",
)
def test_real_validator(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    (tmp_path / "README.md").write_text("A data set. " * 20)
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / "sub-01_nonsense.txt").write_text("x")
    assert "BIDS validator: NOT_INCLUDED (1 times)" in validate(tmp_path)
