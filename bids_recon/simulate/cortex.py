"""Where the visual areas lie in the volume, and which place of the visual field each voxel sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate.head import CORTEX_RADIUS, Head, grid_points

# The picture spans -1 to 1 both ways; its corners lie at an eccentricity of 1.41.
MAX_ECCENTRICITY = 1.25
# 0.5 would spread voxels evenly over the visual field; more gives the centre more voxels than the periphery.
MAGNIFICATION = 0.65
CENTRE_JITTER = 0.05


@dataclass(frozen=True)
class Cortex:
    """Visual areas of one person.

    Attributes
    ----------
    voxels : VoxelSelection
        The voxels and the areas they belong to; areas do not overlap.
    area : ndarray (n_voxels,) of str
        Name of each voxel's area.
    centres : ndarray (n_voxels, 2) float64
        Centre of the receptive field, to the right and up, in units of half the picture's side.
    """

    voxels: VoxelSelection
    area: NDArray[np.str_]
    centres: NDArray[np.float64]


def lay_out_cortex(
    head: Head,
    shape: tuple[int, int, int],
    affine: NDArray[np.float64],
    roi_voxels: Sequence[tuple[str, int]],
    rng: np.random.Generator,
) -> Cortex:
    """Put visual areas into the back of a head.

    The most posterior voxels of the brain are cut into slabs, one area after the other from the midline
    outwards. In each hemisphere of an area, eccentricity grows from the back to the front and the polar
    angle turns from the upper to the lower visual field as one goes up; each hemisphere sees the opposite
    half of the visual field, as in the occipital lobe (Wandell et al. 2007, Neuron 56: 366).

    Parameters
    ----------
    head : Head
        Head of the person.
    shape, affine : tuple of 3 int, ndarray (4, 4)
        Grid of the functional volume.
    roi_voxels : sequence of (str, int)
        Areas and their number of voxels.
    rng : Generator
        Draws the jitter of the receptive fields.

    Raises
    ------
    ValueError
        When the brain has too few voxels.
    """
    points = grid_points(shape, affine).reshape(-1, 3)
    brain = np.flatnonzero(head.radius(points) < CORTEX_RADIUS)
    wanted = sum(count for _, count in roi_voxels)
    if wanted > len(brain) // 2:
        raise ValueError(f"{wanted} voxels do not fit into the back of a brain of {len(brain)}")
    posterior = brain[np.argsort(points[brain, 1], kind="stable")[:wanted]]
    x, y = points[posterior, 0], points[posterior, 1]
    outwards = posterior[np.lexsort((y, np.abs(x)))]
    names = np.repeat([name for name, _ in roi_voxels], [count for _, count in roi_voxels])
    order = np.argsort(outwards)
    indices, area = outwards[order], names[order]

    centres = np.zeros((wanted, 2))
    for name, _ in roi_voxels:
        for left in (True, False):
            here = np.flatnonzero((area == name) & ((points[indices, 0] < 0) == left))
            centres[here] = _visual_field(points[indices[here]], rng) * [1 if left else -1, 1]
    centres += rng.normal(0, CENTRE_JITTER, centres.shape)
    rois = {name: area == name for name, _ in roi_voxels}
    return Cortex(VoxelSelection(shape, affine, indices.astype(np.int64), rois), area, centres)


def _visual_field(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Spread voxels (n, 3) of one hemisphere over the right half of the visual field; (n, 2)."""
    n = len(points)
    if n == 0:
        return np.zeros((0, 2))
    # Voxels at one level of the grid tie; a share of a voxel breaks the ties differently in each person.
    spread = points + rng.uniform(-0.5, 0.5, points.shape)
    # In a half disc cut into rings, as many angles as rings keep neighbours at like distances.
    n_rings = max(1, round(np.sqrt(n / 2)))
    eccentricity, angle = np.empty(n), np.empty(n)
    by_depth = np.argsort(spread[:, 1], kind="stable")
    eccentricity[by_depth] = MAX_ECCENTRICITY * ((np.arange(n) + 0.5) / n) ** MAGNIFICATION
    for ring in np.array_split(by_depth, n_rings):
        upwards = ring[np.argsort(spread[ring, 2], kind="stable")]
        angle[upwards] = np.pi * (0.5 - (np.arange(len(ring)) + 0.5) / len(ring))
    return np.column_stack([eccentricity * np.cos(angle), eccentricity * np.sin(angle)])
