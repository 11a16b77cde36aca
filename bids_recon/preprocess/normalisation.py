"""Where each point of a person's T1w image lies in a template, and atlases brought from there to BOLD."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, map_coordinates

from bids_recon.preprocess.coarsening import coarsened, voxel_sizes
from bids_recon.preprocess.coregistration import choose_backend, register_rigid
from bids_recon.preprocess.template import Template, load_template
from bids_recon.rois.grids import Volume

FINE_SIZE, FAST_SIZE = 2.0, 4.0
"""Voxel size in mm at which deformations are estimated."""

AFFINE_SIZE = 4.0
"""Voxel size in mm of the affine registration, which the deformation refines."""

BORDER, MARGIN = 4.0, 16.0
"""In mm: what is kept around a brain whose mask comes from the template; what is kept free to deform."""


@dataclass(frozen=True)
class Normalisation:
    """The way from a T1w image to a template: the point x is found at ``affine @ (x + u(x))``.

    Attributes
    ----------
    affine : ndarray (4, 4) float64
        In mm.
    displacement : ndarray (x, y, z, 3) float32
        u at the voxels of its grid, in mm; linear between them, none outside.
    displacement_affine : ndarray (4, 4) float64
        Voxels of that grid to the space of the T1w image, in mm.
    template_name : str
        TemplateFlow's name of the template's space. Atlases of another space do not fit.
    correlation : float
        Of the T1w image and the deformed template, over the brain.
    backend : str
        `ants` or `dipy`.
    """

    affine: NDArray[np.float64]
    displacement: NDArray[np.float32]
    displacement_affine: NDArray[np.float64]
    template_name: str
    correlation: float
    backend: str

    def to_template(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 3) of the T1w image's space in the template's space, in mm."""
        voxels = _transform(np.linalg.inv(self.displacement_affine), points).T
        shift = np.stack(
            [map_coordinates(part, voxels, order=1) for part in np.moveaxis(self.displacement, -1, 0)], axis=1
        )
        return _transform(self.affine, points + shift)

    def template_to_t1w_grid(
        self,
        volume: Volume,
        shape: tuple[int, ...],
        affine: NDArray[np.float64],
        *,
        target_to_t1w: NDArray[np.float64] | None = None,
        order: int = 1,
    ) -> NDArray[np.float32]:
        """Bring labels or probabilities from the template to a grid, by one interpolation.

        Parameters
        ----------
        volume : Volume
            In the template's space, on any grid.
        shape : tuple of 3 int
        affine : ndarray (4, 4)
            Of the target grid.
        target_to_t1w : ndarray (4, 4), optional
            Pull from points of the target's space to points of the T1w image's, in mm; for BOLD the inverse
            of the `pull` of ``register_rigid(boldref, t1w)``. Identity by default.
        order : int
            0 for labels, 1 for probabilities.

        Returns
        -------
        ndarray (x, y, z) float32
            0 outside the field of view of `volume`.
        """
        to_t1w = (np.eye(4) if target_to_t1w is None else target_to_t1w) @ affine
        to_voxels = np.linalg.inv(volume.affine)
        data = np.asarray(volume.data, dtype=np.float32)
        result = np.empty(shape, dtype=np.float32)
        rest = np.indices(shape[1:]).reshape(2, -1).T
        # Slice by slice: the points of a T1w image at once would take gigabytes.
        for first, target in enumerate(result):
            index = np.column_stack([np.full(len(rest), first), rest])
            voxels = _transform(to_voxels, self.to_template(_transform(to_t1w, index))).T
            target[:] = map_coordinates(data, voxels, order=order).reshape(shape[1:])
        return result


