"""What a user does wrong, or a data set: one message with file and remedy, the right exit code."""

from __future__ import annotations

import errno
import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from group_tables import SPLIT, metric, read_metrics

from bids_recon.outputs import atomic


def events_of(bids_dir: Path, pattern: str = "*") -> list[Path]:
    return sorted(bids_dir.glob(f"sub-*/ses-*/func/{pattern}_events.tsv"))


def edit_table(file: Path, change) -> None:
    table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    change(table).to_csv(file, sep="\t", index=False)


def check(called, code: int, *parts: str) -> None:
    assert called.code == code, called.err
    for part in parts:
        assert part in called.err, called.err
    assert "Traceback" not in called.err


def test_no_such_participant(app, tiny, tmp_path):
    called = app(tiny, tmp_path / "out", "participant", "--participant-label", "01", "99")
    check(called, 18, "no such participant: 99", "Available: 01, 02", "mounted")


def test_no_such_bids_dir(app, tmp_path):
    check(app(tmp_path / "nowhere", tmp_path / "out", "participant"), 66, "nowhere", "mounted")


def test_empty_bids_dir(app, tmp_path):
    (tmp_path / "empty").mkdir()
    check(app(tmp_path / "empty", tmp_path / "out", "participant"), 16, "empty")


def test_output_equals_input(app, tiny):
    check(app(tiny, tiny, "participant"), 2, "the output folder is the BIDS folder", "derivatives/bids_recon")


def test_unknown_level_method_and_estimator(app, tiny, tmp_path):
    out = tmp_path / "out"
    assert app(tiny, out, "dataset").code == 2
    check(app(tiny, out, "participant", "--method", "telepathy"), 2, "telepathy", "eigenimage")
    check(app(tiny, out, "participant", "--glm", "magic"), 2, "magic", "block-average")
    assert not out.exists()


def test_broken_json(app, tiny, tmp_path):
    (tiny / "dataset_description.json").write_text("{broken")
    check(app(tiny, tmp_path / "out", "participant"), 16, "dataset_description.json", "not valid JSON")


def test_broken_sidecar(app, tiny, tmp_path):
    sidecar = sorted(tiny.glob("sub-01/ses-*/func/*_bold.json"))[0]
    sidecar.write_text("{broken")
    called = app(tiny, tmp_path / "out", "participant", "--split", SPLIT, "--participant-label", "01")
    check(called, 65, sidecar.name, "not valid JSON")


def test_events_without_the_column(app, tiny, tmp_path):
    for file in events_of(tiny):
        edit_table(file, lambda table: table.drop(columns="stim_file"))
    called = app(tiny, tmp_path / "out", "participant", "--split", SPLIT)
    check(called, 65, "_events.tsv", "stim_file", "--stimulus-spec")


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "..\\..\\etc\\passwd"])
def test_picture_outside_the_data_set(app, tiny, tmp_path, path):
    file = events_of(tiny)[0]

    def lead_out(table):
        table.loc[table["stim_file"] != "n/a", "stim_file"] = path
        return table

    edit_table(file, lead_out)
    called = app(tiny, tmp_path / "out", "participant", "--split", SPLIT, "--participant-label", "01")
    check(called, 65, file.name, "outside")


def test_picture_that_is_a_link_out_of_the_data_set(app, tiny, tmp_path):
    picture = sorted((tiny / "stimuli").rglob("*.png"))[0]
    elsewhere = shutil.copy(picture, tmp_path / "private.png")
    picture.unlink()
    picture.symlink_to(elsewhere)
    check(app(tiny, tmp_path / "out", "participant", "--split", SPLIT), 65, picture.name, "--stimuli")


def test_missing_pictures(app, tiny, tmp_path):
    shutil.rmtree(tiny / "stimuli")
    called = app(tiny, tmp_path / "out", "participant", "--split", SPLIT, "--participant-label", "01")
    check(called, 66, "20 pictures missing", "stimuli", "--responses-only")


def test_annexed_files_that_were_not_fetched(app, tiny, tmp_path):
    bold = sorted(tiny.glob("sub-01/ses-*/func/*_bold.nii.gz"))[0]
    bold.unlink()
    bold.symlink_to("../../../.git/annex/objects/aa/bb/key")
    called = app(tiny, tmp_path / "out", "participant", "--split", SPLIT, "--participant-label", "01")
    check(called, 66, "1 BOLD files missing", f"datalad get -d {tiny}", bold.name)
    called = app(tiny, tmp_path / "out", "participant", "--split", SPLIT, "--dry-run")
    assert called.code == 66
    assert f"datalad get -d {tiny} {bold.relative_to(tiny)}" in called.out


