"""Estimators and reliable voxels, by the app, on a simulated brain whose betas are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from group_tables import metric, read_metrics

from bids_recon.simulate.dataset import simulate_dataset
from bids_recon.simulate.design import TINY
from bids_recon.simulate.truth import GroundTruth

SPLIT = "session:train=train,test=test"


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> GroundTruth:
    """One person, whose responses come at different times in different voxels."""
    design = replace(TINY, n_subjects=1, delay_jitter=1.0, repeats=5)
    return simulate_dataset(tmp_path_factory.mktemp("models") / "bids", design, seed=3)


def shown_twice(truth: GroundTruth, folder: Path) -> Path:
    """The same data, with the runs of the test session for training and one of them for test."""
    import shutil

    copy = Path(shutil.copytree(truth.folder, folder / "bids"))
    func = copy / "sub-01" / "ses-test" / "func"
    last = sorted(func.glob("*_events.tsv"))[-1].name.split("_")[3]
    for file in func.iterdir():
        events = file.name.endswith("_events.tsv")
        if events:
            table = pd.read_csv(file, sep="\t", dtype=str)
            names = sorted(table["stim_file"].unique())
            # Two pictures are tested in the last run; the others train in all the others.
            tested = table["stim_file"].isin(names[:2])
            table = table[tested] if last in file.name else table[~tested]
            table.assign(part=np.where(last in file.name, "test", "train")).to_csv(
                file, sep="\t", index=False
            )
    shutil.rmtree(copy / "sub-01" / "ses-train")
    return copy


def run(app, data: Path, out: Path, *options: object) -> pd.DataFrame:
    rois = f"rois={data / 'derivatives' / 'rois'}"
    called = app(
        data, out, "participant", "group", "--derivatives", rois, "--n-shuffles", 3, *options,
        "-w", out.parent / f"work_{out.name}",
    )  # fmt: skip
    assert called.code == 0, called.err
    return read_metrics(out)


def accuracy_of_betas(truth: GroundTruth, out: Path, session: str) -> float:
    """Mean correlation over voxels of single-trial responses with the planted ones."""
    (file,) = (out / "sub-01" / f"ses-{session}").rglob("*_statmap.nii.gz")
    trials = pd.read_csv(next(file.parent.glob("*_trials.tsv")), sep="\t", dtype=str)
    subject = truth.subjects["01"]
    found = nib.load(file).get_fdata().reshape(-1, len(trials))[subject.voxels.indices]
    rows = truth.rows(trials["stimulus_id"].tolist())
    planted = subject.betas[rows].T
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(found, planted, strict=True)]))


@pytest.mark.parametrize("name", ["lsa", "lss"])
def test_one_run_at_a_time(app, truth, tmp_path, name):
    run(app, truth.folder, tmp_path / "out", "--glm", name, "--split", SPLIT)
    assert accuracy_of_betas(truth, tmp_path / "out", "train") > 0.75
    sidecar = json.loads(next((tmp_path / "out").rglob("*SingletrialBetas_statmap.json")).read_text())
    assert sidecar["Estimator"] == name
    assert "HaemodynamicResponse" in sidecar


def test_modulators_are_inverted(app, truth, tmp_path):
    options = ("--glm", "parametric", "--decoder", "parametric-inversion", "--n-components", 4)
    table = run(app, truth.folder, tmp_path / "out", *options, "--split", SPLIT)
    plain = run(
        app, truth.folder, tmp_path / "plain", "--glm", "lsa", "--decoder", "parametric-inversion",
        "--n-components", 4, "--split", SPLIT,
    )  # fmt: skip
    # Both invert the same linear model; one finds its weights from BOLD, the other from single trials.
    both = [metric(one, "two-way-a", "pixels-1") for one in (table, plain)]
    assert min(both) > 0.6
    assert abs(both[0] - both[1]) < 0.15
    assert metric(table, "two-way-a", "pixels-1", "floor") < min(both)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--glm", "parametric"), "--decoder parametric-inversion"),
        (
            ("--glm", "parametric", "--decoder", "parametric-inversion", "--rescale", "out-of-fold"),
            "--rescale",
        ),
        (("--glm", "fir"), "block-average, lsa, lss, library, parametric"),
        (("--glm", "library", "--split", "kfold:2"), "every picture is tested in turn"),
        (("--roi", "reliable:10", "--split", "kfold:2"), "every picture is tested in turn"),
        (("--roi", "reliable:10", "--split", SPLIT), "fewer than two training pictures were shown again"),
        (("--roi", "reliable:none"), "whole number"),
    ],
)
def test_what_cannot_be_done_is_told(app, truth, tmp_path, options, expected):
    called = app(truth.folder, tmp_path / "out", "participant", "--roi", "brain", *options)
    assert called.code in (2, 65)
    assert expected in called.err.replace("with the split kfold:2 ", "")
    assert "Traceback" not in called.err


def test_library_and_reliable_voxels(app, truth, tmp_path):
    data = shown_twice(truth, tmp_path)
    rois = f"rois={data / 'derivatives' / 'rois'}"
    called = app(
        data, tmp_path / "out", "participant", "--responses-only", "--derivatives", rois, "--glm", "library",
        "--roi", "V1", "V2", "HVC", "reliable:15", "--split", "column:part:train=train,test=test",
    )  # fmt: skip
    assert called.code == 0, called.err
    func = tmp_path / "out" / "sub-01" / "func"
    index = nib.load(func / "sub-01_desc-HRFindex_dseg.nii.gz").get_fdata()
    assert (index > 0).sum() == 15
    assert index.max() <= 20
    fraction = nib.load(func / "sub-01_desc-Fracridge_statmap.nii.gz").get_fdata()
    assert ((fraction > 0) == (index > 0)).all()
    assert (func / "sub-01_desc-NoiseceilingTraining_statmap.nii.gz").is_file()
    sidecar = json.loads(next((tmp_path / "out").rglob("*SingletrialBetas_statmap.json")).read_text())
    assert sidecar["TunedOn"] == "training trials"
    assert sidecar["NumberOfVoxels"] == 15
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert "Prince et al. 2022" in page


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--space", "T1w"), "no derivatives of it were given"),
        (("--nuisance", "none", "motion6"), "--nuisance none goes with no other"),
        (("--nuisance", "acompcor"), "no component of it"),
        (
            ("--glm", "parametric", "--decoder", "parametric-inversion", "--responses-only"),
            "latents of a method",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(app, truth, tmp_path, options, expected):
    called = app(truth.folder, tmp_path / "out", "participant", "--roi", "brain", "--split", SPLIT, *options)
    assert called.code in (2, 65)
    assert expected in called.err


def test_responses_only_need_no_split(app, truth, tmp_path):
    options = ("--responses-only", "--roi", "brain", "--glm", "library")
    called = app(truth.folder, tmp_path / "out", "participant", *options)
    assert called.code == 0, called.err
    sidecar = json.loads(next((tmp_path / "out").rglob("*SingletrialBetas_statmap.json")).read_text())
    assert sidecar["TunedOn"] == "all trials: no split was made"


def test_betas_are_not_estimated_again(app, truth, tmp_path):
    out = tmp_path / "out"
    assert app(truth.folder, out, "participant", "--responses-only", "--roi", "brain").code == 0
    called = app(
        truth.folder, tmp_path / "again", "participant", "--split", SPLIT, "--derivatives", f"betas={out}",
        "--glm", "library",
    )  # fmt: skip
    assert called.code == 2
    assert "are read" in called.err
