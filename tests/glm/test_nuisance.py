"""Regressors of no interest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import DataError
from bids_recon.glm.nuisance import (
    MOTION,
    drift_regressors,
    motion_regressors,
    nuisance_matrix,
    select_confounds,
)


def _confounds(n: int = 20, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.normal(0, 0.1, (n, 6)), columns=list(MOTION))


def test_cosines_are_orthogonal_and_slower_than_the_high_pass() -> None:
    # 240 s at 1/128 Hz: floor(2 * 240 / 128) = 3 cosines.
    drift = drift_regressors(120, 2.0, kind="cosine").to_numpy()
    assert drift.shape == (120, 3)
    np.testing.assert_allclose(drift.T @ drift, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(drift.sum(axis=0), 0, atol=1e-12)
    time = np.arange(120) + 0.5
    for order in (1, 2, 3):
        expected = np.sqrt(2 / 120) * np.cos(np.pi * order * time / 120)
        np.testing.assert_allclose(drift[:, order - 1], expected, atol=1e-12)


def test_linear_drift_is_one_line_and_none_is_none() -> None:
    np.testing.assert_allclose(drift_regressors(5, 2.0)["drift_linear"], [-1, -0.5, 0, 0.5, 1])
    assert drift_regressors(5, 2.0, kind="none").shape == (5, 0)
    assert drift_regressors(20, 2.0, kind="cosine").shape == (20, 0)
    with pytest.raises(ValueError, match="quadratic"):
        drift_regressors(5, 2.0, kind="quadratic")


def test_24_motion_regressors_are_the_six_their_changes_and_squares() -> None:
    confounds = _confounds()
    table = motion_regressors(confounds, 24)
    assert table.shape == (20, 24)
    x = confounds["trans_x"].to_numpy()
    np.testing.assert_allclose(table["trans_x_derivative1"], np.concatenate([[0], np.diff(x)]))
    np.testing.assert_allclose(table["rot_z_power2"], confounds["rot_z"] ** 2)
    np.testing.assert_allclose(table["trans_x_derivative1_power2"][1:], np.diff(x) ** 2)


def test_fmriprep_tables_read_as_text_and_old_names_serve_as_well() -> None:
    confounds = _confounds()
    pd.testing.assert_frame_equal(motion_regressors(confounds.astype(str)), confounds)
    old = confounds.set_axis(["X", "Y", "Z", "RotX", "RotY", "RotZ"], axis=1)
    pd.testing.assert_frame_equal(motion_regressors(old), confounds)


def test_missing_motion_columns_are_named() -> None:
    with pytest.raises(DataError, match=r"motion columns are missing: trans_y, rot_z\. Give a table"):
        motion_regressors(_confounds().drop(columns=["trans_y", "rot_z"]))
    with pytest.raises(DataError, match="trans_x, trans_y"):
        motion_regressors(pd.DataFrame({"csf": [1.0, 2.0]}))


def test_empty_first_row_is_filled_by_meaning() -> None:
    confounds = _confounds().astype(str)
    confounds["framewise_displacement"] = ["n/a", *["0.2"] * 18, "0.4"]
    confounds["csf_derivative1"] = ["n/a", *["3"] * 19]
    table = select_confounds(confounds, extra=["framewise_displacement", "csf_derivative1"])
    assert list(table.columns) == [*MOTION, "framewise_displacement", "csf_derivative1"]
    # Displacement is never about zero: the mean of the others. A derivative of zero says "no change".
    assert table["framewise_displacement"][0] == pytest.approx((18 * 0.2 + 0.4) / 19)
    assert table["csf_derivative1"][0] == 0
    assert np.isfinite(table.to_numpy()).all()


@pytest.mark.parametrize("value", ["n/a", "bad", "inf"])
def test_missing_values_in_later_rows_are_named(value: str) -> None:
    confounds = _confounds().astype(str)
    confounds.loc[4, "rot_x"] = value
    with pytest.raises(DataError, match=f"confound rot_x has the value '{value}' in row 5"):
        select_confounds(confounds)


def test_unsteady_volumes_are_taken_along_and_unknown_columns_named() -> None:
    confounds = _confounds().assign(non_steady_state_outlier00=[1.0] + [0.0] * 19)
    assert "non_steady_state_outlier00" in select_confounds(confounds)
    assert list(select_confounds(confounds, motion=None)) == ["non_steady_state_outlier00"]
    with pytest.raises(DataError, match="confound columns are missing: white_matter"):
        select_confounds(confounds, extra=["white_matter"])


def test_columns_are_standardised_and_flat_ones_left_out() -> None:
    confounds = _confounds().assign(trans_z=0.25)
    table = nuisance_matrix(20, 2.0, confounds=confounds)
    assert list(table.columns) == ["drift_linear", "trans_x", "trans_y", "rot_x", "rot_y", "rot_z"]
    np.testing.assert_allclose(table.mean(), 0, atol=1e-12)
    np.testing.assert_allclose(table.std(ddof=0), 1, atol=1e-12)


def test_without_anything_there_are_no_columns() -> None:
    assert nuisance_matrix(20, 2.0, drift="none").shape == (20, 0)


def test_a_table_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="confounds table has 20 rows, the run 21 volumes"):
        nuisance_matrix(21, 2.0, confounds=_confounds())
