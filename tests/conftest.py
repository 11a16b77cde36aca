"""Fixtures for every room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Test data are small: more threads only wait for one another, above all where several processes test.
os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("BIDS_RECON_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "DESIGN.md").is_file():
        pytest.skip(f"reference data not found in {folder} (set BIDS_RECON_SHARED)")
    return folder
