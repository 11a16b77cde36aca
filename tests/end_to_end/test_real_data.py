"""Real brains and real event files, where the reference data are at hand."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from group_tables import metric, read_metrics

pytestmark = pytest.mark.shared


@pytest.mark.parametrize(
    ("options", "least", "n_items"), [((), 0.94, 20), (("--no-average-trials",), 0.92, 118)]
)
def test_miyawaki_figures_are_identified(app, shared, tmp_path, options, least, n_items):
    data = shared / "data" / "miyawaki-figures"
    betas = ("--derivatives", f"betas={data / 'derivatives' / 'betas'}")
    called = app(
        data, tmp_path, "participant", "group", *betas, "--split", "leave-one-stimulus-out", *options,
        "--n-shuffles", 5,
    )  # fmt: skip
    assert called.code == 0, called.err
    table = read_metrics(tmp_path)
    assert metric(table, "two-way-a", "pixels-1") >= least
    assert metric(table, "two-way-a", "pixels-1", "n_items") == n_items
    # Leaving a picture out biases the training mean against it, so the measured floor lies below one half.
    assert 0.2 < metric(table, "two-way-a", "pixels-1", "floor") < 0.55
    assert metric(table, "two-way-a", "pixels-1", "ceiling") == 1.0


def test_studyforrest_raw_bold_to_responses(app, shared, tmp_path):
    data = shared / "data" / "studyforrest"
    called = app(data, tmp_path, "participant", "--responses-only")
    assert called.code == 0, called.err
    folder = tmp_path / "sub-02" / "func"
    (image_file,) = folder.glob("*_statmap.nii.gz")
    image = nib.load(image_file)
    trials = pd.read_csv(next(folder.glob("*_trials.tsv")), sep="\t")
    assert image.shape[3] == len(trials) == 192
    # The peak of the reference GLM, in scanner coordinates, and voxels within 5 mm of it.
    grid = np.stack(np.meshgrid(*map(np.arange, image.shape[:3]), indexing="ij"), axis=-1)
    distance = np.linalg.norm(nib.affines.apply_affine(image.affine, grid) - (39, -37, -18), axis=-1)
    near = image.get_fdata(dtype=np.float32)[distance <= 5].mean(axis=0)
    face, scene = near[trials["trial_type"] == "face"], near[trials["trial_type"] == "scene"]
    assert face.mean() - scene.mean() > 0.5
    assert face.mean() > 0 > scene.mean()


def test_studyforrest_plan_names_missing_pictures(app, shared, tmp_path):
    called = app(shared / "data" / "studyforrest", tmp_path / "out", "participant", "--dry-run")
    assert called.code == 66
    assert "141 pictures missing" in called.out
    assert "face10_lcm.png" in called.out
    assert not (tmp_path / "out").exists()


def count_by_hand(folder: Path, subject: str, glob: str, chosen, column: str) -> tuple[int, int, int]:
    """Pictures, trials and one-back repeats of the files of a subject, with pandas alone."""
    tables = []
    repeats = 0
    for file in sorted(folder.glob(f"sub-{subject}/{glob}/func/*_events.tsv")):
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        shown = table[chosen(table)]
        again = shown[column] == shown[column].shift()
        repeats += int(again.sum())
        tables.append(shown[~again])
    trials = pd.concat(tables)
    return trials[column].nunique(), len(trials), repeats


def plan_lines(out: str, subject: str) -> list[str]:
    """The part of a printed plan that belongs to one subject."""
    blocks = ("\n" + out).split("\nsub-")
    (block,) = [block for block in blocks if block.split("\n")[0] == subject]
    return block.splitlines()


@pytest.mark.parametrize("subject", ["01", "02", "05"])
def test_plan_of_ds001246_counts_as_pandas_does(app, shared, tmp_path, subject):
    folder = shared / "data" / "openneuro-excerpts" / "ds001246"
    called = app(folder, tmp_path, "participant", "--stimulus-spec", "ds001246", "--dry-run")
    assert called.code == 66
    lines = plan_lines(called.out, subject)
    repeats = 0
    for name, glob in (("train", "ses-perceptionTraining*"), ("test", "ses-perceptionTest*")):
        pictures, trials, dropped = count_by_hand(
            folder, subject, glob, lambda t: t["event_type"] == "stimulus", "stimulus_name"
        )
        repeats += dropped
        assert any(
            line.split()[:5] == [name, str(pictures), "pictures,", str(trials), "trials,"] for line in lines
        )
    imagery, shown, _ = count_by_hand(
        folder, subject, "ses-imagery*", lambda t: t["event_type"] == "imagery", "category_name"
    )
    assert any(
        line.split()[:5] == ["imagery", str(imagery), "pictures,", str(shown), "trials,"] for line in lines
    )
    assert any(f"{repeats} one-back repeats" in line for line in lines)


def test_plan_of_ds001506_counts_as_pandas_does(app, shared, tmp_path):
    folder = shared / "data" / "openneuro-excerpts" / "ds001506"
    called = app(folder, tmp_path, "participant", "--stimulus-spec", "ds001506", "--dry-run")
    assert called.code == 66
    lines = plan_lines(called.out, "01")
    sessions = {
        "train": "ses-perceptionNaturalImageTraining*",
        "natural": "ses-perceptionNaturalImageTest*",
        "shapes": "ses-perceptionArtificialImage*",
        "letters": "ses-perceptionLetterImage*",
    }
    repeats = 0
    for name, glob in sessions.items():
        pictures, trials, dropped = count_by_hand(
            folder, "01", glob, lambda t: t["event_type"].isin(["1", "2"]), "stimulus_name"
        )
        repeats += dropped
        assert any(
            line.split()[:5] == [name, str(pictures), "pictures,", str(trials), "trials,"] for line in lines
        )
    assert any(f"{repeats} one-back repeats" in line for line in lines)


@pytest.mark.parametrize("subject", ["CSI1", "CSI2", "CSI4"])
def test_plan_of_ds001499_counts_as_pandas_does(app, shared, tmp_path, subject):
    folder = shared / "data" / "openneuro-excerpts" / "ds001499"
    called = app(folder, tmp_path, "participant", "--stimulus-spec", "ds001499", "--dry-run")
    assert called.code == 66
    lines = plan_lines(called.out, subject)
    files = sorted(folder.glob(f"sub-{subject}/ses-*/func/*task-5000scenes*_events.tsv"))
    table = pd.concat([pd.read_csv(file, sep="\t", dtype=str) for file in files])
    marked = table["ImgType"].str.startswith("rep_")
    for name, rows in (("repeated", table[marked]), ("train", table[~marked])):
        wanted = [name, str(rows["ImgName"].nunique()), "pictures,", str(len(rows)), "trials,"]
        assert any(line.split()[:5] == wanted for line in lines), wanted
