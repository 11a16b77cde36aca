"""Pictures in other orders: against the definitions, on planted nothing and on planted signal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bids_recon.metrics import permutation
from bids_recon.metrics.identification import correlation_matrix, two_way_a, two_way_b, two_way_c
from bids_recon.metrics.permutation import means_by_order, permuted_scores, picture_orders
from bids_recon.metrics.summary import mean_score, share_as_good

SCORES = {
    "latent-correlation": lambda C, target: C[target, np.arange(len(target))],
    "two-way-a": two_way_a,
    "two-way-b": two_way_b,
    "two-way-c": two_way_c,
}
N_RUNS = 200


def one_block(n: int) -> np.ndarray:
    return np.zeros(n, dtype=int)


@pytest.mark.parametrize(("n_pictures", "n_orders"), [(1, 0), (2, 1), (3, 5), (6, 719)])
def test_few_pictures_have_every_order_but_the_true_one(n_pictures, n_orders):
    orders = picture_orders(one_block(n_pictures))
    every = set(itertools.permutations(range(n_pictures)))
    assert len(orders) == n_orders
    assert {tuple(order) for order in orders} == every - {tuple(range(n_pictures))}


def test_many_pictures_have_orders_by_chance():
    orders = picture_orders(one_block(7), seed=3)
    assert orders.shape == (999, 7)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(7), orders.shape))
    often = np.array([np.bincount(column, minlength=7) for column in orders.T])
    # Each picture takes each place 143 times, with a deviation of 11.
    assert abs(often - 999 / 7).max() < 45
    np.testing.assert_array_equal(picture_orders(one_block(7), seed=3), orders)
    assert (picture_orders(one_block(7), seed=4) != orders).any()


@pytest.mark.parametrize(("sizes", "n_orders"), [((2, 3, 1), 11), ((5, 4, 1), 999)])
def test_pictures_stay_in_their_block(sizes, n_orders):
    blocks = np.random.default_rng(0).permutation(np.repeat([7, 2, 5], sizes))
    orders = picture_orders(blocks)
    assert len(orders) == n_orders
    np.testing.assert_array_equal(blocks[orders], np.broadcast_to(blocks, orders.shape))
    np.testing.assert_array_equal(
        np.sort(orders, axis=1), np.broadcast_to(np.arange(len(blocks)), orders.shape)
    )
    distinct = {tuple(order) for order in orders}
    assert len(distinct) == 11 if n_orders == 11 else len(distinct) > 800


@pytest.mark.parametrize("n_trials", [(1, 1, 1, 1, 1), (2, 2, 2, 2, 2), (3, 1, 0, 2, 1)])
def test_each_order_scores_as_its_targets_do(n_trials):
    rng = np.random.default_rng(1)
    target = rng.permutation(np.repeat(np.arange(5), n_trials))
    # Steps, so that there are ties.
    C = rng.integers(-5, 6, (5, len(target))) / 5
    found = permuted_scores(C, target, [*SCORES, "ssim"], seed=2)
    assert list(found) == list(SCORES)
    for name, score in SCORES.items():
        expected = [score(C, order[target]).mean() for order in picture_orders(one_block(5), seed=2)]
        np.testing.assert_allclose(found[name], expected, atol=1e-12)
        assert len(np.unique(expected)) > 10


def test_pixels_and_features_are_correlations_too():
    C = np.random.default_rng(0).normal(size=(4, 4))
    found = permuted_scores(C, np.arange(4), ["pixcorr", "feature-correlation", "latent-correlation"])
    assert found["pixcorr"].tolist() == found["feature-correlation"].tolist()
    assert found["pixcorr"].tolist() == found["latent-correlation"].tolist()


def test_one_picture_and_collapsed_output_have_no_p():
    alone = permuted_scores(np.array([[0.3, 0.4]]), np.zeros(2, dtype=int), list(SCORES))
    assert all(scores.size == 0 for scores in alone.values())
    assert np.isnan(share_as_good(0.35, alone["latent-correlation"], True))
    collapsed = permuted_scores(np.repeat(np.arange(4.0)[:, None], 4, axis=1), np.arange(4), list(SCORES))
    assert np.isnan(collapsed["two-way-b"]).all()
    for name in ("two-way-a", "two-way-c"):
        np.testing.assert_allclose(collapsed[name], 0.5)
        # All orders do as well.
        assert share_as_good(0.5, collapsed[name], True) == 1
    # Two pictures are known, and one of them was decoded.
    one_shown = permuted_scores(np.array([[0.3, 0.4], [0.1, 0.0]]), np.zeros(2, dtype=int), list(SCORES))
    assert np.isnan(one_shown["two-way-b"]).all() and np.isnan(one_shown["two-way-c"]).all()
    assert one_shown["two-way-a"].tolist() == [0.0]


def test_truths_without_a_score_do_not_count():
    pairs = np.array([[1.0, 0.0, 0.3], [0.5, 0.25, 0.1], [np.nan, np.nan, np.nan]])
    means = means_by_order(pairs, np.arange(3), np.array([[0, 1, 2], [1, 0, 2]]))
    np.testing.assert_allclose(means, [(1 + 0.25) / 2, (0.5 + 0) / 2])
    assert np.isnan(means_by_order(pairs, np.full(3, 2), np.array([[0, 1, 2]]))).all()


def test_definition_c_takes_fewer_orders_in_large_sets(monkeypatch):
    C, target = np.random.default_rng(0).normal(size=(10, 20)), np.repeat(np.arange(10), 2)
    names = ("two-way-a", "two-way-c")
    whole = permuted_scores(C, target, names)
    for allowed, n_orders in ((150, 150), (10, 99)):
        monkeypatch.setattr(permutation, "_PAIRS_IN_ALL", allowed * 20**2)
        found = permuted_scores(C, target, names)
        np.testing.assert_array_equal(found["two-way-a"], whole["two-way-a"])
        np.testing.assert_array_equal(found["two-way-c"], whole["two-way-c"][:n_orders])
    # A part of all orders of few pictures is a sample of them: the first picture does not stay first.
    assert len(set(picture_orders(one_block(6))[:99, 0].tolist())) == 6


class Planted:
    """Latents that share a mean and a few directions, as those of pictures do."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([11, seed])
        self.mean = 2 * self.rng.normal(size=60)
        self.directions = self.rng.normal(size=(4, 60))

    def draw(self, n: int) -> np.ndarray:
        own = self.rng.normal(size=(n, 4)) @ self.directions
        return own + 0.3 * self.rng.normal(size=(n, 60))


