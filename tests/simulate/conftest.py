"""A small data set for the tests that read its files."""

from __future__ import annotations

import pytest

from bids_recon.simulate import TINY, GroundTruth, simulate_dataset


@pytest.fixture(scope="session")
def tiny_truth(tmp_path_factory: pytest.TempPathFactory) -> GroundTruth:
    return simulate_dataset(tmp_path_factory.mktemp("tiny") / "bids", TINY, seed=3)
