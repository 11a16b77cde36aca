"""Protocols: what they compute."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.errors import UsageError
from bids_recon.metrics.catalogue import METRICS, find_metric
from bids_recon.metrics.pixel import pixcorr, ssim, ssim_legacy1d
from bids_recon.metrics.prepare import to_common_size
from bids_recon.metrics.protocols import (
    PROTOCOLS,
    Protocol,
    evaluate_latents,
    evaluate_pictures,
    get_protocol,
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
    assert set(PROTOCOLS) == {"pixels-1", "attributes-1", "latents-1", "profiles-1", "mobilenetv2-1"}
    pixels, latents = PROTOCOLS["pixels-1"], PROTOCOLS["latents-1"]
    assert (pixels.name, pixels.version, pixels.image_size, pixels.antialias) == ("pixels", 1, 128, True)
    assert pixels.metrics == ("pixcorr", "ssim", "ssim-legacy1d", "two-way-a", "two-way-b", "two-way-c")
    assert latents.image_size is None
    assert latents.metrics == ("latent-correlation", "two-way-a", "two-way-b", "two-way-c")
    assert (PROTOCOLS["attributes-1"].image_size, PROTOCOLS["attributes-1"].antialias) == (128, True)
    assert (PROTOCOLS["mobilenetv2-1"].image_size, PROTOCOLS["mobilenetv2-1"].antialias) == (224, True)
    assert PROTOCOLS["mobilenetv2-1"].metrics == (
        "feature-correlation",
        "two-way-a",
        "two-way-b",
        "two-way-c",
    )
    assert PROTOCOLS["profiles-1"].metrics == ("profile-correlation",)
    assert all(find_metric(name) for protocol in PROTOCOLS.values() for name in protocol.metrics)


def test_facts_about_metrics():
    chances = [METRICS[name].chance for name in ("pixcorr", "ssim", "two-way-a", "two-way-c")]
    assert chances == [None, None, 0.5, 0.5]
    assert METRICS["two-way-b"].higher_is_better
    assert METRICS["ssim-legacy1d"].display_name == "SSIM (1-D, legacy)"


def test_metrics_of_attributes_are_known_by_their_name():
    shape = find_metric("two-way-a/shape")
    assert shape.display_name == "Two-way identification (A) of shape"
    assert (shape.name, shape.chance, shape.higher_is_better) == ("two-way-a/shape", 0.5, True)
    assert shape.undefined == "no two test pictures differ in shape alone"
    assert find_metric("ssim") is METRICS["ssim"]
    for name in ("two-way-a/", "two-way-d", "two-way-d/shape", ""):
        assert find_metric(name) is None


def test_unknown_protocol_names_the_known_ones():
    with pytest.raises(UsageError, match=r"no metric protocol 'pixels-9'\. Known ones: pixels-1, "):
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
    for other in ("attributes-1", "profiles-1", "mobilenetv2-1"):
        with pytest.raises(ValueError, match=f"{other} does not score pictures"):
            evaluate_pictures(seen, seen, protocol=other)
        with pytest.raises(ValueError, match=f"{other} does not score latents"):
            evaluate_latents(np.eye(3), np.eye(3), protocol=other)


def test_target_is_needed_and_checked():
    with pytest.raises(ValueError, match="4 predictions and 2 truths need a target"):
        evaluate_latents(np.eye(4), np.eye(4)[:2])
    with pytest.raises(ValueError, match="must name one of 2 truths for 4 predictions"):
        evaluate_latents(np.eye(4), np.eye(4)[:2], np.array([0, 1, 2, 0]))
