"""The app is run as a user runs it: by its command line, on data sets on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_recon.cli.run import main
from bids_recon.metrics.network_features import available_scorers
from bids_recon.simulate.dataset import simulate_dataset
from bids_recon.simulate.design import TINY
from bids_recon.workflow import group


@dataclass(frozen=True)
class Called:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def no_scoring_network() -> Iterator[None]:
    """Pictures are not scored by a network, which takes longer than all else in most of these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "available_scorers", lambda weights: [])
        yield


@pytest.fixture
def scoring_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are scored by a network where its weights are installed, as they are in use."""
    monkeypatch.setattr(group, "available_scorers", available_scorers)


@pytest.fixture
def app(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Called]:
    """Call `bids-recon` in this process, with its work folder in a temporary place."""
    slow = request.node.get_closest_marker("slow") is not None

    def call(*argv: object) -> Called:
        capsys.readouterr()
        words = [str(word) for word in argv]
        if "-w" not in words:
            words += ["-w", str(tmp_path / "work")]
        # Further processes import everything again, which takes longer than most of these runs.
        if "--nprocs" not in words and not slow:
            words += ["--nprocs", "1"]
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
