"""Profile correlation of planted units."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.errors import DataError
from bids_recon.metrics import profiles
from bids_recon.metrics.bootstrap import bootstrap_interval
from bids_recon.metrics.profiles import profile_accuracy, profile_correlations, summarise_profiles


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Decoded and true values of 30 pictures, (30, 5, 40) float32, at a level far from zero."""
    rng = np.random.default_rng(0)
    truth = 100 + rng.normal(size=(30, 5, 40))
    return (truth + rng.normal(size=truth.shape)).astype(np.float32), truth.astype(np.float32)


def test_each_unit_is_correlated_over_pictures(planted):
    predicted, truth = planted
    found = profile_correlations(predicted, truth)
    x, y = (array.reshape(30, -1).astype(np.float64) for array in (truth, predicted))
    expected = [np.corrcoef(x[:, unit], y[:, unit])[0, 1] for unit in range(200)]
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert found.mean() == pytest.approx(1 / np.sqrt(2), abs=0.03)


def test_scale_and_level_of_a_unit_do_not_matter_but_its_sign_does(planted):
    _, truth = planted
    gains = np.where(np.arange(40) % 2, 3.0, -0.1)
    found = profile_correlations(truth * gains + 7, truth).reshape(5, 40)
    np.testing.assert_allclose(found, np.broadcast_to(np.sign(gains), (5, 40)), atol=1e-9)


def test_blocks_give_what_the_whole_gives(planted, monkeypatch):
    whole = profile_correlations(*planted)
    monkeypatch.setattr(profiles, "_UNITS_AT_ONCE", 7)
    np.testing.assert_array_equal(profile_correlations(*planted), whole)


def test_trials_of_a_picture_are_averaged_first(planted):
    predicted, truth = planted
    rng = np.random.default_rng(1)
    target = rng.permutation(np.repeat(np.arange(30), [1, 2, 3] * 10))
    noise = rng.normal(size=(len(target), 5, 40)).astype(np.float32)
    trials = predicted[target] + noise
    means = np.stack([trials[target == picture].mean(axis=0, dtype=np.float64) for picture in range(30)])
    np.testing.assert_allclose(
        profile_correlations(trials, truth, target), profile_correlations(means, truth), atol=1e-12
    )


def test_memory_maps_give_the_same_and_pictures_not_decoded_are_left_out(planted, tmp_path):
    predicted, truth = planted
    maps = []
    for name, array in (("floor", np.stack([predicted, predicted[::-1]])), ("truth", truth)):
        np.save(tmp_path / f"{name}.npy", array)
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    np.testing.assert_array_equal(
        profile_correlations(maps[0][1][:20], maps[1], np.arange(20) + 5),
        profile_correlations(predicted[::-1][:20], truth[5:25]),
    )


def test_constant_units(planted):
    predicted, truth = (array.copy() for array in planted)
    truth[:, 0, :3] = 1e6 / 3
    predicted[:, 1, :5] = 0.1
    found = profile_correlations(predicted, truth).reshape(5, 40)
    assert np.isnan(found[0, :3]).all() and np.isfinite(found).sum() == 197
    np.testing.assert_array_equal(found[1, :5], 0.0)
    accuracy = profile_accuracy(predicted, truth)
    assert (accuracy.n_units, accuracy.n_constant) == (197, 3)
    assert accuracy.mean == pytest.approx(np.nanmean(found))
    row = summarise_profiles(accuracy).iloc[0]
    assert row["note"] == "3 units whose true value is constant are left out"


def test_two_pictures_have_no_profile(planted):
    predicted, truth = planted
    assert np.isnan(profile_correlations(predicted[:2], truth[:2])).all()
    # Many trials of two pictures are two pictures.
    assert np.isnan(profile_correlations(predicted, truth[:2], np.arange(30) % 2)).all()
    row = summarise_profiles(profile_accuracy(predicted[:2], truth[:2])).iloc[0]
    assert row[["value", "ci_low", "floor", "ceiling", "p_shuffle"]].isna().all()
    assert row["n_items"] == 0
    assert row["note"].startswith("undefined: profiles need at least three test pictures")
    assert np.isfinite(profile_correlations(predicted[:3], truth[:3])).all()


def test_table_has_floor_ceiling_and_the_interval_over_units(planted):
    predicted, truth = planted
    rng = np.random.default_rng(2)
    shuffled = [profile_accuracy(predicted[rng.permutation(30)], truth) for _ in range(9)]
    accuracy = profile_accuracy(predicted, truth)
    row = summarise_profiles(accuracy, shuffled, seed=3).iloc[0]
    found = profile_correlations(predicted, truth)
    half = 1.959964 * found.std(ddof=1) / np.sqrt(200)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((found.mean() - half, found.mean() + half))
    means = np.array([one.mean for one in shuffled])
    assert row["floor"] == pytest.approx(means.mean()) and abs(row["floor"]) < 0.05
    assert (row["floor_low"], row["floor_high"]) == bootstrap_interval(means, seed=3)
    assert np.isnan(row["p_permutation"])
    assert (row["p_shuffle"], row["ceiling"], row["n_items"], row["note"]) == (1 / 10, 1.0, 200, "")
    assert profile_accuracy(truth, truth).mean == pytest.approx(1.0)


def test_values_that_are_no_numbers_and_shapes_that_do_not_fit_are_refused(planted):
    predicted, truth = planted
    broken = predicted.copy()
    broken[3, 2, 1] = np.nan
    with pytest.raises(DataError, match="decoded values of 1 units are NaN or infinite"):
        profile_correlations(broken, truth)
    with pytest.raises(ValueError, match="truth has 160 units, the prediction 200"):
        profile_correlations(predicted, truth[:, :4])
    with pytest.raises(ValueError, match="need a target"):
        profile_correlations(predicted, truth[:9])
