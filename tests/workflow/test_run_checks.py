"""What is checked and counted before a run begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bids_recon.config import Settings
from bids_recon.errors import MissingInputError, UsageError
from bids_recon.workflow import run


def settings(**more: Any) -> Settings:
    return Settings(Path("ds"), Path("out"), **more)


def test_responses_alone_need_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIDS_RECON_WEIGHTS", str(tmp_path))
    chosen = {"method": ("deep-recon",), "weights": tmp_path}
    with pytest.raises(MissingInputError):
        run._check_names(settings(**chosen))
    run._check_names(settings(**chosen, responses_only=True))
    with pytest.raises(UsageError, match="no method 'deep'"):
        run._check_names(settings(method=("deep",), responses_only=True))


@pytest.mark.parametrize(
    ("method", "more", "processes"),
    [
        (("eigenimage",), {}, 6),
        (("deep-recon",), {}, 2),
        (("eigenimage", "deep-recon"), {}, 2),
        (("deep-recon",), {"responses_only": True}, 6),
        (("deep-recon",), {"memory_mb": 1000}, 1),
        (("deep-recon",), {"memory_mb": None}, 16),
    ],
)
def test_networks_take_more_memory(method: tuple[str, ...], more: dict[str, Any], processes: int) -> None:
    chosen = {"nprocs": 16, "omp_nthreads": 1, "memory_mb": 12288, "method": method} | more
    assert run._processes(settings(**chosen)) == processes
