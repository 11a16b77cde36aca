"""Anatomical images of a participant."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_recon.dataset.anatomy import find_anatomy
from bids_recon.errors import NothingSelectedError


def make(root: Path, *names: str) -> Path:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


def test_anatomy_of_its_own_session_is_found(tmp_path: Path) -> None:
    make(tmp_path, "sub-01/ses-anatomy/anat/sub-01_ses-anatomy_T1w.nii.gz")
    make(tmp_path, "sub-01/ses-train/anat/sub-01_ses-train_inplaneT2.nii.gz")
    make(tmp_path, "sub-02/anat/sub-02_T1w.nii")
    found = find_anatomy(tmp_path, "01")
    assert found.t1w == tmp_path / "sub-01/ses-anatomy/anat/sub-01_ses-anatomy_T1w.nii.gz"
    assert list(found.inplane) == ["train"]
    assert not found.warnings
    assert find_anatomy(tmp_path, "02").t1w == tmp_path / "sub-02/anat/sub-02_T1w.nii"
    assert find_anatomy(tmp_path, "03").t1w is None


@pytest.mark.parametrize(
    ("filters", "name"),
    [
        ({}, "acq-a_T1w"),
        ({"run": 2}, "run-02_T1w"),
        ({"acquisition": "b"}, "acq-b_T1w"),
        ({"acquisition": None, "run": "*"}, "run-02_T1w"),
        ({"acquisition": ["x", "b"], "suffix": "T1w"}, "acq-b_T1w"),
    ],
)
def test_one_of_several_is_chosen(tmp_path: Path, filters: dict, name: str) -> None:
    make(tmp_path, *(f"sub-01/anat/sub-01_{x}.nii.gz" for x in ("acq-b_T1w", "run-02_T1w", "acq-a_T1w")))
    found = find_anatomy(tmp_path, "01", filters)
    assert found.t1w is not None
    assert found.t1w.name == f"sub-01_{name}.nii.gz"
    assert bool(found.warnings) == (not filters)


def test_filters_that_leave_nothing(tmp_path: Path) -> None:
    make(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(NothingSelectedError, match="leave none of 1 T1w images of sub-01"):
        find_anatomy(tmp_path, "01", {"acquisition": "mprage"})


def test_other_names_are_no_t1w_image(tmp_path: Path) -> None:
    make(
        tmp_path,
        *(f"sub-01/anat/{x}" for x in ("sub-01_T1w.json", "._sub-01_T1w.nii.gz", "sub-01_notT1w.nii.gz")),
    )
    assert find_anatomy(tmp_path, "01").t1w is None
