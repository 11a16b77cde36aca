"""Anatomical files of fMRIPrep, and the way to a template."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_fmriprep import (
    GENERATIONS,
    fake_fmriprep,
    write_anatomy,
)

from bids_recon.errors import DataError
from bids_recon.preprocess.fmriprep import anatomical_transforms
from bids_recon.preprocess.itk_transforms import read_itk_composite

MNI = "MNI152NLin2009cAsym"


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
