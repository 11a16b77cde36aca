"""Each hole in a folder of fMRIPrep is lived with, or gives the message that fixes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_fmriprep import (
    FakeRun,
    describe,
    fake_fmriprep,
    find_fake,
    raw_run,
    unfetch,
    write_anatomy,
)

from bids_recon.errors import ExitCode, MissingInputError
from bids_recon.preprocess.fmriprep import find_fmriprep

MNI = "MNI152NLin2009cAsym"
MINIMAL = FakeRun(spaces=(), confounds=False)


def _message(error: pytest.ExceptionInfo[Any], code: ExitCode = ExitCode.NO_INPUT) -> str:
    assert error.value.exit_code == code
    return str(error.value)


def test_what_is_missing_beside_the_series_is_told(tmp_path: Path) -> None:
    """As NOD: T1w series and confounds of 20.2, no description, no masks; here without confounds too."""
    gaps = FakeRun(spaces=("T1w",), masks=False, confounds=False, coregistration=False, references=False)
    found = find_fake(tmp_path, "20.2", gaps, described=False, anatomy=False)
    assert (found.mask, found.confounds, found.boldref, found.to_anatomy) == (None, None, None, None)
    text = "\n".join(found.warnings)
    assert "no brain mask in the space T1w" in text
    assert "no confounds table" in text
    assert "no dataset_description.json" in text
    assert found.metadata == {}


def test_the_mask_of_another_space_is_not_taken(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(spaces=("T1w",)))
    next((root / "sub-01" / "func").glob("*_space-T1w_desc-brain_mask.nii.gz")).unlink()
    assert find_fmriprep(root, raw_run(tmp_path / "bids")).mask is None


def test_names_of_confounds_before_2020(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2")
    table = next(root.rglob("*_desc-confounds_timeseries.tsv"))
    renamed = table.rename(table.with_name(table.name.replace("timeseries", "regressors")))
    assert find_fmriprep(root, raw_run(tmp_path / "bids")).confounds == renamed


def test_derivatives_of_another_program_are_read_with_a_warning(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25")
    describe(root, "25", name="NiBabies")
    assert any("made by NiBabies" in text for text in find_fmriprep(root, raw_run(tmp_path / "b")).warnings)


@pytest.mark.parametrize("ending", ["desc-preproc_bold.nii.gz", "desc-brain_mask.nii.gz", "timeseries.tsv"])
def test_content_that_was_not_fetched_is_named(tmp_path: Path, ending: str) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(spaces=("T1w",)))
    away = unfetch(next((root / "sub-01" / "func").glob(f"*{ending}")))
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids"))
    assert "datalad get" in _message(caught) and str(away) in _message(caught)


def test_all_that_has_to_be_fetched_is_told_at_once(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(spaces=("T1w",)))
    for path in list((root / "sub-01" / "func").glob("*desc-*.nii.gz")):
        path.unlink()
        path.write_text("/annex/objects/MD5E-s1--0.nii.gz\n")
    with pytest.raises(MissingInputError, match=r"\(and of 1 more\)") as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids"))
    assert "desc-preproc_bold" in _message(caught) and "desc-brain_mask" in _message(caught)


def test_minimal_derivatives_without_the_raw_series(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", MINIMAL)
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids", bold=False))
    message = _message(caught)
    assert "there is no preprocessed BOLD" in message
    assert "Run fMRIPrep again with --level full --output-spaces func." in message
    assert "To resample it here, the raw BOLD series is missing." in message


def test_default_output_of_20_2_when_t1w_is_wanted(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(spaces=(f"{MNI}:res-2",)))
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids"), space="T1w")
    message = _message(caught)
    assert f"no preprocessed BOLD in the space T1w, only in {MNI}:res-2" in message
    assert "Run fMRIPrep again with --output-spaces T1w, or" in message
    assert f"choose with --space one of: {MNI}:res-2" in message
    assert "*_from-orig_to-boldref_*_xfm.txt and *_boldref.nii.gz are missing." in message


@pytest.mark.parametrize(
    ("gap", "lacking"),
    [
        ({"motion": False}, "*_from-orig_to-boldref_*_xfm.txt"),
        ({"coregistration": False}, "*_from-boldref_to-T1w_*_xfm.txt"),
        ({"references": False}, "*_boldref.nii.gz"),
    ],
)
def test_the_transform_that_is_missing_is_named(tmp_path: Path, gap: dict[str, bool], lacking: str) -> None:
    with pytest.raises(MissingInputError) as caught:
        find_fake(tmp_path, "25", FakeRun(spaces=(MNI,), **gap), space="T1w")
    message = _message(caught)
    assert f"To resample it here, {lacking} is missing." in message
    assert "--output-spaces T1w" in message


def test_the_way_to_the_template_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError) as caught:
        find_fake(tmp_path, "25", MINIMAL, space="MNI152NLin6Asym:res-2")
    assert "To resample it here, anat/*_from-T1w_to-MNI152NLin6Asym_mode-image_xfm.h5 is" in _message(caught)
    assert "--level full --output-spaces MNI152NLin6Asym:res-2" in _message(caught)


def test_surfaces_alone_are_told(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(spaces=(), masks=False))
    surface = root / "sub-01" / "func" / "sub-01_task-perception_run-1_space-fsaverage5_hemi-L_bold.func.gii"
    surface.write_bytes(b"x")
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids"))
    message = _message(caught)
    assert "surfaces (fsaverage5), which are not read" in message
    assert "with --output-spaces func" in message


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(tmp_path / "nowhere", raw_run(tmp_path / "bids"))
    assert "there is no such folder. Is it mounted?" in _message(caught)


def test_another_participant_is_there(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(subject="02"), FakeRun(subject="03"))
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids"))
    assert "holds no sub-01, only sub-02, sub-03" in _message(caught)
    assert "--participant-label 01" in _message(caught)


def test_another_run_is_there(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(run="1"), FakeRun(task="imagery", run="2"))
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids", run="03"))
    message = _message(caught)
    assert "holds nothing of sub-01_task-perception_run-03" in message
    assert "there is task-imagery_run-2, task-perception_run-1." in message
    assert "--task-id" in message


def test_an_anatomy_alone_is_there(tmp_path: Path) -> None:
    root = tmp_path / "fmriprep"
    write_anatomy(root, "25")
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids"))
    assert "sub-01 has an anatomy but no functional data. Run fMRIPrep again without" in _message(caught)


def test_the_folder_lies_deeper(tmp_path: Path) -> None:
    """The legacy layout of fMRIPrep before 21.0."""
    root = fake_fmriprep(tmp_path / "out" / "fmriprep", "20.2")
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(tmp_path / "out", raw_run(tmp_path / "bids"))
    assert f"fMRIPrep's output lies in {root}: give that folder" in _message(caught)


def test_the_raw_data_set_is_no_output_of_fmriprep(tmp_path: Path) -> None:
    run = raw_run(tmp_path / "bids", others="_acq-mb4")
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(tmp_path / "bids", raw_run(tmp_path / "other", run="02"))
    message = _message(caught)
    assert run.bold is not None
    assert "is no output of fMRIPrep: sub-01 holds no file with desc-preproc" in message
    assert "--derivatives fmriprep=PATH" in message


def test_another_folder_is_no_output_of_fmriprep(tmp_path: Path) -> None:
    root = tmp_path / "qsiprep"
    (root / "logs").mkdir(parents=True)
    describe(root, "25", name="QSIPrep")
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids"))
    assert "it holds dataset_description.json, logs and was made by QSIPrep" in _message(caught)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="is no output of fMRIPrep: it is empty"):
        find_fmriprep(tmp_path / "empty", raw_run(tmp_path / "bids"))
