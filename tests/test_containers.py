"""What can be told of the container recipes without an engine that builds them."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ENTRY = "/opt/bids_recon/bin/bids-recon"
SBATCH = ("sbatch_participant.sh", "sbatch_group.sh")


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, on one line, and the number of the stage it is in (-1: before any)."""

    name: str
    text: str
    stage: int


def _instructions() -> list[Instruction]:
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in lines if not line.lstrip().startswith("#")))
    found, stage = [], -1
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, text = line.split(None, 1)
        stage += name == "FROM"
        found.append(Instruction(name, re.sub(r"\s+", " ", text), stage))
    return found


INSTRUCTIONS = _instructions()
FINAL = [i for i in INSTRUCTIONS if i.stage == max(i.stage for i in INSTRUCTIONS)]


def _pairs(name: str) -> dict[str, str]:
    """`key=value` of every ENV or LABEL of the final stage."""
    text = " ".join(i.text for i in FINAL if i.name == name)
    return {key: value.strip('"') for key, value in re.findall(r'([\w.]+)=("[^"]*"|\S+)', text)}


def _ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the build; the last pattern that fits decides."""
    parts = PurePosixPath(path).parts
    prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    ignored = False
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        tails = pattern.removeprefix("**/")
        candidates = list(parts) if pattern != tails else prefixes
        if any(fnmatch.fnmatchcase(candidate, tails) for candidate in candidates):
            ignored = not line.startswith("!")
    return ignored


def test_every_instruction_is_one() -> None:
    known = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "LABEL", "ENTRYPOINT"}
    assert {i.name for i in INSTRUCTIONS} == known


def test_both_stages_start_from_the_base_argument() -> None:
    assert (INSTRUCTIONS[0].name, INSTRUCTIONS[0].text) == ("ARG", "BASE=python:3.12-slim-bookworm")
    # The environment links to the interpreter of its base: both stages need the same one.
    assert [i.text for i in INSTRUCTIONS if i.name == "FROM"] == ["${BASE} AS build", "${BASE}"]
    python = re.search(r"python:(\d+\.\d+)", INSTRUCTIONS[0].text)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    least = project["requires-python"].removeprefix(">=")
    assert python is not None
    assert tuple(map(int, python[1].split("."))) >= tuple(map(int, least.split(".")))


def test_copied_files_exist_and_are_let_in() -> None:
    copies = [i for i in INSTRUCTIONS if i.name == "COPY" and not i.text.startswith("--from")]
    sources = [source for i in copies for source in i.text.split()[:-1]]
    assert {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "bids_recon"} == set(sources)
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert not _ignored(source), source
    assert not _ignored("bids_recon/report/static/report.css")


def test_nothing_else_is_let_in() -> None:
    for path in (
        ".git/config", "tests/conftest.py", "data/sub-01/func/bold.nii.gz", "weights/clip.safetensors",
        "bids_recon/glm/__pycache__/x.cpython-312.pyc", "docs/usage.md", "work/cache.npz",
    ):  # fmt: skip
        assert _ignored(path), path
    assert not any(i.name == "ADD" for i in INSTRUCTIONS)
    runs = " ".join(i.text for i in INSTRUCTIONS if i.name == "RUN")
    assert not re.search(r"https?://|curl|wget|bids-recon-weights|safetensors download", runs)


def test_final_stage_takes_only_the_environment() -> None:
    copies = [i.text.split() for i in FINAL if i.name == "COPY"]
    assert copies == [["--from=build", "/opt/bids_recon", "/opt/bids_recon"]]
    made = " ".join(i.text for i in INSTRUCTIONS if i.stage == 0 and i.name == "RUN")
    assert "python -m venv /opt/bids_recon" in made
    assert "/opt/bids_recon/bin/pip install -c constraints.txt '.[lite]'" in made


def test_entry_point_is_the_installed_program() -> None:
    entry = [i for i in FINAL if i.name == "ENTRYPOINT"]
    assert [json.loads(i.text) for i in entry] == [[ENTRY]]
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert Path(ENTRY).name in scripts


def test_environment_suits_any_user_and_a_read_only_root() -> None:
    environment = _pairs("ENV")
    assert environment["HOME"] == "/home/bids_recon"
    assert environment["PATH"].startswith("/opt/bids_recon/bin:")
    assert environment["PYTHONNOUSERSITE"] == environment["OMP_NUM_THREADS"] == "1"
    assert environment["MPLCONFIGDIR"].startswith("/tmp/")
    assert environment["XDG_CACHE_HOME"].startswith("/tmp/")
    assert environment["IS_DOCKER_8395080871"] == "1"
    assert environment["BIDS_RECON_DOCKER_TAG"] == "${VERSION}"
    assert [i.text for i in FINAL if i.name == "WORKDIR"] == ["/tmp"]
    assert not any(i.name == "USER" for i in INSTRUCTIONS)
    assert any("chmod -R go=u /home/bids_recon" in i.text for i in FINAL if i.name == "RUN")


def test_labels_are_filled_by_arguments_declared_before() -> None:
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in _pairs("LABEL").items()}
    assert set(labels) == {
        *("title", "description", "source", "licenses", "base.name", "version", "revision", "created"),
    }
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert labels["licenses"] == project["license"]
    assert labels["description"] == project["description"]
    assert labels["source"] == project["urls"]["Source"]
    declared: set[str] = set()
    for instruction in FINAL:
        if instruction.name == "ARG":
            declared.add(instruction.text.split("=")[0])
        elif instruction.name == "LABEL":
            assert set(re.findall(r"\$\{(\w+)\}", instruction.text)) <= declared
    assert declared == {"BASE", "VERSION", "REVISION", "CREATED"}


def test_build_fails_when_the_program_does_not_start() -> None:
    guards = [i.text for i in FINAL if i.name == "RUN" and "bids-recon --version" in i.text]
    assert len(guards) == 1
    assert "bids-recon --help" in guards[0]
    assert "--reuid=4321" in guards[0]
    # A semicolon would let a failure before it pass; the only one ends the condition of `if`.
    assert re.sub(r"if \[.*?\]; then .*?; fi", "", guards[0]).count(";") == 0


# --- Singularity


def _sections() -> tuple[dict[str, str], dict[str, str]]:
    header: dict[str, str] = {}
    sections: dict[str, str] = {}
    current = None
    for line in (REPOSITORY / "singularity" / "bids_recon.def").read_text().splitlines():
        if line.startswith("%"):
            current = line[1:].strip()
            assert current not in sections
            sections[current] = ""
        elif current is None and line:
            key, value = line.split(":", 1)
            header[key] = value.strip()
        elif current is not None:
            sections[current] += line + "\n"
    return header, sections


def test_definition_file() -> None:
    header, sections = _sections()
    assert header == {"Bootstrap": "docker", "From": "{{ IMAGE }}"}
    assert set(sections) == {"arguments", "labels", "environment", "runscript", "test", "help"}
    assert re.search(r"^\s+IMAGE=\S+$", sections["arguments"], flags=re.MULTILINE)
    assert sections["runscript"].strip() == f'exec {ENTRY} "$@"'
    assert f"{ENTRY} --version" in sections["test"]
    assert "PYTHONNOUSERSITE=1" in sections["environment"]
    assert "--cleanenv" in sections["help"]
    assert "--nv" in sections["help"]


@pytest.mark.parametrize("section", ["runscript", "test", "environment"])
def test_scripts_of_the_definition_file_are_shell(section: str) -> None:
    subprocess.run(["sh", "-n"], input=_sections()[1][section], text=True, check=True)


# --- SLURM


@pytest.fixture
def slurm(tmp_path: Path):
    """Runs a batch script with a stand-in for apptainer, which writes down its arguments and exits 65."""
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "apptainer"
    fake.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > "{tmp_path}/called"\nexit 65\n')
    fake.chmod(0o755)
    for label in ("01", "02", "CSI1"):
        (tmp_path / "my bids" / f"sub-{label}").mkdir(parents=True)
    (tmp_path / "my bids" / "sub-01.html").touch()

    def run(
        script: str, *arguments: str, **variables: str
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BIDS_DIR": f"{tmp_path}/my bids",
            "OUTPUT_DIR": f"{tmp_path}/out",
            "IMAGE": "/images/bids_recon.sif",
            "SCRATCH_DIR": f"{tmp_path}/scratch",
            "SLURM_CPUS_PER_TASK": "4",
        } | variables
        done = subprocess.run(
            ["bash", str(REPOSITORY / "singularity" / script), *arguments],
            env={key: value for key, value in environment.items() if value},
            capture_output=True,
            text=True,
            check=False,
        )
        called = tmp_path / "called"
        return done, called.read_text().splitlines() if called.exists() else []

    return run


@pytest.mark.parametrize("script", SBATCH)
def test_batch_scripts_are_bash_with_slurm_directives_first(script: str) -> None:
    file = REPOSITORY / "singularity" / script
    subprocess.run(["bash", "-n", str(file)], check=True)
    assert os.access(file, os.X_OK)
    lines = file.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    # SLURM stops reading directives at the first command.
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert directives
    assert max(directives) < first_command
    assert ("#SBATCH --array=0-4" in lines) == (script == "sbatch_participant.sh")


def test_array_task_runs_its_participant(tmp_path: Path, slurm) -> None:
    done, called = slurm("sbatch_participant.sh", "--roi", "V1", SLURM_ARRAY_TASK_ID="2")
    assert done.returncode == 65, done.stderr
    work = tmp_path / "scratch" / "bids_recon" / "sub-CSI1"
    assert called == [
        *("run", "--cleanenv", "--no-home"),
        *("--bind", f"{tmp_path}/my bids:/data:ro"),
        *("--bind", f"{tmp_path}/out:/out"),
        *("--bind", f"{work}:/scratch"),
        *("--bind", f"{work}/tmp:/tmp"),
        *("/images/bids_recon.sif", "/data", "/out", "participant"),
        *("--participant-label", "CSI1", "--work-dir", "/scratch", "--nprocs", "4", "--omp-nthreads", "4"),
        *("--roi", "V1"),
    ]
    assert (work / "tmp").is_dir()
    assert (tmp_path / "out").is_dir()


def test_participants_from_a_file(tmp_path: Path, slurm) -> None:
    (tmp_path / "labels.txt").write_text("sub-02 \n\nCSI1\n")
    variables = {"PARTICIPANTS": f"{tmp_path}/labels.txt"}
    _, called = slurm("sbatch_participant.sh", SLURM_ARRAY_TASK_ID="0", **variables)
    assert called[called.index("--participant-label") + 1] == "02"
    (tmp_path / "called").unlink()
    done, called = slurm("sbatch_participant.sh", SLURM_ARRAY_TASK_ID="2", **variables)
    assert (done.returncode, called) == (0, [])
    assert "Task 2 has no participant: there are 2" in done.stdout


@pytest.mark.parametrize("script", SBATCH)
def test_gpu_memory_and_pictures(tmp_path: Path, slurm, script: str) -> None:
    _, called = slurm(
        script,
        SLURM_ARRAY_TASK_ID="0",
        SLURM_JOB_GPUS="0",
        SLURM_MEM_PER_NODE="16384",
        STIMULI_DIR=f"{tmp_path}/pictures",
    )
    image = called.index("/images/bids_recon.sif")
    assert "--nv" in called[:image]
    assert f"{tmp_path}/pictures:/stimuli:ro" in called[:image]
    assert called[called.index("--stimuli") + 1] == "/stimuli"
    assert called[called.index("--mem") + 1] == "16384M"


def test_group_job(tmp_path: Path, slurm) -> None:
    done, called = slurm("sbatch_group.sh", "--n-shuffles", "5")
    assert done.returncode == 65, done.stderr
    image = called.index("/images/bids_recon.sif")
    assert called[image + 1 : image + 4] == ["/data", "/out", "group"]
    assert "--participant-label" not in called
    assert "--nv" not in called
    assert called[-2:] == ["--n-shuffles", "5"]


@pytest.mark.parametrize("script", SBATCH)
@pytest.mark.parametrize("variable", ["BIDS_DIR", "OUTPUT_DIR", "IMAGE"])
def test_variable_that_is_not_set_is_named(slurm, script: str, variable: str) -> None:
    done, called = slurm(script, SLURM_ARRAY_TASK_ID="0", **{variable: ""})
    assert done.returncode != 0
    assert f"{variable}: set it to" in done.stderr
    assert called == []
