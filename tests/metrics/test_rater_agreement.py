"""Agreement reproduces published examples and planted raters."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.metrics.rater_agreement import agreement_of_choices, krippendorff_alpha


def coded(*rows: str) -> np.ndarray:
    """Rows of one code a unit; a dot where there is none."""
    return np.array([[np.nan if code == "." else ord(code) for code in row] for row in rows], dtype=float)


@pytest.mark.parametrize(
    ("codes", "alpha"),
    [
        # Krippendorff 2011, "Computing Krippendorff's alpha-reliability": sections A, B and C.
        (coded("0100000010", "1110010000"), 0.095),
        (coded("aabbdcccedda", "babbbccceddd"), 0.692),
        (coded("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
    ],
)
def test_published_examples(codes, alpha):
    assert krippendorff_alpha(codes) == pytest.approx(alpha, abs=5e-4)


def test_alpha_is_undefined_without_pairs_or_without_a_second_code():
    assert np.isnan(krippendorff_alpha(coded("ab..", "..ab")))
    assert np.isnan(krippendorff_alpha(coded("aaaa", "aaaa")))


@pytest.mark.parametrize("n_alternatives", [2, 5])
def test_choices_of_one_mind_and_of_chance(n_alternatives):
    rng = np.random.default_rng(0)
    one = rng.integers(n_alternatives, size=400).astype(float)
    pictures = np.arange(400) // 4
    same = agreement_of_choices(np.stack([one, one, one]), n_alternatives, pictures)
    assert (same.value, same.ci_low, same.ci_high, same.n_trials) == (1, 1, 1, 400)
    chance = agreement_of_choices(
        rng.integers(n_alternatives, size=(3, 400)).astype(float), n_alternatives, pictures
    )
    assert abs(chance.value) < 0.08 and chance.ci_low < 0 < chance.ci_high


def test_raters_who_are_nearly_always_right_agree():
    rng = np.random.default_rng(1)
    choices = (rng.random((3, 1000)) < 0.02).astype(float)
    # Each pair of raters agrees in 0.98^2 + 0.02^2 = 0.9608 of all trials; chance is one half.
    value = agreement_of_choices(choices, 2, np.arange(1000)).value
    assert value == pytest.approx((0.9608 - 0.5) / 0.5, abs=0.03)
    assert krippendorff_alpha(choices) < 0.1


def test_numbering_of_candidates_does_not_matter_and_single_raters_do_not_count():
    rng = np.random.default_rng(2)
    choices = rng.integers(3, size=(4, 60)).astype(float)
    choices[2, 30:] = choices[1, 30:]
    pictures = np.arange(60)
    expected = agreement_of_choices(choices, 3, pictures)
    renumbered = (choices + rng.integers(3, size=60)) % 3
    assert agreement_of_choices(renumbered, 3, pictures) == expected
    alone = np.full((4, 10), np.nan)
    alone[0] = 1
    more = agreement_of_choices(np.hstack([choices, alone]), 3, np.arange(70))
    assert (more.value, more.n_trials) == (expected.value, 60)
    assert agreement_of_choices(alone, 3, np.arange(10)).n_trials == 0
    assert np.isnan(agreement_of_choices(alone, 3, np.arange(10)).value)


def test_the_interval_draws_pictures_with_all_their_trials():
    rng = np.random.default_rng(3)
    agree = np.repeat(rng.random(20) < 0.5, 10)
    choices = np.stack([np.zeros(200), np.where(agree, 0, 1)])
    together = agreement_of_choices(choices, 2, np.repeat(np.arange(20), 10))
    apart = agreement_of_choices(choices, 2, np.arange(200))
    assert together.value == apart.value
    assert together.ci_high - together.ci_low > 2 * (apart.ci_high - apart.ci_low)
    one = agreement_of_choices(choices, 2, np.zeros(200))
    assert one.value == apart.value and np.isnan(one.ci_low)
