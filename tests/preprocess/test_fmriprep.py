"""Folders of fMRIPrep of each generation are found and used, in the space that is wanted."""

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
    fake_fmriprep,
    find_fake,
    motion_pulls,
    raw_run,
    write_run,
)

from bids_recon.errors import DataError, ExitCode, MissingInputError, UsageError
from bids_recon.glm.nuisance import motion_regressors
from bids_recon.outputs.reading import read_tsv
from bids_recon.preprocess.fmriprep import find_fmriprep, list_spaces
from bids_recon.preprocess.itk_transforms import read_itk_affine

MNI = "MNI152NLin2009cAsym"


def _message(error: pytest.ExceptionInfo[Any], code: ExitCode = ExitCode.NO_INPUT) -> str:
    assert error.value.exit_code == code
    return str(error.value)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("described", [True, False])
def test_every_generation_is_found_and_can_be_used(tmp_path: Path, generation: str, described: bool) -> None:
    found = find_fake(tmp_path, generation, described=described, space="T1w")
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
    found = find_fake(tmp_path, generation, FakeRun(spaces=spaces))
    assert found.space is None
    np.testing.assert_allclose(nib.load(found.bold).affine, affine_of("func"), atol=1e-6)
    assert found.mask is not None
    np.testing.assert_allclose(nib.load(found.mask).affine, affine_of("func"), atol=1e-6)
    assert found.warnings == []
    root, run = tmp_path / "fmriprep", raw_run(tmp_path / "bids")
    assert list_spaces(root, run) == ["func", "T1w", f"{MNI}:res-2"]


@pytest.mark.parametrize("generation", ["22", "25", "26"])
def test_transforms_are_those_that_were_written(tmp_path: Path, generation: str) -> None:
    found = find_fake(tmp_path, generation)
    assert found.motion is not None and found.to_anatomy is not None
    np.testing.assert_allclose(read_itk_affine(found.motion), motion_pulls(), atol=1e-12)
    np.testing.assert_allclose(read_itk_affine(found.to_anatomy)[0], anatomy_pull(), atol=1e-12)


def test_20_2_has_the_way_to_the_anatomy_alone(tmp_path: Path) -> None:
    found = find_fake(tmp_path, "20.2")
    assert found.motion is None
    assert found.to_anatomy is not None and "from-scanner_to-T1w" in found.to_anatomy.name


def test_the_reference_that_was_aligned_is_taken(tmp_path: Path) -> None:
    found = find_fake(tmp_path, "25")
    assert found.boldref is not None and found.boldref.name.endswith("_desc-coreg_boldref.nii.gz")
    found = find_fake(tmp_path / "next", "26")
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


def test_t1w_comes_before_mni(tmp_path: Path) -> None:
    found = find_fake(tmp_path, "20.2", FakeRun(spaces=(MNI, "T1w")))
    assert found.space == "T1w"


@pytest.mark.parametrize("space", ["func", "native", "boldref", "run"])
def test_the_runs_own_space_has_several_names(tmp_path: Path, space: str) -> None:
    assert find_fake(tmp_path, "25", space=space).space is None


def test_anat_is_t1w(tmp_path: Path) -> None:
    assert find_fake(tmp_path, "25", space="anat").space == "T1w"


@pytest.mark.parametrize("written", ["res-2", "res-02"])
@pytest.mark.parametrize("asked", ["", ":res-2", ":res-02"])
def test_zeros_of_a_resolution_do_not_count(tmp_path: Path, written: str, asked: str) -> None:
    found = find_fake(tmp_path, "20.2", FakeRun(spaces=(f"{MNI}:{written}",)), space=MNI + asked)
    assert found.space == f"{MNI}:res-2"
    assert found.bold.name.endswith(f"_space-{MNI}_{written}_desc-preproc_bold.nii.gz")
    assert found.mask is not None and f"_{written}_" in found.mask.name


def test_several_resolutions_have_to_be_chosen_from(tmp_path: Path) -> None:
    spaces = (f"{MNI}:res-1", f"{MNI}:res-2")
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(spaces=spaces))
    run = raw_run(tmp_path / "bids")
    with pytest.raises(DataError) as caught:
        find_fmriprep(root, run, space=MNI)
    message = _message(caught, ExitCode.DATA_ERROR)
    assert "2 files would do" in message and f"space-{MNI}_res-1_desc-preproc_bold" in message
    assert f"Choose with --space one of: {MNI}:res-1, {MNI}:res-2." in message
    assert find_fmriprep(root, run, space=f"{MNI}:res-1").space == f"{MNI}:res-1"


def test_every_space_that_is_offered_can_be_chosen(tmp_path: Path) -> None:
    spaces = ["func", "T1w", MNI, f"{MNI}:res-1", f"{MNI}:res-2", "MNIPediatricAsym:cohort-2:res-1"]
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(spaces=tuple(spaces)))
    run = raw_run(tmp_path / "bids")
    assert list_spaces(root, run) == spaces
    assert [find_fmriprep(root, run, space=space).space or "func" for space in spaces] == spaces
    assert find_fmriprep(root, run, space=f"{MNI}:res-native").space == MNI


def test_several_templates_have_to_be_chosen_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--space one of: MNI152NLin2009cAsym, MNI152NLin6Asym:res-2"):
        find_fake(tmp_path, "20.2", FakeRun(spaces=("MNI152NLin6Asym:res-2", MNI)))


@pytest.mark.parametrize("space", ["MNI152:2mm", "MNI 152", "T1w:den-10k"])
def test_a_space_that_cannot_be_understood(tmp_path: Path, space: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be understood.*func, T1w or MNI") as caught:
        find_fake(tmp_path, "25", space=space)
    assert caught.value.exit_code == ExitCode.USAGE


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
        find_fake(tmp_path, "20.2", FakeRun(run="1"), FakeRun(run="01"))


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
