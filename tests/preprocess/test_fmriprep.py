"""Folders of fMRIPrep of each generation are found and used; each hole gives the message that fixes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fake_fmriprep import (
    GENERATIONS,
    N_VOLUMES,
    FakeRun,
    affine_of,
    anatomy_pull,
    describe,
    fake_fmriprep,
    motion_pulls,
    raw_run,
    unfetch,
    write_anatomy,
    write_image,
    write_run,
)
from nibabel.affines import apply_affine

from bids_recon.errors import DataError, ExitCode, MissingInputError, UsageError
from bids_recon.glm.nuisance import motion_regressors
from bids_recon.outputs.reading import read_tsv
from bids_recon.preprocess.fmriprep import FmriprepRun, anatomical_transforms, find_fmriprep, list_spaces
from bids_recon.preprocess.itk_transforms import read_itk_affine, read_itk_composite

MNI = "MNI152NLin2009cAsym"
MINIMAL = FakeRun(spaces=(), confounds=False)


def _find(tmp_path: Path, generation: str, *runs: FakeRun, **options: Any) -> FmriprepRun:
    """Write a folder and look for the raw run `01` in it."""
    space = options.pop("space", None)
    root = fake_fmriprep(tmp_path / "fmriprep", generation, *runs, **options)
    return find_fmriprep(root, raw_run(tmp_path / "bids"), space=space)


def _message(error: pytest.ExceptionInfo[Any], code: ExitCode = ExitCode.NO_INPUT) -> str:
    assert error.value.exit_code == code
    return str(error.value)


# Each generation


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("described", [True, False])
def test_every_generation_is_found_and_can_be_used(tmp_path: Path, generation: str, described: bool) -> None:
    found = _find(tmp_path, generation, described=described, space="T1w")
    assert found.generation == generation
    assert found.space == "T1w"
    assert found.resample is None
    image = nib.load(found.bold)
    assert image.shape == (8, 8, 6, N_VOLUMES)
    np.testing.assert_allclose(image.affine, affine_of("T1w"))
    # The second series that the fake folder holds.
    expected = np.random.default_rng(1).integers(0, 2000, image.shape)
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
    assert found.mask is not None and "space-T1w" in found.mask.name
    np.testing.assert_allclose(nib.load(found.mask).affine, affine_of("T1w"))
    assert found.confounds is not None
    assert motion_regressors(read_tsv(found.confounds)).shape == (N_VOLUMES, 6)
    assert (found.boldref is None) == (generation == "2018")
    assert found.repetition_time == 2.0
    assert any("no dataset_description.json" in warning for warning in found.warnings) != described


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_runs_own_space_is_preferred(tmp_path: Path, generation: str) -> None:
    spaces = ("func", "T1w", f"{MNI}:res-2")
    found = _find(tmp_path, generation, FakeRun(spaces=spaces))
    assert found.space is None
    np.testing.assert_allclose(nib.load(found.bold).affine, affine_of("func"), atol=1e-6)
    assert found.mask is not None
    np.testing.assert_allclose(nib.load(found.mask).affine, affine_of("func"), atol=1e-6)
    assert found.warnings == []
    root, run = tmp_path / "fmriprep", raw_run(tmp_path / "bids")
    assert list_spaces(root, run) == ["func", "T1w", f"{MNI}:res-2"]


@pytest.mark.parametrize("generation", ["22", "25", "26"])
def test_transforms_are_those_that_were_written(tmp_path: Path, generation: str) -> None:
    found = _find(tmp_path, generation)
    assert found.motion is not None and found.to_anatomy is not None
    np.testing.assert_allclose(read_itk_affine(found.motion), motion_pulls(), atol=1e-12)
    np.testing.assert_allclose(read_itk_affine(found.to_anatomy)[0], anatomy_pull(), atol=1e-12)


def test_20_2_has_the_way_to_the_anatomy_alone(tmp_path: Path) -> None:
    found = _find(tmp_path, "20.2")
    assert found.motion is None
    assert found.to_anatomy is not None and "from-scanner_to-T1w" in found.to_anatomy.name


def test_the_reference_that_was_aligned_is_taken(tmp_path: Path) -> None:
    found = _find(tmp_path, "25")
    assert found.boldref is not None and found.boldref.name.endswith("_desc-coreg_boldref.nii.gz")
    found = _find(tmp_path / "next", "26")
    assert found.boldref is not None and found.boldref.name.endswith("_space-run_boldref.nii.gz")


@pytest.mark.parametrize(
    ("version", "generation"),
    [
        ("1.1.8", "2018"),
        ("1.5.0", "20.2"),
        ("20.2.7", "20.2"),
        ("22.0.2", "20.2"),
        ("22.1.1", "22"),
        ("23.1.4", "22"),
        ("23.2.0", "25"),
        ("25.2.6", "25"),
        ("26.0.0.dev1", "26"),
    ],
)
def test_the_version_tells_the_generation(tmp_path: Path, version: str, generation: str) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2")
    description = {"GeneratedBy": [{"Name": "fMRIPrep", "Version": version}]}
    (root / "dataset_description.json").write_text(json.dumps(description))
    assert find_fmriprep(root, raw_run(tmp_path / "bids")).generation == generation


# Spaces


def test_t1w_comes_before_mni(tmp_path: Path) -> None:
    found = _find(tmp_path, "20.2", FakeRun(spaces=(MNI, "T1w")))
    assert found.space == "T1w"


@pytest.mark.parametrize("space", ["func", "native", "boldref", "run"])
def test_the_runs_own_space_has_several_names(tmp_path: Path, space: str) -> None:
    assert _find(tmp_path, "25", space=space).space is None


def test_anat_is_t1w(tmp_path: Path) -> None:
    assert _find(tmp_path, "25", space="anat").space == "T1w"


@pytest.mark.parametrize("written", ["res-2", "res-02"])
@pytest.mark.parametrize("asked", ["", ":res-2", ":res-02"])
def test_zeros_of_a_resolution_do_not_count(tmp_path: Path, written: str, asked: str) -> None:
    found = _find(tmp_path, "20.2", FakeRun(spaces=(f"{MNI}:{written}",)), space=MNI + asked)
    assert found.space == f"{MNI}:res-2"
    assert found.bold.name.endswith(f"_space-{MNI}_{written}_desc-preproc_bold.nii.gz")
    assert found.mask is not None and f"_{written}_" in found.mask.name


def test_several_resolutions_have_to_be_chosen_from(tmp_path: Path) -> None:
    spaces = (MNI, f"{MNI}:res-1", f"{MNI}:res-2")
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(spaces=spaces))
    run = raw_run(tmp_path / "bids")
    with pytest.raises(DataError) as caught:
        find_fmriprep(root, run, space=MNI)
    message = _message(caught, ExitCode.DATA_ERROR)
    assert "3 files would do" in message and f"space-{MNI}_res-1_desc-preproc_bold" in message
    assert f"Choose with --space one of: {MNI}, {MNI}:res-1, {MNI}:res-2." in message
    assert find_fmriprep(root, run, space=f"{MNI}:res-1").space == f"{MNI}:res-1"
    assert find_fmriprep(root, run, space=f"{MNI}:res-native").space == MNI


def test_several_templates_have_to_be_chosen_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--space one of: MNI152NLin2009cAsym, MNI152NLin6Asym:res-2"):
        _find(tmp_path, "20.2", FakeRun(spaces=("MNI152NLin6Asym:res-2", MNI)))


@pytest.mark.parametrize("space", ["MNI152:2mm", "MNI 152", "T1w:den-10k"])
def test_a_space_that_cannot_be_understood(tmp_path: Path, space: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be understood.*func, T1w or MNI") as caught:
        _find(tmp_path, "25", space=space)
    assert caught.value.exit_code == ExitCode.USAGE


# Names


@pytest.mark.parametrize("derived", ["1", "01", "001"])
@pytest.mark.parametrize("raw", ["1", "01"])
def test_zeros_of_a_run_do_not_count(tmp_path: Path, derived: str, raw: str) -> None:
    runs = [FakeRun(run=derived), FakeRun(run="11"), FakeRun(run="10")]
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", *runs, anatomy=False)
    found = find_fmriprep(root, raw_run(tmp_path / "bids", run=raw))
    assert f"_run-{derived}_" in found.bold.name
    assert found.confounds is not None and f"_run-{derived}_" in found.confounds.name


def test_the_same_run_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 files would do.*run-01_desc.*run-1_desc.*take away all but one"):
        _find(tmp_path, "20.2", FakeRun(run="1"), FakeRun(run="01"))


def test_labels_of_bold5000(tmp_path: Path) -> None:
    names = {"subject": "CSI1", "session": "01", "task": "5000scenes"}
    root = fake_fmriprep(
        tmp_path / "fmriprep", "2018", FakeRun(**names, run="01", spaces=("T1w",)), described=False
    )
    found = find_fmriprep(root, raw_run(tmp_path / "bids", **names))
    assert found.bold.name == "sub-CSI1_ses-01_task-5000scenes_run-01_bold_space-T1w_preproc.nii.gz"
    assert found.mask is not None and found.mask.name.endswith("_bold_space-T1w_brainmask.nii.gz")
    assert found.confounds is not None and found.confounds.name.endswith("_bold_confounds.tsv")


def test_entities_of_the_raw_series_must_match(tmp_path: Path) -> None:
    for others in ("_acq-mb4_dir-AP", "_acq-mb4_dir-PA", ""):
        fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(others=others))
    for others in ("_acq-mb4_dir-PA", ""):
        run = raw_run(tmp_path / "bids", others=others)
        found = find_fmriprep(tmp_path / "fmriprep", run)
        paths = [found.bold, found.mask, found.confounds, found.motion, found.to_anatomy, found.boldref]
        assert all(path and path.name.startswith(f"sub-01_task-perception{others}_run-1") for path in paths)
    with pytest.raises(MissingInputError, match="holds nothing of"):
        find_fmriprep(tmp_path / "fmriprep", raw_run(tmp_path / "bids", others="_rec-magnitude"))


def test_sessions_are_kept_apart(tmp_path: Path) -> None:
    runs = [FakeRun(session=session) for session in ("one", "two")]
    root = fake_fmriprep(tmp_path / "fmriprep", "25", *runs)
    found = find_fmriprep(root, raw_run(tmp_path / "bids", session="two"))
    assert found.bold.parent == root / "sub-01" / "ses-two" / "func"


def test_a_raw_run_of_events_alone_is_found(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(others="_acq-mb4"))
    assert "_acq-mb4_" in find_fmriprep(root, raw_run(tmp_path / "bids", bold=False)).bold.name


def test_series_of_single_echoes_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "fmriprep"
    for echo in ("_echo-1", "_echo-2"):
        fake_fmriprep(root, "25", FakeRun(echo=echo, spaces=("func",)))
    run = raw_run(tmp_path / "bids", others="_echo-2")
    # Without the combined series, that of the raw echo serves.
    assert find_fmriprep(root, run).bold.name.endswith("_echo-2_desc-preproc_bold.nii.gz")
    write_run(root, "25", FakeRun(spaces=("T1w",)))
    assert find_fmriprep(root, run).bold.name.endswith("_run-1_space-T1w_desc-preproc_bold.nii.gz")


def test_denoised_and_surface_series_are_left_out(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(spaces=("T1w",)))
    folder, start = root / "sub-01" / "func", "sub-01_task-perception_run-1"
    for name in (
        "space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz",
        "hemi-L_space-fsaverage_bold.func.gii",
        "space-fsLR_den-91k_bold.dtseries.nii",
        "bold_space-T1w_variant-smoothAROMAnonaggr_preproc.nii.gz",
    ):
        (folder / f"{start}_{name}").write_bytes(b"x" * 2000)
    (folder / f"._{start}_space-T1w_desc-preproc_bold.nii.gz").write_bytes(b"macOS")
    assert list_spaces(root, raw_run(tmp_path / "bids")) == ["T1w"]


# Holes that can be lived with


def test_what_is_missing_beside_the_series_is_told(tmp_path: Path) -> None:
    """As NOD: T1w series and confounds of 20.2, no description, no masks; here without confounds too."""
    gaps = FakeRun(spaces=("T1w",), masks=False, confounds=False, coregistration=False, references=False)
    found = _find(tmp_path, "20.2", gaps, described=False, anatomy=False)
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


# git-annex


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


# Spaces that have to be resampled


@pytest.mark.parametrize("generation", ["22", "25", "26"])
def test_minimal_derivatives_are_resampled_in_the_runs_own_space(tmp_path: Path, generation: str) -> None:
    found = _find(tmp_path, generation, MINIMAL)
    raw = raw_run(tmp_path / "bids")
    assert found.resample is not None and found.resample.bold == raw.bold == found.bold
    assert found.resample.motion == found.motion
    assert found.resample.boldref == found.boldref
    assert found.resample.to_reference == ()
    assert found.space is None and found.mask is not None
    assert found.slice_timing_corrected is False
    assert "resampled once" in found.resample.description


def test_the_way_of_a_point_from_the_template_to_a_volume(tmp_path: Path) -> None:
    found = _find(tmp_path, "25", MINIMAL, space=f"{MNI}:res-2")
    assert found.resample is not None and found.space == f"{MNI}:res-2"
    to_t1w, to_reference = found.resample.to_reference
    points = np.array([[0.0, 0, 0], [20, -60, 5]])
    in_t1w = read_itk_composite(to_t1w).map_points(points)
    np.testing.assert_allclose(in_t1w, points + np.array([10, 0, 0]))
    in_reference = apply_affine(read_itk_affine(to_reference)[0], in_t1w)
    np.testing.assert_allclose(in_reference, points + np.array([11, -2, 3]))
    found = find_fmriprep(tmp_path / "fmriprep", raw_run(tmp_path / "bids"), space="T1w")
    assert found.resample is not None and found.resample.to_reference == (to_reference,)


def test_a_space_beside_those_there_are_is_resampled(tmp_path: Path) -> None:
    found = _find(tmp_path, "25", FakeRun(spaces=(MNI,)), space="T1w")
    assert found.resample is not None and found.space == "T1w"


def test_mni_alone_is_used_and_resampling_offered(tmp_path: Path) -> None:
    found = _find(tmp_path, "25", FakeRun(spaces=(MNI,)))
    assert found.space == MNI and found.resample is None
    assert any("--space func" in warning for warning in found.warnings)


def test_distortions_that_stay_are_told(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", MINIMAL)
    folder = root / "sub-01" / "func"
    source = next(folder.glob("*_to-T1w_*_xfm.txt"))
    name = source.name.replace("_to-T1w_mode-image_desc-coreg_", "_to-auto00000_mode-image_")
    (folder / name).write_bytes(source.read_bytes())
    warnings = find_fmriprep(root, raw_run(tmp_path / "bids")).warnings
    assert any("field map auto00000" in text and "--level full" in text for text in warnings)


def test_a_raw_series_that_was_not_fetched_is_named(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", MINIMAL)
    run = raw_run(tmp_path / "bids")
    assert run.bold is not None
    unfetch(run.bold)
    with pytest.raises(MissingInputError, match="datalad get"):
        find_fmriprep(root, run)


# Holes that cannot be lived with


def test_minimal_derivatives_without_the_raw_series(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", MINIMAL)
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids", bold=False))
    message = _message(caught)
    assert "there is no preprocessed BOLD" in message
    assert "Run fMRIPrep again with --level full --output-spaces func;" in message
    assert "resampling it here would need the raw BOLD series." in message


def test_default_output_of_20_2_when_t1w_is_wanted(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(spaces=(f"{MNI}:res-2",)))
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep(root, raw_run(tmp_path / "bids"), space="T1w")
    message = _message(caught)
    assert f"no preprocessed BOLD in the space T1w, only in {MNI}:res-2" in message
    assert "Run fMRIPrep again with --output-spaces T1w;" in message
    assert f"choose with --space one of: {MNI}:res-2" in message
    assert "*_from-orig_to-boldref_*_xfm.txt" in message


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
        _find(tmp_path, "25", FakeRun(spaces=(MNI,), **gap), space="T1w")
    message = _message(caught)
    assert f"resampling it here would need {lacking}." in message
    assert "--output-spaces T1w" in message


def test_the_way_to_the_template_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError) as caught:
        _find(tmp_path, "25", MINIMAL, space="MNI152NLin6Asym:res-2")
    assert "need anat/*_from-T1w_to-MNI152NLin6Asym_mode-image_xfm.h5." in _message(caught)
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


# Timing


def _timed(tmp_path: Path, sidecar: dict[str, Any] | None, raw: dict[str, Any] | None = None) -> FmriprepRun:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(sidecar=sidecar, spaces=("T1w",)))
    return find_fmriprep(root, raw_run(tmp_path / "bids", metadata=raw))


def test_start_time_of_the_sidecar_counts(tmp_path: Path) -> None:
    sidecar = {"RepetitionTime": 2.0, "SliceTimingCorrected": True, "StartTime": 0.95}
    found = _timed(tmp_path, sidecar)
    assert (found.start_time, found.slice_timing_corrected) == (0.95, True)
    assert found.metadata == sidecar
    assert found.warnings == []


def test_a_start_time_of_zero_counts(tmp_path: Path) -> None:
    found = _timed(tmp_path, {"RepetitionTime": 2.0, "SliceTimingCorrected": True, "StartTime": 0})
    assert found.start_time == 0.0 and found.warnings == []


@pytest.mark.parametrize(
    ("slices", "middle"), [(None, 1.0), ([0.0, 1.0, 0.5, 1.5], 0.75), ([1.9, 0.1, 0.4], 1.0)]
)
def test_without_start_time_the_middle_of_the_volume_is_taken(
    tmp_path: Path, slices: list[float] | None, middle: float
) -> None:
    raw = {"RepetitionTime": 2.0} | ({"SliceTiming": slices} if slices else {})
    found = _timed(tmp_path, {"SliceTimingCorrected": True}, raw)
    assert found.start_time == middle and found.slice_timing_corrected
    assert any(f"the middle of the volume, {middle:g} s" in warning for warning in found.warnings)


def test_without_correction_volumes_begin_when_they_were_recorded(tmp_path: Path) -> None:
    sidecar = {"RepetitionTime": 2.0, "SliceTimingCorrected": False}
    found = _timed(tmp_path, sidecar, {"RepetitionTime": 2.0, "SliceTiming": [0.0, 1.0]})
    assert (found.start_time, found.slice_timing_corrected, found.warnings) == (0.0, False, [])


@pytest.mark.parametrize(
    ("boilerplate", "start", "warned"),
    [
        ("BOLD runs were slice-time\ncorrected using `3dTshift`.", 0.5, "the middle of the volume, 0.5 s"),
        ("Head-motion parameters were estimated.", 0.0, None),
        (None, 0.0, '{"SliceTimingCorrected": true, "StartTime": 0.5}'),
    ],
)
def test_before_20_2_4_the_boilerplate_tells(
    tmp_path: Path, boilerplate: str | None, start: float, warned: str | None
) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(sidecar={"RepetitionTime": 2.0}))
    if boilerplate is not None:
        (root / "logs").mkdir()
        (root / "logs" / "CITATION.md").write_text(boilerplate)
    metadata = {"RepetitionTime": 2.0, "SliceTiming": [0.0, 0.5, 1.0]}
    found = find_fmriprep(root, raw_run(tmp_path / "bids", metadata=metadata))
    assert found.start_time == start
    assert found.slice_timing_corrected == (start > 0)
    assert [warned in warning for warning in found.warnings if warned] == ([True] if warned else [])
    assert bool(found.warnings) == bool(warned)


@pytest.mark.parametrize(
    ("sidecar", "raw", "header", "expected", "warned"),
    [
        ({"RepetitionTime": 1.5}, {"RepetitionTime": 1.5}, 1.5, 1.5, False),
        ({"RepetitionTime": 1.5}, {}, 1.0, 1.5, True),
        ({"RepetitionTime": 1.5}, {}, 0.0, 1.5, False),
        (None, {"RepetitionTime": 1.5}, 1.0, 1.5, True),
        (None, {}, 1.25, 1.25, False),
    ],
)
def test_repetition_time(
    tmp_path: Path,
    sidecar: dict[str, Any] | None,
    raw: dict[str, Any],
    header: float,
    expected: float,
    warned: bool,
) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(sidecar=sidecar, header_tr=header))
    found = find_fmriprep(root, raw_run(tmp_path / "bids", metadata=raw))
    assert found.repetition_time == expected
    assert any("the header says 1 s" in warning for warning in found.warnings) == warned


def test_sidecars_nearer_to_the_root_are_inherited(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(sidecar={"StartTime": 0.25}))
    (root / "task-perception_bold.json").write_text('{"RepetitionTime": 1.5, "StartTime": 9}')
    found = find_fmriprep(root, raw_run(tmp_path / "bids"))
    assert (found.repetition_time, found.start_time) == (1.5, 0.25)


def test_an_unknown_repetition_time_is_an_error(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(header_tr=0.0))
    with pytest.raises(DataError, match=r"repetition time is 0 s.*State RepetitionTime"):
        find_fmriprep(root, raw_run(tmp_path / "bids", metadata={}))


def test_a_single_volume_is_an_error(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25")
    write_image(next(root.rglob("*run-1_desc-preproc_bold.nii.gz")), "func")
    with pytest.raises(DataError, match="is a single volume"):
        find_fmriprep(root, raw_run(tmp_path / "bids"))


# Anatomy


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("session", ["", "anatomy"])
def test_anatomy_of_every_generation(tmp_path: Path, generation: str, session: str) -> None:
    """As in GOD, the T1w may lie in a session of its own."""
    root = fake_fmriprep(tmp_path / "fmriprep", generation, anatomy=False)
    write_anatomy(root, generation, session=session)
    found = anatomical_transforms(root, "01", session="perceptionTraining01")
    images = [found.t1w, found.brain_mask, found.gray_matter, found.white_matter, found.csf]
    assert all(path is not None and MNI not in path.name for path in images)
    assert len(set(images)) == 5
    assert found.to_template is not None and found.from_template is not None
    # The T1w is resampled to the template with `to_template`: it maps points of the template to the T1w.
    np.testing.assert_allclose(read_itk_composite(found.to_template).map_points([[0, 0, 0]]), [[10, 0, 0]])
    np.testing.assert_allclose(read_itk_composite(found.from_template).map_points([[0, 0, 0]]), [[-10, 0, 0]])


def test_missing_parts_of_the_anatomy_are_none(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25")
    other = anatomical_transforms(root, "01", "MNI152NLin6Asym")
    assert other.to_template is None and other.from_template is None and other.t1w is not None
    nothing = anatomical_transforms(root, "02")
    assert nothing.t1w is None and nothing.to_template is None and nothing.csf is None


def test_the_session_of_the_run_has_its_own_anatomy(tmp_path: Path) -> None:
    root = tmp_path / "fmriprep"
    for session in ("one", "two"):
        write_anatomy(root, "25", session=session)
    found = anatomical_transforms(root, "01", session="two")
    assert found.t1w is not None and "ses-two" in found.t1w.name
    with pytest.raises(
        DataError, match="2 sessions have an anatomy of their own: ses-one, ses-two"
    ) as caught:
        anatomical_transforms(root, "01", session="three")
    assert "--subject-anatomical-reference" in str(caught.value)


def test_two_anatomies_in_one_folder_are_an_error(tmp_path: Path) -> None:
    for others in ("_acq-a", "_acq-b"):
        write_anatomy(tmp_path, "25", others=others)
    with pytest.raises(DataError, match="2 files would do: sub-01_acq-a_desc-preproc_T1w"):
        anatomical_transforms(tmp_path, "01")
