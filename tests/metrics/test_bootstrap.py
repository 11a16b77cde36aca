"""Bootstrap intervals cover planted means, and clusters widen them as they must."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.metrics.bootstrap import bootstrap_interval, crossed_bootstrap_interval


def _coverage(draw, interval, n_repeats=300):
    rng = np.random.default_rng(7)
    hits = 0
    for seed in range(n_repeats):
        low, high = interval(draw(rng), seed)
        hits += low <= 0 <= high
    return hits / n_repeats


def test_interval_covers_the_mean_about_as_often_as_it_says():
    coverage = _coverage(
        lambda rng: rng.normal(size=50), lambda v, seed: bootstrap_interval(v, n_resamples=400, seed=seed)
    )
    assert 0.90 <= coverage <= 0.98


def test_half_the_level_covers_half_the_time():
    coverage = _coverage(
        lambda rng: rng.normal(size=50),
        lambda v, seed: bootstrap_interval(v, n_resamples=400, level=0.5, seed=seed),
    )
    assert 0.40 <= coverage <= 0.60


def test_trials_of_one_picture_must_be_resampled_together():
    pictures = np.repeat(np.arange(30), 4)

    def draw(rng):
        return rng.normal(size=30)[pictures] + 0.5 * rng.normal(size=120)

    def interval(clusters):
        return lambda v, seed: bootstrap_interval(v, clusters, n_resamples=400, seed=seed)

    assert _coverage(draw, interval(pictures)) > 0.87
    assert _coverage(draw, interval(None)) < 0.80


def test_clustered_width_is_that_of_the_cluster_means():
    rng = np.random.default_rng(0)
    means = rng.normal(size=60)
    repeated = bootstrap_interval(np.repeat(means, 5), np.repeat(np.arange(60), 5), seed=3)
    np.testing.assert_allclose(repeated, bootstrap_interval(means, seed=3), atol=1e-12)
    low, high = bootstrap_interval(np.repeat(means, 5), seed=3)
    assert (repeated[1] - repeated[0]) / (high - low) == pytest.approx(np.sqrt(5), rel=0.15)


def test_width_follows_the_standard_error():
    values = np.random.default_rng(0).normal(size=200)
    low, high = bootstrap_interval(values, n_resamples=4000)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(200), rel=0.06)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.01)


def test_clusters_may_be_text_and_order_does_not_matter():
    rng = np.random.default_rng(0)
    values, ids = rng.normal(size=12), np.repeat(["c", "a", "b"], 4)
    order = rng.permutation(12)
    np.testing.assert_allclose(
        bootstrap_interval(values, ids), bootstrap_interval(values[order], list(ids[order])), atol=1e-12
    )


def test_nan_items_are_left_out():
    values = np.random.default_rng(0).normal(size=20)
    holes = np.concatenate([values, np.full(5, np.nan)])
    assert bootstrap_interval(holes) == bootstrap_interval(values)


@pytest.mark.parametrize("values", [[0.7], [], [np.nan, np.nan], [0.3, np.nan]])
def test_fewer_than_two_pictures_have_no_interval(values):
    assert np.isnan(bootstrap_interval(np.array(values, dtype=float))).all()


def test_many_trials_of_one_picture_have_no_interval():
    assert np.isnan(bootstrap_interval(np.arange(9.0), ["same"] * 9)).all()


def test_seed_decides():
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_crossed_interval_sees_variation_of_shuffles_and_of_pictures():
    rng = np.random.default_rng(0)
    shuffles, pictures = rng.normal(size=(20, 1)), rng.normal(size=(1, 50))

    def width(values):
        low, high = crossed_bootstrap_interval(values, n_resamples=4000)
        return (high - low) / 3.92

    only_shuffles = width(np.tile(shuffles, (1, 50)))
    only_pictures = width(np.tile(pictures, (20, 1)))
    assert only_shuffles == pytest.approx(shuffles.std() / np.sqrt(20), rel=0.08)
    assert only_pictures == pytest.approx(pictures.std() / np.sqrt(50), rel=0.08)
    assert width(shuffles + pictures) == pytest.approx(np.hypot(only_shuffles, only_pictures), rel=0.08)


def test_crossed_interval_covers_the_floor():
    def draw(rng):
        return rng.normal(size=(10, 1)) + rng.normal(size=(1, 30)) + rng.normal(size=(10, 30))

    coverage = _coverage(draw, lambda v, seed: crossed_bootstrap_interval(v, n_resamples=400, seed=seed))
    assert coverage > 0.85


def test_crossed_interval_leaves_out_what_has_no_score():
    values = np.random.default_rng(0).normal(size=(6, 10))
    holes = np.vstack([np.hstack([values, np.full((6, 2), np.nan)]), np.full((1, 12), np.nan)])
    assert crossed_bootstrap_interval(holes) == crossed_bootstrap_interval(values)


def test_clusters_of_another_length_are_refused():
    with pytest.raises(ValueError, match="there are 3 items"):
        bootstrap_interval(np.zeros(3), ["a", "b"])
