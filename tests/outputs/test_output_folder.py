import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from filelock import SoftFileLock

import bids_recon
from bids_recon.errors import CannotCreateError, InputOutputError, TemporaryError
from bids_recon.outputs import atomic, dataset
from bids_recon.outputs import lock as lock_module
from bids_recon.outputs.dataset import initialise_output

VARIABLES = ("SINGULARITY_CONTAINER", "APPTAINER_CONTAINER", "BIDS_RECON_DOCKER_TAG")
ROOT_FILES = (".bidsignore", "README.md", "dataset_description.json", "descriptions.tsv")


@pytest.fixture(autouse=True)
def no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bids_dir(tmp_path: Path) -> Path:
    (tmp_path / "my data").mkdir()
    return tmp_path / "my data"


def description_of(output: Path) -> dict:
    return json.loads((output / "dataset_description.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ROOT_FILES}


def test_description(tmp_path: Path, bids_dir: Path) -> None:
    (tmp_path / "prep").mkdir()
    output = tmp_path / "deep" / "out"
    initialise_output(output, bids_dir=bids_dir, derivatives={"fmriprep": tmp_path / "prep"})
    description = description_of(output)
    assert description["DatasetType"] == "derivative"
    assert description["BIDSVersion"] == "1.10.0"
    assert description["GeneratedBy"] == [{"Name": "bids_recon", "Version": bids_recon.__version__}]
    raw = f"file://{tmp_path}/my%20data"
    assert description["SourceDatasets"] == [{"URL": raw}]
    assert description["DatasetLinks"] == {"raw": raw, "fmriprep": f"file://{tmp_path}/prep"}
    assert "Simulated" not in description
    assert (output / "logs").is_dir()


def test_files_for_people(tmp_path: Path, bids_dir: Path) -> None:
    initialise_output(tmp_path / "out", bids_dir=bids_dir, derivatives={})
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"bids_recon {bids_recon.__version__}" in readme
    assert "simulated" not in readme
    described = pd.read_csv(tmp_path / "out" / "descriptions.tsv", sep="\t")
    assert described.columns.tolist() == ["desc_id", "description"]
    assert described["desc_id"].tolist()[:2] == ["desc-SingletrialBetas", "desc-brain"]
    assert described["desc_id"].is_unique
    ignored = (tmp_path / "out" / ".bidsignore").read_text().splitlines()
    assert "/sub-*/decoder" in ignored
    assert not [line for line in ignored if line.endswith("/")]


def test_simulated_data_set_says_so(tmp_path: Path, bids_dir: Path) -> None:
    initialise_output(tmp_path / "out", bids_dir=bids_dir, derivatives={}, simulated=True)
    assert description_of(tmp_path / "out")["Simulated"] is True
    assert "no person was scanned" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("variables", "container"),
    [
        ({"BIDS_RECON_DOCKER_TAG": "1.0"}, {"Type": "docker", "Tag": "1.0"}),
        ({"SINGULARITY_CONTAINER": "/a.sif"}, {"Type": "singularity", "URI": "/a.sif"}),
        ({"APPTAINER_CONTAINER": "/a.sif"}, {"Type": "singularity", "URI": "/a.sif"}),
        (
            {"APPTAINER_CONTAINER": "/a.sif", "SINGULARITY_CONTAINER": "", "BIDS_RECON_DOCKER_TAG": "1.0"},
            {"Type": "singularity", "URI": "/a.sif"},
        ),
        (
            {"SINGULARITY_CONTAINER": "/a.sif", "BIDS_RECON_DOCKER_TAG": "1.0"},
            {"Type": "singularity", "URI": "/a.sif"},
        ),
        ({"BIDS_RECON_DOCKER_TAG": ""}, None),
    ],
)
def test_container(
    tmp_path: Path,
    bids_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    container: dict[str, str] | None,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    initialise_output(tmp_path / "out", bids_dir=bids_dir, derivatives={})
    assert description_of(tmp_path / "out")["GeneratedBy"][0].get("Container") == container


def test_a_second_call_changes_nothing(tmp_path: Path, bids_dir: Path) -> None:
    output = tmp_path / "out"
    initialise_output(output, bids_dir=bids_dir, derivatives={})
    before = contents(output)
    (output / "sub-01.html").write_text("kept")
    initialise_output(output, bids_dir=bids_dir, derivatives={})
    assert contents(output) == before
    assert (output / "sub-01.html").read_text() == "kept"
    assert sorted(path.name for path in (output / "logs").iterdir()) == []


def repeat(output: Path, bids_dir: Path) -> None:
    for _ in range(5):
        initialise_output(output, bids_dir=bids_dir, derivatives={})


def test_two_processes_at_once(tmp_path: Path, bids_dir: Path) -> None:
    initialise_output(tmp_path / "alone", bids_dir=bids_dir, derivatives={})
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=repeat, args=(tmp_path / "out", bids_dir)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*ROOT_FILES, "logs"])


