"""Masks are found under the names that data sets give them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bids_recon.errors import DataError
from bids_recon.rois.lookup import read_table
from bids_recon.rois.masks import find_masks
from bids_recon.rois.naming import parse_mask_name

VOXEL = [(1, 1, 1)]
KAMITANI = ("V1d", "V1v", "V2d", "V2v", "V3d", "V3v", "hV4", "LOC", "FFA", "PPA", "HVC")


@pytest.mark.parametrize(
    ("name", "label", "hemisphere", "space"),
    [
        ("sub-01_mask_LH_V1d.nii.gz", "V1d", "L", None),
        ("sub-05_mask_RH_hV4.nii.gz", "hV4", "R", None),
        ("sub-CSI1_mask-LHEarlyVis.nii.gz", "EarlyVis", "L", None),
        ("sub-CSI2_mask-RHLO.nii.gz", "LOC", "R", None),
        ("sub-CSI3_mask-RHLOC.nii.gz", "LOC", "R", None),
        ("sub-CSI3_mask-RHRRSC.nii.gz", "RSC", "R", None),
        ("sub-CSI3_mask-RHRSC.nii.gz", "RSC", "R", None),
        ("sub-01_task-a_space-T1w_label-V1_mask.nii.gz", "V1", None, "T1w"),
        ("sub-01_hemi-R_label-V1_mask.nii", "V1", "R", None),
        ("sub-01_label-LHV1v_mask.nii.gz", "V1v", "L", None),
        ("sub-01_label-rhV1v_mask.nii.gz", "V1v", "R", None),
        ("sub-01_label-lhasa_mask.nii.gz", "lhasa", None, None),
        ("sub-01_desc-FFA_mask.nii.gz", "FFA", None, None),
        ("sub-01_label-V1_desc-visualroi_mask.nii.gz", "V1", None, None),
    ],
)
def test_names_that_are_understood(name: str, label: str, hemisphere: str | None, space: str | None) -> None:
    parsed = parse_mask_name(name)
    assert parsed is not None
    assert (parsed.label, parsed.hemisphere, parsed.space) == (label, hemisphere, space)
    assert not parsed.segmentation


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_task-a_desc-brain_mask.nii.gz",
        "sub-01_bold_space-T1w_brainmask.nii.gz",
        "sub-01_mask.nii.gz",
        "sub-01_label-V1_mask.json",
        "sub-01_label-GM_probseg.nii.gz",
        "sub-01_T1w.nii.gz",
    ],
)
def test_names_of_other_files(name: str) -> None:
    assert parse_mask_name(name) is None


def test_kamitani_hemispheres_are_one_region(tmp_path: Path, plant) -> None:
    for label in KAMITANI:
        for side in ("LH", "RH"):
            plant(tmp_path / f"sourcedata/sub-01/anat/sub-01_mask_{side}_{label}.nii.gz", VOXEL)
    plant(tmp_path / "sourcedata/sub-02/anat/sub-02_mask_LH_V1d.nii.gz", VOXEL)
    found = find_masks(tmp_path, "01", {})
    assert set(found) == set(KAMITANI)
    assert [source.hemisphere for source in found["hV4"]] == ["L", "R"]
    assert {source.origin for source in found["V1d"]} == {"sourcedata"}
    assert [source.path.name for source in found["V1d"]] == [
        "sub-01_mask_LH_V1d.nii.gz",
        "sub-01_mask_RH_V1d.nii.gz",
    ]
    assert list(find_masks(tmp_path, "sub-02", {})) == ["V1d"]


def test_bold5000_misspellings_join_their_region(tmp_path: Path, plant) -> None:
    for name in ("LHLO", "RHLOC", "LHRSC", "RHRRSC"):
        plant(tmp_path / f"derivatives/spm/sub-CSI1/sub-CSI1_mask-{name}.nii.gz", VOXEL)
    found = find_masks(tmp_path, "CSI1", {})
    assert {label: [s.hemisphere for s in sources] for label, sources in found.items()} == {
        "LOC": ["L", "R"],
        "RSC": ["L", "R"],
    }


def test_places_are_searched_in_order_and_once(tmp_path: Path, plant) -> None:
    kamitani = plant(tmp_path / "sourcedata/sub-01/anat/sub-01_mask_LH_FFA.nii.gz", VOXEL)
    raw = plant(tmp_path / "sub-01/ses-2/anat/sub-01_ses-2_label-ffa_mask.nii.gz", VOXEL)
    other = plant(tmp_path / "out/sub-01/func/sub-01_task-a_space-T1w_label-FFA_mask.nii.gz", VOXEL)
    again = {"self": tmp_path, "out": tmp_path / "out", "absent": tmp_path / "nowhere"}
    found = find_masks(tmp_path, "01", again)
    assert list(found) == ["FFA"]
    assert [(s.path, s.origin) for s in found["FFA"]] == [
        (kamitani, "sourcedata"),
        (raw, "raw"),
        (other, "out"),
    ]
    assert found["FFA"][2].space == "T1w"


def test_segmentation_gives_the_regions_of_its_table(tmp_path: Path, plant) -> None:
    image = plant(tmp_path / "d/sub-01/anat/sub-01_space-T1w_seg-vis_dseg.nii.gz", VOXEL)
    table = (
        "index\tname\tcolor\n0\tnothing\t#000\n1\tLH_V1\t#fff\n2.0\tRH_V1\t#fff\n7\tFFA\t#fff\n8\tn/a\t#fff\n"
    )
    (tmp_path / "d/sub-01/anat/sub-01_space-T1w_seg-vis_dseg.tsv").write_text(table)
    plant(tmp_path / "d/sub-01/anat/sub-01_seg-untold_dseg.nii.gz", VOXEL)
    found = find_masks(tmp_path, "01", {"d": tmp_path / "d"})
    assert {label: [(s.hemisphere, s.index) for s in sources] for label, sources in found.items()} == {
        "V1": [("L", 1), ("R", 2)],
        "FFA": [(None, 7)],
    }
    assert found["V1"][0].path == image
    assert found["V1"][0].space == "T1w"


def test_tables_are_inherited_and_parcellations_wait_to_be_named(tmp_path: Path, plant) -> None:
    plant(tmp_path / "d/sub-01/anat/sub-01_desc-aparcaseg_dseg.nii.gz", VOXEL)
    plant(tmp_path / "d/sub-01/anat/sub-01_dseg.nii.gz", VOXEL)
    (tmp_path / "d/desc-aparcaseg_dseg.tsv").write_text("index\tname\n1035\tctx-lh-insula\n")
    (tmp_path / "d/dseg.tsv").write_text("index\tname\n1\tGM\n4\tV4\n")
    found = find_masks(tmp_path, "01", {"d": tmp_path / "d"})
    assert {label: sources[0].by_name_only for label, sources in found.items()} == {
        "ctx-lh-insula": True,
        "GM": True,
        "V4": False,
    }


def test_table_that_cannot_be_used_is_told_and_left_out(
    tmp_path: Path, plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant(tmp_path / "sub-01/anat/sub-01_dseg.nii.gz", VOXEL)
    (tmp_path / "sub-01/anat/sub-01_dseg.tsv").write_text("number\tname\n1\tV1\n")
    with caplog.at_level(logging.WARNING):
        assert find_masks(tmp_path, "01", {}) == {}
    assert "sub-01_dseg.tsv: lacks the column index or name (it has number, name)" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table"),
        ("index\n1\n", r"lacks the column index or name \(it has index\)"),
        ("index\tname\none\tV1\n", "'one' is not a whole number"),
        ("index\tname\n1.5\tV1\n", "'1.5' is not a whole number"),
    ],
)
def test_malformed_tables(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x_dseg.tsv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_table(tmp_path / "x_dseg.tsv")
    assert "Give it the columns index" in str(caught.value)


def test_content_of_git_annex_that_is_not_here(tmp_path: Path, plant) -> None:
    folder = tmp_path / "sourcedata/sub-01/anat"
    plant(folder / "sub-01_mask_LH_V1d.nii.gz", VOXEL)
    (folder / "sub-01_mask_RH_V1d.nii.gz").symlink_to("../../../.git/annex/objects/x/MD5E-s9.nii.gz")
    (folder / "sub-01_mask_LH_V1v.nii.gz").write_text("/annex/objects/MD5E-s9--0.nii.gz\n")
    found = find_masks(tmp_path, "01", {})
    assert [source.fetched for source in found["V1d"]] == [True, False]
    assert [source.fetched for source in found["V1v"]] == [False]


@pytest.mark.shared
def test_mask_of_the_miyawaki_derivative(shared: Path) -> None:
    root = shared / "data" / "miyawaki-figures"
    found = find_masks(root, "01", {"betas": root / "derivatives" / "betas"})
    assert [(s.label, s.space, s.origin, s.fetched) for s in found["V1"]] == [("V1", "T1w", "betas", True)]
