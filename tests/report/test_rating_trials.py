"""Trials of raters: complete, balanced, the same again for the same rater, different for another."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from bids_recon.report import GalleryItem
from bids_recon.report.rating_page import RatingPage, page_data
from bids_recon.report.rating_trials import CATCH_EVERY, Mulberry32, draw_trials, hash32


def gallery(subjects=("01",), methods=("a",), n=12, test_set="test") -> list[GalleryItem]:
    """Reconstructions in which no two pictures are the same."""
    rng = np.random.default_rng(0)
    seen = rng.integers(256, size=(n, 8, 8, 3), dtype=np.uint8)
    return [
        GalleryItem(s, m, test_set, f"p{k}", seen[k], rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
        for s in subjects
        for m in methods
        for k in range(n)
    ]


def test_the_generators_are_the_published_ones():
    # The published test vector of FNV-1a, and what mulberry32's published code gives in a JavaScript engine.
    assert hash32("") == 0x811C9DC5 and hash32("foobar") == 0xBF9CF968
    generator = Mulberry32(0)
    assert [generator.next() for _ in range(3)] == [1144304738, 1416247, 958946056]


def test_all_pairs_are_asked_when_the_limit_allows():
    data = page_data(RatingPage(gallery(n=12)))
    trials = [trial for trial in draw_trials(data, "r1") if not trial.catch]
    pairs = Counter(
        (trial.about["stimulus_id"], shown["stimulus_id"])
        for trial in trials
        for place, shown in enumerate(trial.candidates)
        if place != trial.target
    )
    everything = {(f"p{i}", f"p{j}") for i in range(12) for j in range(12) if i != j}
    assert set(pairs) == everything and set(pairs.values()) == {1}
    for trial in trials:
        assert trial.candidates[trial.target]["stimulus_id"] == trial.about["stimulus_id"]
    assert Counter(trial.target for trial in trials) == {0: 66, 1: 66}


@pytest.mark.parametrize(("alternatives", "limit"), [(2, 100), (2, 37), (5, 100)])
def test_a_draw_is_balanced_over_reconstructions_and_foils(alternatives, limit):
    items = gallery(("01", "02"), ("a", "b"), n=10)
    data = page_data(RatingPage(items, alternatives=alternatives, max_trials=limit))
    reconstructions, foils = Counter(), Counter()
    n_possible = 4 * 10 * (9 // (alternatives - 1))
    trials = [trial for trial in draw_trials(data, "r1") if not trial.catch]
    assert len(trials) == min(limit, n_possible)
    for trial in trials:
        about = trial.about
        reconstructions[about["subject"], about["method"], about["stimulus_id"]] += 1
        foils.update(one["picture"] for place, one in enumerate(trial.candidates) if place != trial.target)
        assert len({one["picture"] for one in trial.candidates}) == alternatives
    counts = [reconstructions[unit] for unit in reconstructions] + [0] * (40 - len(reconstructions))
    assert max(counts) - min(counts) <= 1
    # Whole rounds balance the foils exactly; of the rest each is a random draw.
    assert len(foils) == 10 and max(foils.values()) <= 2.2 * limit * (alternatives - 1) / 10
    assert len({(trial.unit, trial.variant) for trial in trials}) == len(trials)


def test_raters_share_a_quarter_and_differ_in_the_rest():
    data = page_data(RatingPage(gallery(n=40), max_trials=80))
    draws = {
        rater: [(t.unit, t.variant) for t in draw_trials(data, rater) if not t.catch]
        for rater in ("r1", "r2", "r3")
    }
    again = [(t.unit, t.variant) for t in draw_trials(data, "r1") if not t.catch]
    assert again == draws["r1"] and draws["r1"] != draws["r2"]
    common = set(draws["r1"]) & set(draws["r2"]) & set(draws["r3"])
    assert 20 <= len(common) <= 24
    other = page_data(RatingPage(gallery(n=40), max_trials=80, seed=1))
    assert [t.record() for t in draw_trials(other, "r1")] != [t.record() for t in draw_trials(data, "r1")]


@pytest.mark.parametrize(("n", "n_catch"), [(3, 1), (5, 1), (12, 7)])
def test_catch_trials_show_the_original_itself(n, n_catch):
    trials = draw_trials(page_data(RatingPage(gallery(n=n))), "r1")
    catches = [trial for trial in trials if trial.catch]
    assert len(catches) == n_catch == max(1, -(-n * (n - 1) // CATCH_EVERY))
    for trial in catches:
        assert trial.question == trial.candidates[trial.target]["picture"]
    for trial in trials:
        if not trial.catch:
            assert trial.question not in [shown["picture"] for shown in trial.candidates]
    places = [place for place, trial in enumerate(trials) if trial.catch]
    assert all(later - earlier <= 2 * CATCH_EVERY + 1 for earlier, later in pairwise(places))


def test_two_methods_are_compared_on_every_picture_of_every_person():
    items = gallery(("01", "02"), ("a", "b", "c"), n=6)
    data = page_data(RatingPage(items, task="which-better"))
    trials = draw_trials(data, "r1")
    asked = Counter()
    for trial in trials:
        first, second = (shown.get("method") for shown in trial.candidates)
        if trial.catch:
            assert {"original": True, "picture": trial.question} == trial.candidates[trial.target]
            continue
        (person,) = {shown["subject"] for shown in trial.candidates}
        asked[person, trial.about["stimulus_id"], frozenset((first, second))] += 1
    assert len(asked) == 2 * 6 * 3 and set(asked.values()) == {1}
    sides = Counter(trial.target for trial in trials if not trial.catch)
    assert sides == {0: 18, 1: 18}


def test_people_are_compared_only_on_pictures_that_both_saw():
    items = gallery(("01", "02"), ("a",), n=5)
    other = GalleryItem("02", "a", "test", "p0", items[1].reconstructed, items[2].reconstructed)
    items[5] = other
    data = page_data(RatingPage(items, task="which-better", compare="subject"))
    trials = [trial for trial in draw_trials(data, "r1") if not trial.catch]
    assert {trial.about["stimulus_id"] for trial in trials} == {"p1", "p2", "p3", "p4"}
    assert {shown["subject"] for trial in trials for shown in trial.candidates} == {"01", "02"}


def test_a_limited_comparison_is_balanced_over_contests():
    items = gallery(("01",), ("a", "b", "c", "d"), n=20)
    data = page_data(RatingPage(items, task="which-better", max_trials=33))
    trials = [trial for trial in draw_trials(data, "r1") if not trial.catch]
    contests = Counter(frozenset(shown["method"] for shown in trial.candidates) for trial in trials)
    assert len(trials) == 33 and sorted(contests.values()) == [5, 5, 5, 6, 6, 6]


def test_single_trials_of_one_picture_are_asked_apart_and_never_its_own_foil():
    items = [
        GalleryItem(one.subject, one.method, one.test_set, f"{one.stimulus_id} (trial {t})", one.seen, made)
        for one in gallery(n=4)
        for t, made in enumerate((one.reconstructed, 255 - one.reconstructed))
    ]
    trials = [t for t in draw_trials(page_data(RatingPage(items)), "r1") if not t.catch]
    assert len(trials) == 8 * 3
    for trial in trials:
        names = [shown["stimulus_id"] for shown in trial.candidates]
        assert len(set(names)) == 2 and trial.about["stimulus_id"].startswith(f"{names[trial.target]} (trial")
