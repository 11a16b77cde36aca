"""Spaces that fMRIPrep did not write are described as a resampling of the raw series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_fmriprep import (
    FakeRun,
    fake_fmriprep,
    find_fake,
    raw_run,
    unfetch,
)
from nibabel.affines import apply_affine

from bids_recon.errors import MissingInputError
from bids_recon.preprocess.fmriprep import find_fmriprep
from bids_recon.preprocess.itk_transforms import read_itk_affine, read_itk_composite

MNI = "MNI152NLin2009cAsym"
MINIMAL = FakeRun(spaces=(), confounds=False)


@pytest.mark.parametrize("generation", ["22", "25", "26"])
def test_minimal_derivatives_are_resampled_in_the_runs_own_space(tmp_path: Path, generation: str) -> None:
    found = find_fake(tmp_path, generation, MINIMAL)
    raw = raw_run(tmp_path / "bids")
    assert found.resample is not None and found.resample.bold == raw.bold == found.bold
    assert found.resample.motion == found.motion
    assert found.resample.boldref == found.boldref
    assert found.resample.to_reference == ()
    assert found.space is None and (found.mask is None) == (generation == "22")
    assert found.slice_timing_corrected is False
    assert "resampled once" in found.resample.description


def test_the_way_of_a_point_from_the_template_to_a_volume(tmp_path: Path) -> None:
    found = find_fake(tmp_path, "25", MINIMAL, space=f"{MNI}:res-2")
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
    found = find_fake(tmp_path, "25", FakeRun(spaces=(MNI,)), space="T1w")
    assert found.resample is not None and found.space == "T1w"


def test_mni_alone_is_used_and_resampling_offered(tmp_path: Path) -> None:
    found = find_fake(tmp_path, "25", FakeRun(spaces=(MNI,)))
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
