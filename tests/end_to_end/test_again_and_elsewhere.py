"""Later calls on the same folders, and inputs that are laid out in another way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from group_tables import SPLIT

DECODER = "sub-01/decoder/sub-01_desc-eigenimage_"


def options(bids_dir: Path, person: str = "01", split: str = SPLIT) -> list[str]:
    rois = f"rois={bids_dir / 'derivatives' / 'rois'}"
    return ["--participant-label", person, "--split", split, "--derivatives", rois, "--n-shuffles", "2"]


def read_text(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def two_people(tiny_original, tmp_path_factory):
    """Output of the participant level for two people."""
    from bids_recon.cli.run import main

    folder = tmp_path_factory.mktemp("two")
    argv = [str(tiny_original), str(folder / "out"), "participant", "-w", str(folder / "work")]
    argv += [*options(tiny_original)[2:], "--roi", "all", "--nprocs", "1", "--skip-bids-validation"]
    assert main(argv) == 0
    return folder / "out"


@pytest.fixture
def output(two_people, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(two_people, tmp_path / "out"))


def test_tables_and_masks_follow_the_options_of_the_last_call(app, tiny_original, tmp_path):
    func = tmp_path / "out" / "sub-01" / "ses-test" / "func"
    (mask,) = (tiny_original / "derivatives" / "rois").glob("sub-01/func/*label-V1_mask.nii.gz")

    def run(split: str, roi: str) -> tuple[set[str], list[str]]:
        given = [*options(tiny_original, split=split), "--responses-only", "--roi", roi]
        called = app(tiny_original, tmp_path / "out", "participant", *given)
        assert called.code == 0, called.err
        (table,) = func.glob("*_trials.tsv")
        masks = [file.name.split("label-")[1] for file in func.glob("*_label-*.nii.gz")]
        return set(read_text(table)["set"]), masks

    assert run(SPLIT, "V1") == ({"natural", "shapes", "letters"}, ["V1_mask.nii.gz"])
    # The same voxels and responses; another split, and another name of the region.
    assert run("repeats:2", f"calcarine={mask}") == ({"n/a"}, ["calcarine_mask.nii.gz"])


def test_region_of_all_voxels_is_listed_once(two_people):
    table = read_text(two_people / f"{DECODER}rois.tsv")
    assert set(table["roi"]) == {"all", "V1", "V2", "HVC"}
    assert not table.duplicated(["roi", "test_set", "metric"]).any()


def test_responses_without_a_split_that_can_be_made(app, tiny_original, tmp_path):
    given = options(tiny_original, split="kfold:500")
    assert app(tiny_original, tmp_path / "out", "participant", *given).code == 65
    called = app(tiny_original, tmp_path / "out", "participant", *given, "--responses-only")
    assert called.code == 0 and "cannot make 500 folds" in called.err
    assert list((tmp_path / "out").rglob("*_statmap.nii.gz"))


def test_regions_of_betas_in_a_template_space(app, tiny_original, two_people, tmp_path):
    betas = tmp_path / "betas"
    for file in two_people.glob("sub-01/ses-*/func/*"):
        target = betas / file.relative_to(two_people)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target.with_name(file.name.replace("_task-viewing", "_task-viewing_space-MNI")))
    given = ["--participant-label", "01", "--split", SPLIT, "--n-shuffles", "2", "--roi", "V1"]
    called = app(tiny_original, tmp_path / "out", "participant", *given, "--derivatives", f"betas={betas}")
    assert called.code == 0, called.err
    sidecar = json.loads((tmp_path / "out" / f"{DECODER}decoder.json").read_text())
    assert (sidecar["Regions"], sidecar["Voxels"]) == ({"V1": 20}, 20)


def test_betas_in_two_spaces(app, tiny_original, two_people, tmp_path):
    betas = tmp_path / "betas" / "sub-01" / "ses-test" / "func"
    betas.mkdir(parents=True)
    for file in two_people.glob("sub-01/ses-test/func/*"):
        for space in ("", "_space-MNI"):
            shutil.copy(file, betas / file.name.replace("_task-viewing", f"_task-viewing{space}"))
    given = ["--participant-label", "01", "--derivatives", f"betas={tmp_path / 'betas'}"]
    called = app(tiny_original, tmp_path / "out", "participant", *given)
    assert called.code == 2 and "several spaces: none in the file name, MNI" in called.err


def test_run_without_events_needs_no_bold(app, tiny, tmp_path):
    func = tiny / "sub-01" / "ses-test" / "func"
    (func / "sub-01_ses-test_task-viewing_run-09_events.tsv").write_text("onset\tduration\tstim_file\n")
    called = app(tiny, tmp_path / "out", "participant", *options(tiny), "--responses-only")
    assert called.code == 0, called.err


def test_start_time_that_is_no_number(app, tiny, tmp_path):
    for sidecar in tiny.glob("sub-01/ses-*/func/*_bold.json"):
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"StartTime": "n/a"}))
    called = app(tiny, tmp_path / "out", "participant", *options(tiny), "--responses-only")
    assert called.code == 0, called.err


def test_confounds_that_are_no_table(app, tiny, tmp_path):
    folder = tiny / "derivatives" / "rois" / "sub-01" / "func"
    file = folder / "sub-01_ses-train_task-viewing_run-01_desc-confounds_timeseries.tsv"
    file.write_text("")
    called = app(tiny, tmp_path / "out", "participant", *options(tiny), "--responses-only")
    assert called.code == 65 and file.name in called.err and "Traceback" not in called.err


def test_folder_of_nobody_in_the_output(app, tiny_original, output):
    shutil.copytree(output / "sub-01", output / "sub-01_old")
    called = app(tiny_original, output, "group")
    assert called.code == 0, called.err
    assert set(read_text(output / "group" / "metrics.tsv")["subject"]) == {"01", "02", "average"}


def test_decoder_of_another_program(app, tiny_original, output):
    sidecar = output / f"{DECODER}decoder.json"
    sidecar.write_text('{"Shuffles": 2}')
    called = app(tiny_original, output, "group")
    assert called.code == 65 and sidecar.name in called.err and "participant level again" in called.err


def test_two_people_with_different_pictures_under_one_name(app, tiny_original, output):
    file = output / f"{DECODER}latents.tsv"
    table = read_text(file)
    table.loc[0, "stim_file"] = "other.png"
    table.to_csv(file, sep="\t", index=False)
    called = app(tiny_original, output, "group")
    assert called.code == 65 and "stands for several pictures" in called.err
    assert not (output / "group").exists()


def test_rows_of_another_method_keep_their_names(app, tiny_original, output):
    assert app(tiny_original, output, "group").code == 0
    file = output / "group" / "items.tsv"
    table = read_text(file).assign(method="other", stimulus_id="007")
    table.to_csv(file, sep="\t", index=False)
    assert app(tiny_original, output, "group").code == 0
    again = read_text(file)
    assert set(again.loc[again["method"] == "other", "stimulus_id"]) == {"007"}
    assert set(again["method"]) == {"other", "eigenimage"}