def normalise(
    t1w: Volume,
    mask: NDArray[np.bool_] | None = None,
    *,
    template: Template | None = None,
    backend: str = "auto",
    fast: bool = False,
    seed: int = 0,
    offline: bool = False,
) -> Normalisation:
    """Find the way from a T1w image to a template: affine, then a smooth deformation.

    Affine by mutual information, deformation by SyN with local cross-correlation (Avants et al., Medical
    Image Analysis 12, 2008, 26-41). The T1w image is the fixed one, so that atlases come to it without a
    field being inverted; the criterion is the same in both directions.

    Parameters
    ----------
    t1w : Volume
        Any grid and orientation.
    mask : ndarray (x, y, z) bool, optional
        The brain. Without it that of the template is laid over the T1w image by the affine transform.
    template : Template, optional
        `load_template` by default.
    backend : {"auto", "ants", "dipy"}
        `auto` is DIPY: on planted deformations its SyN is as exact as that of ANTs, in a seventh of the time.
    fast : bool
        Deform at 4 mm and not at 2 mm.
    seed : int
    offline : bool
        Open no connection for the template.

    Returns
    -------
    Normalisation

    Raises
    ------
    UsageError
        If the backend is not known or not installed.
    DataError
        If the T1w image holds one value only, or cannot be aligned.
    """
    name, engine = choose_backend("dipy" if backend == "auto" else backend)
    average = template or load_template(offline=offline)
    brain = Volume(np.where(average.mask, average.t1w.data, 0).astype(np.float32), average.t1w.affine)
    rigid = register_rigid(
        brain, t1w, moving_mask=average.mask, fixed_mask=mask, backend=name, seed=seed
    ).pull

    coarse = coarsened(t1w, AFFINE_SIZE)
    inside = _brain(coarse, t1w, mask, average, rigid)
    affine = engine.linear(
        coarse, coarsened(brain, AFFINE_SIZE), rigid, fixed_mask=inside, kind="affine", seed=seed
    )

    size = FAST_SIZE if fast else FINE_SIZE
    fine = coarsened(t1w, size)
    inside = _brain(fine, t1w, mask, average, affine)
    fixed = _cropped(Volume(np.where(inside, fine.data, 0), fine.affine), inside)
    moving = coarsened(brain, size)
    displacement = engine.deformation(fixed, moving, affine, seed=seed)
    found = Normalisation(affine, displacement, fixed.affine, average.name, 0.0, name)
    deformed = found.template_to_t1w_grid(brain, fixed.shape, fixed.affine)
    both = (fixed.data > 0) & (deformed > 0)
    correlation = float(np.corrcoef(fixed.data[both], deformed[both])[0, 1]) if both.sum() > 1 else 0.0
    return Normalisation(affine, displacement, fixed.affine, average.name, correlation, name)


def _brain(
    grid: Volume,
    t1w: Volume,
    mask: NDArray[np.bool_] | None,
    template: Template,
    pull: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """The brain on a coarse copy of the T1w image: its own mask, or the template's and `BORDER`."""
    if mask is not None:
        values, matrix = mask, np.linalg.inv(t1w.affine) @ grid.affine
    else:
        values, matrix = template.mask, np.linalg.inv(template.t1w.affine) @ pull @ grid.affine
    voxels = _transform(matrix, np.indices(grid.shape).reshape(3, -1).T).T
    inside = map_coordinates(values.astype(np.float32), voxels, order=1).reshape(grid.shape) > 0.5
    steps = round(BORDER / float(voxel_sizes(grid.affine).max()))
    return binary_dilation(inside, iterations=steps) if mask is None and steps else inside


def _cropped(volume: Volume, inside: NDArray[np.bool_]) -> Volume:
    """The box around a mask, with `MARGIN`."""
    steps = np.ceil(MARGIN / voxel_sizes(volume.affine)).astype(int)
    where = np.argwhere(inside)
    low = np.maximum(where.min(axis=0) - steps, 0)
    high = np.minimum(where.max(axis=0) + steps + 1, volume.shape)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Volume(volume.data[tuple(map(slice, low, high))], affine)


def _transform(matrix: NDArray[np.floating], points: NDArray[np.number]) -> NDArray[np.float64]:
    """Points (n, 3) through a matrix (4, 4)."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])
