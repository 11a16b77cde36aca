"""Two-way identification: by hand, against plain loops, and where it is undefined."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.errors import DataError
from bids_recon.metrics.identification import (
    correlation_matrix,
    is_degenerate,
    two_way_a,
    two_way_b,
    two_way_c,
)

DEFINITIONS = (two_way_a, two_way_b, two_way_c)


def _loops(C, target, definition):
    """The definitions written out, one comparison at a time."""
    scores = []
    for j, t in enumerate(target):
        if definition == "a":
            margins = [C[t, j] - C[i, j] for i in range(len(C)) if i != t]
        else:
            others = [k for k in range(len(target)) if target[k] != t]
            if definition == "b":
                margins = [C[t, j] - C[t, k] for k in others]
            else:
                margins = [C[t, j] + C[target[k], k] - C[t, k] - C[target[k], j] for k in others]
        scores.append(np.mean([1.0 if m > 1e-9 else 0.5 if m >= -1e-9 else 0.0 for m in margins]))
    return np.array(scores)


def test_three_by_three_by_hand():
    C = np.array(
        [
            [0.5, 0.6, 0.1],
            [0.2, 0.6, 0.4],
            [0.5, 0.3, 0.3],
        ]
    )
    target = np.arange(3)
    # A, down columns. 0: .5 beats .2, ties .5. 1: ties .6, beats .3. 2: .3 beats .1, loses to .4.
    np.testing.assert_allclose(two_way_a(C, target), [0.75, 0.75, 0.5])
    # B, along rows. 0: .5 loses to .6, beats .1. 1: .6 beats both. 2: .3 loses to .5, ties .3.
    np.testing.assert_allclose(two_way_b(C, target), [0.5, 1.0, 0.25])
    # C, pairs. (0,1): 1.1 > .8. (0,2): .8 > .6. (1,2): .9 > .7.
    np.testing.assert_allclose(two_way_c(C, target), [1.0, 1.0, 1.0])
    # (0,1): 1.1 against .6 + .5, a tie; the other pairs are won.
    C[1, 0] = 0.5
    np.testing.assert_allclose(two_way_c(C, target), [0.75, 0.75, 1.0])


def test_definitions_differ_where_gain_is_uneven():
    # Prediction 1 is a strong copy of truth 0: A blames prediction 1, B blames truth 0.
    C = np.array([[0.3, 0.8], [0.1, 0.7]])
    target = np.arange(2)
    assert two_way_a(C, target).tolist() == [1.0, 0.0]
    assert two_way_b(C, target).tolist() == [0.0, 1.0]
    assert two_way_c(C, target).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("n_trials", [1, 3])
@pytest.mark.parametrize(("definition", "function"), list(zip("abc", DEFINITIONS, strict=True)))
def test_equals_plain_loops(definition, function, n_trials):
    rng = np.random.default_rng(0)
    # Two decimals make ties common.
    target = rng.permutation(np.repeat(np.arange(8), n_trials))
    C = np.round(rng.normal(0, 0.1, (8, len(target))), 2)
    C[target, np.arange(len(target))] += 0.1
    np.testing.assert_allclose(function(C, target), _loops(C, target, definition), atol=1e-12)


def test_equals_plain_loops_when_work_is_split(monkeypatch):
    monkeypatch.setattr("bids_recon.metrics.identification._ROWS_AT_ONCE", 5)
    rng = np.random.default_rng(3)
    target = rng.integers(0, 6, 17)
    C = rng.normal(size=(6, 17))
    for definition, function in zip("abc", DEFINITIONS, strict=True):
        np.testing.assert_allclose(function(C, target), _loops(C, target, definition), atol=1e-12)


def test_a_equals_pairwise_identification_of_feature_decoding():
    # Share of wrong candidates that correlate less with the prediction, by numpy alone.
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(12, 30))
    predicted = truth[rng.permutation(12)] * 0.1 + 0.1 * truth + rng.normal(size=(12, 30))
    r = np.corrcoef(predicted, truth)[:12, 12:]
    expected = [np.mean(np.delete(r[j], j) < r[j, j]) for j in range(12)]
    np.testing.assert_allclose(two_way_a(correlation_matrix(truth, predicted), np.arange(12)), expected)
    assert len(set(expected)) > 3


def test_perfect_prediction_scores_one():
    truth = np.random.default_rng(0).normal(size=(10, 20))
    target = np.repeat(np.arange(10), 2)
    C = correlation_matrix(truth, 3 * truth[target] - 7)
    for function in DEFINITIONS:
        np.testing.assert_array_equal(function(C, target), 1.0)


def test_unrelated_prediction_is_at_chance():
    rng = np.random.default_rng(0)
    C = correlation_matrix(rng.normal(size=(300, 50)), rng.normal(size=(300, 50)))
    for function in DEFINITIONS:
        assert function(C, np.arange(300)).mean() == pytest.approx(
            0.5, abs=0.06
        )  # standard error .017 (A, B), .024 (C)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_constant_reconstruction_is_exactly_at_chance(dtype):
    rng = np.random.default_rng(0)
    truth = rng.random((7, 5000)).astype(np.float32)
    C = correlation_matrix(truth, np.full((7, 5000), 0.3 if dtype != np.uint8 else 90, dtype=dtype))
    np.testing.assert_array_equal(C, 0.0)
    np.testing.assert_array_equal(two_way_a(C, np.arange(7)), 0.5)
    np.testing.assert_array_equal(two_way_c(C, np.arange(7)), 0.5)
    assert np.isnan(two_way_b(C, np.arange(7))).all()


def test_collapsed_reconstruction_is_at_chance_on_average_and_b_is_refused():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(9, 40)).astype(np.float32)
    C = correlation_matrix(truth, np.repeat(rng.normal(size=(1, 40)), 9, axis=0).astype(np.float32))
    assert is_degenerate(C)
    assert two_way_a(C, np.arange(9)).mean() == pytest.approx(0.5, abs=1e-12)
    assert np.ptp(two_way_a(C, np.arange(9))) == 1.0
    np.testing.assert_array_equal(two_way_c(C, np.arange(9)), 0.5)
    assert np.isnan(two_way_b(C, np.arange(9))).all()


def test_one_different_reconstruction_is_not_degenerate():
    C = np.array([[0.1, 0.1, 0.3], [0.2, 0.2, 0.0], [0.1, 0.1, 0.5]])
    assert not is_degenerate(C)
    np.testing.assert_allclose(two_way_b(C, np.arange(3)), [0.25, 0.75, 1.0])


def test_one_test_picture_is_undefined():
    C = np.array([[0.4, 0.6]])
    for function in DEFINITIONS:
        result = function(C, np.zeros(2, dtype=int))
        assert result.shape == (2,)
        assert np.isnan(result).all()


def test_trials_of_the_same_picture_are_never_compared():
    # Trials 0 and 1 show picture 0. Trial 1 is far better, which must not count against trial 0.
    C = np.array([[0.3, 0.9, 0.1], [0.2, 0.2, 0.4]])
    target = np.array([0, 0, 1])
    for function in DEFINITIONS:
        np.testing.assert_array_equal(function(C, target), 1.0)


def test_correlation_matrix_equals_numpy_in_blocks():
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(5, 1, (4, 3, 5000)), rng.normal(size=(6, 15000))
    expected = np.corrcoef(truth.reshape(4, -1), predicted)[:4, 4:]
    np.testing.assert_allclose(correlation_matrix(truth, predicted), expected, atol=1e-12)


def test_small_variation_on_a_large_offset_is_not_taken_for_constant():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(2, 200))
    C = correlation_matrix(signal, (1000 + signal).astype(np.float32))
    np.testing.assert_allclose(np.diag(C), 1.0, atol=1e-3)


def test_rounding_of_the_stored_type_is_not_a_signal():
    rng = np.random.default_rng(0)
    level = np.float32(0.3)
    flat = np.where(rng.random((2, 500)) < 0.5, level, np.nextafter(level, np.float32(1)))
    np.testing.assert_array_equal(correlation_matrix(flat.astype(np.float64), flat.astype(np.float32)), 0.0)
    assert np.diag(correlation_matrix(flat.astype(np.float64), flat.astype(np.float64))).min() > 0.99


def test_values_that_are_not_numbers_are_named():
    truth = np.ones((3, 4))
    predicted = np.ones((3, 4))
    predicted[1, 2] = np.inf
    with pytest.raises(DataError, match="1 of 3 decoded pictures or latents hold NaN"):
        correlation_matrix(truth, predicted)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="truth has 4 features, the prediction 5"):
        correlation_matrix(np.ones((2, 4)), np.ones((2, 5)))
    for target in (np.arange(3), np.array([0, 2]), np.array([0, -1])):
        with pytest.raises(ValueError, match="does not name a row"):
            two_way_a(np.zeros((2, 2)), target)
