"""Responses as BIDS derivatives: written and read back."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import CannotCreateError, DataError, ExitCode, MissingInputError, UsageError
from bids_recon.glm.beta_files import find_beta_files
from bids_recon.glm.responses import Responses
from bids_recon.glm.store import read_responses, write_responses
from bids_recon.rois.selection import VoxelSelection

SHAPE = (4, 5, 3)
AFFINE = np.array([[-3.0, 0.1, 0, 40.5], [0.1, 3, 0, -60], [0, 0, 3.3, -20], [0, 0, 0, 1]])


def _voxels(seed: int = 0, names: tuple[str, ...] = ("V1", "LOC")) -> VoxelSelection:
    rng = np.random.default_rng(seed)
    masks = {name: rng.random(SHAPE) < 0.4 for name in names}
    return VoxelSelection.from_masks(
        masks, AFFINE, space="T1w", sources={"V1": ["bids:raw:sub-01/mask_V1.nii.gz"]}
    )


def _responses(
    session: str = "01", n: int = 6, seed: int = 0, voxels: VoxelSelection | None = None
) -> Responses:
    voxels = voxels or _voxels()
    rng = np.random.default_rng(seed + 100)
    trials = pd.DataFrame(
        {
            "subject": "01",
            "session": session,
            "task": "view",
            "run": [str(1 + row // 3) for row in range(n)],
            "onset": np.linspace(0.1, 40, n),
            "duration": 8.0,
            "stimulus_id": [f"n0{row}.008270" for row in range(n)],
            "trial_index": range(n),
            "set": "",
            "note": ["n/a", "null", "NA", 'a "b"', "1.0", ""][:n],
        }
    )
    data = rng.normal(0, 1, (n, voxels.n_voxels)).astype(np.float32)
    return Responses(data, trials, voxels)


def _write(
    responses: Responses, root: Path, session: str | None = "01", task: str = "view", **more
) -> list[Path]:
    options = {"subject": "01", "space": "T1w", "description": {"Estimator": "block-average"}, **more}
    return write_responses(responses, root, session=session, task=task, **options)


def _text(table: pd.DataFrame) -> list[list[str]]:
    return table.astype(str).to_numpy().tolist()


def test_round_trip_is_identical(tmp_path: Path) -> None:
    responses = _responses()
    written = _write(responses, tmp_path)
    stem = "sub-01_ses-01_task-view_space-T1w"
    names = [
        f"{stem}_desc-brain_mask.nii.gz",
        f"{stem}_desc-brain_mask.json",
        f"{stem}_label-V1_mask.nii.gz",
        f"{stem}_label-V1_mask.json",
        f"{stem}_label-LOC_mask.nii.gz",
        f"{stem}_label-LOC_mask.json",
        f"{stem}_desc-SingletrialBetas_trials.tsv",
        f"{stem}_stat-effect_desc-SingletrialBetas_statmap.json",
        f"{stem}_stat-effect_desc-SingletrialBetas_statmap.nii.gz",
    ]
    assert written == [tmp_path / "sub-01" / "ses-01" / "func" / name for name in names]
    assert sorted(written) == sorted((tmp_path / "sub-01").rglob("*.*"))

    back, warnings = read_responses(tmp_path, "sub-01")
    assert warnings == []
    assert back.data.dtype == np.float32
    np.testing.assert_array_equal(back.data, responses.data)
    np.testing.assert_array_equal(back.voxels.indices, responses.voxels.indices)
    np.testing.assert_allclose(back.voxels.affine, AFFINE, atol=1e-5)
    assert back.voxels.space == "T1w"
    assert set(back.voxels.rois) == {"V1", "LOC"}
    for name, member in responses.voxels.rois.items():
        np.testing.assert_array_equal(back.voxels.rois[name], member)
    assert back.voxels.sources["V1"] == ["bids:raw:sub-01/mask_V1.nii.gz"]
    assert back.voxels.sources["LOC"] == [str(written[4])]
    assert list(back.trials.columns) == list(responses.trials.columns)
    assert _text(back.trials) == _text(responses.trials)
    assert all(pd.api.types.is_string_dtype(kind) for kind in back.trials.dtypes)


def test_files_on_disk(tmp_path: Path) -> None:
    responses = _responses()
    description = {
        "Estimator": "block-average",
        "Sources": ["bids:raw:bold.nii.gz"],
        "SpatialReference": "bids:raw:T1w.nii.gz",
    }
    *_, statmap = _write(responses, tmp_path, description=description)
    image = nib.load(statmap)
    assert image.get_data_dtype() == np.float32
    assert image.shape == (*SHAPE, 6)
    np.testing.assert_allclose(
        image.header.get_zooms()[:3], np.linalg.norm(AFFINE[:3, :3], axis=0), rtol=1e-6
    )
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), responses.voxels.volume(responses.data))
    folder = statmap.parent
    sidecar = json.loads((folder / statmap.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Estimator"] == "block-average"
    assert sidecar["Units"] == "percent signal change"
    stem = "sub-01_ses-01_task-view_space-T1w"
    roi = json.loads((folder / f"{stem}_label-V1_mask.json").read_text())
    assert (roi["Type"], roi["ROI"]) == ("ROI", "V1")
    brain = json.loads((folder / f"{stem}_desc-brain_mask.json").read_text())
    assert (brain["Type"], brain["Sources"]) == ("Brain", ["bids:raw:bold.nii.gz"])
    assert brain["SpatialReference"] == roi["SpatialReference"] == "bids:raw:T1w.nii.gz"
    assert roi["Sources"] == ["bids:raw:sub-01/mask_V1.nii.gz"]
    table = (folder / f"{stem}_desc-SingletrialBetas_trials.tsv").read_text()
    assert table.splitlines()[1].split("\t")[8] == "n/a"


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = {file.name: file.read_bytes() for file in _write(_responses(), tmp_path / "a")}
    second = {file.name: file.read_bytes() for file in _write(_responses(), tmp_path / "b")}
    assert first == second


def test_names_of_regions_survive_the_labels_of_bids(tmp_path: Path) -> None:
    names = ("V1-d", "V1d", "v1d", "fusiform face area")
    voxels = _voxels(names=names)
    written = _write(_responses(voxels=voxels), tmp_path, session=None, space=None)
    labels = [file.name.split("_label-")[1].split("_")[0] for file in written if "_label-" in file.name]
    assert labels[::2] == ["V1d", "V1dx2", "v1dx3", "fusiformfacearea"]
    back, _ = read_responses(tmp_path, "01")
    for name in names:
        np.testing.assert_array_equal(back.voxels.rois[name], voxels.rois[name])
    assert back.voxels.space is None


def test_regions_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    _write(_responses(voxels=_voxels(names=("V1", "LOC"))), tmp_path)
    _write(_responses(session="02"), tmp_path, session="02")
    _write(_responses(voxels=_voxels(names=("V1",))), tmp_path)
    found = sorted(file.name for file in (tmp_path / "sub-01").rglob("*label-*.nii.gz"))
    assert found == [
        "sub-01_ses-01_task-view_space-T1w_label-V1_mask.nii.gz",
        "sub-01_ses-02_task-view_space-T1w_label-LOC_mask.nii.gz",
        "sub-01_ses-02_task-view_space-T1w_label-V1_mask.nii.gz",
    ]


def test_sessions_and_tasks_are_put_together(tmp_path: Path) -> None:
    first, second = _responses("01", seed=1), _responses("02", seed=2, n=3)
    third = _responses("02", seed=3, n=4)
    _write(second, tmp_path, session="02")
    _write(first, tmp_path)
    _write(third, tmp_path, session="02", task="imagery")
    assert [one.statmap.name.split("_space")[0] for one in find_beta_files(tmp_path, "01")] == [
        "sub-01_ses-01_task-view",
        "sub-01_ses-02_task-imagery",
        "sub-01_ses-02_task-view",
    ]
    assert len(find_beta_files(tmp_path, "01", sessions=["ses-02"], tasks=["view"])) == 1
    assert find_beta_files(tmp_path, "02") == []
    back, warnings = read_responses(tmp_path, "01")
    assert warnings == []
    np.testing.assert_array_equal(back.data, np.concatenate([first.data, third.data, second.data]))
    assert back.trials["session"].tolist() == ["01"] * 6 + ["02"] * 7
    only, _ = read_responses(tmp_path, "01", sessions=["02"], tasks=["imagery"])
    np.testing.assert_array_equal(only.data, third.data)


def test_voxels_in_common_are_kept_and_regions_joined(tmp_path: Path) -> None:
    one, two = _voxels(seed=1), _voxels(seed=2, names=("V1", "FFA"))
    first, second = _responses("01", seed=1, voxels=one), _responses("02", seed=2, voxels=two)
    _write(first, tmp_path)
    _write(second, tmp_path, session="02")
    back, warnings = read_responses(tmp_path, "01")
    common = np.intersect1d(one.indices, two.indices)
    assert 0 < len(common) < min(one.n_voxels, two.n_voxels)
    np.testing.assert_array_equal(back.voxels.indices, common)
    np.testing.assert_array_equal(back.data[:6], first.data[:, np.isin(one.indices, common)])
    np.testing.assert_array_equal(back.data[6:], second.data[:, np.isin(two.indices, common)])
    assert set(back.voxels.rois) == {"V1", "LOC", "FFA"}
    np.testing.assert_array_equal(back.voxels.rois["V1"], (one.mask("V1") | two.mask("V1")).ravel()[common])
    np.testing.assert_array_equal(back.voxels.rois["LOC"], one.mask("LOC").ravel()[common])
    assert any(f"{len(common)} voxels are in all files" in warning for warning in warnings)


def test_bad_voxels_are_dropped_and_counted(tmp_path: Path) -> None:
    responses = _responses()
    data = responses.data.copy()
    data[2, 0] = np.nan
    data[3, 4] = np.inf
    data[:, 7] = 1.5
    _write(Responses(data, responses.trials, responses.voxels), tmp_path)
    back, warnings = read_responses(tmp_path, "01")
    keep = ~np.isin(np.arange(data.shape[1]), [0, 4, 7])
    np.testing.assert_array_equal(back.data, data[:, keep])
    np.testing.assert_array_equal(back.voxels.indices, responses.voxels.indices[keep])
    total = data.shape[1]
    assert len(warnings) == 2
    assert f"2 of {total} voxels are left out: NaN or infinite" in warnings[0]
    assert f"1 of {total} voxels are left out: the same response" in warnings[1]
    with pytest.raises(DataError, match="no voxel has finite, varying responses"):
        _write(Responses(data * np.nan, responses.trials, responses.voxels), tmp_path)
        read_responses(tmp_path, "01")


def test_a_region_that_loses_its_voxels_is_mentioned(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, 0, 0] = True
    voxels = VoxelSelection.from_masks({"tiny": mask, "rest": ~mask}, AFFINE)
    responses = _responses(voxels=voxels)
    responses.data[:, 0] = np.nan
    _write(responses, tmp_path)
    back, warnings = read_responses(tmp_path, "01")
    assert set(back.voxels.rois) == {"rest"}
    assert "no voxels are left in tiny" in warnings[-1]


def _foreign(tmp_path: Path, data: np.ndarray, table: str, name: str = "sub-01_task-view_run-2") -> Path:
    folder = tmp_path / "sub-01" / "func"
    folder.mkdir(parents=True, exist_ok=True)
    statmap = folder / f"{name}_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
    nib.save(nib.Nifti1Image(data.astype(np.float32), AFFINE), statmap)
    (folder / f"{name}_desc-SingletrialBetas_trials.tsv").write_text(table)
    return statmap


def test_without_masks_all_voxels_that_are_not_zero_count(tmp_path: Path) -> None:
    data = np.zeros((*SHAPE, 2))
    data[1, 2, 0] = [0, 3]
    data[3, 0, 2] = [1, 2]
    _foreign(tmp_path, data, "stim_file\trating\na.png\t1.50\nb.png\tn/a\n")
    back, warnings = read_responses(tmp_path, "01")
    assert warnings == []
    assert back.voxels.indices.tolist() == [1 * 15 + 2 * 3, 3 * 15 + 2]
    np.testing.assert_array_equal(back.data, [[0, 1], [3, 2]])
    assert back.trials.to_dict("list") == {
        "subject": ["01", "01"],
        "session": ["", ""],
        "task": ["view", "view"],
        "run": ["2", "2"],
        "stim_file": ["a.png", "b.png"],
        "rating": ["1.50", "n/a"],
    }


def test_masks_of_other_spaces_and_tasks_are_not_taken(tmp_path: Path) -> None:
    statmap = _foreign(tmp_path, np.random.default_rng(0).normal(size=(*SHAPE, 2)), "a\n1\n2\n")
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[1:3] = 1
    for name in ("sub-01_task-view_label-V1", "sub-01_task-other_label-V2", "sub-01_space-T1w_label-V3"):
        nib.save(nib.Nifti1Image(mask, AFFINE), statmap.parent / f"{name}_mask.nii.gz")
    back, _ = read_responses(tmp_path, "01")
    assert set(back.voxels.rois) == {"V1"}
    assert back.voxels.n_voxels == mask.sum()
    # A mask that names no space is not on the grid of responses in T1w space, even if all else agrees.
    _foreign(tmp_path / "b", np.ones((*SHAPE, 2)) * [1, 2], "a\n1\n2\n", "sub-01_task-view_space-T1w")
    nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "b/sub-01/func/sub-01_task-view_label-V1_mask.nii.gz")
    back, _ = read_responses(tmp_path / "b", "01")
    assert back.voxels.rois == {}
    assert back.voxels.n_voxels == mask.size


def test_volumes_and_rows_must_match(tmp_path: Path) -> None:
    statmap = _foreign(tmp_path, np.ones((*SHAPE, 4)), "a\n1\n2\n3\n")
    with pytest.raises(DataError) as caught:
        read_responses(tmp_path, "01")
    message = str(caught.value)
    assert str(statmap) in message
    assert "has 4 volumes" in message
    assert "_trials.tsv has 3 rows" in message
    assert caught.value.exit_code == ExitCode.DATA_ERROR


def test_a_table_is_needed_and_must_be_one(tmp_path: Path) -> None:
    statmap = _foreign(tmp_path, np.ones((*SHAPE, 2)), "a\tb\n1\t2\t3\n1\t2\t3\n")
    table = statmap.parent / "sub-01_task-view_run-2_desc-SingletrialBetas_trials.tsv"
    for content in ("a\tb\n1\t2\t3\n1\t2\t3\n", "", "a\tb\n", "a\n1\n2\t3\t4\n"):
        table.write_text(content)
        with pytest.raises(DataError, match=r"trials\.tsv: cannot be read as a table"):
            read_responses(tmp_path, "01")
    table.unlink()
    with pytest.raises(MissingInputError, match=r"trials\.tsv: there is no such file") as caught:
        read_responses(tmp_path, "01")
    assert caught.value.exit_code == ExitCode.NO_INPUT


def test_damaged_and_misshapen_images_are_named(tmp_path: Path) -> None:
    statmap = _foreign(tmp_path, np.random.default_rng(0).normal(size=(*SHAPE, 2)), "a\n1\n2\n")
    whole = statmap.read_bytes()
    statmap.write_bytes(whole[: len(whole) - 200])
    with pytest.raises(DataError, match=r"statmap\.nii\.gz: cannot be read as NIfTI"):
        read_responses(tmp_path, "01")
    _foreign(tmp_path, np.ones(SHAPE), "a\n1\n2\n")
    with pytest.raises(DataError, match="has 3 dimensions"):
        read_responses(tmp_path, "01")


def test_files_on_different_grids_are_both_named(tmp_path: Path) -> None:
    one = _foreign(tmp_path, np.ones((*SHAPE, 2)), "a\n1\n2\n", "sub-01_task-a")
    two = _foreign(tmp_path, np.ones((4, 5, 4, 2)), "a\n1\n2\n", "sub-01_task-b")
    with pytest.raises(DataError, match="grid") as caught:
        read_responses(tmp_path, "01")
    assert str(one) in str(caught.value)
    assert str(two) in str(caught.value)
    mask = two.parent / "sub-01_task-a_label-V1_mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4)), mask)
    with pytest.raises(DataError, match=r"label-V1_mask\.nii\.gz.*grid") as caught:
        read_responses(tmp_path, "01", tasks=["a"])
    assert str(one) in str(caught.value)


def test_several_spaces_need_a_choice(tmp_path: Path) -> None:
    first, second = _responses(seed=1), _responses(seed=2)
    _write(first, tmp_path)
    _write(second, tmp_path, space="MNI152NLin2009cAsym")
    with pytest.raises(UsageError, match="several spaces: MNI152NLin2009cAsym, T1w"):
        read_responses(tmp_path, "01")
    back, _ = read_responses(tmp_path, "01", space="T1w")
    np.testing.assert_array_equal(back.data, first.data)
    with pytest.raises(MissingInputError, match="in space 'func'; there is 'MNI152NLin2009cAsym', 'T1w'"):
        read_responses(tmp_path, "01", space="func")


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"has no single-trial responses .* of sub-07"):
        read_responses(tmp_path, "07")


def test_an_unwritable_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "sub-01").write_text("a file where a folder is needed")
    with pytest.raises(CannotCreateError) as caught:
        _write(_responses(), tmp_path)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_no_statmap_remains_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, statmap = _write(_responses(), tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bids_recon.glm.store.write_tsv", full)
    with pytest.raises(OSError, match="No space"):
        _write(_responses(seed=5), tmp_path)
    # Otherwise an old statmap would stand beside new masks.
    assert not statmap.exists()


@pytest.mark.shared
def test_published_responses_of_miyawaki(shared: Path) -> None:
    root = shared / "data" / "miyawaki-figures" / "derivatives" / "betas"
    responses, warnings = read_responses(root, "01")
    assert warnings == []
    assert responses.data.shape == (118, 967)
    assert responses.voxels.shape == (967, 1, 1)
    assert responses.voxels.rois["V1"].all()
    assert responses.voxels.space == "T1w"
    assert list(responses.trials.columns) == ["subject", "session", "task", "trial_index", "run", "stim_file"]
    assert responses.trials.iloc[0].tolist() == ["01", "", "figures", "0", "21", "figure01.png"]
    assert responses.trials["stim_file"].nunique() == 20
    image = nib.load(find_beta_files(root, "01")[0].statmap)
    np.testing.assert_array_equal(responses.data, np.asarray(image.dataobj).reshape(967, 118).T)
