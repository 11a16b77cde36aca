"""NIfTI images as scanners write them."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray


def scaled_image(
    values: NDArray[np.floating[Any]], affine: NDArray[np.float64], slope: float, tr: float | None = None
) -> nib.Nifti1Image:
    """16-bit image of `values`, stored in steps of `slope`."""
    limits = np.iinfo(np.int16)
    stored = np.round(values / slope).clip(limits.min, limits.max).astype(np.int16)
    image = in_scanner_space(nib.Nifti1Image(stored, affine))
    image.header.set_slope_inter(slope, 0)
    if tr is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    return image


def in_scanner_space(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Say in the header that the affine leads to scanner coordinates, in mm and seconds."""
    image.set_qform(image.affine, code="scanner")
    image.set_sform(image.affine, code="scanner")
    image.header.set_xyzt_units("mm", "sec")
    return image
