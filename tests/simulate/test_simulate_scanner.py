"""The haemodynamic response, the noise, the motion and the image of the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nilearn.glm.first_level import spm_hrf

from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate.design import DEMO
from bids_recon.simulate.head import Head, grid_affine, grid_points
from bids_recon.simulate.motion import draw_motion, motion_matrix, moved
from bids_recon.simulate.scanner import (
    BRAIN_INTENSITY,
    MAX_DELAY,
    Scanner,
    block_response,
    canonical_hrf,
    draw_delays,
    signal,
)

DESIGN = replace(DEMO, grid=(16, 18, 14), voxel_size=9.0)


def scanner(**changes):
    design = replace(DESIGN, **changes)
    extent = tuple(design.voxel_size * n for n in design.grid)
    return Scanner(design, Head.fitted(extent, np.random.default_rng(0)), design.noise)


def cortical(of):
    """A few voxels of the brain."""
    points = grid_points(of.design.grid, of.affine)
    flat = np.flatnonzero(of.head.radius(points).ravel() < 0.6)[::15]
    return VoxelSelection(of.design.grid, of.affine, flat)


def test_hrf_is_that_of_spm():
    # nilearn's is a step of its grid late, and scaled to a sum of 1.
    theirs = spm_hrf(1.0, oversampling=10, time_length=32)
    times = np.linspace(0, 32, len(theirs)) - 0.1
    ours = canonical_hrf(times)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9999
    assert times[np.argmax(ours)] == pytest.approx(5, abs=0.15)


def test_block_response_peaks_at_one_and_is_causal():
    times = np.arange(-5, 40, 0.1)
    response = block_response(times, 6.0)
    assert response.max() == pytest.approx(1, abs=1e-3)
    assert (response[times < 0] == 0).all()
    assert 7 < times[np.argmax(response)] < 9
    assert response.min() < -0.05


def test_signal_adds_up_and_delays_shift_it():
    times = np.arange(0, 60, 0.1)
    both = signal(np.array([[2.0], [1.0]]), np.array([4.0, 20.0]), 6.0, np.zeros(1), times)
    apart = [
        signal(np.array([[size]]), np.array([onset]), 6.0, np.zeros(1), times)
        for size, onset in ((2.0, 4.0), (1.0, 20.0))
    ]
    np.testing.assert_allclose(both, apart[0] + apart[1])
    late = signal(np.array([[2.0]]), np.array([4.0]), 6.0, np.array([0.5]), times)
    np.testing.assert_allclose(late[5:], apart[0][:-5], atol=1e-9)


def test_delays_have_the_spread_that_was_asked_for():
    delays = draw_delays(20000, 0.4, np.random.default_rng(0))
    assert delays.std() == pytest.approx(0.4, rel=0.03)
    assert np.abs(delays).max() <= MAX_DELAY
    np.testing.assert_allclose(delays * 10, np.round(delays * 10), atol=1e-9)


def test_noise_has_the_size_that_was_asked_for():
    of = scanner(noise=1.5, drift=0.0)
    voxels = cortical(of)
    n = 300
    volumes = of.acquire(np.zeros((n, voxels.n_voxels)), voxels, np.random.default_rng(1))
    series = volumes.reshape(-1, n)[voxels.indices]
    percent = 100 * series.std(axis=1) / series.mean(axis=1)
    assert np.median(percent) == pytest.approx(1.5, rel=0.15)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_noise_is_autocorrelated_as_asked(correlation):
    of = scanner(autocorrelation=correlation, drift=0.0)
    voxels = cortical(of)
    n = 400
    volumes = of.acquire(np.zeros((n, voxels.n_voxels)), voxels, np.random.default_rng(1))
    series = volumes.reshape(-1, n)[voxels.indices]
    series = series - series.mean(axis=1, keepdims=True)
    lag_one = (series[:, 1:] * series[:, :-1]).sum(axis=1) / (series**2).sum(axis=1)
    # 45 % of the variance has the correlation asked for, 10 % that of physiology (0.7); receiver noise
    # (0.3 % beside 0.9 %) dilutes both.
    expected = (0.45 * correlation + 0.10 * 0.7) / (1 + (0.3 / of.noise) ** 2)
    assert np.mean(lag_one) == pytest.approx(expected, abs=0.06)


def test_drift_is_slow():
    of = scanner(drift=4.0, noise=0.1)
    voxels = cortical(of)
    n = 200
    volumes = of.acquire(np.zeros((n, voxels.n_voxels)), voxels, np.random.default_rng(1))
    series = volumes.reshape(-1, n)[voxels.indices]
    power = np.abs(np.fft.rfft(series - series.mean(axis=1, keepdims=True))) ** 2
    # A ramp has 13 % of its power beyond the fourth harmonic; white noise would have 96 %.
    assert power[:, 1:5].sum() / power[:, 1:].sum() > 0.85
    assert 0.5 < np.median(100 * series.std(axis=1) / series.mean(axis=1)) < 4


def test_signal_arises_only_in_its_voxels():
    of = scanner(noise=0.01, drift=0.0)
    voxels = cortical(of)
    course = np.zeros((6, voxels.n_voxels))
    course[3:] = 10.0
    volumes = of.acquire(course, voxels, np.random.default_rng(1))
    change = volumes[..., 3:].mean(axis=-1) / volumes[..., :3].mean(axis=-1) - 1
    inside = voxels.mask()
    np.testing.assert_allclose(change[inside], 0.10, atol=0.02)
    tissue = (volumes.mean(axis=-1) > 500) & ~inside
    assert np.abs(change[tissue]).max() < 0.02


def test_image_of_the_head():
    of = scanner()
    baseline = of.baseline()
    points = grid_points(of.design.grid, of.affine)
    radius = of.head.radius(points)
    assert baseline[radius < 0.9].mean() == pytest.approx(BRAIN_INTENSITY, rel=0.25)
    assert baseline[radius > 1.3].max() == 0
    t1w = of.head.intensity(points, "T1w")
    epi = of.head.intensity(points, "EPI")
    white, grey = (radius > 0.5) & (radius < 0.6), (radius > 0.82) & (radius < 0.87)
    assert np.median(t1w[white]) > 1.2 * np.median(t1w[grey])
    assert np.median(epi[grey]) > 1.2 * np.median(epi[white])


def test_motion_is_smooth_starts_at_rest_and_has_its_size():
    motion = draw_motion(200, 0.5, np.random.default_rng(0))
    np.testing.assert_allclose(motion.std(axis=0), [0.5, 0.5, 0.5, 0.01, 0.01, 0.01])
    assert (motion[0] == 0).all()
    assert np.abs(np.diff(motion, axis=0)).max(axis=0)[:3].max() < 0.3


def test_a_moved_head_is_found_where_it_went():
    shape, affine = (21, 21, 21), grid_affine((21, 21, 21), 3.0)
    points = grid_points(shape, affine)
    spot = np.array([9.0, 3.0, -6.0])
    volume = np.exp(-((points - spot) ** 2).sum(axis=-1) / (2 * 5.0**2)).astype(np.float32)
    position = np.array([2.0, -3.0, 4.0, 0.1, -0.2, 0.3])
    seen = moved(volume[None], affine, position[None])[0]
    centre = (points * seen[..., None]).sum(axis=(0, 1, 2)) / seen.sum()
    expected = (motion_matrix(position) @ [*spot, 1])[:3]
    np.testing.assert_allclose(centre, expected, atol=0.1)


def test_no_motion_changes_nothing():
    volumes = np.random.default_rng(0).normal(size=(2, 6, 6, 6)).astype(np.float32)
    still = moved(volumes, grid_affine((6, 6, 6), 3.0), np.zeros((2, 6)))
    np.testing.assert_allclose(still, volumes, atol=1e-5)
