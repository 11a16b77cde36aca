"""Seeds of pictures."""

from __future__ import annotations

import numpy as np

from bids_recon.methods.seeds import picture_seed


def test_seeds_are_stable() -> None:
    # Fixed once: a change would alter every picture that a published run can reproduce.
    seed = picture_seed(0, "n01443537_22563")
    assert isinstance(seed, np.uint64)
    assert int(seed) == 8786255035654536980


def test_seeds_differ_between_pictures_and_runs() -> None:
    seeds = {int(picture_seed(run, f"picture{number}")) for run in range(10) for number in range(100)}
    assert len(seeds) == 1000
    assert picture_seed(1, "23") != picture_seed(12, "3")
