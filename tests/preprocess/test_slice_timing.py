"""Planted signals come back at the reference time; sidecars are read as BIDS means them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_recon.errors import DataError
from bids_recon.preprocess.slice_timing import SliceTiming, correct_slice_timing, slice_times, start_time
from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate.design import STILL
from bids_recon.simulate.head import Head, grid_points
from bids_recon.simulate.scanner import Scanner
from bids_recon.simulate.texts import bold_sidecar

TR, N = 2.0, 80
INTERLEAVED = [0.0, 1.0, 0.4, 1.4, 0.8]
MULTIBAND = [0.0, 1.0, 0.5, 0.0, 1.0, 0.5]


def timing_of(times, axis=2):
    return SliceTiming(np.array(times), axis, (min(times) + max(times)) / 2)


def waves(times, shape, seed=0):
    """Sum of waves below 0.12 Hz, a quarter of the sampling rate, in each voxel; amplitude about 1."""
    rng = np.random.default_rng(seed)
    total = np.zeros((*shape, len(times)))
    for frequency in (0.01, 0.04, 0.08, 0.11):
        phase = rng.uniform(0, 2 * np.pi, (*shape, 1))
        total += 0.5 * np.sin(2 * np.pi * frequency * times + phase)
    return total


def sampled(times, axis, shape):
    """Series of voxels whose slices are taken at their own times, and as they are at the reference time."""
    reference = (min(times) + max(times)) / 2
    begins = TR * np.arange(N)
    target = waves(begins + reference, shape)
    taken = np.empty_like(target)
    for number, time in enumerate(times):
        slice_ = [slice(None)] * 4
        slice_[axis] = number
        taken[tuple(slice_)] = waves(begins + time, shape)[tuple(slice_)]
    return (1000 + 10 * taken).astype(np.float32), 1000 + 10 * target


@pytest.mark.parametrize("times", [INTERLEAVED, MULTIBAND])
@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_planted_signals_come_back(times, axis, order):
    shape = [4, 3, 2]
    shape[axis] = len(times)
    taken, target = sampled(times, axis, tuple(shape))
    volumes = np.array(taken, order=order)
    assert correct_slice_timing(volumes, timing_of(times, axis), TR) is volumes
    inner = slice(6, -6)
    before = np.abs(taken - target)[..., inner].max()
    assert before > 3
    assert np.abs(volumes - target)[..., inner].max() < 0.01 * 10
    # The ends are worse, and better than without correction.
    assert np.abs(volumes - target).mean() < 0.1 * np.abs(taken - target).mean()


def test_a_slice_at_the_reference_time_is_left_as_it_is():
    taken = np.random.default_rng(0).normal(size=(3, 3, 3, 20)).astype(np.float32)
    volumes = taken.copy()
    correct_slice_timing(volumes, timing_of([0.0, 0.9, 1.8]), TR)
    np.testing.assert_array_equal(volumes[:, :, 1], taken[:, :, 1])
    assert not np.allclose(volumes[:, :, 0], taken[:, :, 0])
    # Nothing is known before the first sample of the last slice, or after the last of the first.
    np.testing.assert_allclose(volumes[:, :, 2, 0], taken[:, :, 2, 0], rtol=1e-5)
    np.testing.assert_allclose(volumes[:, :, 0, -1], taken[:, :, 0, -1], rtol=1e-5)


def test_drift_is_shifted_along_and_a_constant_stays():
    line = np.broadcast_to(100 + 3.0 * np.arange(30), (1, 1, 2, 30)).astype(np.float32)
    volumes = line.copy()
    correct_slice_timing(volumes, timing_of([0.0, 1.0]), TR)
    np.testing.assert_allclose(volumes[0, 0, 0, :-1], line[0, 0, 0, :-1] + 3 * 0.25, rtol=1e-5)
    np.testing.assert_allclose(volumes[0, 0, 1, 1:], line[0, 0, 1, 1:] - 3 * 0.25, rtol=1e-5)
    constant = np.full((2, 2, 2, 9), 7, np.float32)
    correct_slice_timing(constant, timing_of([0.0, 1.0]), TR)
    np.testing.assert_allclose(constant, 7, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_short_runs_stay_finite(n):
    volumes = np.random.default_rng(n).normal(size=(2, 2, 2, n)).astype(np.float32)
    correct_slice_timing(volumes, timing_of([0.0, 1.0]), TR)
    assert np.isfinite(volumes).all()


def test_slices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="4 slices, 2 slice times"):
        correct_slice_timing(np.zeros((4, 4, 4, 9), np.float32), timing_of([0.0, 1.0]), TR)


def test_times_are_read_as_bids_means_them():
    shape = (7, 6, 5, 99)
    timing = slice_times({"SliceTiming": INTERLEAVED}, shape, TR)
    assert (timing.axis, timing.reference_time) == (2, 0.7)
    np.testing.assert_array_equal(timing.times, INTERLEAVED)
    back = slice_times({"SliceTiming": INTERLEAVED, "SliceEncodingDirection": "k-"}, shape, TR)
    np.testing.assert_array_equal(back.times, INTERLEAVED[::-1])
    side = slice_times({"SliceTiming": MULTIBAND, "SliceEncodingDirection": "j"}, shape, TR)
    assert side.axis == 1
    np.testing.assert_array_equal(side.times, MULTIBAND)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"SliceTiming": [0.5] * 5},
        {"SliceTiming": INTERLEAVED, "SliceTimingCorrected": True},
    ],
)
def test_nothing_to_correct(metadata):
    assert slice_times(metadata, (7, 6, 5), TR) is None


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"SliceTiming": INTERLEAVED[:4]}, "4 times, the volumes have 5 slices.*SliceEncodingDirection"),
        ({"SliceTiming": [0, 400, 800, 1200, 1600]}, "seem to be in milliseconds. Divide.*by 1000"),
        ({"SliceTiming": [0, 0.5, 1.0, 1.5, 2.5]}, "from 0 to 2.5, the repetition time is 2 s. Correct"),
        ({"SliceTiming": [-0.5, 0.5, 1.0, 1.5, 1.6]}, "from -0.5 to 1.6"),
        ({"SliceTiming": "0, 1"}, "no list of numbers"),
        ({"SliceTiming": [0, None, 1, 1, 1]}, "no list of numbers"),
        ({"SliceTiming": INTERLEAVED, "SliceEncodingDirection": "z"}, "SliceEncodingDirection is 'z'"),
    ],
)
def test_bad_sidecars_are_refused(metadata, message):
    with pytest.raises(DataError, match=message) as caught:
        slice_times(metadata, (7, 6, 5), TR, file=Path("bold.json"))
    assert str(caught.value).startswith("bold.json: ")


def test_start_time():
    timing = timing_of(INTERLEAVED)
    assert start_time({}, None, TR) == 0
    assert start_time({"StartTime": 0.9}, None, TR, n_dropped=2) == pytest.approx(4.9)
    assert start_time({"StartTime": 0.9}, timing, TR, n_dropped=1) == pytest.approx(2.7)


def test_simulated_slices_are_brought_to_one_time():
    design = replace(STILL, grid=(10, 12, 8), voxel_size=14.0, noise=0.01, drift=0.0, slice_timing=True)
    of = Scanner(design, Head((60.0, 70.0, 50.0), 0.0), 0.01)
    points = grid_points(design.grid, of.affine)
    voxels = VoxelSelection(design.grid, of.affine, np.flatnonzero(of.head.radius(points).ravel() < 0.7))
    begins = TR * np.arange(40)

    def course(late):
        wave = 10 * np.sin(2 * np.pi * 0.05 * (begins + late))
        return np.repeat(wave[:, None], voxels.n_voxels, axis=1)

    volumes = of.acquire(course(0.0), voxels, np.random.default_rng(0), later=course)
    timing = slice_times(bold_sidecar(design), design.grid, TR)
    wave = course(timing.reference_time)[:, 0]
    slices = np.unravel_index(voxels.indices, design.grid)[2]
    errors = []
    for correct in (False, True):
        if correct:
            correct_slice_timing(volumes, timing, TR)
        series = volumes.reshape(-1, 40)[voxels.indices]
        percent = 100 * (series / series.mean(axis=1, keepdims=True) - 1)
        by_slice = np.stack([percent[slices == number].mean(axis=0) for number in np.unique(slices)])
        errors.append(np.abs(by_slice - wave)[:, 4:-4].max())
    # What is left is the receiver's noise, 0.3 % in each voxel.
    assert errors[0] > 2 and errors[1] < 0.4
