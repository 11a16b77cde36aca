"""Requests become voxels on the grid of the responses."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bids_recon.errors import DataError, ExitCode, MissingInputError, ReconError, UsageError
from bids_recon.rois.masks import find_masks
from bids_recon.rois.select import needs_brain, select_voxels

AFFINE = np.array([[3.0, 0, 0, -9], [0, 3.0, 0, -6], [0, 0, 3.0, -3], [0, 0, 0, 1]])
SHAPE = (6, 5, 4)

PLANTED = {
    "LH_V1d": [(0, 0, 0), (0, 0, 1)],
    "RH_V1d": [(5, 0, 0)],
    "LH_V1v": [(0, 1, 0)],
    "LH_V2d": [(0, 2, 0)],
    "LH_FFA": [(1, 1, 1), (0, 1, 0)],
}


def flat(*voxels: tuple[int, int, int]) -> list[int]:
    """Positions in the flattened volume, increasing."""
    return sorted(int(np.ravel_multi_index(voxel, SHAPE)) for voxel in voxels)


@pytest.fixture
def sources(tmp_path: Path, plant):
    """Masks of one participant, named as in ds001246."""
    for name, voxels in PLANTED.items():
        plant(tmp_path / f"bids/sourcedata/sub-01/anat/sub-01_mask_{name}.nii.gz", voxels)
    return find_masks(tmp_path / "bids", "01", {})


@pytest.fixture
def brain() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:5, 1:4, 1:3] = True
    return mask


def test_hemispheres_are_merged_and_the_case_does_not_matter(sources, reference) -> None:
    voxels, warnings = select_voxels(["v1D"], sources, reference, brain=None, space="T1w")
    assert voxels.indices.tolist() == flat((0, 0, 0), (0, 0, 1), (5, 0, 0))
    assert voxels.shape == SHAPE
    np.testing.assert_array_equal(voxels.affine, AFFINE)
    assert voxels.space == "T1w"
    assert list(voxels.rois) == ["V1d"]
    assert [Path(file).name for file in voxels.sources["V1d"]] == [
        "sub-01_mask_LH_V1d.nii.gz",
        "sub-01_mask_RH_V1d.nii.gz",
    ]
    assert warnings == []


def test_group_is_the_union_of_its_parts(sources, reference) -> None:
    voxels, warnings = select_voxels(["V1", "FFA"], sources, reference, brain=None, space=None)
    assert list(voxels.rois) == ["V1", "V1d", "V1v", "FFA"]
    assert voxels.indices[voxels.rois["V1"]].tolist() == flat((0, 0, 0), (0, 0, 1), (5, 0, 0), (0, 1, 0))
    assert voxels.indices[voxels.rois["V1v"]].tolist() == flat((0, 1, 0))
    assert voxels.indices[voxels.rois["FFA"]].tolist() == flat((0, 1, 0), (1, 1, 1))
    assert voxels.n_voxels == 5
    assert len(voxels.sources["V1"]) == 3
    assert warnings == []


def test_group_of_one_part_says_so(sources, reference) -> None:
    voxels, warnings = select_voxels(["v2"], sources, reference, brain=None, space=None)
    assert list(voxels.rois) == ["V2", "V2d"]
    assert warnings == ["V2 is made of V2d alone: no mask of V2v was found."]


def test_mask_of_the_whole_is_preferred_to_its_parts(tmp_path: Path, plant, reference, sources) -> None:
    plant(tmp_path / "bids/sub-01/anat/sub-01_label-V1_mask.nii.gz", [(2, 2, 2)])
    found = find_masks(tmp_path / "bids", "01", {})
    voxels, _ = select_voxels(["V1"], found, reference, brain=None, space=None)
    assert voxels.indices.tolist() == flat((2, 2, 2))
    assert list(voxels.rois) == ["V1"]


@pytest.mark.parametrize("name", ["VC", "all", "ALL"])
def test_every_region(sources, reference, name: str) -> None:
    voxels, _ = select_voxels([name], sources, reference, brain=None, space=None)
    group = "VC" if name == "VC" else "all"
    assert list(voxels.rois) == [group, "FFA", "V1d", "V1v", "V2d"]
    assert voxels.rois[group].all()
    assert voxels.n_voxels == 6


def test_empty_request_takes_every_region_found(sources, reference, brain) -> None:
    voxels, _ = select_voxels([], sources, reference, brain=brain, space=None)
    assert list(voxels.rois) == ["FFA", "V1d", "V1v", "V2d"]
    assert voxels.n_voxels == 6
    assert not needs_brain([], sources, space=None)


def test_without_regions_the_brain_is_taken(reference, brain) -> None:
    assert needs_brain([], {}, space=None)
    voxels, warnings = select_voxels([], {}, reference, brain=brain, space=None)
    np.testing.assert_array_equal(voxels.mask("brain"), brain)
    assert voxels.n_voxels == 24
    assert warnings == []


def test_brain_and_a_region(sources, reference, brain) -> None:
    assert needs_brain(["V1d", "Brain"], sources, space=None)
    voxels, _ = select_voxels(["V1d", "Brain"], sources, reference, brain=brain, space=None)
    assert list(voxels.rois) == ["V1d", "brain"]
    assert voxels.n_voxels == 3 + 24


def test_parcellation_is_used_only_when_named(tmp_path: Path, plant, sources, reference) -> None:
    folder = tmp_path / "fs/sub-01/anat"
    plant(folder / "sub-01_desc-aseg_dseg.nii.gz", [(3, 3, 3), (4, 4, 3)], [16, 17])
    (tmp_path / "fs/desc-aseg_dseg.tsv").write_text("index\tname\n16\tBrain-Stem\n17\tLeft-Hippocampus\n")
    found = find_masks(tmp_path / "bids", "01", {"fs": tmp_path / "fs"})
    assert "Brain-Stem" not in select_voxels([], found, reference, brain=None, space=None)[0].rois
    voxels, _ = select_voxels(["brain-stem"], found, reference, brain=None, space=None)
    assert voxels.indices.tolist() == flat((3, 3, 3))


def test_segmentation_found_in_a_data_set(tmp_path: Path, plant, reference) -> None:
    folder = tmp_path / "sub-01/anat"
    plant(folder / "sub-01_dseg.nii.gz", [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)], [1, 2, 3, 9])
    (folder / "sub-01_dseg.tsv").write_text("index\tname\n1\tLHV1\n2\tRHV1\n3\tFFA\n4\tgone\n")
    found = find_masks(tmp_path, "01", {})
    voxels, warnings = select_voxels([], found, reference, brain=None, space=None)
    assert voxels.indices[voxels.rois["V1"]].tolist() == flat((0, 0, 0), (1, 0, 0))
    assert voxels.indices[voxels.rois["FFA"]].tolist() == flat((2, 0, 0))
    assert list(voxels.rois) == ["V1", "FFA"]
    assert warnings == ["gone: left out, without a voxel in the field of view of the responses."]


# --- files that the user names


def test_file_is_named_after_itself_or_as_the_user_says(tmp_path: Path, plant, reference) -> None:
    one = plant(tmp_path / "a=b/mine.nii.gz", [(1, 2, 3)])
    two = plant(tmp_path / "sub-01_label-MT_mask.nii.gz", [(2, 2, 3)])
    three = plant(tmp_path / "sub-01_mask_RH_V1d.nii.gz", [(3, 2, 3)])
    requests = [str(one), str(two), str(three), f"Face={three}", f"Face={one}"]
    voxels, _ = select_voxels(requests, {}, reference, brain=None, space=None)
    members = {name: voxels.indices[member].tolist() for name, member in voxels.rois.items()}
    assert members == {
        "mine": flat((1, 2, 3)),
        "MT": flat((2, 2, 3)),
        "RHV1d": flat((3, 2, 3)),
        "Face": flat((1, 2, 3), (3, 2, 3)),
    }
    assert voxels.sources["Face"] == [str(three), str(one)]


def test_segmentation_that_the_user_names(tmp_path: Path, plant, reference) -> None:
    file = plant(tmp_path / "atlas_dseg.nii.gz", [(0, 0, 0), (1, 0, 0)], [1, 2])
    voxels, _ = select_voxels([str(file)], {}, reference, brain=None, space=None)
    assert {name: voxels.indices[m].tolist() for name, m in voxels.rois.items()} == {
        "atlas-1": flat((0, 0, 0)),
        "atlas-2": flat((1, 0, 0)),
    }
    (tmp_path / "atlas_dseg.tsv").write_text("index\tname\n1\tOPA\n2\tRSC\n")
    voxels, _ = select_voxels([f"scenes={file}"], {}, reference, brain=None, space=None)
    assert list(voxels.rois) == ["scenes", "OPA", "RSC"]
    assert voxels.rois["scenes"].all()
    assert voxels.indices[voxels.rois["RSC"]].tolist() == flat((1, 0, 0))


def test_mask_of_several_values_is_told(tmp_path: Path, plant, reference) -> None:
    file = plant(tmp_path / "t.nii.gz", [(0, 0, 0), (1, 0, 0), (2, 0, 0)], [0.5, 2.5, -1.0])
    voxels, warnings = select_voxels([str(file)], {}, reference, brain=None, space=None)
    assert voxels.indices.tolist() == flat((0, 0, 0), (1, 0, 0))
    assert warnings == [f"{file}: holds several values where a mask has one; all voxels above 0 are used."]


# --- grids


def test_shift_by_one_voxel_lands_in_the_right_place(tmp_path: Path, plant, reference) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] += [3, 0, -3]  # the mask's volume begins one voxel later along x, one earlier along z
    plant(tmp_path / "sub-01/anat/sub-01_label-A_mask.nii.gz", [(1, 2, 2), (0, 0, 1)], affine=affine)
    plant(tmp_path / "sub-01/anat/sub-01_label-B_mask.nii.gz", [(2, 2, 2)], affine=affine)
    found = find_masks(tmp_path, "01", {})
    voxels, warnings = select_voxels([], found, reference, brain=None, space=None)
    assert voxels.indices[voxels.rois["A"]].tolist() == flat((2, 2, 1), (1, 0, 0))
    assert voxels.indices[voxels.rois["B"]].tolist() == flat((3, 2, 1))
    assert warnings == [
        "A, B: brought from another grid (6x5x4 voxels of 3x3x3 mm) to that of the responses"
        " (6x5x4 voxels of 3x3x3 mm) by nearest neighbour."
    ]


def test_finer_mask_on_a_flipped_grid(tmp_path: Path, plant, reference) -> None:
    # 1 mm voxels, x running from right to left: 27 of them fill voxel (4, 1, 2) of the responses.
    affine = np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = [7, -7, -4]
    x, y, z = AFFINE[:3, :3] @ (4, 1, 2) + AFFINE[:3, 3]
    corner = np.round(np.linalg.inv(affine) @ (x, y, z, 1)).astype(int)[:3]
    cube = [tuple(int(i) for i in corner + np.array(step) - 1) for step in np.ndindex(3, 3, 3)]
    plant(tmp_path / "fine.nii.gz", cube, shape=(18, 15, 12), affine=affine)
    voxels, _ = select_voxels([f"A={tmp_path / 'fine.nii.gz'}"], {}, reference, brain=None, space=None)
    assert voxels.indices.tolist() == flat((4, 1, 2))


def test_affines_within_a_micrometre_are_one_grid(tmp_path: Path, plant, reference) -> None:
    file = plant(tmp_path / "A.nii.gz", [(1, 1, 1)], affine=AFFINE + 5e-4)
    assert select_voxels([str(file)], {}, reference, brain=None, space=None)[1] == []


def test_volume_saved_without_its_last_axes(tmp_path: Path, plant) -> None:
    grid = nibabel.Nifti1Image(np.zeros((9, 1, 1, 3), dtype=np.float32), AFFINE)
    file = tmp_path / "V1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.arange(9, dtype=np.float32) // 8, AFFINE), file)
    voxels, warnings = select_voxels([str(file)], {}, grid, brain=None, space=None)
    assert voxels.shape == (9, 1, 1)
    assert voxels.indices.tolist() == [8]
    assert warnings == []


# --- spaces


def test_space_of_the_responses_is_preferred(tmp_path: Path, plant, reference) -> None:
    folder = tmp_path / "d/sub-01/func"
    plant(folder / "sub-01_task-a_label-V1_mask.nii.gz", [(0, 0, 0)])
    plant(folder / "sub-01_task-a_space-T1w_label-V1_mask.nii.gz", [(1, 0, 0)])
    plant(folder / "sub-01_task-a_space-MNI152NLin6Asym_label-V1_mask.nii.gz", [(2, 0, 0)])
    found = find_masks(tmp_path, "01", {"d": tmp_path / "d"})
    for space, voxel in [(None, (0, 0, 0)), ("T1w", (1, 0, 0)), ("MNI152NLin6Asym", (2, 0, 0))]:
        voxels, _ = select_voxels(["V1"], found, reference, brain=None, space=space)
        assert voxels.indices.tolist() == flat(voxel)


def test_masks_of_another_space_are_left_aside(sources, reference, brain) -> None:
    space = "MNI152NLin2009cAsym"
    with pytest.raises(UsageError) as caught:
        select_voxels(["V1d"], sources, reference, brain=brain, space=space)
    assert str(caught.value) == (
        "the masks of the region of interest V1d are in the participant's own space, the responses are in"
        f" space {space}. Use responses in the space of the masks, or give a mask in theirs as NAME=FILE."
    )
    voxels, warnings = select_voxels([], sources, reference, brain=brain, space=space)
    assert list(voxels.rois) == ["brain"]
    assert warnings == [
        "The masks of regions of interest are in the participant's own space, the responses are in"
        f" space {space}: the voxels of the whole brain are used."
    ]


def test_first_place_that_has_a_region_decides(tmp_path: Path, plant, reference, sources) -> None:
    plant(tmp_path / "d/sub-01/anat/sub-01_label-FFA_mask.nii.gz", [(5, 4, 3)])
    found = find_masks(tmp_path / "bids", "01", {"d": tmp_path / "d"})
    voxels, _ = select_voxels(["FFA"], found, reference, brain=None, space=None)
    assert voxels.indices.tolist() == flat((1, 1, 1), (0, 1, 0))


# --- errors


def check(error: type[ReconError], code: ExitCode, *texts: str, call) -> None:
    with pytest.raises(error) as caught:
        call()
    assert caught.value.exit_code == code
    for text in texts:
        assert text in str(caught.value)


def test_unknown_name_lists_what_there_is(sources, reference) -> None:
    check(
        UsageError,
        ExitCode.USAGE,
        "the region of interest 'V4' is not known. Available: FFA, V1d, V1v, V2d, V1, V2, VC, all, brain;",
        call=lambda: select_voxels(["V1", "V4"], sources, reference, brain=None, space=None),
    )
    check(
        UsageError,
        ExitCode.USAGE,
        "'all' is not known. Available: brain;",
        call=lambda: select_voxels(["all"], {}, reference, brain=None, space=None),
    )


@pytest.mark.parametrize("name", ["all", "ALL"])
def test_no_file_is_called_as_all_together_are(tmp_path: Path, plant, sources, reference, name: str) -> None:
    file = plant(tmp_path / "some.nii.gz", [(0, 0, 0)])
    check(
        UsageError,
        ExitCode.USAGE,
        f"{file}: would be a region of interest called all, which is the name of all regions together."
        " Give it another name, as NAME=FILE.",
        call=lambda: select_voxels([f"{name}={file}", "V1"], sources, reference, brain=None, space=None),
    )
    unnamed = plant(tmp_path / "all.nii.gz", [(0, 0, 0)])
    check(
        UsageError,
        ExitCode.USAGE,
        f"{unnamed}: would be a region of interest called all",
        call=lambda: select_voxels([str(unnamed)], sources, reference, brain=None, space=None),
    )


def test_all_regions_found_are_not_all_voxels(tmp_path: Path, plant, sources, reference) -> None:
    file = plant(tmp_path / "other.nii.gz", [(4, 4, 3)])
    check(
        UsageError,
        ExitCode.USAGE,
        "the region of interest all is a part of the voxels, and results call all of them so."
        " Give it another name, as NAME=FILE, or ask for VC: every region found.",
        call=lambda: select_voxels(["all", f"x={file}"], sources, reference, brain=None, space=None),
    )
    voxels, _ = select_voxels(["VC", f"x={file}"], sources, reference, brain=None, space=None)
    assert not voxels.rois["VC"].all() and voxels.n_voxels == 7


def test_a_mask_called_all_is_refused_where_there_are_more_voxels(
    tmp_path: Path, plant, sources, reference
) -> None:
    file = plant(tmp_path / "bids/sub-01/anat/sub-01_label-all_mask.nii.gz", [(0, 0, 0)])
    found = find_masks(tmp_path / "bids", "01", {})
    check(
        UsageError,
        ExitCode.USAGE,
        f"{file}: the region of interest all is a part of the voxels",
        call=lambda: select_voxels([], found, reference, brain=None, space=None),
    )
    assert list(select_voxels(["V1d"], found, reference, brain=None, space=None)[0].rois) == ["V1d"]


def test_request_of_no_form(sources, reference) -> None:
    for request in ("=x.nii.gz", "V1="):
        check(
            UsageError,
            ExitCode.USAGE,
            f"'{request}' names no region or no file. Write it as NAME=FILE",
            call=lambda request=request: select_voxels([request], {}, reference, brain=None, space=None),
        )


def test_two_regions_of_one_name(tmp_path: Path, plant, sources, reference) -> None:
    file = plant(tmp_path / "other.nii.gz", [(0, 0, 0)])
    check(
        UsageError,
        ExitCode.USAGE,
        "two different regions of interest would be called V1d. Give one of them another name",
        call=lambda: select_voxels(["V1", f"V1d={file}"], sources, reference, brain=None, space=None),
    )


def test_file_that_is_not_there(tmp_path: Path, reference) -> None:
    check(
        MissingInputError,
        ExitCode.NO_INPUT,
        f"{tmp_path / 'x.nii.gz'}: there is no such file",
        call=lambda: select_voxels([f"A={tmp_path / 'x.nii.gz'}"], {}, reference, brain=None, space=None),
    )


def test_content_to_be_fetched_is_named_at_once(tmp_path: Path, plant, reference) -> None:
    folder = tmp_path / "my data/sourcedata/sub-01/anat"
    plant(folder / "sub-01_mask_LH_V1d.nii.gz", [(0, 0, 0)])
    for name in ("RH_V1d", "LH_V1v"):
        (folder / f"sub-01_mask_{name}.nii.gz").symlink_to("nowhere/.git/annex/objects/x")
    found = find_masks(tmp_path / "my data", "01", {})
    check(
        MissingInputError,
        ExitCode.NO_INPUT,
        "the content of this file (and of 1 more) is not on this machine. Fetch it with: datalad get"
        f" '{folder / 'sub-01_mask_RH_V1d.nii.gz'}' '{folder / 'sub-01_mask_LH_V1v.nii.gz'}'",
        call=lambda: select_voxels(["V1"], found, reference, brain=None, space=None),
    )
    segmentation = tmp_path / "a_dseg.nii.gz"
    segmentation.symlink_to("nowhere")
    check(
        MissingInputError,
        ExitCode.NO_INPUT,
        f"datalad get {segmentation}",
        call=lambda: select_voxels([str(segmentation)], {}, reference, brain=None, space=None),
    )


def test_file_that_cannot_be_read(tmp_path: Path, plant, reference) -> None:
    text = tmp_path / "text.nii.gz"
    text.write_bytes(gzip.compress(b"not an image" * 100))
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(noise, AFFINE), tmp_path / "whole.nii.gz")
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes((tmp_path / "whole.nii.gz").read_bytes()[:5000])
    empty = tmp_path / "empty.nii"
    empty.touch()
    for file in (text, cut, empty):
        check(
            DataError,
            ExitCode.DATA_ERROR,
            f"{file}: cannot be read as NIfTI",
            "damaged or incomplete",
            call=lambda file=file: select_voxels([str(file)], {}, reference, brain=None, space=None),
        )
    nibabel.save(
        nibabel.Nifti1Image(np.ones((*SHAPE, 2), dtype=np.uint8), AFFINE), tmp_path / "series.nii.gz"
    )
    check(
        DataError,
        ExitCode.DATA_ERROR,
        "series.nii.gz: holds 2 volumes, a mask has one",
        call=lambda: select_voxels([str(tmp_path / "series.nii.gz")], {}, reference, brain=None, space=None),
    )


def test_mask_outside_the_field_of_view(tmp_path: Path, plant, sources, reference) -> None:
    far = AFFINE.copy()
    far[:3, 3] += 500
    plant(tmp_path / "bids/sub-01/anat/sub-01_label-PPA_mask.nii.gz", [(1, 1, 1)], affine=far)
    found = find_masks(tmp_path / "bids", "01", {})
    check(
        DataError,
        ExitCode.DATA_ERROR,
        "sub-01_label-PPA_mask.nii.gz: no voxel of PPA lies in the field of view of the responses"
        " (6x5x4 voxels of 3x3x3 mm). Check that mask and responses are of the same participant",
        call=lambda: select_voxels(["V1", "PPA"], found, reference, brain=None, space=None),
    )
    voxels, warnings = select_voxels([], found, reference, brain=None, space=None)
    assert "PPA" not in voxels.rois
    assert warnings[0] == "PPA: left out, without a voxel in the field of view of the responses."
    only = {"PPA": found["PPA"]}
    check(
        DataError,
        ExitCode.DATA_ERROR,
        "no voxel of PPA lies in the field of view",
        call=lambda: select_voxels([], only, reference, brain=None, space=None),
    )


def test_part_of_a_group_may_lie_outside(tmp_path: Path, plant, reference) -> None:
    far = AFFINE.copy()
    far[:3, 3] += 500
    plant(tmp_path / "sourcedata/sub-01/anat/sub-01_mask_LH_V1d.nii.gz", [(1, 1, 1)], affine=far)
    plant(tmp_path / "sourcedata/sub-01/anat/sub-01_mask_LH_V1v.nii.gz", [(2, 1, 1)])
    found = find_masks(tmp_path, "01", {})
    voxels, warnings = select_voxels(["V1"], found, reference, brain=None, space=None)
    assert list(voxels.rois) == ["V1", "V1v"]
    assert voxels.indices.tolist() == flat((2, 1, 1))
    assert warnings[0] == "V1d: left out, without a voxel in the field of view of the responses."
    with pytest.raises(DataError, match="no voxel of V1d lies"):
        select_voxels(["V1", "V1d"], found, reference, brain=None, space=None)


def test_masks_without_a_voxel(tmp_path: Path, plant, reference) -> None:
    for label in ("V1d", "V1v"):
        plant(tmp_path / f"sourcedata/sub-01/anat/sub-01_mask_LH_{label}.nii.gz", [])
    found = find_masks(tmp_path, "01", {})
    for request in (["V1"], ["V1d"], ["all"], []):
        check(
            DataError,
            ExitCode.DATA_ERROR,
            "holds no voxel",
            call=lambda request=request: select_voxels(request, found, reference, brain=None, space=None),
        )
    plain = plant(tmp_path / "atlas_dseg.nii.gz", [])
    check(
        DataError,
        ExitCode.DATA_ERROR,
        "atlas_dseg.nii.gz: holds no region of interest",
        call=lambda: select_voxels([str(plain)], {}, reference, brain=None, space=None),
    )


def test_brain_that_is_not_there_or_does_not_fit(reference) -> None:
    check(
        MissingInputError,
        ExitCode.NO_INPUT,
        "the voxels of the brain were to be used, but there is no brain mask. Name a region of interest",
        call=lambda: select_voxels(["brain"], {}, reference, brain=None, space=None),
    )
    check(
        DataError,
        ExitCode.DATA_ERROR,
        "the brain mask has (2, 2, 2) voxels, the responses have (6, 5, 4)",
        call=lambda: select_voxels([], {}, reference, brain=np.ones((2, 2, 2), bool), space=None),
    )
    check(
        DataError,
        ExitCode.DATA_ERROR,
        "the mask of brain holds no voxel",
        call=lambda: select_voxels([], {}, reference, brain=np.zeros(SHAPE, bool), space=None),
    )
