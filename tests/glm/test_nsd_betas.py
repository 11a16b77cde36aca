"""Responses of NSD, read from its files."""

from __future__ import annotations

import shutil
import tracemalloc

import h5py
import nibabel as nib
import numpy as np
import pytest

from bids_recon.dataset.nsd_trials import nsd_trials, read_coco_ids, read_design
from bids_recon.errors import DataError, MissingInputError
from bids_recon.glm.nsd_betas import read_nsd_responses, read_nsd_session
from bids_recon.rois.nsd_regions import nsd_masks, select_nsd_voxels
from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate.nsd import write_nsd

BOTH = (".nii.gz", ".hdf5")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nsd")
    return write_nsd(folder, subjects=("01",), n_sessions=30, size=8, formats=BOTH)


def _trials(release, sessions):
    design = read_design(release.design)
    return nsd_trials(design, read_coco_ids(release, design), "01", sessions)


def _voxels(release, *requested):
    return select_nsd_voxels(nsd_masks(release, "01"), release, "01", requested)[0]


def _stored(release, session):
    """What the NIfTI file holds, (n_trials, x, y, z)."""
    image = nib.load(release.beta_folder("01") / f"betas_session{session:02d}.nii.gz")
    assert image.get_data_dtype() == np.int16
    return np.moveaxis(np.asarray(image.dataobj), -1, 0)


def _remove(release, suffix):
    for file in release.beta_folder("01").glob(f"*{suffix}"):
        file.unlink()


def test_both_formats_give_the_stored_numbers(written, tmp_path):
    shutil.copytree(written.release.root, tmp_path / "nifti")
    nifti = type(written.release)(tmp_path / "nifti")
    _remove(nifti, ".hdf5")
    trials, voxels = _trials(written.release, [2, 5]), _voxels(written.release)
    mask = voxels.mask()
    expected = np.concatenate([_stored(written.release, session)[:, mask] for session in (2, 5)]) / 300.0
    assert expected.std() > 0.5
    for release in (written.release, nifti):
        responses, warnings = read_nsd_responses(release, "01", trials, voxels)
        assert warnings == []
        assert responses.data.dtype == np.float32
        np.testing.assert_allclose(responses.data, expected, rtol=1e-6)
        assert responses.voxels is voxels
        assert responses.trials is trials


def test_scattered_voxels_are_their_own(written):
    """Planes of HDF5 are read as boxes; voxels far apart keep their places."""
    indices = np.array([7, 60, 61, 251, 300, 480], dtype=np.int64)
    voxels = VoxelSelection((8, 9, 7), np.eye(4), indices)
    out = np.empty((9, len(indices)), dtype=np.float32)
    stem = written.release.beta_folder("01") / "betas_session03"
    expected = _stored(written.release, 3).reshape(9, -1)[:, indices] / 300.0
    for suffix in BOTH:
        read_nsd_session(stem.with_name(stem.name + suffix), voxels, out)
        np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_planted_code_is_read_back(written):
    """A linear decoder of the responses in nsdgeneral predicts the eigenimages of pictures it never saw."""
    trials = _trials(written.release, range(1, 31))
    responses, _ = read_nsd_responses(written.release, "01", trials, _voxels(written.release))
    rows = trials["stimulus_id"].str.removeprefix("nsd").astype(int).to_numpy() - 1
    code = written.code[rows]
    training = (trials["nsd_set"] == "train").to_numpy()
    X = responses.data.astype(float)
    ridge = X[training].T @ X[training] + 100 * np.eye(X.shape[1])
    predicted = X[~training] @ np.linalg.solve(ridge, X[training].T @ code[training])
    assert (~training).sum() == 27
    assert np.corrcoef(predicted.ravel(), code[~training].ravel())[0, 1] > 0.8


def test_voxels_without_responses_are_left_out(written, tmp_path):
    shutil.copytree(written.release.root, tmp_path / "copy")
    release = type(written.release)(tmp_path / "copy")
    _remove(release, ".nii.gz")
    voxels = _voxels(release, "V1")
    lost = np.unravel_index(voxels.indices[4], voxels.shape)
    with h5py.File(release.beta_file("01", 2), "r+") as opened:
        opened["betas"][(slice(None), *lost[::-1])] = 0
    trials = _trials(release, [1, 2])
    responses, warnings = read_nsd_responses(release, "01", trials, voxels)
    assert len(warnings) == 1
    assert f"betas_session02.hdf5: 1 of {voxels.n_voxels} voxels are left out" in warnings[0]
    np.testing.assert_array_equal(responses.voxels.indices, np.delete(voxels.indices, 4))
    whole, _ = read_nsd_responses(release, "01", _trials(release, [1]), voxels)
    np.testing.assert_array_equal(responses.data[:9], np.delete(whole.data, 4, axis=1))
    with h5py.File(release.beta_file("01", 2), "r+") as opened:
        opened["betas"][...] = 0
    with pytest.raises(DataError, match="no voxel has varying responses"):
        read_nsd_responses(release, "01", trials, voxels)


@pytest.mark.parametrize("suffix", BOTH)
def test_files_of_another_person_or_damaged(written, tmp_path, suffix):
    voxels = _voxels(written.release)
    stem = written.release.beta_folder("01") / "betas_session01"
    file = stem.with_name(stem.name + suffix)
    other = VoxelSelection((9, 8, 7), np.eye(4), voxels.indices)
    with pytest.raises(DataError, match=r"is \(8, 9, 7, 9\), and \(9, 8, 7\) voxels and 9 trials"):
        read_nsd_session(file, other, np.empty((9, other.n_voxels), np.float32))
    with pytest.raises(DataError, match=r"8 trials are expected"):
        read_nsd_session(file, voxels, np.empty((8, voxels.n_voxels), np.float32))
    cut = tmp_path / f"betas_session01{suffix}"
    content = file.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"betas_session01.*cannot be read"):
        read_nsd_session(cut, voxels, np.empty((9, voxels.n_voxels), np.float32))


def test_hdf5_without_betas_and_missing_sessions(written, tmp_path):
    file = tmp_path / "betas_session01.hdf5"
    with h5py.File(file, "w") as opened:
        opened["other"] = np.zeros(3)
    voxels = _voxels(written.release)
    with pytest.raises(DataError, match="has no data set 'betas'"):
        read_nsd_session(file, voxels, np.empty((9, voxels.n_voxels), np.float32))
    trials = _trials(written.release, [1]).assign(session="nsd39")
    with pytest.raises(MissingInputError, match="no responses of session nsd39"):
        read_nsd_responses(written.release, "01", trials, voxels)


def test_memory_is_that_of_the_voxels(tmp_path):
    """A session of 11 MB is read through planes of a box of 5 x 5 voxels."""
    shape = (48, 40, 30)
    file = tmp_path / "betas_session01.hdf5"
    with h5py.File(file, "w") as opened:
        opened.create_dataset("betas", shape=(100, *shape[::-1]), dtype=np.int16, fillvalue=300)
    mask = np.zeros(shape, dtype=bool)
    mask[10:15, 20:25, 3:28] = True
    voxels = VoxelSelection(shape, np.eye(4), np.flatnonzero(mask))
    out = np.empty((100, voxels.n_voxels), dtype=np.float32)
    tracemalloc.start()
    read_nsd_session(file, voxels, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (out == 1.0).all()
    assert peak < 1e6