def p_values(n_pictures: int, n_trials: int, signal: float, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """p of each run, by metric, for predictions that hold some signal beside noise as lively as pictures."""
    found: dict[str, list[float]] = {name: [] for name in names}
    target = np.repeat(np.arange(n_pictures), n_trials)
    for seed in range(N_RUNS):
        planted = Planted(seed)
        truth = planted.draw(n_pictures)
        predicted = signal * truth[target] + planted.draw(len(target))
        C = correlation_matrix(planted.mean + truth, planted.mean + predicted)
        chance = permuted_scores(C, target, names, seed)
        for name in names:
            value = mean_score(SCORES[name](C, target))
            found[name].append(share_as_good(value, chance[name], True))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize(
    ("n_pictures", "n_trials", "names"),
    [(5, 2, tuple(SCORES)), (11, 1, ("latent-correlation", "two-way-a", "two-way-b"))],
)
def test_noise_is_significant_in_one_of_twenty(n_pictures, n_trials, names):
    for name, p in p_values(n_pictures, n_trials, 0.0, names).items():
        # Standard error .015.
        assert 0.01 <= (p <= 0.05).mean() <= 0.095, name
        assert 0.12 <= (p <= 0.2).mean() <= 0.28, name
        assert np.mean(p) == pytest.approx(0.5, abs=0.07), name


def test_signal_is_found():
    for p in p_values(8, 1, 0.7, ("latent-correlation", "two-way-a", "two-way-b")).values():
        assert (p <= 0.05).mean() > 0.8
    for p in p_values(5, 2, 1.5, tuple(SCORES)).values():
        assert (p <= 0.05).mean() > 0.8


def test_shuffled_decoders_do_not_tell_noise_in_the_test_from_signal():
    """Of `p_shuffle`, as docs/metrics.md says: decoders of nothing scatter less than good ones of noise."""
    significant = []
    for seed in range(N_RUNS):
        planted, target = Planted(seed), np.arange(8)
        truth = planted.mean + planted.draw(8)

        def scored(predicted, truth=truth, target=target):
            return two_way_a(correlation_matrix(truth, predicted), target).mean()

        floors = [scored(planted.mean + 0.1 * planted.draw(8)) for _ in range(19)]
        value = scored(planted.mean + planted.draw(8))
        significant.append(share_as_good(value, np.array(floors), True) <= 0.05)
    assert np.mean(significant) > 0.1
