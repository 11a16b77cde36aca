"""Derivatives of fMRIPrep in place of raw BOLD, in the names of each generation and with holes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_recon.preprocess.itk_transforms import write_itk_affine

BARE = ("--nuisance", "none", "--roi", "brain")
ONE = ("--participant-label", "01", "--responses-only")


def raw_runs(data: Path) -> list[Path]:
    return sorted((data / "sub-01").rglob("*_bold.nii.gz"))


def derived(data: Path, root: Path, space: str | None, generation: str, *, described: bool = True) -> Path:
    """What fMRIPrep would leave of a head that lay still: the raw series under its names."""
    root.mkdir()
    if described:
        maker = {"Name": "fMRIPrep", "Version": "25.1.0" if generation == "25" else "20.2.7"}
        about = {
            "Name": "fMRIPrep",
            "BIDSVersion": "1.4.0",
            "DatasetType": "derivative",
            "GeneratedBy": [maker],
        }
        (root / "dataset_description.json").write_text(json.dumps(about))
    for file in raw_runs(data):
        folder = root / file.parent.relative_to(data)
        folder.mkdir(parents=True, exist_ok=True)
        # A run that is run-01 in the raw data is often run-1 here.
        stem = file.name.removesuffix("_bold.nii.gz").replace("run-0", "run-")
        part = f"_space-{space}" if space else ""
        image = nib.load(file)
        mask = nib.Nifti1Image((image.dataobj[..., 0] > 200).astype(np.uint8), image.affine)
        rng = np.random.default_rng(0)
        confounds = pd.DataFrame(
            rng.normal(0, 0.1, (image.shape[3], 6)),
            columns=["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"],
        )
        if generation == "2018":
            shutil.copy(file, folder / f"{stem}_bold{part}_preproc.nii.gz")
            nib.save(mask, folder / f"{stem}_bold{part}_brainmask.nii.gz")
            old = confounds.set_axis(["X", "Y", "Z", "RotX", "RotY", "RotZ"], axis=1)
            old.to_csv(folder / f"{stem}_bold_confounds.tsv", sep="\t", index=False)
            continue
        shutil.copy(file, folder / f"{stem}{part}_desc-preproc_bold.nii.gz")
        sidecar = {
            "RepetitionTime": 2.0,
            "SkullStripped": False,
            "SliceTimingCorrected": False,
            "StartTime": 0.0,
        }
        (folder / f"{stem}{part}_desc-preproc_bold.json").write_text(json.dumps(sidecar))
        nib.save(mask, folder / f"{stem}{part}_desc-brain_mask.nii.gz")
        confounds.to_csv(folder / f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)
        (folder / f"{stem}_desc-confounds_timeseries.json").write_text("{}")
        if generation == "25":
            nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32).mean(-1), image.affine),
                     folder / f"{stem}_desc-coreg_boldref.nii.gz")  # fmt: skip
            xfm = folder / f"{stem}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"
            write_itk_affine(xfm, np.eye(4))
            hmc = folder / f"{stem}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"
            write_itk_affine(hmc, np.repeat(np.eye(4)[None], image.shape[3], axis=0))
    return root


def statmaps(out: Path) -> np.ndarray:
    files = sorted(out.rglob("*_stat-effect_desc-SingletrialBetas_statmap.nii.gz"))
    return np.concatenate([nib.load(file).get_fdata(dtype=np.float32) for file in files], axis=3)


@pytest.fixture
def as_it_is(app, tiny: Path, tmp_path: Path) -> np.ndarray:
    """Responses to the raw series, which the derivatives below hold too."""
    called = app(tiny, tmp_path / "raw", "participant", *ONE, *BARE)
    assert called.code == 0, called.err
    return statmaps(tmp_path / "raw")


@pytest.mark.parametrize(
    ("space", "generation"), [("T1w", "25"), ("T1w", "20.2"), ("T1w", "2018"), (None, "25")]
)
def test_each_generation_gives_the_responses_of_its_series(app, tiny, tmp_path, as_it_is, space, generation):
    root = derived(tiny, tmp_path / "prep", space, generation)
    called = app(tiny, tmp_path / "out", "participant", *ONE, *BARE, "--derivatives", f"fmriprep={root}")
    assert called.code == 0, called.err
    found = statmaps(tmp_path / "out")
    both = (found != 0).all(axis=3) & (as_it_is != 0).all(axis=3)
    assert both.sum() > 100
    # Series in their own space are resampled once, and stored in steps of a 30,000th.
    np.testing.assert_allclose(found[both], as_it_is[both], atol=0.02 if space is None else 1e-5)
    (sidecar, *_) = sorted((tmp_path / "out").rglob("*SingletrialBetas_statmap.json"))
    about = json.loads(sidecar.read_text())
    assert about["Preprocessing"]["Engine"] == "fMRIPrep"
    assert all(source.startswith("bids:fmriprep:sub-01/") for source in about["Sources"])
    assert "BOLD was preprocessed by fMRIPrep" in (tmp_path / "out" / "sub-01.html").read_text()


def test_series_that_were_not_written_are_resampled_from_raw(app, tiny, tmp_path, as_it_is):
    root = derived(tiny, tmp_path / "prep", None, "25")
    for file in root.rglob("*_desc-preproc_bold.*"):
        file.unlink()
    called = app(tiny, tmp_path / "out", "participant", *ONE, *BARE, "--derivatives", f"fmriprep={root}")
    assert called.code == 0, called.err
    found = statmaps(tmp_path / "out")
    both = (found != 0).all(axis=3) & (as_it_is != 0).all(axis=3)
    assert both.sum() > 100
    np.testing.assert_allclose(found[both], as_it_is[both], atol=0.02)


def test_confounds_of_fmriprep_reach_the_model(app, tiny, tmp_path, as_it_is):
    root = derived(tiny, tmp_path / "prep", "T1w", "20.2")
    named = ("--derivatives", f"fmriprep={root}")
    called = app(tiny, tmp_path / "out", "participant", *ONE, *named, "--roi", "brain")
    assert called.code == 0, called.err
    found = statmaps(tmp_path / "out")
    assert found.shape == as_it_is.shape
    assert np.abs(found - as_it_is).max() > 0.05


def remove(root: Path, pattern: str) -> None:
    files = list(root.rglob(pattern))
    assert files
    for file in files:
        file.unlink()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*_desc-brain_mask.nii.gz", "mask"),
        ("*_desc-confounds_timeseries.*", "confounds"),
        ("dataset_description.json", "dataset_description.json"),
    ],
)
def test_what_may_be_missing_is_told(app, tiny, tmp_path, pattern, expected):
    root = derived(tiny, tmp_path / "prep", "T1w", "20.2")
    remove(root, pattern)
    called = app(tiny, tmp_path / "out", "participant", *ONE, "--derivatives", f"fmriprep={root}")
    assert called.code == 0, called.err
    assert expected in called.err


@pytest.mark.parametrize(
    ("hole", "options", "expected"),
    [
        (lambda root: remove(root, "*_bold.nii.gz"), (), "--output-spaces"),
        (lambda root: None, ("--space", "MNI152NLin2009cAsym"), "--output-spaces MNI152NLin2009cAsym"),
        (lambda root: (root / "sub-01").rename(root / "sub-77"), (), "sub-77"),
    ],
)
def test_each_missing_piece_gives_the_message_that_fixes_it(app, tiny, tmp_path, hole, options, expected):
    root = derived(tiny, tmp_path / "prep", "T1w", "20.2")
    hole(root)
    called = app(tiny, tmp_path / "out", "participant", *ONE, "--derivatives", f"fmriprep={root}", *options)
    assert called.code == 66
    assert expected in called.err
    assert "Traceback" not in called.err


def test_native_runs_without_transforms_are_refused(app, tiny, tmp_path):
    root = derived(tiny, tmp_path / "prep", None, "25")
    remove(root, "*_xfm.txt")
    called = app(tiny, tmp_path / "out", "participant", *ONE, "--derivatives", f"fmriprep={root}")
    assert called.code == 66
    assert "--output-spaces T1w" in called.err


def test_two_folders_of_fmriprep(app, tiny, tmp_path):
    roots = [derived(tiny, tmp_path / name, "T1w", "20.2") for name in ("one", "two")]
    named = [f"fmriprep-{number}={root}" for number, root in enumerate(roots)]
    called = app(tiny, tmp_path / "out", "participant", *ONE, "--derivatives", *named)
    assert called.code == 2
    assert "several folders of fMRIPrep" in called.err


def test_the_plan_says_where_bold_comes_from(app, tiny, tmp_path):
    root = derived(tiny, tmp_path / "prep", "T1w", "20.2")
    called = app(
        tiny, tmp_path / "out", "participant", *ONE, "--derivatives", f"fmriprep={root}", "--dry-run"
    )
    assert called.code == 0, called.err
    assert "fMRIPrep's BOLD in space T1w" in called.out


def test_times_of_series_that_are_resampled_from_raw(app, tiny, tmp_path):
    """Slices are brought to the middle of the volume here, and responses are read at that time."""
    root = derived(tiny, tmp_path / "prep", None, "25")
    remove(root, "*_desc-preproc_bold.*")
    slices = nib.load(raw_runs(tiny)[0]).shape[2]
    for file in (tiny / "sub-01").rglob("*_bold.json"):
        about = json.loads(file.read_text())
        file.write_text(json.dumps({**about, "SliceTiming": np.linspace(0, 1.8, slices).tolist()}))
    work = tmp_path / "work"
    called = app(
        tiny, tmp_path / "out", "participant", *ONE, *BARE, "--derivatives", f"fmriprep={root}", "-w", work
    )
    assert called.code == 0, called.err
    from safetensors import safe_open

    for file in work.rglob("responses_*.safetensors"):
        with safe_open(file, framework="np") as stored:
            assert json.loads(stored.metadata()["info"])["start_time"] == pytest.approx(0.9)


def test_transforms_to_another_space_do_not_do(app, tiny, tmp_path):
    root = derived(tiny, tmp_path / "prep", None, "25")
    remove(root, "*_desc-preproc_bold.*")
    options = ("--derivatives", f"fmriprep={root}", "--space", "T1w")
    called = app(tiny, tmp_path / "out", "participant", *ONE, *options)
    assert called.code == 66
    assert "--output-spaces T1w" in called.err


def test_a_template_with_a_resolution(app, tiny, tmp_path):
    root = derived(tiny, tmp_path / "prep", "MNI152NLin2009cAsym_res-2", "20.2")
    called = app(tiny, tmp_path / "out", "participant", *ONE, "--derivatives", f"fmriprep={root}")
    assert called.code == 0, called.err
    assert list((tmp_path / "out").rglob("*_space-MNI152NLin2009cAsym_*SingletrialBetas_statmap.nii.gz"))
