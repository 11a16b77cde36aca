"""The table with floor and ceiling."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.metrics.bootstrap import bootstrap_interval, crossed_bootstrap_interval
from bids_recon.metrics.protocols import evaluate_pictures
from bids_recon.metrics.summary import summarise


def test_summary_holds_means_intervals_floor_and_ceiling():
    rng = np.random.default_rng(0)
    scores, ids = rng.normal(0.8, 0.1, 20), np.repeat(np.arange(10), 2)
    floors = [rng.normal(0.5, 0.1, 20) for _ in range(4)]
    table = summarise(
        {"two-way-a": scores}, ids, [{"two-way-a": f} for f in floors], {"two-way-a": np.array([0.9, 1.0])}
    )
    row = table.iloc[0]
    assert list(table.columns) == [
        "metric", "value", "ci_low", "ci_high", "floor", "floor_low", "floor_high", "p_shuffle",
        "p_permutation", "ceiling", "n_items", "higher_is_better", "note",
    ]  # fmt: skip
    assert row["value"] == pytest.approx(scores.mean())
    assert (row["ci_low"], row["ci_high"]) == bootstrap_interval(scores, ids)
    assert row["floor"] == pytest.approx(np.mean([f.mean() for f in floors]))
    assert (row["floor_low"], row["floor_high"]) == crossed_bootstrap_interval(np.array(floors), ids)
    assert row["ceiling"] == pytest.approx(0.95)
    assert (row["n_items"], row["p_shuffle"], row["note"]) == (20, 1 / 5, "")
    assert row["higher_is_better"]


def test_p_counts_shuffles_that_do_as_well():
    scores = np.array([0.5, 0.7])
    floors = [{"pixcorr": np.full(2, level)} for level in (0.1, 0.6, 0.9, np.nan)]
    assert summarise({"pixcorr": scores}, floor_items=floors).loc[0, "p_shuffle"] == (1 + 2) / (1 + 3)


def test_p_counts_orders_that_do_as_well():
    scores = {"pixcorr": np.array([0.5, 0.7]), "ssim": np.array([0.5, 0.7])}
    # Of equal means, some differ in their last digit.
    permuted = {"pixcorr": np.array([0.1, 0.6 - 1e-15, 0.9, 0.2])}
    table = summarise(scores, permuted=permuted).set_index("metric")
    assert table.loc["pixcorr", "p_permutation"] == (1 + 2) / (1 + 4)
    assert np.isnan(table.loc["ssim", "p_permutation"])
    undefined = summarise({"two-way-b": np.full(2, np.nan)}, permuted={"two-way-b": np.zeros(3)})
    assert np.isnan(undefined.loc[0, "p_permutation"])


def test_one_test_picture_gives_a_table_that_says_why():
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    items = evaluate_pictures(picture, picture)
    table = summarise(items, ["only"], [items, items], items).set_index("metric")
    assert table.loc["pixcorr", "value"] == pytest.approx(1)
    assert table.loc["pixcorr", ["ci_low", "ci_high", "floor_low"]].isna().all()
    for name in ("two-way-a", "two-way-b", "two-way-c"):
        assert table.loc[name, ["value", "floor", "ceiling", "p_shuffle"]].isna().all()
        assert table.loc[name, "n_items"] == 0
        assert table.loc[name, "note"].startswith(
            "undefined: identification needs at least two test pictures"
        )


def test_collapsed_output_leaves_b_undefined_with_the_reason():
    seen = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    grey = np.full((8, 32, 32, 3), 128, dtype=np.uint8)
    table = summarise(evaluate_pictures(grey, seen)).set_index("metric")
    assert table.loc["two-way-a", "value"] == 0.5
    assert table.loc["two-way-b", "note"].endswith("and predictions that differ")
    assert table.loc[:, ["floor", "ceiling"]].isna().all(axis=None)


def test_metric_of_an_attribute_has_a_row_and_an_unknown_one_does_not():
    row = summarise({"two-way-a/shape": np.full(3, np.nan)}).iloc[0]
    assert row["note"] == "undefined: no two test pictures differ in shape alone"
    with pytest.raises(ValueError, match="catalogue has no metric 'beauty'"):
        summarise({"beauty": np.ones(3)})
