"""What preprocessing must undo is planted as it says: slice times, tilt, position, first volumes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import obliquity
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate import MOVING, STILL, TINY, SimulationDesign, simulate_dataset
from bids_recon.simulate.head import Head, grid_affine, grid_points
from bids_recon.simulate.motion import motion_matrix
from bids_recon.simulate.placement import Placement, place_session
from bids_recon.simulate.scanner import Scanner
from bids_recon.simulate.slices import slice_times
from bids_recon.simulate.texts import raw_description

FEW = {"n_train": 3, "train_runs": 1, "n_natural": 2, "n_shapes": 0, "repeats": 1, "noise": 0.1, "drift": 0.1}


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    return simulate_dataset(tmp_path_factory.mktemp("moving") / "bids", replace(MOVING, **FEW))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    return simulate_dataset(tmp_path_factory.mktemp("still") / "bids", replace(STILL, **FEW))


def image_of(truth, run):
    return nib.load(truth.folder / run.file("bold", ".nii.gz"))


def pulled(volume, affine, pull, shape, target_affine):
    """Volume on another grid, whose points `pull` takes to those of the volume."""
    matrix = np.linalg.inv(affine) @ pull @ target_affine
    where = np.moveaxis(grid_points(shape, matrix), -1, 0)
    return map_coordinates(volume, where, order=3, mode="nearest")


def scanner(**changes):
    design = replace(STILL, grid=(14, 16, 12), voxel_size=10.0, noise=0.01, drift=0.0, **changes)
    extent = tuple(design.voxel_size * n for n in design.grid)
    return Scanner(design, Head.fitted(extent, np.random.default_rng(0), landmarks=True), design.noise)


def inside(of):
    flat = np.flatnonzero(of.head.radius(grid_points(of.design.grid, of.affine)).ravel() < 0.7)
    return VoxelSelection(of.design.grid, of.affine, flat)


def test_data_sets_without_the_new_settings_do_not_state_them():
    stated = raw_description(TINY, 0)["SimulatedFrom"]["Design"]
    new = {"slice_timing", "oblique", "session_shift", "inplane_t2", "dummy_volumes", "landmarks"}
    assert set(asdict(TINY)) - set(stated) == new
    assert new <= set(raw_description(MOVING, 0)["SimulatedFrom"]["Design"])


def test_a_head_at_rest_is_taken_as_without_a_placement():
    of = scanner()
    voxels, course = inside(of), np.ones((3, inside(of).n_voxels))
    place = place_session(of.design, np.random.default_rng(3))
    taken = of.acquire(course, voxels, np.random.default_rng(0), placement=place)
    np.testing.assert_array_equal(taken, of.acquire(course, voxels, np.random.default_rng(0)))


def test_moving_and_still_share_pictures_trials_responses(moving, still):
    one, other = moving.subjects["01"], still.subjects["01"]
    np.testing.assert_array_equal(one.betas, other.betas)
    np.testing.assert_array_equal(one.voxels.indices, other.voxels.indices)
    assert MOVING.stated() != STILL.stated()
    for run, same in zip(one.runs, other.runs, strict=True):
        pd.testing.assert_frame_equal(run.trials, same.trials)
        assert run.n_volumes == same.n_volumes
        np.testing.assert_array_equal(same.position, np.eye(4))


def test_slice_times_are_interleaved():
    np.testing.assert_allclose(slice_times(5, 2.0), [0, 1.2, 0.4, 1.6, 0.8])
    np.testing.assert_allclose(slice_times(4, 2.0), [0, 1.0, 0.5, 1.5])


@pytest.mark.parametrize("turned", [0.0, 0.2])
def test_each_slice_shows_the_signal_at_its_own_time(turned):
    of = scanner()
    voxels, n, frequency = inside(of), 40, 0.03
    begins = of.design.tr * np.arange(n)

    def course(late):
        wave = 20 * np.sin(2 * np.pi * frequency * (begins + late))
        return np.repeat(wave[:, None], voxels.n_voxels, axis=1)

    position = motion_matrix(np.array([0, 0, 0, turned, 0, 0]))
    place = Placement(position, of.affine)
    rng = np.random.default_rng(0)
    volumes = of.acquire(course(0.0), voxels, rng, placement=place, later=course)
    times = slice_times(of.design.grid[2], of.design.tr)
    # Well within the voxels, so that the interpolation has nothing but signal to look at.
    points = grid_points(of.design.grid, np.linalg.inv(position) @ of.affine)
    deep = of.head.radius(points) < 0.45
    seen = 0
    for number, time in enumerate(times):
        if not deep[:, :, number].any():
            continue
        series = volumes[:, :, number][deep[:, :, number]].mean(axis=0)
        wave = 2 * np.pi * frequency * (begins + time)
        basis = np.column_stack([np.ones(n), np.sin(wave), np.cos(wave)])
        mean, sine, cosine = np.linalg.lstsq(basis, series, rcond=None)[0]
        assert np.arctan2(cosine, sine) / (2 * np.pi * frequency) == pytest.approx(0, abs=0.06)
        assert sine / mean == pytest.approx(0.2, abs=0.01)
        seen += 1
    assert seen >= 4


def test_sidecars_state_the_slice_times(moving, still):
    for truth, expected in ((moving, slice_times(22, 2.0).tolist()), (still, None)):
        file = truth.folder / truth.subjects["01"].runs[0].file("bold", ".json")
        sidecar = json.loads(file.read_text())
        assert sidecar.get("SliceTiming") == expected
        assert ("SliceEncodingDirection" in sidecar) == (expected is not None)


def test_slices_are_tilted_otherwise_in_each_session(moving):
    train, test = moving.subjects["01"].runs
    for run in (train, test):
        image = image_of(moving, run)
        np.testing.assert_allclose(image.affine, run.affine, atol=1e-4)
        np.testing.assert_allclose(image.header.get_zooms()[:3], MOVING.voxel_size, rtol=1e-5)
        rotation = Rotation.from_matrix(run.affine[:3, :3] / MOVING.voxel_size)
        assert np.rad2deg(rotation.magnitude()) == pytest.approx(MOVING.oblique)
        assert np.rad2deg(obliquity(run.affine)).max() > 0.8 * MOVING.oblique
    assert np.abs(train.affine - test.affine).max() > 1


def test_an_oblique_grid_without_shift_is_one_for_all_sessions():
    design = replace(STILL, oblique=10.0)
    one, other = (place_session(design, np.random.default_rng(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(one.affine, other.affine)
    np.testing.assert_array_equal(one.position, np.eye(4))
    np.testing.assert_allclose(np.rad2deg(obliquity(one.affine)), [0, 10, 10], atol=1e-6)


def test_sessions_lie_as_far_from_the_t1w_as_asked(moving):
    positions = [run.position for run in moving.subjects["01"].runs]
    for position in positions:
        assert np.linalg.norm(position[:3, 3]) == pytest.approx(MOVING.session_shift)
        angle = Rotation.from_matrix(position[:3, :3]).magnitude()
        assert angle == pytest.approx(MOVING.session_shift / 100)
    assert np.linalg.norm(positions[0][:3, 3] - positions[1][:3, 3]) > 1


@pytest.mark.parametrize("number", [0, 1])
def test_true_matrices_bring_the_still_head_back(moving, still, number):
    run, rest = moving.subjects["01"].runs[number], still.subjects["01"].runs[number]
    seen = image_of(moving, run).get_fdata(dtype=np.float32)
    head = image_of(still, rest).get_fdata(dtype=np.float32).mean(axis=-1)
    brain = head > 600
    volume = int(np.linalg.norm(run.motion[:, :3], axis=1).argmax())
    for at, pull in ((4, motion_matrix(run.motion[4])), (volume, motion_matrix(run.motion[volume]))):
        back = pulled(seen[..., at], run.affine, pull @ run.position, head.shape, rest.affine)
        left = pulled(seen[..., at], run.affine, np.eye(4), head.shape, rest.affine)
        assert np.corrcoef(back.ravel(), head.ravel())[0, 1] > 0.98
        assert np.corrcoef(left.ravel(), head.ravel())[0, 1] < 0.93
        assert np.median(np.abs(back - head)[brain]) < 0.03 * head[brain].mean()


def test_positions_are_written(moving):
    for run in moving.subjects["01"].runs:
        file = moving.folder / "derivatives" / "motion" / run.file("xfm", ".json", "position")
        written = json.loads(file.read_text())
        np.testing.assert_allclose(written["T1wToScanner"], run.position)
        np.testing.assert_allclose(np.dot(written["ScannerToT1w"], run.position), np.eye(4), atol=1e-12)


@pytest.mark.parametrize("number", [0, 1])
def test_inplane_t2_shows_the_head_where_the_session_has_it(moving, number):
    run = moving.subjects["01"].runs[number]
    folder = moving.folder / "sub-01" / f"ses-{run.session}" / "anat"
    image = nib.load(folder / f"sub-01_ses-{run.session}_inplaneT2.nii.gz")
    assert image.shape == (56, 68, 22)
    np.testing.assert_allclose(image.header.get_zooms(), [2.5, 2.5, 5.0], rtol=1e-5)
    # Both images have the same corners, so that the slices are the same.
    for corner in ([-0.5, -0.5, -0.5], [27.5, 33.5, 21.5]):
        finer = (np.array(corner) + 0.5) * [2, 2, 1] - 0.5
        np.testing.assert_allclose(image.affine @ [*finer, 1], run.affine @ [*corner, 1], atol=1e-3)
    t1w = nib.load(moving.folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    anatomy = t1w.get_fdata(dtype=np.float32)
    pull = np.linalg.inv(run.position)
    there = pulled(anatomy, t1w.affine, pull, image.shape, image.affine) > 100
    elsewhere = pulled(anatomy, t1w.affine, np.eye(4), image.shape, image.affine) > 100
    t2 = image.get_fdata() > 100
    overlap = [2 * (t2 & other).sum() / (t2.sum() + other.sum()) for other in (there, elsewhere)]
    assert overlap[0] > 0.95 and overlap[1] < 0.85
    mean = image_of(moving, run).get_fdata(dtype=np.float32)[..., 4]
    coarse = pulled(image.get_fdata(dtype=np.float32), image.affine, np.eye(4), mean.shape, run.affine)
    assert np.corrcoef(coarse.ravel(), mean.ravel())[0, 1] > 0.85


def test_first_volumes_are_brighter(moving):
    series = image_of(moving, moving.subjects["01"].runs[0]).get_fdata(dtype=np.float32)
    glow = series.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(glow[:4] / np.median(glow[4:]), [1.4, 1.2, 1.1, 1.0], atol=0.02)


@pytest.mark.parametrize("axis", [0, 1])
def test_landmarks_tell_left_from_right_and_front_from_back(axis):
    points = grid_points((32, 36, 28), grid_affine((32, 36, 28), 5.0))
    for contrast in ("T1w", "EPI", "T2"):
        likeness = []
        for landmarks in (False, True):
            # Without the phase of the folds the head is as symmetric as it can be.
            head = Head((60.0, 70.0, 50.0), 0.0, landmarks)
            image, within = head.intensity(points, contrast), head.radius(points) < 0.7
            likeness.append(np.corrcoef(image[within], np.flip(image, axis)[within])[0, 1])
        assert likeness[1] < likeness[0] - 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dummy_volumes": 5}, "5 dummy volumes do not fit"),
        ({"oblique": 50.0}, "oblique is an angle between 0 and 45"),
        ({"session_shift": -1.0}, "session_shift a length"),
    ],
)
def test_designs_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SimulationDesign(**settings)
