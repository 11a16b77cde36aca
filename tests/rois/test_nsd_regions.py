"""Regions of NSD."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_recon.errors import DataError, MissingInputError, UsageError
from bids_recon.rois.nsd_regions import UNIONS, nsd_masks, read_areas, select_nsd_voxels
from bids_recon.simulate.nsd import write_nsd


@pytest.fixture
def release(tmp_path):
    return write_nsd(tmp_path, subjects=("01",), n_sessions=5, trials_per_session=3, size=4).release


def _volume(release, name):
    return np.asarray(nib.load(release.region_file("01", name)).dataobj)


def _select(release, *requested):
    voxels, warnings = select_nsd_voxels(nsd_masks(release, "01"), release, "01", requested)
    assert warnings == []
    return voxels


def test_all_regions_within_nsdgeneral_by_default(release):
    voxels = _select(release)
    general = _volume(release, "nsdgeneral") == 1
    np.testing.assert_array_equal(voxels.mask(), general)
    visual, faces = _volume(release, "prf-visualrois"), _volume(release, "floc-faces")
    np.testing.assert_array_equal(voxels.mask("V1"), general & np.isin(visual, [1, 2]))
    np.testing.assert_array_equal(voxels.mask("V2"), general & np.isin(visual, [3, 4]))
    np.testing.assert_array_equal(voxels.mask("V3"), general & np.isin(visual, [5, 6]))
    np.testing.assert_array_equal(voxels.mask("hV4"), general & (visual == 7))
    areas, _ = select_nsd_voxels(nsd_masks(release, "01"), release, "01", ["V1d", "FFA-1"])
    np.testing.assert_array_equal(areas.mask("V1d"), visual == 2)
    np.testing.assert_array_equal(areas.mask("FFA-1"), faces == 2)
    np.testing.assert_array_equal(voxels.mask("Face-ROI"), general & (faces > 0))
    several, _ = select_nsd_voxels(nsd_masks(release, "01"), release, "01", ["nsdgeneral", "ecc4+"])
    np.testing.assert_array_equal(several.mask("ecc4+"), _volume(release, "prf-eccrois") == 5)
    # Faces reach out of nsdgeneral, so that the restriction was one.
    assert (faces > 0).sum() > voxels.rois["Face-ROI"].sum() > 0
    # The regions of the paper, and not each of the areas they are made of.
    assert set(voxels.rois) == {*UNIONS, "nsdgeneral", "hV4"}
    assert voxels.space == "func1pt8mm"
    np.testing.assert_allclose(voxels.affine, np.diag([1.8, 1.8, 1.8, 1]))
    assert voxels.sources["V1"] == [str(release.region_file("01", "prf-visualrois"))]


@pytest.mark.parametrize(
    ("union", "volume"),
    [
        ("Face-ROI", "floc-faces"),
        ("Word-ROI", "floc-words"),
        ("Place-ROI", "floc-places"),
        ("Body-ROI", "floc-bodies"),
    ],
)
def test_requested_regions_are_whole(release, union, volume):
    voxels = _select(release, union.lower())
    np.testing.assert_array_equal(voxels.mask(), _volume(release, volume) > 0)
    assert list(voxels.rois) == [union]


def test_union_of_requests_and_the_brain(release, tmp_path):
    voxels = _select(release, "nsdgeneral", "V1", "OFA")
    union = (
        (_volume(release, "nsdgeneral") > 0)
        | np.isin(_volume(release, "prf-visualrois"), [1, 2])
        | (_volume(release, "floc-faces") == 1)
    )
    np.testing.assert_array_equal(voxels.mask(), union)
    assert list(voxels.rois) == ["nsdgeneral", "V1", "OFA"]
    brain = np.asarray(nib.load(release.brain_mask("01")).dataobj) > 0
    np.testing.assert_array_equal(_select(release, "brain").mask(), brain)
    file = tmp_path / "mine.nii.gz"
    nib.save(nib.Nifti1Image((brain & (union == 0)).astype(np.uint8), voxels.affine), file)
    np.testing.assert_array_equal(_select(release, f"mine={file}").mask(), brain & ~union)


def test_tables_name_the_areas(release):
    table = release.region_table("01", "floc-places")
    assert read_areas(table) == {1: "OPA", 2: "PPA", 3: "RSC"}
    places = _volume(release, "floc-places")
    # Without the table, the names are those of the data manual.
    table.unlink()
    np.testing.assert_array_equal(_select(release, "PPA").mask(), places == 2)
    # A table counts before them.
    table.write_text("0 Unknown\n2 OPA 255 0 0 0\n1\tPPA\n\n")
    np.testing.assert_array_equal(_select(release, "PPA").mask(), places == 1)
    table.write_text("0 Unknown\nPPA one\n")
    with pytest.raises(DataError, match=r"floc-places\.mgz\.ctab: has the line 'PPA one'"):
        nsd_masks(release, "01")


def test_volumes_that_are_not_here(release):
    release.region_file("01", "floc-faces").unlink()
    masks = nsd_masks(release, "01")
    assert "Face-ROI" not in masks
    with pytest.raises(UsageError, match=r"'Face-ROI' is not known.*Place-ROI"):
        select_nsd_voxels(masks, release, "01", ("Face-ROI",))
    release.brain_mask("01").unlink()
    with pytest.raises(MissingInputError, match="no brain mask"):
        select_nsd_voxels(masks, release, "01", ("brain",))
    release.region_file("01", "nsdgeneral").unlink()
    masks = nsd_masks(release, "01")
    with pytest.raises(MissingInputError, match=r"nsdgeneral\.nii\.gz"):
        select_nsd_voxels(masks, release, "01", ())
    assert select_nsd_voxels(masks, release, "01", ("V1",))[0].n_voxels > 0
