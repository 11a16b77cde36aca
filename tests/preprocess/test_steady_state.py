"""Planted bright volumes are counted; drift, task and noise are not taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.preprocess.steady_state import LARGEST_SHARE, MOST_VOLUMES, count_non_steady_state


def steady(n, rng, *, noise=0.2, drift=0.0, task=0.0):
    """Global signal in percent of 1000: noise with memory, drift of two shapes, blocks of a task."""
    time = np.linspace(0, 1, n)
    series = noise * rng.normal(size=n)
    for volume in range(1, n):
        series[volume] += 0.5 * series[volume - 1]
    series += drift * (time + np.sin(2 * np.pi * (time * rng.uniform(0.3, 1.5) + rng.uniform())))
    series += task * np.clip(np.sin(2 * np.pi * (np.arange(n) / 20 + rng.uniform())), 0, None)
    return 1000 * (1 + series / 100)


@pytest.mark.parametrize("planted", [0, 1, 2, 3, 5])
def test_planted_volumes_are_counted(planted):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        signal = steady(150, rng, drift=rng.normal(), task=0.5)
        # The last of them is 4 % brighter.
        signal[:planted] *= 1 + 0.04 * 1.6 ** np.arange(planted)[::-1]
        assert count_non_steady_state(signal) == planted


def test_steady_runs_have_none():
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(40, 300))
        drift, task, noise = rng.normal(0, 1.5), rng.uniform(0, 1.0), rng.uniform(0.02, 0.5)
        found.append(count_non_steady_state(steady(n, rng, noise=noise, drift=drift, task=task)))
    assert found == [0] * 200


def test_a_dark_or_late_volume_is_not_counted():
    rng = np.random.default_rng(0)
    dark, late = steady(100, rng), steady(100, rng)
    dark[0] *= 0.7
    late[3] *= 1.3
    assert count_non_steady_state(dark) == count_non_steady_state(late) == 0


def test_no_more_than_a_tenth_of_a_run_and_twelve_volumes():
    assert count_non_steady_state(np.r_[np.full(3, 1500.0), np.full(27, 1000.0)]) == 30 * LARGEST_SHARE
    assert count_non_steady_state(np.r_[np.full(12, 1500.0), np.full(188, 1000.0)]) == MOST_VOLUMES
    # More than that is no approach to the steady state.
    assert count_non_steady_state(np.r_[np.full(20, 1500.0), np.full(280, 1000.0)]) == 0


def test_short_runs_have_none_and_constant_ones_neither():
    assert count_non_steady_state(np.array([1500.0, 1200.0, *[1000.0] * 17])) == 0
    assert count_non_steady_state(np.full(50, 3.0)) == 0
    assert count_non_steady_state(np.zeros(50)) == 0


def test_what_is_no_signal_is_refused():
    for bad in (np.zeros((3, 20)), np.r_[np.nan, np.ones(30)]):
        with pytest.raises(ValueError, match="one finite number a volume"):
            count_non_steady_state(bad)
