"""Noise ceiling and reliability: planted variances."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.errors import DataError
from bids_recon.glm.noise_ceiling import noise_ceiling, reliability, variances

SIGNAL = np.array([0.0, 0.25, 1.0, 4.0])


def _responses(counts: np.ndarray, seed: int = 0, n_voxels: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Responses with noise of variance one and four signal variances, one in each quarter of the voxels."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat([f"p{number}" for number in range(len(counts))], counts))
    deviation = np.sqrt(np.repeat(SIGNAL, n_voxels // 4))
    signal = {name: 3 + deviation * rng.normal(0, 1, n_voxels) for name in sorted(set(ids))}
    return np.array([signal[name] for name in ids]) + rng.normal(0, 1, (len(ids), n_voxels)), ids


def _by_quarter(values: np.ndarray) -> np.ndarray:
    return values.reshape(4, -1).mean(axis=1)


@pytest.mark.parametrize("counts", [np.full(100, 3), np.random.default_rng(1).integers(1, 7, 120)])
def test_planted_variances_come_back(counts: np.ndarray) -> None:
    responses, ids = _responses(counts)
    signal, noise = variances(responses, ids)
    np.testing.assert_allclose(_by_quarter(noise), 1, atol=0.03)
    # Without bias, also where there is no signal.
    assert (np.abs(_by_quarter(signal) - SIGNAL) < 0.03 + 0.07 * SIGNAL).all()


@pytest.mark.parametrize("n_averaged", [1, 3])
def test_ceiling_is_the_explainable_share(n_averaged: int) -> None:
    responses, ids = _responses(np.full(150, 4))
    expected = 100 * SIGNAL / (SIGNAL + 1 / n_averaged)
    ceiling = noise_ceiling(responses, ids, n_averaged)
    assert ceiling.dtype == np.float32
    np.testing.assert_allclose(_by_quarter(ceiling)[1:], expected[1:], atol=2)
    assert _by_quarter(ceiling)[0] < 5
    assert (ceiling >= 0).all() and (ceiling <= 100).all()


def test_reliability_is_the_correlation_of_single_presentations() -> None:
    responses, ids = _responses(np.full(300, 2))
    order = np.argsort(ids, kind="stable")
    one, two = responses[order[::2]], responses[order[1::2]]
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, two.T, strict=True)]
    np.testing.assert_allclose(reliability(responses, ids), correlation, atol=0.04)
    assert (reliability(responses, ids)[:50] < 0).mean() > 0.3


def test_permuted_pictures_have_no_signal() -> None:
    responses, ids = _responses(np.full(100, 3))
    shuffled = np.random.default_rng(2).permutation(ids)
    np.testing.assert_allclose(_by_quarter(reliability(responses, shuffled)), 0, atol=0.03)
    assert _by_quarter(noise_ceiling(responses, shuffled)).max() < 5


def test_pictures_shown_once_do_not_count() -> None:
    responses, ids = _responses(np.full(50, 3))
    more = np.vstack([responses, np.random.default_rng(3).normal(50, 9, (20, 200))])
    names = np.append(ids, [f"single{number}" for number in range(20)])
    np.testing.assert_allclose(noise_ceiling(more, names), noise_ceiling(responses, ids), rtol=1e-5)


def test_missing_responses_are_left_out() -> None:
    responses, ids = _responses(np.full(60, 3))
    rows = np.flatnonzero(ids == "p7")
    holes = responses.copy()
    # Two of three: nothing is left that repeats. A whole voxel; all but one picture.
    holes[rows[:2], 0] = np.nan
    holes[:, 1] = np.nan
    holes[~np.isin(ids, ["p1"]), 2] = np.nan
    found = noise_ceiling(holes, ids)
    without = ids != "p7"
    assert found[0] == pytest.approx(noise_ceiling(responses[without], ids[without])[0], abs=1e-3)
    assert np.isnan(found[[1, 2]]).all()
    assert np.isnan(reliability(holes, ids)[[1, 2]]).all()
    np.testing.assert_allclose(found[3:], noise_ceiling(responses, ids)[3:], rtol=1e-6)


def test_a_constant_voxel_has_no_ceiling() -> None:
    responses, ids = _responses(np.full(20, 2))
    responses[:, 5] = 1.5
    assert np.flatnonzero(np.isnan(noise_ceiling(responses, ids))).tolist() == [5]


def test_many_voxels_and_large_means_lose_nothing() -> None:
    responses, ids = _responses(np.full(40, 3), n_voxels=5000)
    np.testing.assert_allclose(reliability(responses + 1e6, ids), reliability(responses, ids), atol=1e-5)


@pytest.mark.parametrize("ids", [["a", "b", "c", "d"], ["a", "a", "b", "c"]])
def test_without_repetitions_there_is_no_ceiling(ids: list[str]) -> None:
    with pytest.raises(DataError, match=r"shown more than once.*need repeated pictures"):
        noise_ceiling(np.ones((4, 2)), np.array(ids))
