"""The floor of decoders that were fitted before."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bids_recon.workflow.reuse import other_pictures


def test_no_item_keeps_the_responses_to_its_own_picture() -> None:
    items = pd.DataFrame(
        {
            "test_set": ["a"] * 7 + ["b"] * 2 + ["c"] * 3,
            "stimulus_id": ["x", "x", "x", "y", "z", "z", "w", "p", "q", "s", "s", "s"],
        }
    )
    pictures, sets = items["stimulus_id"].to_numpy(), items["test_set"].to_numpy()
    seen = set()
    for number in range(30):
        others = other_pictures(items, np.random.default_rng(number))
        assert (others[9:] == -1).all()
        assert (pictures[others[:9]] != pictures[:9]).all()
        assert (sets[others[:9]] == sets[:9]).all()
        seen.add(tuple(others))
    assert len(seen) > 10
