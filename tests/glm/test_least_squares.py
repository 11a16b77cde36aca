"""LSA and LSS: planted responses, and nilearn's own fits."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import DataError
from bids_recon.glm.estimate import ESTIMATORS
from bids_recon.glm.hrf import CANONICAL
from bids_recon.glm.least_squares import lsa, lss

TR = 2.0


def _trials(n: int = 20, first: float = 6.3, gap: float = 7.1, duration: float = 2.0) -> pd.DataFrame:
    return pd.DataFrame({"onset": first + gap * np.arange(n), "duration": duration})


def _noise(n_volumes: int = 90, n_voxels: int = 30, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(2000, 30, (n_volumes, n_voxels)).astype(np.float32)


def _nilearn(bold: np.ndarray, events: pd.DataFrame, nuisance: np.ndarray, start: float) -> np.ndarray:
    """Betas (n_regressors, n_voxels) of nilearn's own design and fit, sorted by trial type."""
    from nilearn.glm.first_level import make_first_level_design_matrix, run_glm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        design = make_first_level_design_matrix(
            np.arange(len(bold)) * TR + start, events, hrf_model="glover", drift_model=None, add_regs=nuisance
        )
        labels, results = run_glm(bold.astype(float), design.to_numpy(), noise_model="ols")
    return np.asarray(results[labels[0]].theta)


@pytest.mark.parametrize("start", [0.0, 0.9, 8.9])
def test_lsa_equals_nilearn(start: float) -> None:
    bold, nuisance = _noise(), np.random.default_rng(2).normal(3, 1, (90, 5))
    trials = _trials(first=6.3 + start)
    events = trials.assign(trial_type=[f"t{row:02d}" for row in range(len(trials))])
    expected = 100 * _nilearn(bold, events, nuisance, start)[:20] / bold.mean(axis=0, dtype=float)
    found = lsa(bold, trials, TR, start_time=start, nuisance=nuisance)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("start", [0.0, 8.9])
def test_lss_equals_a_loop_of_nilearn_fits(start: float) -> None:
    bold, nuisance = _noise(), np.random.default_rng(2).normal(3, 1, (90, 5))
    trials = _trials(gap=4.2, first=start + 5)
    expected = []
    for row in range(len(trials)):
        kinds = np.where(np.arange(len(trials)) == row, "a-this", "b-others")
        events = trials.assign(trial_type=kinds)
        expected.append(_nilearn(bold, events, nuisance, start)[0])
    wanted = 100 * np.array(expected) / bold.mean(axis=0, dtype=float)
    found = lss(bold, trials, TR, start_time=start, nuisance=nuisance)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("estimator", ["lsa", "lss"])
def test_planted_amplitudes_come_back(estimator: str) -> None:
    rng = np.random.default_rng(3)
    # Far apart: nothing of one trial is left when the next begins, so that both models are the truth.
    trials, mean = _trials(gap=45.0, n=8), rng.uniform(300, 12_000, 5)
    truth = rng.normal(1, 0.5, (8, 5))
    times = np.arange(190) * TR + 5.0
    responses = np.stack([CANONICAL.block(times - onset, 2.0) for onset in trials["onset"]], axis=1)
    change = responses @ truth + np.linspace(-3, 3, 190)[:, None]
    bold = mean * (1 + (change - change.mean(axis=0)) / 100)
    drift = np.linspace(0, 1, 190)[:, None]
    found = ESTIMATORS[estimator](bold, trials, TR, shift=4.0, start_time=5.0, nuisance=drift)
    # nilearn's grid has steps of 1/50 of the repetition time; the planted regressors have none.
    tolerance = 0.02 if estimator == "lsa" else 0.1
    np.testing.assert_allclose(found, truth, atol=tolerance)


def test_unusable_voxels_are_nan_and_leave_the_others_alone() -> None:
    bold = _noise(n_voxels=5000)
    expected = lsa(bold, _trials(), TR), lss(bold, _trials(), TR)
    bold[5, 1], bold[:, 4000] = np.nan, 900.0
    for estimator, before in zip((lsa, lss), expected, strict=True):
        found = estimator(bold, _trials(), TR)
        assert np.flatnonzero(np.isnan(found).all(axis=0)).tolist() == [1, 4000]
        kept = [0, 2, 3999, 4999]
        np.testing.assert_array_equal(found[:, kept], before[:, kept])


def test_a_single_trial_has_no_others() -> None:
    bold = _noise()
    np.testing.assert_allclose(lss(bold, _trials(n=1), TR), lsa(bold, _trials(n=1), TR), rtol=1e-6)


def test_a_run_without_trials_gives_no_rows() -> None:
    assert lsa(_noise(), _trials(n=0), TR).shape == (0, 30)
    assert lss(_noise(), _trials(n=0), TR).shape == (0, 30)


@pytest.mark.parametrize("estimator", [lsa, lss])
@pytest.mark.parametrize("onset", [-45.0, 179.5, 400.0])
def test_a_response_outside_the_run_names_onset_and_volumes(estimator, onset: float) -> None:
    trials = pd.DataFrame({"onset": [50.0, onset], "duration": 2.0})
    with pytest.raises(DataError, match=rf"onset {onset:g} s .* 90 volumes stand for 2 to 180 s"):
        estimator(_noise(), trials, TR, start_time=2.0)


def test_trials_before_the_first_volume_left_are_estimated() -> None:
    # Four volumes were dropped: the response to a trial at 5 s is mostly after 8 s.
    trials = _trials(n=6, first=5.0, gap=20.0)
    times = np.arange(90) * TR + 8.0
    change = sum(2 * CANONICAL.block(times - onset, 2.0) for onset in trials["onset"])
    bold = np.repeat(1000 * (1 + (change - change.mean()) / 100)[:, None], 3, axis=1)
    np.testing.assert_allclose(lsa(bold, trials, TR, start_time=8.0), 2.0, atol=0.05)


@pytest.mark.parametrize("estimator", [lsa, lss])
def test_a_trial_that_a_spike_regressor_swallows_is_named(estimator) -> None:
    trials = pd.DataFrame({"onset": [20.0, 60.0, 174.3], "duration": 2.0})
    spikes = np.eye(90)[:, 88:]
    with pytest.raises(DataError, match=r"trial with onset 174\.3 s cannot be told"):
        estimator(_noise(), trials, TR, nuisance=spikes)


def test_a_trial_listed_twice_is_refused_by_lsa_only() -> None:
    trials = pd.concat([_trials(n=5), _trials(n=1)])
    with pytest.raises(DataError, match=r"onset 6\.3 s cannot be told"):
        lsa(_noise(), trials, TR)
    assert np.isfinite(lss(_noise(), trials, TR)).all()


def test_more_trials_than_volumes_are_refused_by_lsa_only() -> None:
    trials = _trials(n=60, gap=1.0)
    with pytest.raises(DataError, match="cannot be told"):
        lsa(_noise(50), trials, TR)
    assert lss(_noise(50), trials, TR).shape == (60, 30)


@pytest.mark.parametrize(("onset", "duration"), [(np.nan, 1.0), (1.0, np.nan), (1.0, -2.0)])
def test_trials_without_times_are_refused(onset: float, duration: float) -> None:
    with pytest.raises(DataError, match=r"events\.tsv"):
        lsa(_noise(), pd.DataFrame({"onset": [onset], "duration": [duration]}), TR)
