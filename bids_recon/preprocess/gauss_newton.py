"""Least-squares registration of volumes with a reference by Gauss-Newton steps on its gradients.

After Friston et al., "Spatial registration and normalization of images", Human Brain Mapping 3:165-189 (1995)
and Cox & Jesmanowicz, "Real-time 3D image registration for functional MRI", Magnetic Resonance in Medicine
42:1014-1018 (1999): to first order the difference of volume and reference is a weighted sum of the
reference's derivatives with respect to the six parameters of a movement, and of the reference itself. Unlike
there, it is the reference that is interpolated, never the volume: the noise of a volume then stays white, and
what interpolation needs is prepared once for a whole run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_recon.preprocess.head_region import FWHM
from bids_recon.preprocess.resampling import Interpolator, as_tensor
from bids_recon.preprocess.step_equations import StepEquations
from bids_recon.rois.grids import Volume

SHARE_OF_GRADIENT = 0.95
"""The voxels of the strongest gradient are compared: those that hold this part of its squared sum."""

MARGIN = 2
"""Voxels at the faces of a reference that are not compared: there a spline does not know how it goes on, and
errors of that kind were most of the error where the field of view cuts the brain."""

RADIUS = 50.0
"""A rotation counts as far as it moves a point at this distance (mm)."""

LONGEST_STEP = 8.0
"""In mm; steps longer than that leave where the derivatives hold."""

NEAR = 0.3
"""After a step shorter than that (mm) the derivatives hold on, and only the differences are taken anew."""


@dataclass(frozen=True)
class Level:
    """How finely a reference is looked at.

    Attributes
    ----------
    fwhm : float
        Width of the Gaussian that smooths the reference, in mm; 0 leaves it as it is. A volume need not be
        smoothed too: its product with a smooth derivative is what counts, and peaks in the same place.
    spacing : float
        Distance of the voxels that are compared, in mm; 0 takes those of the strongest gradient.
    tolerance : float
        Steps shorter than this (mm) end the search.
    steps : int
        Most steps.
    """

    fwhm: float
    spacing: float
    tolerance: float
    steps: int = 12


@dataclass(frozen=True)
class Fit:
    """Where volumes were found.

    Attributes
    ----------
    pull : ndarray (n, 4, 4) float64
        Maps points of the reference to points of each volume, in mm.
    residual : ndarray (n,) float64
        Standard deviation of what the reference leaves unexplained, relative to that of the volume.
    converged : ndarray (n,) bool
        Whether the last step was shorter than the tolerance.
    """

    pull: NDArray[np.float64]
    residual: NDArray[np.float64]
    converged: NDArray[np.bool_]


class Target:
    """A reference at one level.

    Parameters
    ----------
    reference : Volume
        Of finite values.
    mask : ndarray (x, y, z) bool
        Where it is compared: the brain, and the background around it.
    level : Level
        See there.
    device : torch.device
        Where to compute.
    """

    def __init__(
        self, reference: Volume, mask: NDArray[np.bool_], level: Level, device: torch.device
    ) -> None:
        sizes = np.linalg.norm(reference.affine[:3, :3], axis=0)
        data = np.asarray(reference.data, dtype=np.float32)
        self._overshoot = 1.0
        if level.fwhm:
            sharp = _gradient(data, sizes)[:, mask]
            data = ndimage.gaussian_filter(data, level.fwhm / FWHM / sizes, mode="nearest")
            smooth = _gradient(data, sizes)[:, mask]
            # Volumes change with movement as sharp images do: more than the smooth reference foretells.
            self._overshoot = max(1.0, float((sharp * smooth).sum() / max((smooth**2).sum(), 1e-12)))
        inside = data[mask]
        data = (data - inside.mean()) / max(float(inside.std()), 1e-12)
        self.level, self.shape, self.device = level, data.shape, device
        self.compared = mask if level.spacing else mask & _strong_gradient(data, mask, sizes)
        self.affine = np.asarray(reference.affine, dtype=np.float64)
        self.centre = (self.affine @ [*np.argwhere(mask).mean(axis=0), 1])[:3]
        to_arm = self.affine[:3] - np.c_[np.zeros((3, 3)), self.centre]
        self._to_arm = torch.from_numpy((to_arm / RADIUS).astype(np.float32)).to(device)
        per_mm = np.linalg.inv(self.affine[:3, :3]).T
        self._per_mm = torch.from_numpy(per_mm.astype(np.float32)).to(device)
        # A voxel at the edge may lie outside by rounding.
        margins = np.where(np.array(self.shape) > 4 * MARGIN, MARGIN, 0) - 1e-3
        self._first = torch.tensor(margins[:, None, None], device=device, dtype=torch.float32)
        self._last = torch.tensor(
            (np.array(self.shape) - 1 - margins)[:, None, None], device=device, dtype=torch.float32
        )
        self._interpolate = Interpolator(as_tensor(data, device), 3)

    def points(
        self, shape: tuple[int, ...], affine: NDArray[np.float64], pull: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Voxels (3, n) of a grid that show what is to be compared, when the head is where `pull` says."""
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        strides = np.maximum(1, np.round(self.level.spacing / sizes)).astype(int)
        grid = np.stack(
            np.meshgrid(
                *(
                    np.arange(size % stride // 2, size, stride)
                    for size, stride in zip(shape, strides, strict=False)
                ),
                indexing="ij",
            )
        ).reshape(3, -1)
        to_reference = np.linalg.inv(pull @ self.affine) @ affine
        nearest = np.rint(to_reference[:3, :3] @ grid + to_reference[:3, 3:]).astype(np.int64)
        seen = ((nearest >= 0) & (nearest < np.array(self.shape)[:, None])).all(axis=0)
        grid, nearest = grid[:, seen], nearest[:, seen]
        return grid[:, self.compared[tuple(nearest)]]

    def fit(
        self,
        values: torch.Tensor,
        measured: torch.Tensor,
        points: NDArray[np.int64],
        affine: NDArray[np.float64],
        start: NDArray[np.float64],
    ) -> Fit:
        """Find where volumes lie.

        Parameters
        ----------
        values : tensor (n, n_points) float32
            Of each volume at `points`.
        measured : tensor (n, n_points) bool
            False where a volume has no value that counts.
        points : ndarray (3, n_points)
            Voxels of the volumes.
        affine : ndarray (4, 4)
            Of the volumes.
        start : ndarray (n, 4, 4)
            Pull of each volume to start from.
        """
        push = np.linalg.inv(start)
        residual = np.full(len(push), np.nan)
        converged = np.zeros(len(push), dtype=bool)
        active = np.arange(len(push))
        places = torch.from_numpy(points.astype(np.float32)).to(self.device)
        equations: StepEquations | None = None
        for _ in range(self.level.steps):
            coordinates = self._coordinates(places, push[active] @ affine)
            if equations is None:
                equations = self._equations(coordinates, values[active], measured[active])
            else:
                equations.renew(self._interpolate(coordinates.flatten(1)))
            movement, residual[active] = equations.solve()
            movement *= (LONGEST_STEP / np.maximum(_length(movement), LONGEST_STEP))[
                :, None
            ] / self._overshoot
            push[active] = self._matrices(movement) @ push[active]
            length = _length(movement)
            converged[active] = (length < self.level.tolerance) & (residual[active] < 1)
            going_on = length >= self.level.tolerance
            active = active[going_on]
            if not len(active):
                break
            # The derivatives serve again where the head has hardly moved since they were taken.
            near = length.max() < NEAR
            equations = equations.of(going_on) if near else None
        return Fit(np.linalg.inv(push), residual, converged)

    def _coordinates(self, places: torch.Tensor, to_mm: NDArray[np.float64]) -> torch.Tensor:
        """Voxel coordinates (3, n, n_points) in the reference of the points of each volume."""
        to_voxels = torch.from_numpy((np.linalg.inv(self.affine) @ to_mm).astype(np.float32)).to(self.device)
        return (to_voxels[:, :3, :3] @ places + to_voxels[:, :3, 3:]).movedim(1, 0)

    def _equations(
        self, coordinates: torch.Tensor, values: torch.Tensor, measured: torch.Tensor
    ) -> StepEquations:
        inside = (coordinates >= self._first) & (coordinates <= self._last)
        weights = (inside.all(0) & measured).to(torch.float32)
        flat = coordinates.flatten(1)
        predicted, per_voxel = self._interpolate.with_gradient(flat)
        gradient = self._per_mm @ per_voxel
        arm = torch.linalg.cross(self._to_arm[:, :3] @ flat + self._to_arm[:, 3:], gradient, dim=0)
        columns = torch.cat([gradient, arm, predicted[None], torch.ones_like(flat[:1])])
        return StepEquations(columns.unflatten(1, weights.shape).movedim(1, 0), values, weights)

    def _matrices(self, movement: NDArray[np.float64]) -> NDArray[np.float64]:
        """Matrices (n, 4, 4) of small movements (n, 6): translations and rotation vectors times `RADIUS`."""
        result = np.tile(np.eye(4), (len(movement), 1, 1))
        result[:, :3, :3] = Rotation.from_rotvec(movement[:, 3:] / RADIUS).as_matrix()
        result[:, :3, 3] = movement[:, :3] + self.centre - result[:, :3, :3] @ self.centre
        return result


def _length(movement: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far movements (n, 6) take a point at `RADIUS` at most, in mm."""
    return np.linalg.norm(movement[:, :3], axis=1) + np.linalg.norm(movement[:, 3:], axis=1)


def _strong_gradient(
    data: NDArray[np.float32], mask: NDArray[np.bool_], sizes: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Voxels with gradients as strong as of those that hold most of the squared gradient of the mask."""
    strength = (_gradient(data, sizes) ** 2).sum(axis=0)
    found = strength[mask]
    ranked = np.sort(found)[::-1]
    enough = np.searchsorted(
        np.cumsum(ranked, dtype=np.float64), SHARE_OF_GRADIENT * found.sum(dtype=np.float64)
    )
    return strength >= ranked[min(enough, len(ranked) - 1)]


def _gradient(data: NDArray[np.float32], sizes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Differences (3, x, y, z) per mm along each axis of a grid."""
    result = np.zeros((3, *data.shape), dtype=np.float32)
    for axis, size in enumerate(sizes):
        if data.shape[axis] > 1:
            result[axis] = np.gradient(data, size, axis=axis)
    return result
