"""Confounds hold what was planted, are named as by fMRIPrep, and serve the GLM and nilearn."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bids_recon.glm.nuisance import drift_regressors, nuisance_matrix, select_confounds
from bids_recon.preprocess.compcor import noise_components
from bids_recon.preprocess.confounds import (
    confounds_table,
    cosine_drifts,
    describe_confounds,
    dvars,
    framewise_displacement,
)

TR, N, N_VOXELS = 2.0, 120, 400


@pytest.fixture
def run():
    """Motion, series and tissues; the tissues have waves of their own."""
    rng = np.random.default_rng(0)
    motion = np.cumsum(rng.normal(0, [0.05] * 3 + [0.001] * 3, (N, 6)), axis=0)
    tissues = {name: np.zeros(N_VOXELS, bool) for name in ("CSF", "WM")}
    tissues["CSF"][:40], tissues["WM"][40:160] = True, True
    series = 1000 + rng.normal(0, 4, (N, N_VOXELS))
    return motion, series, tissues


def test_columns_are_those_of_fmriprep_in_its_order(run):
    motion, series, tissues = run
    table = confounds_table(motion, series, repetition_time=TR, tissues=tissues)
    expected = ["global_signal", "csf", "white_matter", "std_dvars", "dvars", "framewise_displacement"]
    expected += [f"a_comp_cor_0{n}" for n in range(6)] + [f"cosine0{n}" for n in range(3)]
    for name in ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"):
        expected += [name, f"{name}_derivative1", f"{name}_power2", f"{name}_derivative1_power2"]
    assert list(table) == expected
    assert len(table) == N
    differences = {name for name in table if "derivative1" in name}
    assert set(table.columns[table.isna().any()]) == differences | {
        "std_dvars",
        "dvars",
        "framewise_displacement",
    }
    assert table.iloc[1:].notna().all().all()


def test_values_of_motion(run):
    motion, series, _ = run
    table = confounds_table(motion, series, repetition_time=TR)
    np.testing.assert_array_equal(table["rot_y"], motion[:, 4])
    np.testing.assert_allclose(table["trans_z_derivative1"][1:], np.diff(motion[:, 2]))
    np.testing.assert_allclose(table["trans_z_power2"], motion[:, 2] ** 2)
    np.testing.assert_allclose(table["trans_z_derivative1_power2"][1:], np.diff(motion[:, 2]) ** 2)
    assert not {"csf", "white_matter", "a_comp_cor_00"} & set(table)


def test_framewise_displacement_counts_rotations_at_50_mm():
    motion = np.zeros((4, 6))
    motion[1] = [0.1, -0.2, 0.3, 0, 0, 0]
    motion[2] = [0.1, -0.2, 0.3, 0.01, -0.02, 0]
    found = framewise_displacement(motion)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], [0.6, 50 * 0.03, 0.6 + 50 * 0.03])


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_standardised_dvars_is_one_in_noise_and_shows_spikes(correlation):
    rng = np.random.default_rng(1)
    n, voxels = 400, 300
    noise = rng.normal(size=(n, voxels))
    for volume in range(1, n):
        noise[volume] = correlation * noise[volume - 1] + np.sqrt(1 - correlation**2) * noise[volume]
    series = 800 + 5 * noise * rng.uniform(0.9, 1.1, voxels)
    series[200] += 20
    standardised, plain = dvars(series.astype(np.float32))
    assert np.isnan(standardised[0]) and np.isnan(plain[0])
    quiet = np.delete(standardised, [0, 200, 201])
    assert quiet.mean() == pytest.approx(1, abs=0.03)
    assert standardised[200] > 2.5 and standardised[201] > 2.5
    by_hand = np.sqrt((np.diff(series, axis=0) ** 2).mean(axis=1)) * 1000 / np.median(series)
    np.testing.assert_allclose(plain[1:], by_hand, rtol=2e-3)


def test_dvars_without_a_varying_voxel_is_nan():
    assert np.isnan(dvars(np.ones((5, 3)))).all()
    series = np.column_stack([np.random.default_rng(0).normal(100, 1, 50), np.ones(50)])
    np.testing.assert_allclose(dvars(series)[1], dvars(series[:, :1])[1])


def test_means_of_the_tissues(run):
    motion, series, tissues = run
    table = confounds_table(motion, series.astype(np.float32), repetition_time=TR, tissues=tissues)
    np.testing.assert_allclose(table["csf"], series[:, :40].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["white_matter"], series[:, 40:160].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["global_signal"], series.mean(axis=1), rtol=1e-6)


def test_components_find_the_planted_waves_and_not_those_of_grey_matter(run):
    motion, series, tissues = run
    rng = np.random.default_rng(5)
    waves = np.sin(2 * np.pi * TR * np.arange(N)[:, None] * [0.05, 0.11, 0.03])
    quiet = tissues["CSF"] | tissues["WM"]
    series[:, quiet] += 8 * waves[:, :2] @ rng.normal(size=(2, 160))
    series[:, ~quiet] += 8 * waves[:, 2:] @ rng.normal(size=(1, 240))
    table = confounds_table(motion, series, repetition_time=TR, tissues=tissues)
    two = table[["a_comp_cor_00", "a_comp_cor_01"]].to_numpy()
    explained = (two @ (two.T @ waves)).var(axis=0) / waves.var(axis=0)
    assert (explained[:2] > 0.95).all() and explained[2] < 0.1


def test_components_are_those_of_a_singular_value_decomposition(run):
    _, series, _ = run
    series = series * np.random.default_rng(1).uniform(0.5, 2, N_VOXELS)
    found = noise_components(series, TR, 4)
    slow = np.hstack([np.ones((N, 1)), drift_regressors(N, TR, kind="cosine")])
    rest = series - slow @ np.linalg.lstsq(slow, series, rcond=None)[0]
    expected = np.linalg.svd(rest / rest.std(axis=0), full_matrices=False)[0][:, :4]
    np.testing.assert_allclose(np.abs((expected * found).sum(axis=0)), 1, atol=1e-9)
    assert (found.max(axis=0) == np.abs(found).max(axis=0)).all()
    np.testing.assert_allclose(slow.T @ found, 0, atol=1e-9)


def test_components_are_fewer_where_there_is_not_enough(run):
    _, series, _ = run
    assert noise_components(series[:, :2], TR, 6).shape == (N, 2)
    assert noise_components(series[:5], TR, 6).shape == (5, 4)
    assert noise_components(np.full((N, 9), 3.0), TR, 6).shape == (N, 0)


def test_a_tissue_without_a_voxel_is_left_out(run):
    motion, series, tissues = run
    tissues = {**tissues, "CSF": np.zeros(N_VOXELS, bool), "GM": np.ones(N_VOXELS, bool)}
    table = confounds_table(motion, series, repetition_time=TR, tissues=tissues)
    assert "csf" not in table and "white_matter" in table
    only_white = noise_components(series[:, tissues["WM"]], TR, 6)
    np.testing.assert_array_equal(table["a_comp_cor_00"], only_white[:, 0])


@pytest.mark.parametrize(("n", "repetition_time"), [(120, 2.0), (30, 1.0), (300, 0.72)])
def test_cosines_are_those_of_the_glm(n, repetition_time):
    expected = drift_regressors(n, repetition_time, kind="cosine").to_numpy()
    np.testing.assert_allclose(cosine_drifts(n, repetition_time), expected, atol=1e-12)


def test_the_glm_takes_the_table(run):
    motion, series, tissues = run
    table = confounds_table(motion, series, repetition_time=TR, tissues=tissues)
    picked = select_confounds(table, motion=24, extra=["a_comp_cor_00", "std_dvars"])
    assert picked.shape == (N, 26) and picked.notna().all().all()
    np.testing.assert_allclose(picked["rot_x_derivative1"][1:], table["rot_x_derivative1"][1:])
    matrix = nuisance_matrix(N, TR, confounds=table, drift="cosine", motion=6, extra=["a_comp_cor_05"])
    assert matrix.shape == (N, 3 + 6 + 1)


def test_nilearn_reads_the_table_and_its_description(run, tmp_path):
    from nilearn.interfaces.fmriprep import load_confounds

    motion, series, tissues = run
    table = confounds_table(motion, series, repetition_time=TR, tissues=tissues)
    stem = tmp_path / "sub-01_task-x"
    table.to_csv(f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False, na_rep="n/a")
    described = describe_confounds(table)
    assert set(described) == set(table)
    (tmp_path / "sub-01_task-x_desc-confounds_timeseries.json").write_text(json.dumps(described))
    bold = tmp_path / "sub-01_task-x_space-T1w_desc-preproc_bold.nii.gz"
    bold.write_bytes(b"")
    chosen, _ = load_confounds(
        str(bold), strategy=("high_pass", "motion", "compcor"), compcor="anat_combined", n_compcor=5
    )
    assert {"cosine00", "a_comp_cor_04", "trans_x_derivative1_power2"} <= set(chosen)
    assert chosen.shape == (N, 3 + 24 + 5)


def test_descriptions():
    names = ["trans_x", "trans_x_derivative1", "trans_x_power2", "cosine01", "framewise_displacement", "mine"]
    described = describe_confounds(pd.DataFrame(columns=names))
    assert "mine" not in described
    assert described["trans_x_derivative1"] == {
        "Description": "Movement of the head along x: difference from the volume before",
        "Units": "mm",
    }
    assert "Units" not in described["trans_x_power2"]
    assert described["cosine01"]["Description"].startswith("Discrete cosine")


def test_what_does_not_belong_together_is_refused(run):
    motion, series, tissues = run
    with pytest.raises(ValueError, match="120 volumes, motion parameters of shape \\(119, 6\\)"):
        confounds_table(motion[1:], series, repetition_time=TR)
    with pytest.raises(ValueError, match="a tissue is a mask of the voxels"):
        confounds_table(motion, series[:, 1:], repetition_time=TR, tissues=tissues)
