"""The brain mask, given or computed."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from bids_recon.errors import DataError, ExitCode, MissingInputError
from bids_recon.rois.brain import brain_mask

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def _save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), AFFINE if affine is None else affine), path)
    return path


def _ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    centre = (np.array(shape) - 1) / 2
    return np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - centre, axis=-1) <= radius


def test_ball_in_the_dark_is_found(tmp_path: Path) -> None:
    truth = _ball((24, 24, 20), 8)
    rng = np.random.default_rng(0)
    runs = []
    for number in range(2):
        data = rng.normal(20, 3, (24, 24, 20, 6)) + 900 * truth[..., None]
        runs.append(_save(tmp_path / f"run-{number}_bold.nii.gz", data))
    found = brain_mask(runs, None)
    assert found.dtype == bool
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.95


@pytest.mark.parametrize("shape", [(1, 1, 1), (40, 1, 1), (4, 4, 3), (20, 20, 18)])
def test_volume_without_background_is_all_brain(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    gradient = np.linspace(50, 150, shape[0])[:, None, None, None]
    data = gradient + np.random.default_rng(1).normal(0, 5, (*shape, 5))
    assert brain_mask([_save(tmp_path / "a_bold.nii.gz", data)], None).all()


def test_small_simulated_block_is_found_exactly(tmp_path: Path) -> None:
    truth = np.zeros((12, 12, 8), dtype=bool)
    truth[2:10, 2:10, 1:7] = True
    data = np.random.default_rng(2).normal(0, 1, (12, 12, 8, 5)) + 100 * truth[..., None]
    run = _save(tmp_path / "a_bold.nii.gz", data)
    np.testing.assert_array_equal(brain_mask([run], None), truth)
    # A run on another grid does not count.
    other = _save(tmp_path / "b_bold.nii.gz", np.full((4, 4, 3, 2), 1e6))
    np.testing.assert_array_equal(brain_mask([run, other], None), truth)


def test_what_is_not_finite_is_no_brain(tmp_path: Path) -> None:
    data = np.full((4, 4, 3, 5), 100.0)
    data[0] = np.nan
    found = brain_mask([_save(tmp_path / "a_bold.nii.gz", data)], None)
    assert not found[0].any()
    assert found[1:].all()


def test_given_mask_is_used_on_the_grid_of_the_run(tmp_path: Path) -> None:
    run = _save(tmp_path / "a_bold.nii.gz", np.full((4, 4, 3, 2), 7.0))
    values = np.zeros((4, 4, 3))
    values[1:3, 2, 1] = 1
    given = _save(tmp_path / "desc-brain_mask.nii.gz", values)
    np.testing.assert_array_equal(brain_mask([run], given), values > 0)
    np.testing.assert_array_equal(brain_mask([], given), values > 0)
    # The same anatomy, in a volume that begins one voxel earlier along x.
    affine = AFFINE.copy()
    affine[0, 3] = -3
    shifted = _save(tmp_path / "shifted_mask.nii.gz", np.pad(values, ((1, 0), (0, 0), (0, 0))), affine)
    np.testing.assert_array_equal(brain_mask([run], shifted), values > 0)


def test_no_voxel_is_an_error(tmp_path: Path) -> None:
    dark = _save(tmp_path / "dark_bold.nii.gz", np.zeros((4, 4, 3, 2)))
    with pytest.raises(
        DataError, match=r"dark_bold\.nii\.gz: no voxel of the brain was found\. Give a brain"
    ):
        brain_mask([dark], None)
    empty = _save(tmp_path / "empty_mask.nii.gz", np.zeros((4, 4, 3)))
    with pytest.raises(DataError, match=r"empty_mask\.nii\.gz: no voxel"):
        brain_mask([dark], empty)


def test_nothing_to_go_by(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="a brain mask needs a mask file or a run") as caught:
        brain_mask([], None)
    assert caught.value.exit_code == ExitCode.NO_INPUT
    with pytest.raises(MissingInputError, match=r"nowhere\.nii\.gz: there is no such file"):
        brain_mask([tmp_path / "nowhere.nii.gz"], None)


def test_cut_run_is_an_error(tmp_path: Path) -> None:
    whole = _save(tmp_path / "a_bold.nii.gz", np.random.default_rng(0).normal(size=(8, 8, 6, 9)))
    cut = tmp_path / "cut_bold.nii.gz"
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"cut_bold\.nii\.gz: cannot be read as NIfTI") as caught:
        brain_mask([cut], None)
    assert caught.value.exit_code == ExitCode.DATA_ERROR


@pytest.mark.shared
def test_real_run(shared: Path) -> None:
    folder = shared / "data" / "studyforrest" / "sub-02" / "func"
    run = folder / "sub-02_task-objectcategories_run-1_bold.nii.gz"
    found = brain_mask([run], None)
    image = nibabel.load(run)
    litres = found.sum() * abs(np.linalg.det(image.affine)) / 1e6
    assert 1.0 < litres < 2.0
