"""Which items a page shows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bids_recon.workflow.subject_page import MOST_SHOWN, rows_shown


def items(n: int, test_set: str) -> pd.DataFrame:
    return pd.DataFrame({"stimulus_id": [f"{test_set}{k}" for k in range(n)], "test_set": test_set})


def test_small_sets_are_shown_whole_and_large_ones_in_part() -> None:
    table = pd.concat([items(7, "few"), items(3 * MOST_SHOWN, "many")], ignore_index=True)
    shown = rows_shown(table)
    assert shown[:7] == list(range(7))
    assert len(shown) == 7 + MOST_SHOWN
    # They come from all over the set, and the same ones whatever the order of items.
    assert 0.8 < (np.mean(shown[7:]) - 7) / (1.5 * MOST_SHOWN) < 1.2
    order = np.random.default_rng(0).permutation(len(table))
    mixed = table.iloc[order].reset_index(drop=True)
    assert {mixed["stimulus_id"][row] for row in rows_shown(mixed)} == {
        table["stimulus_id"][row] for row in shown
    }
