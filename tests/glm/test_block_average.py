"""Block averages: windows counted by hand, planted responses recovered."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import DataError, ExitCode
from bids_recon.glm.block_average import block_average, trial_volumes
from bids_recon.glm.nuisance import nuisance_matrix
from bids_recon.glm.percent_change import usable_voxels


def test_god_blocks_take_three_volumes() -> None:
    # 33 s of rest, then blocks of 9 s; TR 3 s, shift 3 s: volumes recorded at 36, 39 and 42 s.
    assert trial_volumes(33, 9, 178, 3.0, shift=3.0).tolist() == [12, 13, 14]
    assert trial_volumes(42, 9, 178, 3.0, shift=3.0).tolist() == [15, 16, 17]
    # The last of a run of 534 s: 519 s + 3 s = 522 s.
    assert trial_volumes(519, 9, 178, 3.0, shift=3.0).tolist() == [174, 175, 176]


def test_deeprecon_blocks_take_four_volumes() -> None:
    assert trial_volumes(32, 8, 239, 2.0, shift=4.0).tolist() == [18, 19, 20, 21]


def test_windows_are_half_open_and_forgive_rounding() -> None:
    assert trial_volumes(10, 4, 50, 2.0, shift=4.0).tolist() == [7, 8]
    assert trial_volumes(10.0004, 4, 50, 2.0, shift=4.0).tolist() == [7, 8]
    assert trial_volumes(10.1, 4, 50, 2.0, shift=4.0).tolist() == [8, 9]
    # 0.1 is not exact in binary: 3 * 0.1 > 0.3.
    assert trial_volumes(0.3, 0.2, 50, 0.1, shift=0.0).tolist() == [3, 4]


def test_start_time_moves_the_volumes() -> None:
    # Recorded at 1, 3, 5 ... s.
    assert trial_volumes(3, 4, 50, 2.0, shift=4.0, start_time=1.0).tolist() == [3, 4]
    assert trial_volumes(3, 4, 50, 2.0, shift=4.0).tolist() == [4, 5]


@pytest.mark.parametrize(
    ("onset", "duration", "volume"),
    [
        (6.04, 0.97, 5),  # middle at 10.5 s: nearer to 10 than to 12
        (6.6, 1.0, 6),  # middle at 11.1 s
        (13.0, 0.0, 8),  # 17 s, between 16 and 18: the first of two that are equally near
    ],
)
def test_short_events_take_the_nearest_volume(onset: float, duration: float, volume: int) -> None:
    assert trial_volumes(onset, duration, 100, 2.0, shift=4.0).tolist() == [volume]


def test_a_window_cut_off_by_the_end_uses_what_is_there() -> None:
    assert trial_volumes(14, 8, 10, 2.0, shift=4.0).tolist() == [9]
    # Opens after the last volume was begun, before it was finished.
    assert trial_volumes(14.5, 8, 10, 2.0, shift=4.0).tolist() == [9]


@pytest.mark.parametrize("onset", [16.0, 400.0, -20.0])
def test_a_window_outside_the_run_names_onset_and_length(onset: float) -> None:
    with pytest.raises(DataError, match=rf"onset {onset:g} s .* lasts 20 s \(10 volumes\)") as caught:
        trial_volumes(onset, 8, 10, 2.0, shift=4.0)
    assert caught.value.exit_code == ExitCode.DATA_ERROR


@pytest.mark.parametrize(("onset", "duration"), [(np.nan, 1.0), (1.0, np.nan), (1.0, -2.0)])
def test_trials_without_times_are_refused(onset: float, duration: float) -> None:
    with pytest.raises(DataError, match=r"events\.tsv"):
        trial_volumes(onset, duration, 10, 2.0)


def _blocks(n_trials: int = 12, rest: float = 12.0, length: float = 9.0) -> pd.DataFrame:
    onsets = 12.0 + np.arange(n_trials) * (length + rest)
    return pd.DataFrame({"onset": onsets, "duration": length})


def _simulate(
    trials: pd.DataFrame, amplitudes: np.ndarray, tr: float, shift: float, mean: np.ndarray
) -> np.ndarray:
    """Percent signal change that rises at once `shift` seconds after a block begins and then ends at once."""
    n_volumes = int((trials["onset"].iloc[-1] + 30) / tr)
    times = np.arange(n_volumes) * tr
    change = np.zeros((n_volumes, len(mean)))
    for (onset, duration), amplitude in zip(
        trials[["onset", "duration"]].itertuples(index=False), amplitudes, strict=True
    ):
        change[(times >= onset + shift) & (times < onset + shift + duration)] = amplitude
    return mean * (1 + (change - change.mean(axis=0)) / 100)


def test_planted_amplitudes_come_back_exactly_without_noise() -> None:
    rng = np.random.default_rng(1)
    trials, mean = _blocks(), rng.uniform(300, 12_000, 7)
    amplitudes = rng.normal(0, 1, (len(trials), 7))
    bold = _simulate(trials, amplitudes, 3.0, 3.0, mean)
    responses = block_average(bold.astype(np.float32), trials, 3.0, shift=3.0)
    assert responses.dtype == np.float32
    # Relative to the mean of the run, as the blocks themselves raise that mean.
    inside = bold[trial_volumes(12.0, 9.0, len(bold), 3.0, shift=3.0)]
    np.testing.assert_allclose(responses[0], 100 * (inside.mean(axis=0) / mean - 1), atol=1e-4)
    np.testing.assert_allclose(
        responses - responses.mean(axis=0), amplitudes - amplitudes.mean(axis=0), atol=1e-4
    )


def test_drift_and_motion_are_removed() -> None:
    rng = np.random.default_rng(2)
    trials, mean = _blocks(n_trials=24), rng.uniform(500, 5_000, 40)
    amplitudes = rng.normal(0, 1, (len(trials), 40))
    clean = _simulate(trials, amplitudes, 3.0, 3.0, mean)
    n = len(clean)
    motion = np.cumsum(rng.normal(0, 0.05, (n, 6)), axis=0)
    confounds = pd.DataFrame(motion, columns=["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"])
    drift = np.linspace(-2, 2, n)[:, None] * rng.normal(0, 1, 40)
    dirty = clean + mean / 100 * (drift + 3 * motion @ rng.normal(0, 1, (6, 40)))
    nuisance = nuisance_matrix(n, 3.0, confounds=confounds).to_numpy()

    def correlation(bold: np.ndarray, regressors: np.ndarray | None) -> float:
        found = block_average(bold.astype(np.float32), trials, 3.0, shift=3.0, nuisance=regressors)
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(found.T, amplitudes.T, strict=True)]))

    assert correlation(dirty, None) < 0.7
    assert correlation(dirty, nuisance) > 0.95
    # What is removed is exactly what the regressors span: nuisance in the data leaves no trace.
    np.testing.assert_allclose(
        block_average(dirty, trials, 3.0, shift=3.0, nuisance=nuisance) * (dirty.mean(axis=0) / mean),
        block_average(clean, trials, 3.0, shift=3.0, nuisance=nuisance) * (clean.mean(axis=0) / mean),
        atol=1e-5,
    )


def test_agrees_with_cleaning_first_and_averaging_after() -> None:
    rng = np.random.default_rng(3)
    trials = _blocks()
    # More voxels than are worked on at a time.
    bold = rng.normal(1000, 20, (100, 5000)).astype(np.float32)
    nuisance = rng.normal(5, 2, (100, 4))
    design = np.column_stack([np.ones(100), nuisance - nuisance.mean(axis=0)])
    betas = np.linalg.lstsq(design, bold.astype(float), rcond=None)[0]
    change = 100 * (bold - design @ betas) / bold.mean(axis=0, dtype=float)
    rows = [
        change[trial_volumes(onset, duration, 100, 3.0, shift=3.0)].mean(axis=0)
        for onset, duration in trials[["onset", "duration"]].itertuples(index=False)
    ]
    np.testing.assert_allclose(
        block_average(bold, trials, 3.0, shift=3.0, nuisance=nuisance), np.array(rows), atol=1e-5
    )


def test_offset_and_repetition_of_nuisance_change_nothing() -> None:
    rng = np.random.default_rng(4)
    bold = rng.normal(1000, 20, (100, 6)).astype(np.float32)
    one = rng.normal(0, 1, (100, 2))
    expected = block_average(bold, _blocks(), 3.0, nuisance=one)
    np.testing.assert_allclose(
        block_average(bold, _blocks(), 3.0, nuisance=np.hstack([one + 7, one])), expected, atol=1e-5
    )


def test_too_many_regressors_are_refused() -> None:
    rng = np.random.default_rng(5)
    trials = pd.DataFrame({"onset": [2.0], "duration": [4.0]})
    bold = rng.normal(1000, 20, (10, 3))
    with pytest.raises(DataError, match="9 nuisance regressors leave nothing of a run of 10 volumes"):
        block_average(bold, trials, 2.0, nuisance=rng.normal(0, 1, (10, 9)))


def test_unusable_voxels_are_nan_and_leave_the_others_alone() -> None:
    rng = np.random.default_rng(6)
    bold = rng.normal(1000, 20, (100, 7)).astype(np.float32)
    expected = block_average(bold, _blocks(), 3.0)
    bold[5, 1] = np.nan
    bold[6, 2] = np.inf
    bold[:, 3] = 900.0
    bold[:, 4] -= 2000
    bold[:, 5] = 0
    np.testing.assert_array_equal(usable_voxels(bold), [True, False, False, False, False, False, True])
    responses = block_average(bold, _blocks(), 3.0)
    assert np.isnan(responses[:, 1:6]).all()
    np.testing.assert_array_equal(responses[:, [0, 6]], expected[:, [0, 6]])
