"""A run on the common grid: motion, slice timing, times, coverage, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_recon.errors import DataError, MissingInputError
from bids_recon.preprocess.rigid import matrices
from bids_recon.preprocess.run_alignment import align_run, centre_of, covered_by_all, temporal_snr
from bids_recon.preprocess.run_motion import RunMotion, estimate_run_motion
from bids_recon.rois.grids import Volume
from bids_recon.simulate.head import Head, grid_affine, grid_points
from bids_recon.simulate.motion import moved

SHAPE, SIZE, N, TR = (20, 24, 18), 6.0, 30, 2.0
AFFINE = grid_affine(SHAPE, SIZE)


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    extent = tuple(SIZE * n for n in SHAPE)
    intensity = Head.fitted(extent, np.random.default_rng(0)).intensity(grid_points(SHAPE, AFFINE), "EPI")
    return 1000 * gaussian_filter(intensity, 0.7).astype(np.float32)


def write(file: Path, volumes: np.ndarray) -> Path:
    """Volumes (n, x, y, z) as a series."""
    image = nib.Nifti1Image(np.moveaxis(volumes, 0, -1).astype(np.float32), AFFINE)
    image.header.set_zooms((SIZE, SIZE, SIZE, TR))
    nib.save(image, file)
    return file


def test_a_moved_run_comes_back(head: np.ndarray, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    positions = np.cumsum(rng.normal(size=(N, 6)), axis=0) * [0.2, 0.2, 0.2, 0.003, 0.003, 0.003]
    still = np.repeat(head[None], N, axis=0)
    volumes = moved(still, AFFINE, positions) + rng.normal(0, 3, (N, *SHAPE)).astype(np.float32)
    volumes[:2] *= 1.4
    file = write(tmp_path / "run_bold.nii", volumes)
    motion = estimate_run_motion(file)
    assert motion.n_dropped == 2
    assert motion.pull.shape == (N - 2, 4, 4)
    mask = gaussian_filter(head, 1) > 500
    out = tmp_path / "aligned_bold.nii"
    # Towards the head at rest: the true way of the middle volume, in which the mean has the head.
    middle = matrices(positions, np.zeros(3))[2 + (N - 2) // 2]
    reference = Volume(head, AFFINE)
    aligned = align_run(
        file, out, motion, middle, reference, mask, metadata={"StartTime": 0.5}, repetition_time=TR
    )
    image = nib.load(out)
    assert image.shape == (*SHAPE, N - 2)
    assert image.header.get_zooms()[3] == TR
    np.testing.assert_allclose(image.affine, AFFINE)
    series = image.get_fdata()
    inner = mask & (aligned.tsnr > 0)
    change = np.abs(np.diff(series[inner], axis=1)).mean()
    before = np.abs(np.diff(np.moveaxis(volumes[2:], 0, -1)[inner], axis=1)).mean()
    # What is left is the noise: the mean size of the difference of two of its samples is 3.4.
    assert change < 3.4 < 5 < before
    assert np.corrcoef(series[inner].mean(axis=1), head[inner])[0, 1] > 0.995
    assert aligned.start_time == 0.5 + 2 * TR
    assert aligned.n_dropped == 2
    assert len(aligned.confounds) == N - 2
    assert np.isnan(aligned.confounds["framewise_displacement"].iloc[0])
    true = positions[2:, :3] - positions[2:, :3].mean(axis=0)
    found = aligned.confounds[["trans_x", "trans_y", "trans_z"]].to_numpy()
    # Rotations turn about another centre here than in the simulation, which moves translations a little.
    assert np.corrcoef(found[:, 2], true[:, 2])[0, 1] > 0.9
    assert aligned.carpet.shape[1] == N - 2
    assert abs(aligned.carpet.mean()) < 0.5
    assert np.median(aligned.tsnr[inner]) > 20


def test_slices_are_brought_to_one_time(head: np.ndarray, tmp_path: Path) -> None:
    times = np.linspace(0, TR, SHAPE[2], endpoint=False)
    frequency = 0.05
    waves = np.sin(2 * np.pi * frequency * (TR * np.arange(N)[:, None] + times))
    volumes = head * (1 + 0.1 * waves[:, None, None, :])
    file = write(tmp_path / "run_bold.nii", volumes)
    still = RunMotion(np.repeat(np.eye(4)[None], N, axis=0), Volume(head, AFFINE), 0)
    mask = head > 600
    out = tmp_path / "aligned_bold.nii"
    aligned = align_run(
        file, out, still, np.eye(4), still.reference, mask, metadata={"SliceTiming": times.tolist()},
        repetition_time=TR,
    )  # fmt: skip
    assert aligned.slice_timing
    assert aligned.start_time == pytest.approx((times[0] + times[-1]) / 2)
    expected = np.sin(2 * np.pi * frequency * (TR * np.arange(N) + aligned.start_time))
    series = nib.load(out).get_fdata()[mask] / head[mask][:, None] - 1
    # Not at the ends, where nothing is known beyond.
    assert np.abs(series - 0.1 * expected)[:, 4:-4].max() < 0.003


def test_voxels_that_a_volume_does_not_cover() -> None:
    pull = np.repeat(np.eye(4)[None], 3, axis=0)
    pull[1, 2, 3] = 2 * SIZE
    pull[2, 0, 3] = -0.4 * SIZE
    covered = covered_by_all(Volume(np.zeros(SHAPE), AFFINE), pull, AFFINE, SHAPE)
    expected = np.ones(SHAPE, dtype=bool)
    expected[:, :, -2:] = False
    np.testing.assert_array_equal(covered, expected)


def test_temporal_snr_leaves_out_drift() -> None:
    rng = np.random.default_rng(0)
    n = 200
    drift = 50 * np.sin(np.linspace(0, np.pi, n))[:, None]
    series = 1000 + drift + rng.normal(0, [5.0, 10.0], (n, 2))
    np.testing.assert_allclose(temporal_snr(series.astype(np.float32), TR), [205, 103], rtol=0.12)
    assert temporal_snr(np.full((n, 1), 7, dtype=np.float32), TR)[0] == 0


def test_centre_of_a_mask() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2, 3, 4] = mask[4, 3, 4] = True
    np.testing.assert_allclose(centre_of(mask, AFFINE), AFFINE[:3, :3] @ [3, 3, 4] + AFFINE[:3, 3])


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 1)])
def test_one_volume_is_no_run(head: np.ndarray, tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = tmp_path / "sub-01_task-x_bold.nii"
    nib.save(nib.Nifti1Image(head.reshape(shape), AFFINE), file)
    with pytest.raises(DataError, match="a run is a series of volumes") as caught:
        estimate_run_motion(file)
    assert caught.value.file == file
    assert "leave it out" in str(caught.value.remedy)


def test_a_run_without_signal_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "empty_bold.nii", np.zeros((4, *SHAPE)))
    with pytest.raises(DataError) as caught:
        estimate_run_motion(file)
    assert caught.value.file == file


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        estimate_run_motion(tmp_path / "none_bold.nii.gz")
