"""Protocols: what they compute, and the table with floor and ceiling."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.errors import UsageError
from bids_recon.metrics.bootstrap import bootstrap_interval, crossed_bootstrap_interval
from bids_recon.metrics.catalogue import METRICS
from bids_recon.metrics.pixel import pixcorr, ssim, ssim_legacy1d
from bids_recon.metrics.prepare import to_common_size
from bids_recon.metrics.protocols import (
    PROTOCOLS,
    Protocol,
    evaluate_latents,
    evaluate_pictures,
    get_protocol,
    summarise,
)


@pytest.fixture(scope="module")
def seen() -> list[np.ndarray]:
    """Eight blotchy pictures of varied size."""
    rng = np.random.default_rng(0)
    return [
        np.kron(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), np.ones((10 + i, 12, 1), dtype=np.uint8))
        for i in range(8)
    ]


def test_registered_protocols_are_what_their_keys_promise():
    assert set(PROTOCOLS) == {"pixels-1", "latents-1"}
    pixels, latents = PROTOCOLS["pixels-1"], PROTOCOLS["latents-1"]
    assert (pixels.name, pixels.version, pixels.image_size, pixels.antialias) == ("pixels", 1, 128, True)
    assert pixels.metrics == ("pixcorr", "ssim", "ssim-legacy1d", "two-way-a", "two-way-b", "two-way-c")
    assert latents.image_size is None
    assert latents.metrics == ("latent-correlation", "two-way-a", "two-way-b", "two-way-c")
    assert all(name in METRICS for protocol in PROTOCOLS.values() for name in protocol.metrics)


def test_facts_about_metrics():
    chances = [METRICS[name].chance for name in ("pixcorr", "ssim", "two-way-a", "two-way-c")]
    assert chances == [None, None, 0.5, 0.5]
    assert METRICS["two-way-b"].higher_is_better
    assert METRICS["ssim-legacy1d"].display_name == "SSIM (1-D, legacy)"


def test_unknown_protocol_names_the_known_ones():
    with pytest.raises(UsageError, match=r"no metric protocol 'pixels-9'\. Known ones: pixels-1, latents-1"):
        get_protocol("pixels-9")


def test_seen_pictures_score_one(seen):
    items = evaluate_pictures(seen, seen)
    assert tuple(items) == PROTOCOLS["pixels-1"].metrics
    for scores in items.values():
        np.testing.assert_allclose(scores, 1.0, atol=1e-6)


def test_each_metric_is_taken_at_the_common_size_against_its_target(seen):
    rng = np.random.default_rng(1)
    target = np.array([3, 3, 0, 7, 5, 5])
    reconstructed = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    items = evaluate_pictures(reconstructed, seen, target)
    pictures, truths = to_common_size(reconstructed, 128), to_common_size(seen, 128)
    for name, metric in (("pixcorr", pixcorr), ("ssim", ssim), ("ssim-legacy1d", ssim_legacy1d)):
        np.testing.assert_array_equal(items[name], metric(pictures, truths[target]))
    r = np.corrcoef(pictures.reshape(6, -1), truths.reshape(8, -1))[:6, 6:]
    expected = [np.mean(np.delete(r[j], t) < r[j, t]) for j, t in enumerate(target)]
    np.testing.assert_allclose(items["two-way-a"], expected)


def test_pictures_prepared_once_score_the_same(seen):
    reconstructed = np.random.default_rng(1).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    raw, prepared = (evaluate_pictures(reconstructed, s) for s in (seen, to_common_size(seen, 128)))
    for name in raw:
        np.testing.assert_array_equal(raw[name], prepared[name])


def test_grey_reconstruction_betrays_itself(seen):
    items = evaluate_pictures(np.full((8, 64, 64, 3), 128, dtype=np.uint8), seen)
    np.testing.assert_array_equal(items["pixcorr"], 0.0)
    np.testing.assert_array_equal(items["two-way-a"], 0.5)
    np.testing.assert_array_equal(items["two-way-c"], 0.5)
    assert np.isnan(items["two-way-b"]).all()
    assert (items["ssim"] > 0.05).all()


def test_size_and_antialias_of_a_protocol_are_obeyed(seen):
    reconstructed = np.random.default_rng(1).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    for antialias in (True, False):
        protocol = Protocol("own", 1, ("ssim",), image_size=40, antialias=antialias)
        pictures, truths = (to_common_size(p, 40, antialias=antialias) for p in (reconstructed, seen))
        items = evaluate_pictures(reconstructed, seen, protocol=protocol)
        assert list(items) == ["ssim"]
        np.testing.assert_array_equal(items["ssim"], ssim(pictures, truths))


def test_planted_latents_are_found_and_shuffled_ones_are_at_chance():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 4, 15))
    target = np.repeat(np.arange(40), 2)
    predicted = truth[target] + rng.normal(size=(80, 4, 15))
    items = evaluate_latents(predicted, truth, target)
    assert items["latent-correlation"].mean() == pytest.approx(1 / np.sqrt(2), abs=0.02)
    expected = [
        np.corrcoef(p.ravel(), truth[t].ravel())[0, 1] for p, t in zip(predicted, target, strict=True)
    ]
    np.testing.assert_allclose(items["latent-correlation"], expected, atol=1e-12)
    assert min(items[f"two-way-{x}"].mean() for x in "abc") > 0.99
    shuffled = evaluate_latents(predicted, truth, np.repeat(rng.permutation(40), 2))
    assert abs(shuffled["latent-correlation"].mean()) < 0.06
    for x in "abc":
        assert shuffled[f"two-way-{x}"].mean() == pytest.approx(0.5, abs=0.12)


def test_protocols_of_pictures_and_of_latents_are_not_exchanged(seen):
    with pytest.raises(ValueError, match="latents-1 does not score pictures"):
        evaluate_pictures(seen, seen, protocol="latents-1")
    with pytest.raises(ValueError, match="pixels-1 does not score latents"):
        evaluate_latents(np.eye(3), np.eye(3), protocol="pixels-1")


def test_target_is_needed_and_checked():
    with pytest.raises(ValueError, match="4 predictions and 2 truths need a target"):
        evaluate_latents(np.eye(4), np.eye(4)[:2])
    with pytest.raises(ValueError, match="must name one of 2 truths for 4 predictions"):
        evaluate_latents(np.eye(4), np.eye(4)[:2], np.array([0, 1, 2, 0]))


def test_summary_holds_means_intervals_floor_and_ceiling():
    rng = np.random.default_rng(0)
    scores, ids = rng.normal(0.8, 0.1, 20), np.repeat(np.arange(10), 2)
    floors = [rng.normal(0.5, 0.1, 20) for _ in range(4)]
    table = summarise(
        {"two-way-a": scores}, ids, [{"two-way-a": f} for f in floors], {"two-way-a": np.array([0.9, 1.0])}
    )
    row = table.iloc[0]
    assert list(table.columns) == [
        "metric", "value", "ci_low", "ci_high", "floor", "floor_low", "floor_high", "p_shuffle", "ceiling",
        "n_items", "higher_is_better", "note",
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


def test_collapsed_output_leaves_b_undefined_with_the_reason(seen):
    grey = np.full((8, 32, 32, 3), 128, dtype=np.uint8)
    table = summarise(evaluate_pictures(grey, seen)).set_index("metric")
    assert table.loc["two-way-a", "value"] == 0.5
    assert table.loc["two-way-b", "note"].endswith("and predictions that differ")
    assert table.loc[:, ["floor", "ceiling"]].isna().all(axis=None)
