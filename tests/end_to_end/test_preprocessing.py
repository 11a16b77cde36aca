"""From raw BOLD, with all that a scanner and a head do to it, to responses and pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from group_tables import metric, read_metrics
from nibabel.affines import apply_affine
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from bids_recon.preprocess.coarsening import coarsened
from bids_recon.preprocess.itk_transforms import read_itk_affine
from bids_recon.preprocess.mutual_information import mutual_information
from bids_recon.rois.brain import mask_of_mean
from bids_recon.rois.grids import Volume, read_volume
from bids_recon.simulate.dataset import simulate_dataset
from bids_recon.simulate.design import MOVING, STILL
from bids_recon.simulate.motion import motion_matrix

SPLIT = ("--split", "column:picture_set:train=train,natural=natural,shapes=shapes,letters=letters")
SEED = 2


def both_levels(app, data: Path, out: Path, *options: object) -> pd.DataFrame:
    rois = f"rois={data / 'derivatives' / 'rois'}"
    called = app(
        data, out, "participant", "group", *SPLIT, "--derivatives", rois, "--n-shuffles", 3, *options,
        "-w", out.parent / f"work_{out.name}",
    )  # fmt: skip
    assert called.code == 0, called.err
    return read_metrics(out)


def identified(table: pd.DataFrame) -> float:
    """Two-way identification over all test pictures."""
    rows = table[(table["metric"] == "two-way-a") & (table["protocol"] == "pixels-1")]
    return float(np.average(rows["value"].astype(float), weights=rows["n_items"].astype(float)))


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moving") / "bids"
    return simulate_dataset(folder, MOVING, seed=SEED)


@pytest.mark.slow
def test_heads_that_move_cost_less_than_five_per_cent(app, moving, tmp_path):
    """Motion, slice timing, oblique slices, two sessions and an inplane T2, against a still head."""
    still = simulate_dataset(tmp_path / "still", STILL, seed=SEED)
    moved = both_levels(app, moving.folder, tmp_path / "moved", "--preprocess", "full")
    held = both_levels(app, still.folder, tmp_path / "held", "--preprocess", "none")
    raw = both_levels(app, moving.folder, tmp_path / "raw", "--preprocess", "none", "--roi", "brain")
    assert identified(moved) > 0.95 * identified(held) > 0.9
    # Without preprocessing there is hardly anything to decode.
    assert identified(raw) < 0.8
    assert metric(moved, "two-way-a", "pixels-1", "floor", test_set="natural") < 0.6

    # The way of every volume, from the T1w image to the scanner, against what was planted.
    func = tmp_path / "moved" / "sub-01" / "func"
    to_bold = read_itk_affine(func / "sub-01_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt")[0]
    reference = nib.load(func / "sub-01_boldref.nii.gz")
    bright = np.argwhere(reference.get_fdata() > 500)[::29]
    points = apply_affine(np.linalg.inv(to_bold) @ reference.affine, bright)
    for run in moving.subjects["01"].runs:
        (file,) = (tmp_path / "moved").rglob(f"*ses-{run.session}*run-{run.run}*desc-hmc_xfm.txt")
        found = read_itk_affine(file) @ to_bold
        planted = np.stack([motion_matrix(position) @ run.position for position in run.motion])
        planted = planted[MOVING.dummy_volumes :]
        assert len(found) == len(planted)
        wrong = [
            np.linalg.norm(apply_affine(a, points) - apply_affine(b, points), axis=1).mean()
            for a, b in zip(found, planted, strict=True)
        ]
        # A quarter of a voxel of 5 mm, most of it the one alignment to the T1w image that all volumes share.
        assert np.mean(wrong) < 1.25
        sidecar = json.loads(next((tmp_path / "moved").rglob(
            f"*ses-{run.session}*run-{run.run}*desc-confounds_timeseries.json"
        )).read_text())  # fmt: skip
        assert sidecar["VolumesDropped"] == MOVING.dummy_volumes


@pytest.mark.slow
def test_decoders_are_used_on_the_grid_that_they_were_fitted_on(app, moving, tmp_path):
    fitted = tmp_path / "fitted"
    both_levels(app, moving.folder, fitted, "--preprocess", "full")
    called = app(
        moving.folder, tmp_path / "again", "participant", "--preprocess", "full", "--decoders", fitted,
        "--session-label", "test", "--split", "column:picture_set:train=train,natural=natural,shapes=shapes",
        "-w", tmp_path / "work_again", "--n-shuffles", 3,
    )  # fmt: skip
    assert called.code == 0, called.err
    references = [
        nib.load(root / "sub-01/func/sub-01_boldref.nii.gz") for root in (fitted, tmp_path / "again")
    ]
    np.testing.assert_array_equal(references[0].get_fdata(), references[1].get_fdata())


@pytest.mark.shared
@pytest.mark.slow
def test_studyforrest_from_raw(app, shared, tmp_path):
    data = shared / "data" / "studyforrest"
    called = app(
        data, tmp_path / "out", "participant", "--responses-only", "--preprocess", "full",
        "-w", tmp_path / "work",
    )  # fmt: skip
    assert called.code == 0, called.err
    func = tmp_path / "out" / "sub-02" / "func"
    confounds = pd.read_csv(next(func.glob("*_desc-confounds_timeseries.tsv")), sep="\t", na_values="n/a")
    displacement = confounds["framewise_displacement"]
    assert 0.05 < displacement.mean() < 0.25
    assert displacement.max() < 1

    # The alignment is a maximum of mutual information, of the whole volume and of the head.
    reference = read_volume(func / "sub-02_boldref.nii.gz")
    t1w = coarsened(read_volume(data / "sub-02" / "anat" / "sub-02_T1w.nii.gz"), 2.0)
    pull = read_itk_affine(func / "sub-02_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt")[0]
    head = binary_dilation(mask_of_mean(reference), iterations=3)
    for mask in (None, head):
        best = mutual_information(reference, t1w, np.linalg.inv(pull), mask=mask)
        for change in small_changes(reference):
            changed = np.linalg.inv(change @ pull)
            assert mutual_information(reference, t1w, changed, mask=mask) < best

    # Faces against scenes, and patterns of categories in two halves.
    series = next((tmp_path / "work").rglob("aligned_*_bold.nii"))
    model = category_model(data, series, confounds)
    z = model.compute_contrast("face0 + face1 - scene0 - scene1", output_type="z_score").get_fdata()
    grid = np.moveaxis(np.indices(z.shape), 0, -1)
    affine = nib.load(series).affine
    distance = np.linalg.norm(apply_affine(affine, grid) - (39, -37, -18), axis=-1)
    assert z[distance <= 8].max() >= 7
    similar = halves_compared(model)
    assert (similar.argmax(axis=0) == np.arange(6)).all()
    assert (similar.argmax(axis=1) == np.arange(6)).all()
    page = (tmp_path / "out" / "sub-02.html").read_text()
    assert {"motion", "alignment"} <= set(re.findall(r'<section id="([\w-]+)"', page))


def small_changes(volume: Volume) -> Iterator[np.ndarray]:
    """Shifts by 2 mm and turns by 2 degrees about the centre of a volume, both ways along each axis."""
    centre = apply_affine(volume.affine, (np.array(volume.shape) - 1) / 2)
    for axis in range(3):
        for sign in (-1, 1):
            shift, turn = np.eye(4), np.eye(4)
            shift[axis, 3] = 2 * sign
            turn[:3, :3] = Rotation.from_euler("xyz"[axis], 2 * sign, degrees=True).as_matrix()
            turn[:3, 3] = centre - turn[:3, :3] @ centre
            yield shift
            yield turn


KINDS = ("body", "face", "house", "object", "scene", "scramble")


def category_model(data: Path, series: Path, confounds: pd.DataFrame):
    """Categories of the first and the second half of a run, as regressors of their own."""
    from nilearn.glm.first_level import FirstLevelModel

    events = pd.read_csv(next((data / "sub-02" / "func").glob("*_events.tsv")), sep="\t")
    later = (events["onset"] >= events["onset"].median()).astype(int).astype(str)
    events = events.assign(trial_type=events["trial_type"] + later)[["onset", "duration", "trial_type"]]
    motion = confounds[["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]]
    model = FirstLevelModel(t_r=2.0, hrf_model="glover", high_pass=1 / 128, smoothing_fwhm=4)
    return model.fit(nib.load(series), events, motion)


def halves_compared(model) -> np.ndarray:
    """Correlations (6, 6) of the patterns of categories, first half against second, in driven voxels."""
    names = list(model.design_matrices_[0].columns)
    conditions = [f"{kind}{half}" for half in (0, 1) for kind in KINDS]
    every = np.stack([np.eye(len(names))[names.index(name)] for name in conditions])
    driven = model.compute_contrast(every, stat_type="F", output_type="z_score").get_fdata()
    chosen = np.argsort(-driven.ravel())[:2000]
    maps = [model.compute_contrast(name, output_type="z_score").get_fdata() for name in conditions]
    patterns = np.stack([one.ravel()[chosen] for one in maps]).reshape(2, 6, -1)
    patterns -= patterns.mean(axis=1, keepdims=True)
    return np.corrcoef(*patterns)[:6, 6:]
