"""Regions of the visual field: bins of a map of pRF eccentricity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_recon.dataset.inheritance import entities_of
from bids_recon.errors import DataError, UsageError
from bids_recon.rois.grids import Grid, Volume, describe_grid, read_volume, same_grid, to_grid
from bids_recon.rois.naming import is_nifti, stem
from bids_recon.rois.select import FUNCTIONAL_SPACES
from bids_recon.rois.selection import VoxelSelection

EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, math.inf)
"""Edges of the bins in degrees: Ozcelik & VanRullen (2023), Figure 9."""
_ANATOMY = frozenset({None, "T1w", "T2w", "anat", "individual"})


def bin_names(edges: Sequence[float] = EDGES) -> list[str]:
    """Names of the bins as regions: `ecc0-0.5` and so on, `ecc4+` for the last."""
    return [f"ecc{low:g}+" if math.isinf(high) else f"ecc{low:g}-{high:g}" for low, high in pairwise(edges)]


def find_eccentricity(subject: str, roots: Iterable[Path], space: str | None) -> Path | None:
    """Look for a participant's map of eccentricity in derivatives.

    Files are `*_eccentricity.nii.gz` or `*_desc-eccentricity_*.nii.gz` below `sub-X`, in the space of the
    responses or the participant's own. One in the very space of the responses goes before others.

    Parameters
    ----------
    subject : str
        Label without `sub-`.
    roots : iterable of Path
        Derivative data sets.
    space : str or None
        BIDS `space` label of the responses.

    Returns
    -------
    Path or None
        None when there is none.

    Raises
    ------
    UsageError
        When there are several.
    """
    found = [
        file
        for root in roots
        for file in sorted((root / f"sub-{subject}").rglob("*eccentricity*"))
        if is_nifti(file.name) and _is_map(file.name)
    ]
    usable = {*_ANATOMY, *FUNCTIONAL_SPACES, space}
    found = [file for file in dict.fromkeys(found) if entities_of(file).get("space") in usable]
    best = [file for file in found if entities_of(file).get("space") == space] or found
    if len(best) > 1:
        raise UsageError(
            f"sub-{subject} has {len(best)} maps of eccentricity: {', '.join(map(str, best))}",
            remedy="Name one with --eccentricity.",
        )
    return best[0] if best else None


def _is_map(name: str) -> bool:
    return stem(name).endswith("_eccentricity") or entities_of(name).get("desc") == "eccentricity"


def eccentricity_regions(
    file: Path,
    voxels: VoxelSelection,
    anatomy_affine: NDArray[np.float64] | None = None,
    edges: Sequence[float] = EDGES,
) -> tuple[dict[str, NDArray[np.bool_]], list[str]]:
    """Voxels whose receptive fields lie at some distance from the centre of gaze.

    Parameters
    ----------
    file : Path
        NIfTI file of degrees of visual angle. What is not above 0, or not a number, has no receptive field.
    voxels : VoxelSelection
    anatomy_affine : ndarray (4, 4), optional
        As in `select_voxels`: places a map that lies on the T1w image.
    edges : sequence of float
        A bin holds what is at or above its lower edge and below its upper one.

    Returns
    -------
    dict of str to ndarray (n_voxels,) bool
        By `bin_names`; bins may be empty.
    list of str
        A warning when the map was brought over from another grid, by nearest neighbour.

    Raises
    ------
    MissingInputError
        When the file is not there, or was not fetched.
    DataError
        When it cannot be read, or no voxel has an eccentricity.
    """
    own = read_volume(file)
    shape = voxels.shape
    reference: Grid = Volume(np.broadcast_to(np.uint8(0), shape), voxels.affine)
    warnings = []
    if anatomy_affine is not None and not _is_functional(file, own, reference):
        reference = Volume(np.broadcast_to(np.uint8(0), shape), anatomy_affine)
    elif not same_grid(own, reference):
        warnings.append(
            f"{file}: brought from another grid ({describe_grid(own)}) to that of the responses"
            f" ({describe_grid(reference)}) by nearest neighbour."
        )
    degrees = to_grid(own, reference).data.reshape(-1)[voxels.indices]
    if not (degrees > edges[0]).any():
        raise DataError(
            "gives no voxel of the responses an eccentricity above 0",
            file=file,
            remedy="Check that the map and the responses are of the same participant and in the same space.",
        )
    positive = degrees > 0
    bins = {
        name: positive & (degrees >= low) & (degrees < high)
        for name, (low, high) in zip(bin_names(edges), pairwise(edges), strict=True)
    }
    return bins, warnings


def _is_functional(file: Path, volume: Volume, reference: Grid) -> bool:
    space = entities_of(file).get("space")
    return same_grid(volume, reference) if space is None else space in FUNCTIONAL_SPACES
