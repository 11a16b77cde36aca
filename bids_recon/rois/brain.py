"""Which voxels are brain, for want of regions of interest."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import nibabel
import numpy as np
from nilearn.masking import compute_epi_mask
from numpy.typing import NDArray

from bids_recon.errors import DataError, MissingInputError
from bids_recon.rois.grids import Volume, open_image, read_array, read_volume, same_grid, to_grid

BrainMask: TypeAlias = NDArray[np.bool_]
"""Volume (x, y, z), true in the brain."""

RUNS_AVERAGED = 3
VOLUMES_AVERAGED = 50
"""Volumes read from the start of each run; more would cost memory and leave the mean as it is."""

BRIGHT_FRACTION = 0.1
"""Voxels brighter than this part of the 98th percentile are no background."""

# nilearn's threshold is the widest gap in the histogram of the mean above its 20th percentile, followed by an
# opening of two voxels: it takes a dark background of that size, and a brain that an opening leaves standing.
_LEAST_BACKGROUND = 0.2
_SHORTEST_SIDE = 16


def brain_mask(bold_files: Sequence[Path], mask_file: Path | None) -> BrainMask:
    """Find the voxels of the brain.

    Parameters
    ----------
    bold_files : sequence of Path
        Runs, aligned to one another; the first ones are averaged (`RUNS_AVERAGED`, `VOLUMES_AVERAGED`).
    mask_file : Path or None
        A brain mask, which is then used as it is; it is brought to the grid of the first run by nearest
        neighbour if it lies on another.

    Returns
    -------
    ndarray (x, y, z) bool
        Without a mask file, that of `nilearn.masking.compute_epi_mask` or, where the mean has too little
        background or too few slices for it (as simulated runs do), the voxels brighter than
        `BRIGHT_FRACTION` of the 98th percentile.

    Raises
    ------
    MissingInputError
        If there is neither a run nor a mask, or a file is not there.
    DataError
        If a file cannot be read, or no voxel is left.
    """
    if mask_file is not None:
        volume = read_volume(mask_file)
        if bold_files:
            volume = to_grid(volume, open_image(bold_files[0]))
        mask, origin = volume.data > 0, mask_file
    elif bold_files:
        mask, origin = mask_of_mean(mean_volume(bold_files)), bold_files[0]
    else:
        raise MissingInputError(
            "a brain mask needs a mask file or a run", remedy="Name a region of interest, or give a mask."
        )
    if not mask.any():
        raise DataError(
            "no voxel of the brain was found",
            file=origin,
            remedy="Give a brain mask, or a region of interest.",
        )
    return mask


def mean_volume(bold_files: Sequence[Path]) -> Volume:
    """Mean over time of the first runs; those on another grid than the first do not count."""
    first = open_image(bold_files[0])
    means = []
    for path in bold_files[:RUNS_AVERAGED]:
        image = open_image(path)
        if same_grid(image, first):
            data = read_array(image, path, slice(VOLUMES_AVERAGED)).astype(np.float32)
            means.append(np.nan_to_num(data.reshape(*image.shape[:3], -1).mean(axis=-1)))
    return Volume(np.mean(means, axis=0), np.asarray(first.affine, dtype=float))


def mask_of_mean(mean: Volume) -> BrainMask:
    """Brain mask (x, y, z) of the mean volume of one or more runs, as `brain_mask` makes it."""
    bright = mean.data > BRIGHT_FRACTION * max(np.percentile(mean.data, 98), 0.0)
    if bright.mean() > 1 - _LEAST_BACKGROUND or min(mean.shape) < _SHORTEST_SIDE:
        return bright
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "computed an empty mask": the fallback below
        found = compute_epi_mask(nibabel.Nifti1Image(mean.data.astype(np.float32), mean.affine))
    mask = np.asarray(found.dataobj).astype(bool)
    return mask & (mean.data > 0) if mask.any() else bright
