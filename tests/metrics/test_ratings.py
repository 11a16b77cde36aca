"""Scores of raters: planted answers give planted shares."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.metrics.ratings import score_answers


def test_raters_are_averaged_within_a_picture_before_pictures():
    # Picture a: rater 1 right in 1 of 4, rater 2 in 1 of 1; picture b: rater 1 wrong once.
    score = score_answers(
        [True, False, False, False, True, False], [*"11112", "1"], [*"aaaaa", "b"], [*"aaaaa", "b"]
    )
    assert score.value == ((0.25 + 1) / 2 + 0) / 2
    assert score.by_rater == {"1": 0.2, "2": 1.0}
    assert (score.n_items, score.n_answers) == (2, 6)
    assert (score.ci_low, score.ci_high) == (0, 0.625)


def test_shares_of_planted_raters_are_recovered():
    rng = np.random.default_rng(0)
    raters, pictures = np.repeat(np.arange(4), 2000), np.tile(np.repeat(np.arange(50), 40), 4)
    score = score_answers(rng.random(8000) < 0.8, raters, pictures, pictures)
    assert score.value == pytest.approx(0.8, abs=0.02)
    assert score.ci_low < 0.8 < score.ci_high < 0.83


def test_trials_of_one_picture_are_drawn_together():
    rng = np.random.default_rng(1)
    pictures = np.repeat(np.arange(20), 6)
    items, right = np.arange(120), (rng.random(20) < 0.5)[pictures]
    together = score_answers(right, np.zeros(120), items, pictures)
    apart = score_answers(right, np.zeros(120), items, items)
    assert together.n_items == apart.n_items == 120
    assert together.ci_high - together.ci_low > 2 * (apart.ci_high - apart.ci_low)


def test_one_picture_has_no_interval_and_no_answers_are_an_error():
    assert np.isnan(score_answers([True], ["a"], ["x"], ["x"]).ci_low)
    with pytest.raises(ValueError, match="no answers"):
        score_answers([], [], [], [])
