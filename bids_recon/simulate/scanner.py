"""From responses to the volumes that a scanner would give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter
from scipy.stats import gamma

from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate.design import SimulationDesign
from bids_recon.simulate.head import BRAIN_RADIUS, Head, grid_affine, grid_points
from bids_recon.simulate.motion import motion_matrix, seen
from bids_recon.simulate.placement import Placement
from bids_recon.simulate.slices import add_late_signal, slice_times

BRAIN_INTENSITY = 1000.0
AIR_NOISE = 3.0
FINE_STEP = 0.1
RESPONSE_LENGTH = 32.0
MAX_DELAY = 1.5
N_PHYSIOLOGICAL = 4
# How much brighter than in the steady state the first volume is; each one after it half as much.
UNSTEADY = 0.4


def canonical_hrf(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Haemodynamic response to an instant, as the difference of two gamma densities.

    Peak after 5 s, undershoot after 15 s of a sixth of its area: the canonical function of SPM (Friston et
    al. 1998, NeuroImage 7: 30).

    Parameters
    ----------
    time : ndarray
        Seconds since the event.
    """
    return gamma.pdf(time, 6) - gamma.pdf(time, 16) / 6


def block_response(time: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
    """Haemodynamic response to a block, with a peak of 1.

    Parameters
    ----------
    time : ndarray
        Seconds since the block began.
    duration : float
        Length of the block in seconds.
    """
    fine = np.arange(0, duration + RESPONSE_LENGTH, FINE_STEP)
    hrf = canonical_hrf(fine)
    block = np.convolve(hrf, np.ones(max(1, round(duration / FINE_STEP))))[: len(fine)]
    return np.interp(time, fine, block / block.max(), left=0.0, right=0.0)


def draw_delays(n: int, spread: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Delay of each voxel's response in seconds, (n,): normal, within 1.5 s, in steps of 0.1 s."""
    # Steps let voxels of one delay share a design matrix.
    return np.round(rng.normal(0, spread, n).clip(-MAX_DELAY, MAX_DELAY) / FINE_STEP) * FINE_STEP


def signal(
    responses: NDArray[np.floating],
    onsets: NDArray[np.float64],
    duration: float,
    delays: NDArray[np.float64],
    times: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Noiseless time courses.

    Parameters
    ----------
    responses : ndarray (n_trials, n_voxels)
        Peak of the response to each presentation, in percent.
    onsets : ndarray (n_trials,)
        When pictures appear, in seconds.
    duration : float
        How long each is shown, in seconds.
    delays : ndarray (n_voxels,)
        Delay of each voxel in seconds.
    times : ndarray (n_volumes,)
        When volumes are taken, in seconds.

    Returns
    -------
    ndarray (n_volumes, n_voxels)
        Percent of the baseline.
    """
    course = np.zeros((len(times), responses.shape[1]))
    for delay in np.unique(delays):
        voxels = delays == delay
        design = block_response(times[:, None] - onsets[None, :] - delay, duration)
        course[:, voxels] = design @ responses[:, voxels]
    return course


@dataclass(frozen=True)
class Scanner:
    """A scanner with one person in it.

    Attributes
    ----------
    design : SimulationDesign
        Repetition time, grid and noise.
    head : Head
        The person's head.
    noise : float
        This person's measurement noise, in percent.
    """

    design: SimulationDesign
    head: Head
    noise: float

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel to coordinates of the head at rest, (4, 4), in mm."""
        return grid_affine(self.design.grid, self.design.voxel_size)

    def baseline(self) -> NDArray[np.float64]:
        """Volume at rest, without noise."""
        points = grid_points(self.design.grid, self.affine)
        image = self.head.image(self.design.grid, self.affine, "EPI")
        # Coils pick up the surface better than the centre.
        return BRAIN_INTENSITY * image * (0.8 + 0.2 * self.head.radius(points).clip(0, 1.2) ** 2)

    def acquire(
        self,
        course: NDArray[np.float64],
        voxels: VoxelSelection,
        rng: np.random.Generator,
        motion: NDArray[np.float64] | None = None,
        *,
        placement: Placement | None = None,
        later: Callable[[float], NDArray[np.float64]] | None = None,
    ) -> NDArray[np.float32]:
        """Take the volumes of a run.

        Parameters
        ----------
        course : ndarray (n_volumes, n_voxels)
            Signal in percent of the baseline.
        voxels : VoxelSelection
            Where the signal arises.
        rng : Generator
            Source of noise.
        motion : ndarray (n_volumes, 6), optional
            Position of the head at each volume (see `bids_recon.simulate.motion`).
        placement : Placement, optional
            Where the head lies in the session and how the slices are laid; as in the T1w image by default.
        later : callable, optional
            `course` as it is some seconds after each volume has begun. Given, the slices are taken one after
            the other; the noise stays that of the volume.

        Returns
        -------
        ndarray (x, y, z, n_volumes) float32
            Intensity, not negative, on the grid of the placement.
        """
        n_volumes = len(course)
        baseline = self.baseline()
        points = grid_points(self.design.grid, self.affine)
        brain = np.flatnonzero(self.head.radius(points) < BRAIN_RADIUS)
        percent = np.zeros((n_volumes, baseline.size), dtype=np.float32)
        percent[:, brain] = self._noise(n_volumes, brain, rng)
        percent[:, voxels.indices] += course
        volumes = (baseline.ravel() * (1 + percent / 100)).astype(np.float32)
        del percent
        volumes = volumes.reshape(n_volumes, *self.design.grid)
        place = placement or Placement(np.eye(4), self.affine)
        positions = np.zeros((n_volumes, 6)) if motion is None else motion
        poses = np.stack([motion_matrix(position) @ place.position for position in positions])
        if motion is not None or not place.is_at_rest(self.affine):
            volumes = seen(volumes, self.affine, poses, place.affine)
        if later is not None:
            scale = baseline.ravel()[voxels.indices] / 100
            times = slice_times(self.design.grid[2], self.design.tr)
            add_late_signal(
                volumes, lambda time: scale * (later(time) - course), times, voxels, poses, place.affine
            )
        for number in range(self.design.dummy_volumes):
            volumes[number] *= 1 + UNSTEADY / 2**number
        # Receiver noise has the same size everywhere, and makes air bright because magnitudes are positive.
        shown = rng.standard_normal(volumes.shape, dtype=np.float32) * np.float32(AIR_NOISE)
        volumes = np.abs(volumes + shown)
        return np.moveaxis(volumes, 0, -1)

    def _noise(
        self, n_volumes: int, brain: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Drift and noise of the brain, (n_volumes, n_brain), in percent.

        A tenth of the variance is physiological (slow and smooth over the brain); half of the rest is
        autocorrelated, half white.
        """
        n_brain = len(brain)
        physiological, rest = np.sqrt(0.1) * self.noise, np.sqrt(0.45) * self.noise
        white = rng.standard_normal((n_volumes, n_brain), dtype=np.float32)
        slow = _autoregressive(n_volumes, n_brain, self.design.autocorrelation, rng)
        maps = self._smooth_maps(brain, N_PHYSIOLOGICAL + 2, rng)
        waves = _autoregressive(n_volumes, N_PHYSIOLOGICAL, 0.7, rng) / np.sqrt(N_PHYSIOLOGICAL)
        ramp = np.linspace(-1, 1, n_volumes, dtype=np.float32)
        drifts = np.stack([ramp, np.sin(np.pi * (ramp + rng.uniform(-1, 1)))], axis=1)
        drifts = drifts.astype(np.float32) * np.float32(self.design.drift / 2)
        noise = np.float32(rest) * (white + slow)
        noise += np.float32(physiological) * (waves @ maps[:N_PHYSIOLOGICAL])
        noise += drifts @ maps[N_PHYSIOLOGICAL:]
        return noise

    def _smooth_maps(self, brain: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Random maps (n, n_brain), smooth over 15 mm, of unit variance."""
        width = 15.0 / self.design.voxel_size
        maps = np.stack([gaussian_filter(rng.normal(size=self.design.grid), width) for _ in range(n)])
        chosen = maps.reshape(n, -1)[:, brain]
        return (chosen / chosen.std(axis=1, keepdims=True)).astype(np.float32)


def _autoregressive(
    n_volumes: int, n_series: int, correlation: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Stationary first-order autoregressive series (n_volumes, n_series) of unit variance."""
    shocks = rng.standard_normal((n_volumes, n_series), dtype=np.float32)
    shocks[1:] *= np.float32(np.sqrt(1 - correlation**2))
    return lfilter(np.ones(1, np.float32), np.array([1, -correlation], np.float32), shocks, axis=0)