def test_lock_that_is_held(tmp_path: Path, bids_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    initialise_output(output, bids_dir=bids_dir, derivatives={})
    monkeypatch.setattr(lock_module, "PATIENCE", 0.1)
    lock = output / "logs" / ".description.lock"
    with SoftFileLock(lock), pytest.raises(TemporaryError, match="is held by another process") as caught:
        initialise_output(output, bids_dir=bids_dir, derivatives={})
    assert caught.value.exit_code == 75
    assert str(lock) in str(caught.value)


def take_and_die(lock: Path) -> None:
    with SoftFileLock(lock):
        os.kill(os.getpid(), signal.SIGKILL)


def test_lock_that_a_killed_process_left(tmp_path: Path, bids_dir: Path) -> None:
    output = tmp_path / "out"
    (output / "logs").mkdir(parents=True)
    lock = output / "logs" / ".description.lock"
    killed = multiprocessing.get_context("fork").Process(target=take_and_die, args=(lock,))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL and lock.exists()
    initialise_output(output, bids_dir=bids_dir, derivatives={})
    assert (output / "dataset_description.json").is_file()


def test_output_folder_that_is_a_file(tmp_path: Path, bids_dir: Path) -> None:
    (tmp_path / "out").write_text("")
    for output in (tmp_path / "out", tmp_path / "out" / "deep"):
        with pytest.raises(CannotCreateError, match="Choose an output folder") as caught:
            initialise_output(output, bids_dir=bids_dir, derivatives={})
        assert caught.value.exit_code == 73


def test_output_folder_without_rights(
    tmp_path: Path, bids_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset.os, "access", lambda *args: False)
    with pytest.raises(CannotCreateError, match="the output folder cannot be written") as caught:
        initialise_output(tmp_path / "out", bids_dir=bids_dir, derivatives={})
    assert caught.value.exit_code == 73


def test_full_disk(tmp_path: Path, bids_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(InputOutputError, match="no space is left") as caught:
        initialise_output(tmp_path / "out", bids_dir=bids_dir, derivatives={})
    assert caught.value.exit_code == 74


def validator() -> str | None:
    beside = Path(sys.executable).parent / "bids-validator-deno"
    return str(beside) if beside.is_file() else shutil.which("bids-validator-deno")


@pytest.mark.skipif(validator() is None, reason="bids-validator-deno is not installed")
def test_validator_finds_no_error(tmp_path: Path, bids_dir: Path) -> None:
    output = tmp_path / "out"
    initialise_output(output, bids_dir=bids_dir, derivatives={"fmriprep": bids_dir})
    for name in (
        "logs/leak-audit.json",
        "sub-01.html",
        "group.html",
        "sub-01/func/sub-01_task-x_desc-SingletrialBetas_trials.tsv",
        "sub-01/decoder/sub-01_desc-eigenimage_decoder.json",
        "group/metrics.tsv",
        "group/images/sub-01/eigenimage/test/n01443537_22563.png",
    ):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("{}")
    command = [str(validator()), str(output), "--json", "--ignoreNiftiHeaders"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue.get("severity") == "error"] == []
    assert done.returncode == 0
