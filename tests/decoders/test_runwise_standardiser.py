"""Standardisation of responses by training trials, and their shuffling."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.decoders.standardise import RunwiseStandardiser, shuffle_responses
from bids_recon.errors import DataError, UsageError

RUNS = np.repeat(["ses-1_run-1", "ses-1_run-2", "ses-2_run-1"], 8)
TRAINING = np.tile([True, True, True, True, True, True, False, False], 3)


def responses(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drift = rng.standard_normal((3, 5)) * 10
    return (rng.standard_normal((24, 5)) * [1, 2, 3, 4, 5] + np.repeat(drift, 8, axis=0)).astype(np.float32)


def test_by_run_equals_the_plain_formula() -> None:
    X = responses()
    Z = RunwiseStandardiser("run").fit(X, RUNS, TRAINING).transform(X, RUNS)
    residuals = []
    for run in np.unique(RUNS):
        mean = X[(run == RUNS) & TRAINING].mean(axis=0, dtype=float)
        residuals.append(X[run == RUNS] - mean)
    residual = np.concatenate(residuals)
    deviation = np.sqrt((residual[TRAINING] ** 2).sum(axis=0) / (18 - 3))

    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, residual / deviation, rtol=1e-4, atol=1e-5)


def test_over_all_runs() -> None:
    X = responses()
    Z = RunwiseStandardiser("all").fit(X, RUNS, TRAINING).transform(X, RUNS)
    np.testing.assert_allclose(Z[TRAINING].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(Z[TRAINING].std(axis=0, ddof=1), 1, rtol=1e-5)


def test_none_leaves_responses_alone() -> None:
    X = responses()
    np.testing.assert_array_equal(RunwiseStandardiser("none").fit(X, RUNS, TRAINING).transform(X, RUNS), X)


@pytest.mark.parametrize("mode", ["run", "all"])
def test_test_trials_never_enter_the_fit(mode: str) -> None:
    X = responses()
    changed = X.copy()
    changed[~TRAINING] = 1e3 * responses(7)[~TRAINING]
    before = RunwiseStandardiser(mode).fit(X, RUNS, TRAINING)
    after = RunwiseStandardiser(mode).fit(changed, RUNS, TRAINING)

    for name, array in before.state().items():
        np.testing.assert_array_equal(after.state()[name], array)
    legacy = RunwiseStandardiser(mode, legacy=True).fit(changed, RUNS, TRAINING).state()
    assert np.abs(legacy["means"] - before.state()["means"]).max() > 10


def test_runs_without_training_trials_take_the_overall_mean() -> None:
    X = responses()
    training = TRAINING & (RUNS != "ses-2_run-1")
    standardiser = RunwiseStandardiser("run").fit(X, RUNS, training)
    Z = standardiser.transform(X, RUNS)
    ratio = (X[16:] - X[training].mean(axis=0)) / Z[16:]
    first = X[:8][TRAINING[:8]]

    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-3)
    np.testing.assert_allclose(Z[0] * ratio[0] + first.mean(axis=0), X[0], rtol=1e-3)
    unseen = standardiser.transform(X[16:], np.repeat("ses-9_run-9", 8))
    np.testing.assert_allclose(unseen, Z[16:], rtol=1e-6)


def test_a_run_with_one_training_trial_is_not_centred_on_it() -> None:
    X = responses()
    training = TRAINING.copy()
    training[17:] = False
    Z = RunwiseStandardiser("run").fit(X, RUNS, training).transform(X, RUNS)
    assert np.abs(Z[16]).min() > 1e-3


def test_a_single_test_trial() -> None:
    X = responses()
    standardiser = RunwiseStandardiser("run").fit(X, RUNS, TRAINING)
    np.testing.assert_array_equal(
        standardiser.transform(X[6:7], RUNS[6:7]), standardiser.transform(X, RUNS)[6:7]
    )


def test_constant_voxels_become_zero() -> None:
    X = responses()
    X[:, 1] = 1000.3
    for standardiser in (RunwiseStandardiser(m, legacy=old) for m in ("run", "all") for old in (False, True)):
        Z = standardiser.fit(X, RUNS, TRAINING).transform(X, RUNS)
        assert (Z[:, 1] == 0).all()
        assert np.isfinite(Z).all()


def test_legacy_uses_every_trial_of_the_run() -> None:
    X = responses()
    Z = RunwiseStandardiser("run", legacy=True).fit(X, RUNS, TRAINING).transform(X, RUNS)
    for run in np.unique(RUNS):
        np.testing.assert_allclose(Z[run == RUNS].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(Z[run == RUNS].std(axis=0), 1, rtol=1e-4)


def test_legacy_is_undefined_for_a_run_of_one_trial() -> None:
    runs = RUNS.copy()
    runs[-1] = "test"
    with pytest.raises(DataError, match=r"one trial has no deviation.*run test.*--legacy-test-statistics"):
        RunwiseStandardiser("run", legacy=True).fit(responses(), runs, TRAINING)


def test_too_few_training_trials() -> None:
    X = responses()
    with pytest.raises(DataError, match=r"two training trials.*--zscore all"):
        RunwiseStandardiser("run").fit(X, RUNS, np.arange(24) % 8 == 0)
    with pytest.raises(DataError, match="too few"):
        RunwiseStandardiser("all").fit(X, RUNS, np.arange(24) == 0)


def test_unknown_mode() -> None:
    with pytest.raises(UsageError, match="'session'"):
        RunwiseStandardiser("session")


@pytest.mark.parametrize("mode", ["run", "all", "none"])
def test_state_rebuilds_the_standardiser(mode: str) -> None:
    X = responses()
    standardiser = RunwiseStandardiser(mode).fit(X, RUNS, TRAINING)
    rebuilt = RunwiseStandardiser.from_state(standardiser.state(), standardiser.params())
    np.testing.assert_array_equal(rebuilt.transform(X, RUNS), standardiser.transform(X, RUNS))


def test_shuffling_moves_whole_responses() -> None:
    X = responses()
    shuffled = shuffle_responses(X, np.random.default_rng(0))

    assert not np.array_equal(shuffled, X)
    np.testing.assert_array_equal(np.sort(shuffled[:, 0]), np.sort(X[:, 0]))
    origin = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in shuffled]
    assert sorted(origin) == list(range(24))
    again = shuffle_responses(X, np.random.default_rng(0))
    np.testing.assert_array_equal(again, shuffled)


def test_shuffling_within_runs() -> None:
    X = responses()
    shuffled = shuffle_responses(X, np.random.default_rng(0), blocks=RUNS)
    assert not np.array_equal(shuffled, X)
    for run in np.unique(RUNS):
        np.testing.assert_array_equal(np.sort(shuffled[run == RUNS], axis=0), np.sort(X[run == RUNS], axis=0))
