"""The app is run as a user runs it: by its command line, on data sets on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_recon.cli.run import main
from bids_recon.simulate.dataset import simulate_dataset
from bids_recon.simulate.design import TINY


@dataclass(frozen=True)
class Called:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def app(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Called]:
    """Call `bids-recon` in this process, with its work folder in a temporary place."""

    def call(*argv: object) -> Called:
        capsys.readouterr()
        words = [str(word) for word in argv]
        if "-w" not in words:
            words += ["-w", str(tmp_path / "work")]
        # Heads of the small data set lie still; preprocessing has tests of its own.
        if "--preprocess" not in words:
            words += ["--preprocess", "none"]
        try:
            code = main([*words, "--skip-bids-validation"])
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Called(code, printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "bids"
    simulate_dataset(folder, TINY, seed=1)
    return folder


@pytest.fixture
def tiny(tiny_original: Path, tmp_path: Path) -> Path:
    """A small simulated data set that a test may damage."""
    return Path(shutil.copytree(tiny_original, tmp_path / "bids"))
