"""Anatomical images of a simulated person, and masks of their visual areas."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_recon.outputs.atomic import write_json, write_nifti
from bids_recon.outputs.names import derivative_name
from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate import texts
from bids_recon.simulate.head import Head, grid_affine
from bids_recon.simulate.images import in_scanner_space, scaled_image
from bids_recon.simulate.truth import TASK, GroundTruth

ANATOMY_INTENSITY, ANATOMY_NOISE = 1000.0, 15.0

# First numbers of the seeds of random streams, beside those of `bids_recon.simulate.experiment`.
_T1W_NOISE, _T2_NOISE = 5, 7


def write_t1w(root: Path, truth: GroundTruth, label: str, head: Head) -> None:
    """Write a T1-weighted image with twice the resolution of the functional volumes."""
    rng = np.random.default_rng([truth.seed, _T1W_NOISE, int(label)])
    x, y, z = truth.design.grid
    shape = (2 * x, 2 * y, 2 * z)
    affine = grid_affine(shape, truth.design.voxel_size / 2)
    image = ANATOMY_INTENSITY * head.image(shape, affine, "T1w")
    image = np.abs(image + ANATOMY_NOISE * rng.normal(size=shape))
    anat = root / f"sub-{label}" / "anat"
    write_nifti(anat / f"sub-{label}_T1w.nii.gz", scaled_image(image, affine, 1.0))
    write_json(anat / f"sub-{label}_T1w.json", texts.SCANNER)


def write_inplane_t2(root: Path, truth: GroundTruth, label: str, head: Head, number: int) -> None:
    """Write an image of the slices of a session, with voxels of half the size within the slice.

    `number` is that of the session's first run; in the session the head lies as it does when a run begins.
    """
    run = truth.subjects[label].runs[number]
    rng = np.random.default_rng([truth.seed, _T2_NOISE, int(label), number])
    x, y, z = truth.design.grid
    shape = (2 * x, 2 * y, z)
    halved = np.diag([0.5, 0.5, 1.0, 1.0])
    # The first of two halves lies a quarter of a voxel before the centre of the whole.
    halved[:2, 3] = -0.25
    affine = run.affine @ halved
    image = ANATOMY_INTENSITY * head.image(shape, np.linalg.inv(run.position) @ affine, "T2")
    image = np.abs(image + ANATOMY_NOISE * rng.normal(size=shape))
    anat = root / f"sub-{label}" / f"ses-{run.session}" / "anat"
    name = f"sub-{label}_ses-{run.session}_inplaneT2"
    write_nifti(anat / f"{name}.nii.gz", scaled_image(image, affine, 1.0))
    write_json(anat / f"{name}.json", texts.SCANNER)


def write_masks(root: Path, label: str, voxels: VoxelSelection) -> None:
    """Write the masks of the visual areas: in the space of the T1w image, with functional voxels."""
    func = root / "derivatives" / "rois" / f"sub-{label}" / "func"
    for roi in voxels.rois:
        entities = {"sub": label, "task": TASK, "space": "T1w", "label": roi}
        mask = in_scanner_space(nib.Nifti1Image(voxels.mask(roi).astype(np.uint8), voxels.affine))
        write_nifti(func / derivative_name(entities, "mask", ".nii.gz"), mask)
        write_json(func / derivative_name(entities, "mask", ".json"), texts.mask_sidecar(label, roi))
