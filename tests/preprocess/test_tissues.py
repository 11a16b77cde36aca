"""Tissues of a simulated head are found where they are; those of a real one have plausible sizes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nilearn.masking import compute_epi_mask
from scipy.ndimage import binary_erosion

from bids_recon.preprocess.tissues import brain_mask_t1w, tissue_masks
from bids_recon.rois.grids import Volume, read_volume
from bids_recon.simulate.head import BRAIN_RADIUS, CORTEX_RADIUS, T1W, Head, grid_affine, grid_points
from bids_recon.simulate.motion import motion_matrix

SHAPE, SIZE = (56, 68, 44), 2.5


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture(scope="module")
def head():
    return Head((57.0, 69.0, 45.0), 1.0, landmarks=True)


@pytest.fixture(scope="module")
def t1w(head):
    affine = grid_affine(SHAPE, SIZE)
    image = 1000 * head.image(SHAPE, affine, "T1w") + np.random.default_rng(0).normal(0, 30, SHAPE)
    return Volume(np.abs(image).astype(np.float32), affine)


@pytest.fixture(scope="module")
def truth(head, t1w):
    """Tissue at the centre of each voxel of the brain."""
    points = grid_points(SHAPE, t1w.affine)
    intensity, inside = head.intensity(points, "T1w"), head.radius(points) < BRAIN_RADIUS
    typical = np.array([T1W[4], T1W[2], T1W[0]])
    nearest = np.abs(intensity[..., None] - typical).argmin(axis=-1)
    return {name: inside & (nearest == number) for number, name in enumerate(("CSF", "GM", "WM"))}, inside


def test_tissues_of_a_simulated_head(t1w, truth):
    expected, brain = truth
    found = tissue_masks(t1w, brain, pure=False)
    assert dice(found["WM"], expected["WM"]) > 0.95
    assert dice(found["GM"], expected["GM"]) > 0.93
    assert dice(found["CSF"], expected["CSF"]) > 0.9
    assert (np.sum(list(found.values()), axis=0) == brain).all()


def test_pure_tissues_are_what_they_are_called(head, t1w, truth):
    expected, brain = truth
    found, whole = tissue_masks(t1w, brain), tissue_masks(t1w, brain, pure=False)
    for name, least in (("CSF", 100), ("WM", 10_000)):
        assert found[name].sum() > least
        assert expected[name][found[name]].mean() > 0.99
        # At least a voxel is taken off.
        assert (binary_erosion(whole[name]) >= found[name]).all()
    np.testing.assert_array_equal(found["GM"], whole["GM"])
    radius = head.radius(grid_points(SHAPE, t1w.affine))
    assert (found["CSF"] & (radius > CORTEX_RADIUS)).sum() == 0
    ventricles = found["CSF"] & (radius < 0.5)
    assert ventricles.sum() > 50


def test_intensities_may_be_of_any_scale(t1w, truth):
    brain = truth[1]
    found, scaled = (tissue_masks(Volume(t1w.data * factor, t1w.affine), brain) for factor in (1, 0.01))
    for name in found:
        assert dice(found[name], scaled[name]) > 0.99


def test_what_was_cut_out_of_the_image_is_no_tissue(t1w, truth):
    data = t1w.data.copy()
    data[:20] = 0
    found = tissue_masks(Volume(data, t1w.affine), truth[1], pure=False)
    assert not any(mask[:20].any() for mask in found.values())
    assert dice(found["WM"][20:], truth[0]["WM"][20:]) > 0.95


def test_a_brain_that_says_nothing_has_no_tissues(t1w, truth):
    flat = Volume(np.full(SHAPE, 5, np.float32), t1w.affine)
    few = np.zeros(SHAPE, bool)
    few[20:24, 20:24, 20:24] = True
    for image, brain in ((flat, truth[1]), (t1w, few), (t1w, np.zeros(SHAPE, bool))):
        assert not any(mask.any() for mask in tissue_masks(image, brain).values())
    with pytest.raises(ValueError, match="a brain mask of shape"):
        tissue_masks(t1w, truth[1][1:])


def test_a_bold_mask_is_pulled_into_the_t1w_image(head, t1w, truth):
    shape = (28, 34, 22)
    affine = motion_matrix(np.array([0, 0, 0, 0.1, 0, 0])) @ grid_affine(shape, 5.0)
    position = motion_matrix(np.array([6.0, -3.0, 4.0, 0.05, -0.08, 0.1]))
    # The head lies at `position` in the scanner: a point p of the T1w image is at position @ p.
    mask = head.radius(grid_points(shape, np.linalg.inv(position) @ affine)) < BRAIN_RADIUS
    found = brain_mask_t1w(mask, affine, t1w, position)
    brain = truth[1]
    assert (found | ~brain).all()
    # A functional voxel is 5 mm, a tenth of the head's radius.
    radius = head.radius(grid_points(SHAPE, t1w.affine))
    assert radius[found].max() < 1.2
    for wrong in (np.eye(4), np.linalg.inv(position)):
        away = brain_mask_t1w(mask, affine, t1w, wrong)
        assert not (away | ~brain).all() and radius[away].max() > 1.25


@pytest.mark.shared
def test_tissues_of_a_real_head(shared):
    folder = shared / "data" / "studyforrest" / "sub-02"
    full = read_volume(folder / "anat" / "sub-02_T1w.nii.gz")
    # Every third voxel will do.
    affine = full.affine @ np.diag([3, 3, 3, 1])
    t1w = Volume(np.ascontiguousarray(full.data[::3, ::3, ::3]), affine)
    bold = nib.load(folder / "func" / "sub-02_task-objectcategories_run-1_bold.nii.gz")
    mean = nib.Nifti1Image(np.asarray(bold.dataobj[..., :3]).astype(np.float32).mean(axis=-1), bold.affine)
    mask = np.asarray(compute_epi_mask(mean).dataobj).astype(bool)
    brain = brain_mask_t1w(mask, bold.affine, t1w, np.eye(4))
    found = tissue_masks(t1w, brain, pure=False)
    share = {name: tissue.sum() / brain.sum() for name, tissue in found.items()}
    assert 0.2 < share["WM"] < 0.45 and 0.35 < share["GM"] < 0.65 and 0.08 < share["CSF"] < 0.35
    pure = tissue_masks(t1w, brain)
    litres = {name: tissue.sum() * abs(np.linalg.det(affine)) / 1e6 for name, tissue in pure.items()}
    assert 0.1 < litres["WM"] < 0.5 and 0.005 < litres["CSF"] < 0.1