@pytest.mark.parametrize("content", [b"no image at all", b"", None])
def test_unreadable_nifti(app, tiny, tmp_path, content):
    bold = sorted(tiny.glob("sub-01/ses-*/func/*_bold.nii.gz"))[1]
    if content is None:
        whole = bold.read_bytes()
        bold.write_bytes(whole[: len(whole) // 2])
    else:
        bold.write_bytes(gzip.compress(content) if content else content)
    called = app(tiny, tmp_path / "out", "participant", "--split", SPLIT, "--participant-label", "01")
    check(called, 65, bold.name)


def write_betas(root: Path, bids_dir: Path, app, tmp_path: Path) -> Path:
    """Responses of person 01, as the app writes them."""
    called = app(
        bids_dir, root, "participant", "--responses-only", "--participant-label", "01", "--split", SPLIT,
        "--derivatives", f"rois={bids_dir / 'derivatives' / 'rois'}",
    )  # fmt: skip
    assert called.code == 0, called.err
    return sorted(root.glob("sub-01/ses-*/func/*_statmap.nii.gz"))[0]


def test_betas_and_trials_of_different_length(app, tiny, tmp_path):
    statmap = write_betas(tmp_path / "betas", tiny, app, tmp_path)
    image = nib.load(statmap)
    nib.save(image.slicer[..., :-1], statmap)
    called = app(
        tiny, tmp_path / "out", "participant", "--split", SPLIT, "--participant-label", "01",
        "--derivatives", f"betas={tmp_path / 'betas'}",
    )  # fmt: skip
    check(called, 65, statmap.name, "_trials.tsv", str(image.shape[3] - 1), str(image.shape[3]))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_bad_voxels_in_betas_are_left_out_and_reported(app, tiny, tmp_path, value):
    statmap = write_betas(tmp_path / "betas", tiny, app, tmp_path)
    image = nib.load(statmap)
    data = image.get_fdata(dtype=np.float32)
    voxel = tuple(np.argwhere(data.any(axis=-1))[0])
    data[voxel] = value
    nib.save(nib.Nifti1Image(data, image.affine, image.header), statmap)
    called = app(
        tiny, tmp_path / "out", "participant", "--split", SPLIT, "--participant-label", "01",
        "--derivatives", f"betas={tmp_path / 'betas'}",
    )  # fmt: skip
    check(called, 0, statmap.name, "1 of 40 voxels are left out")


def test_constant_voxel_and_nan_in_bold(app, tiny, tmp_path):
    bold = sorted(tiny.glob("sub-01/ses-*/func/*_bold.nii.gz"))[0]
    image = nib.load(bold)
    masks = sorted((tiny / "derivatives" / "rois").rglob("sub-01*label-V1_mask.nii.gz"))
    inside = np.argwhere(nib.load(masks[0]).get_fdata() > 0)
    data = image.get_fdata(dtype=np.float32)
    data[tuple(inside[0])] = 700.0
    data[tuple(inside[1])] = np.nan
    header = image.header.copy()
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    nib.save(nib.Nifti1Image(data, image.affine, header), bold)
    called = app(
        tiny, tmp_path / "out", "participant", "group", "--split", SPLIT, "--participant-label", "01",
        "--derivatives", f"rois={tiny / 'derivatives' / 'rois'}", "--n-shuffles", 2,
    )  # fmt: skip
    check(called, 0, "2 of 40 voxels are left out")
    assert np.isfinite(
        metric(read_metrics(tmp_path / "out"), "pixcorr", "pixels-1", subject="01", test_set="natural")
    )


def test_one_test_picture_only(app, tiny, tmp_path):
    for file in events_of(tiny):

        def keep_one(table):
            one = table.loc[table["picture_set"] == "natural", "stim_file"].unique()[:1]
            return table[table["picture_set"].eq("train") | table["stim_file"].isin(one)]

        edit_table(file, keep_one)
    first = pd.concat([pd.read_csv(f, sep="\t") for f in events_of(tiny, "sub-01_ses-test*")])[
        "stim_file"
    ].iloc[0]
    for file in events_of(tiny, "*ses-test*"):
        edit_table(file, lambda table: table[table["stim_file"] == first])
    called = app(
        tiny, tmp_path / "out", "participant", "group", "--participant-label", "01", "--n-shuffles", 2,
        "--split", "session:train=train,natural=test",
    )  # fmt: skip
    check(called, 0, "one picture only")
    table = read_metrics(tmp_path / "out")
    assert np.isfinite(metric(table, "pixcorr", "pixels-1"))
    assert np.isnan(metric(table, "two-way-a", "pixels-1"))
    assert "at least two" in table.loc[table["metric"] == "two-way-a", "note"].iloc[0]
    # The published centring by the test set has no meaning for one picture.
    called = app(
        tiny, tmp_path / "out", "participant", "--participant-label", "01", "--legacy-test-statistics",
        "--split", "session:train=train,natural=test", "--decoder", "parametric-inversion",
    )  # fmt: skip
    check(called, 65, "one")


def test_one_training_run_only(app, tiny, tmp_path):
    for subject in ("01", "02"):
        for file in sorted(tiny.glob(f"sub-{subject}/ses-train/func/*_run-*2_*")):
            file.unlink()
    called = app(
        tiny, tmp_path / "out", "participant", "group", "--participant-label", "01", "--n-shuffles", 2,
        "--split", SPLIT,
    )  # fmt: skip
    check(called, 0)
    assert np.isfinite(metric(read_metrics(tmp_path / "out"), "two-way-a", "pixels-1", test_set="natural"))


def test_shared_stimulus_stops_the_run_unless_told_otherwise(app, tiny, tmp_path):
    shown = [pd.read_csv(file, sep="\t") for file in events_of(tiny, "sub-01_ses-train*")]
    name = shown[0].loc[shown[0]["stim_file"].notna(), "stim_file"].iloc[0]
    file = events_of(tiny, "sub-01_ses-test*")[0]

    def smuggle(table):
        table.loc[table.index[table["stim_file"] != "n/a"][0], "stim_file"] = name
        return table

    edit_table(file, smuggle)
    options = ("--participant-label", "01", "--split", SPLIT, "--n-shuffles", 2)
    called = app(tiny, tmp_path / "out", "participant", *options)
    check(called, 65, "leak audit", "--on-leak")
    audit = json.loads((tmp_path / "out" / "logs" / "leak-audit.json").read_text())
    assert audit["sub-01"]["passed"] is False
    assert not (tmp_path / "out" / "sub-01").exists()
    check(app(tiny, tmp_path / "out", "participant", *options, "--on-leak", "drop"), 0)
    audit = json.loads((tmp_path / "out" / "logs" / "leak-audit.json").read_text())
    assert audit["sub-01"]["passed"] is True
    check(app(tiny, tmp_path / "out", "participant", *options, "--on-leak", "allow"), 0)


def test_disk_full(app, tiny, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "save_file", full)
    out = tmp_path / "out"
    called = app(tiny, out, "participant", "--participant-label", "01", "--split", SPLIT)
    check(called, 74, "no space is left", "Free some space")
    assert not [file for folder in (out, tmp_path / "work") for file in folder.rglob(".tmp-*")]


def test_output_that_cannot_be_made(app, tiny, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    called = app(tiny, tmp_path / "file" / "out", "participant", "--split", SPLIT)
    check(called, 73, "file")


def test_group_without_participants(app, tiny, tmp_path):
    check(app(tiny, tmp_path / "out", "group"), 18, "Run the participant level first")


def test_filters_that_leave_nothing(app, tiny, tmp_path):
    check(app(tiny, tmp_path / "out", "participant", "--task-id", "rest"), 18, "no runs")
    check(
        app(tiny, tmp_path / "out", "participant", "--split", "session:train=nothing,a=test"), 18, "training"
    )
    check(app(tiny, tmp_path / "out", "participant", "--split", "nonsense"), 2, "kfold:K")
    check(app(tiny, tmp_path / "out", "participant", "--roi", "V17"), 2, "V17")


def test_plan_ends_with_the_code_of_the_run(app, tiny, tmp_path):
    options = ("--participant-label", "01", "--split", "session:train=nothing,a=test")
    called = app(tiny, tmp_path / "out", "participant", *options, "--dry-run")
    assert called.code == app(tiny, tmp_path / "out", "participant", *options).code == 18
    assert "leaves no training stimuli" in called.out


def test_the_same_picture_under_another_name_is_a_leak(app, tiny, tmp_path):
    stimuli = tiny / "stimuli"
    names = {
        name: pd.concat([pd.read_csv(f, sep="\t") for f in events_of(tiny, f"sub-01_ses-{name}*")])[
            "stim_file"
        ]
        for name in ("train", "test")
    }
    train, test = (series.dropna().iloc[0].removeprefix("stimuli/") for series in names.values())
    shutil.copy(stimuli / test, stimuli / train)
    options = ("--participant-label", "01", "--split", SPLIT, "--n-shuffles", 2)
    called = app(tiny, tmp_path / "out", "participant", *options)
    check(called, 65, "under different names", "--on-leak drop")
    check(app(tiny, tmp_path / "out", "participant", *options, "--on-leak", "drop"), 0)
    items = (tmp_path / "out/sub-01/decoder/sub-01_desc-eigenimage_decoder.json").read_text()
    assert json.loads(items)["Folds"]["0"]["train"] == 11


def test_label_that_bids_does_not_allow(app, tiny, tmp_path):
    for file in sorted((tiny / "sub-01" / "ses-train").rglob("*_task-viewing_*")):
        file.rename(file.with_name(file.name.replace("task-viewing", "task-view-ing")))
    called = app(tiny, tmp_path / "out", "participant", "--participant-label", "01", "--split", SPLIT)
    check(called, 65, "'task-view-ing' is no BIDS label", "Rename")
