"""Volumes brought to another grid by one interpolation.

Cubic interpolation is that of the interpolating cubic B-spline, mirrored at the faces of the volume: Unser,
Aldroubi & Eden, "B-spline signal processing", IEEE Transactions on Signal Processing 41:821-848 (1993). Its
coefficients solve a tridiagonal system along each axis; here the inverse of that small matrix is multiplied
with the volume, which runs as fast as any product of matrices, on the CPU and on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.preprocess.volume_threads import in_order

Order = Literal[0, 1, 3]
Outside = Literal["nearest", "zero"]

# Points worked on at a time: what they need fits the second-level cache of a core.
_CPU_POINTS = 65_536
_GPU_POINTS = 4_194_304


def points_at_a_time(device: torch.device) -> int:
    """How many points are best interpolated in one go."""
    return _CPU_POINTS if device.type == "cpu" else _GPU_POINTS


class Interpolator:
    """A volume that can be asked for its values between voxels.

    Parameters
    ----------
    data : tensor (a, b, c) float32
        Finite values.
    order : 0, 1 or 3
        Nearest neighbour, linear, or interpolating cubic B-spline.
    """

    def __init__(self, data: torch.Tensor, order: Order) -> None:
        self.order, self.shape = order, tuple(data.shape)
        self._last = torch.tensor([[size - 1.0] for size in self.shape], device=data.device)
        # The voxels that a point between i and i + 1 needs are i - before .. i + after.
        before, after = {0: (0, 0), 1: (0, 1), 3: (1, 2)}[order]
        for axis, size in enumerate(self.shape):
            if order == 3:
                data = _along(axis, torch.from_numpy(_spline_filter(size)).to(data.device), data)
            # Mirrored about the outermost voxels; a single voxel is its own neighbour.
            places = np.abs(np.arange(-before, size + after))
            places = np.minimum(places, np.abs(2 * (size - 1) - places)) if size > 1 else 0 * places
            data = data.index_select(axis, torch.from_numpy(places).to(data.device))
        self._width = before + after + 1
        self._strides = (data.shape[1] * data.shape[2], data.shape[2])
        self._flat = data.reshape(-1)

    def __call__(self, coordinates: torch.Tensor) -> torch.Tensor:
        """Values (n,) at voxel coordinates (3, n); the edge's value beyond the edge."""
        return torch.cat([self._values(part) for part in self._parts(coordinates)])

    def with_gradient(self, coordinates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (n,), and their derivatives (3, n) along the three axes, per voxel.

        Of cubic interpolation only: the slopes of linear interpolation jump at every voxel.
        """
        found = [self._values_and_gradients(part) for part in self._parts(coordinates)]
        return torch.cat([values for values, _ in found]), torch.cat([slopes for _, slopes in found], 1)

    def _parts(self, coordinates: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return coordinates.split(points_at_a_time(coordinates.device), 1)

    def _located(self, coordinates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the first neighbour of each point is stored, and how far beyond a voxel the point lies."""
        place = torch.minimum(coordinates.clamp(min=0), self._last)
        whole = place.floor() if self.order else (place + 0.5).floor_()
        a, b, c = whole.to(torch.int32)
        return (a * self._strides[0]).add_(b * self._strides[1]).add_(c), place.sub_(whole)

    def _neighbours(self, first: torch.Tensor, i: int, j: int) -> list[torch.Tensor]:
        """Coefficients, each (n,), in the i-th row and j-th column of the points' neighbours."""
        start = i * self._strides[0] + j * self._strides[1]
        # Shifting the array is cheaper than shifting the places.
        return [self._flat[start + k :].index_select(0, first) for k in range(self._width)]

    def _values(self, coordinates: torch.Tensor) -> torch.Tensor:
        first, fraction = self._located(coordinates)
        if self.order == 0:
            return self._flat.index_select(0, first)
        a, b, c = (_weights(part, self.order) for part in fraction)
        total = torch.zeros_like(fraction[0])
        for i in range(self._width):
            for j in range(self._width):
                total.addcmul_(_weighed(self._neighbours(first, i, j), c), a[i] * b[j])
        return total

    def _values_and_gradients(self, coordinates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, fraction = self._located(coordinates)
        a, b, c = (_weights(part, self.order) for part in fraction)
        slope_a, slope_b, slope_c = (_slopes(part) for part in fraction)
        total, *gradient = torch.zeros(4, len(first), device=first.device)
        for i in range(self._width):
            for j in range(self._width):
                neighbours = self._neighbours(first, i, j)
                along, weight = _weighed(neighbours, c), a[i] * b[j]
                total.addcmul_(along, weight)
                gradient[0].addcmul_(along, slope_a[i] * b[j])
                gradient[1].addcmul_(along, a[i] * slope_b[j])
                gradient[2].addcmul_(_weighed(neighbours, slope_c), weight)
        return total, torch.stack(gradient)


def iterate_resampled(
    volumes: NDArray[np.generic],
    affine: NDArray[np.float64],
    pull: NDArray[np.float64],
    shape: tuple[int, int, int],
    target_affine: NDArray[np.float64],
    *,
    order: Order = 3,
    outside: Outside = "nearest",
    device: str = "cpu",
) -> Iterator[NDArray[np.float32]]:
    """Volumes on another grid, one after the other, so that no second copy of a run is in memory.

    Parameters
    ----------
    volumes : ndarray (x, y, z, n_volumes)
        Series of any numeric type; what is not finite counts as 0.
    affine : ndarray (4, 4)
        Voxels of `volumes` to scanner coordinates, in mm.
    pull : ndarray (4, 4) or (n_volumes, 4, 4)
        Maps points of the target to points of the volumes, in mm; one for all volumes or one for each.
    shape : tuple of 3 int
        Of the target grid.
    target_affine : ndarray (4, 4)
        Voxels of the target grid to scanner coordinates, in mm.
    order : 0, 1 or 3
        Nearest neighbour, linear, or interpolating cubic B-spline (see the module).
    outside : "nearest" or "zero"
        What stands where the target lies outside the volumes, whose outermost voxels count with all of
        their size: the value at the nearest edge, or 0.
    device : str
        Where torch computes.

    Yields
    ------
    ndarray (*shape) float32

    Raises
    ------
    ValueError
        When the arrays do not fit one another.
    """
    if volumes.ndim != 4:
        raise ValueError(f"a series has four dimensions, this one has the shape {volumes.shape}")
    if outside not in ("nearest", "zero") or order not in (0, 1, 3):
        raise ValueError(f"there is no interpolation of order {order} with '{outside}' outside")
    pulls = np.asarray(pull, dtype=np.float64)
    if pulls.shape not in ((4, 4), (volumes.shape[3], 4, 4)):
        raise ValueError(f"transforms of shape {pulls.shape} do not fit a series of shape {volumes.shape}")
    to_source = np.linalg.inv(affine) @ pulls @ np.asarray(target_affine, dtype=np.float64)
    to_source = np.broadcast_to(to_source, (volumes.shape[3], 4, 4))
    place = torch.device(device)

    def resampled(number: int) -> NDArray[np.float32]:
        return resample_voxels(volumes[..., number], to_source[number], shape, order, outside, place)

    return in_order(resampled, range(len(to_source)), place)


def resample(
    volumes: NDArray[np.generic],
    affine: NDArray[np.float64],
    pull: NDArray[np.float64],
    shape: tuple[int, int, int],
    target_affine: NDArray[np.float64],
    *,
    order: Order = 3,
    outside: Outside = "nearest",
    device: str = "cpu",
) -> NDArray[np.float32]:
    """A volume or a series on another grid.

    Parameters
    ----------
    volumes : ndarray (x, y, z) or (x, y, z, n_volumes)
        See `iterate_resampled`, also for the other parameters and the errors.

    Returns
    -------
    ndarray (*shape) or (*shape, n_volumes) float32
    """
    single = volumes.ndim == 3
    series = volumes[..., None] if single else volumes
    resampled = iterate_resampled(
        series, affine, pull, shape, target_affine, order=order, outside=outside, device=device
    )
    # Volume after volume in memory, as NIfTI files have them.
    result = np.empty((*shape, series.shape[3]), dtype=np.float32, order="F")
    for number, volume in enumerate(resampled):
        result[..., number] = volume
    return result[..., 0] if single else result


def as_tensor(volume: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """Tensor (x, y, z) float32 of a volume (x, y, z); what is not finite is 0."""
    values = np.ascontiguousarray(volume, dtype=np.float32)
    if not np.isfinite(values.sum(dtype=np.float64)):
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    elif not values.flags.writeable:
        # torch warns of arrays that may not be written to.
        values = values.copy()
    return torch.from_numpy(values).to(device)


def resample_voxels(
    volume: NDArray[np.generic],
    to_source: NDArray[np.float64],
    shape: tuple[int, int, int],
    order: Order,
    outside: Outside,
    device: torch.device,
) -> NDArray[np.float32]:
    """One volume (x, y, z) at the voxels to which `to_source` (4, 4) takes those of a target of `shape`."""
    # Axes in reverse: nibabel's arrays then need not be copied, and neither does the result.
    matrix = torch.from_numpy(to_source[2::-1, [2, 1, 0, 3]].astype(np.float32)).to(device)
    interpolate = Interpolator(as_tensor(volume.T, device), order)
    last = torch.tensor([[size - 0.5] for size in interpolate.shape], device=device)
    result = torch.empty(shape[::-1], device=device)
    c, b, a = (torch.arange(size, device=device, dtype=torch.float32) for size in shape)
    plane = matrix[:, 1, None, None] * b[:, None] + matrix[:, 2, None, None] * c
    step = max(1, points_at_a_time(device) // (len(b) * len(c)))
    for start in range(0, len(a), step):
        beginning = matrix[:, 0, None] * a[start : start + step] + matrix[:, 3, None]
        coordinates = (beginning[:, :, None, None] + plane[:, None]).reshape(3, -1)
        values = interpolate(coordinates)
        if outside == "zero":
            values *= ((coordinates >= -0.5) & (coordinates <= last)).all(0)
        result[start : start + step] = values.view(-1, *shape[1::-1])
    return result.cpu().numpy().T


def _along(axis: int, matrix: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    """Product of a matrix (k, size) with a volume along one of its axes."""
    return torch.tensordot(matrix, data, dims=([1], [axis])).movedim(0, axis)


@cache
def _spline_filter(size: int) -> NDArray[np.float32]:
    """Matrix (size, size) from samples to the coefficients of the mirrored cubic B-spline through them."""
    if size == 1:
        return np.ones((1, 1), dtype=np.float32)
    samples = np.diag(np.full(size, 4.0)) + np.diag(np.ones(size - 1), 1) + np.diag(np.ones(size - 1), -1)
    samples[0, 1] = samples[-1, -2] = 2
    return np.linalg.inv(samples / 6).astype(np.float32)


def _weighed(values: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum of products."""
    total = values[0] * weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total.addcmul_(value, weight)
    return total


def _weights(t: torch.Tensor, order: Order) -> tuple[torch.Tensor, ...]:
    """Weights of the neighbours of points that lie `t` of a voxel beyond a voxel."""
    if order == 1:
        return 1 - t, t
    rest, square = 1 - t, t * t
    first, last = rest * rest * rest / 6, square * t / 6
    second = 2 / 3 - square + 3 * last
    return first, second, 1 - first - second - last, last


def _slopes(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Derivatives of the cubic `_weights`."""
    first, last = (1 - t) ** 2 / -2, t * t / 2
    second = 3 * last - 2 * t
    return first, second, -first - second - last, last
