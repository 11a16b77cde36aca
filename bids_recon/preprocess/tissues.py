"""White matter, grey matter and fluid in a T1w image, by their intensities alone.

Good enough to find voxels that are surely white matter or surely fluid, for noise components; no segmentation
to measure anatomy by.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, find_objects
from sklearn.mixture import GaussianMixture

from bids_recon.preprocess.resampling import resample
from bids_recon.rois.grids import Volume

TISSUES = ("CSF", "GM", "WM")

# Voxels that the mixture is fitted to.
_SAMPLE = 20_000
_FEWEST = 100
# Intensities beyond these percentiles are vessels, fat and artefacts.
_TAILS = (0.5, 99.5)
# Where the three tissues are looked for first, in percentiles.
_STARTS = (8, 45, 85)
# How much (mm) is taken off white matter and fluid on all sides; at least a voxel.
_EROSION = 1.0
# Dark voxels this near to the edge of the brain (mm) may be bone, and share theirs with vessels and cortex.
_EDGE = 8.0


def brain_mask_t1w(
    bold_mask: NDArray[np.bool_],
    bold_affine: NDArray[np.float64],
    t1w: Volume,
    pull: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Brain mask of BOLD volumes on the grid of a T1w image.

    Parameters
    ----------
    bold_mask : ndarray (x, y, z) bool
    bold_affine : ndarray (4, 4)
        Voxel to scanner coordinates of the mask, in mm.
    t1w : Volume
        Its grid is the target.
    pull : ndarray (4, 4)
        Maps points of the T1w image to points of the mask, in mm.

    Returns
    -------
    ndarray (x, y, z) bool
        Larger than the mask by a functional voxel on all sides, for masks of BOLD miss the rim of the brain.
    """
    wider = binary_dilation(bold_mask).astype(np.float32)
    shape = (t1w.shape[0], t1w.shape[1], t1w.shape[2])
    return resample(wider, bold_affine, pull, shape, t1w.affine, order=1, outside="zero") > 0.5


def tissue_masks(
    t1w: Volume, brain: NDArray[np.bool_], *, pure: bool = True, seed: int = 0
) -> dict[str, NDArray[np.bool_]]:
    """Tissues of the brain by a mixture of three normal distributions of intensity.

    Fluid is darkest in T1w images, white matter brightest (Wells et al., "Adaptive segmentation of MRI
    data", IEEE Transactions on Medical Imaging 15:429, 1996, without their correction of the field). A
    tissue has the intensities for which its distribution is the likeliest.

    Parameters
    ----------
    t1w : Volume
        T1-weighted image.
    brain : ndarray (x, y, z) bool
        Brain, on its grid.
    pure : bool
        Whether to keep only what is surely fluid or white matter: their masks lose 1 mm (at least a voxel) on
        all sides, and fluid lies at least 8 mm within the brain.
    seed : int
        Of the voxels that the mixture is fitted to.

    Returns
    -------
    dict of str to ndarray (x, y, z) bool
        `CSF`, `GM` and `WM`; all empty where the brain has fewer than 100 voxels with a signal, or all
        of one intensity.

    Raises
    ------
    ValueError
        When the mask has another shape than the image.
    """
    if brain.shape != t1w.shape:
        raise ValueError(f"a brain mask of shape {brain.shape} for an image of shape {t1w.shape}")
    found = {name: np.zeros(brain.shape, dtype=bool) for name in TISSUES}
    # Defaced images are 0 where they were cut.
    inside = brain & (t1w.data > 0)
    if np.count_nonzero(inside) < _FEWEST:
        return found
    box = find_objects(inside.astype(np.uint8))[0]
    inside, data = inside[box], t1w.data[box]
    values = data[inside]
    if values.min() == values.max():
        return found
    borders = _borders(values, seed)
    tissue = np.digitize(data, borders)
    for number, name in enumerate(TISSUES):
        found[name][box] = inside & (tissue == number)
    if pure:
        sizes = np.linalg.norm(t1w.affine[:3, :3], axis=0)
        steps = max(1, round(_EROSION / float(sizes.mean())))
        # Padded, so that the edge of the box counts as an edge of the brain.
        depth = distance_transform_edt(np.pad(brain[box], 1), sampling=sizes)[1:-1, 1:-1, 1:-1]
        found["CSF"][box] = binary_erosion(found["CSF"][box], iterations=steps) & (depth > _EDGE)
        found["WM"][box] = binary_erosion(found["WM"][box], iterations=steps)
    return found


def _borders(values: NDArray[np.floating], seed: int) -> tuple[float, float]:
    """Intensities that part fluid from grey matter, and grey from white matter."""
    lowest, highest = np.percentile(values, _TAILS)
    usual = values[(values >= lowest) & (values <= highest)].astype(np.float64)
    if len(usual) > _SAMPLE:
        usual = np.random.default_rng(seed).choice(usual, _SAMPLE, replace=False)
    starts = np.percentile(usual, _STARTS)[:, None]
    mixture = GaussianMixture(len(TISSUES), means_init=starts, random_state=seed, max_iter=300)
    mixture.fit(usual[:, None])
    order = np.argsort(mixture.means_[:, 0])
    borders = []
    for darker, brighter in pairwise(order):
        between = np.linspace(mixture.means_[darker, 0], mixture.means_[brighter, 0], 1024)
        likely = mixture.predict_proba(between[:, None])
        borders.append(float(between[np.argmax(likely[:, brighter] >= likely[:, darker])]))
    return borders[0], borders[1]
