"""The average brain in whose space atlases lie."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import CannotCreateError, MissingInputError
from bids_recon.rois.grids import Volume, read_volume, to_grid
from bids_recon.rois.templateflow_files import fetch, list_files, nearest_resolution

logger = logging.getLogger(__name__)

PACKAGED = "MNI152NLin2009aSym"
"""TemplateFlow's name of the template that comes with nilearn."""


@dataclass(frozen=True)
class Template:
    """An average brain.

    Attributes
    ----------
    name : str
        TemplateFlow's name of its space, as `MNI152NLin2009cAsym`.
    t1w : Volume
    mask : ndarray (x, y, z) bool
        The brain.
    """

    name: str
    t1w: Volume
    mask: NDArray[np.bool_]


def load_template(name: str = "MNI152NLin2009cAsym", *, offline: bool = False) -> Template:
    """T1w and brain mask of a template, at 2 mm.

    Parameters
    ----------
    name : str
        TemplateFlow's name.
    offline : bool
        Open no connection.

    Returns
    -------
    Template
        That of TemplateFlow or, where it is not cached and cannot be fetched, the one of nilearn's package
        (skull-stripped; `PACKAGED`), with a warning: it differs from other MNI templates by up to a few mm.
        `name` says which one it is.

    Raises
    ------
    DataError
        If a file of the template cannot be read.
    """
    try:
        return _of_templateflow(name, offline=offline)
    except (MissingInputError, CannotCreateError) as error:
        logger.warning(
            "%s The template of nilearn (%s) is used in its place; regions of atlases in %s may lie a few mm"
            " beside their true place.",
            error,
            PACKAGED,
            name,
        )
        return packaged_template()


def packaged_template() -> Template:
    """The template of nilearn's package (`PACKAGED`): skull-stripped, at 2 mm."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    image = load_mni152_template(resolution=2)
    mask = np.asarray(load_mni152_brain_mask(resolution=2).dataobj) > 0
    t1w = Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64))
    return Template(PACKAGED, t1w, mask)


def _of_templateflow(name: str, *, offline: bool) -> Template:
    files = [file for file in list_files(name, offline=offline) if file.extension == ".nii.gz"]
    heads = [file for file in files if file.suffix == "T1w" and file.entities.keys() <= {"res"}]
    brains = [file for file in files if file.suffix == "mask" and file.entities.get("desc") == "brain"]
    if not heads or not brains:
        raise MissingInputError(f"TemplateFlow has no T1w and brain mask of the template {name} here")
    t1w = read_volume(fetch(nearest_resolution(heads, offline=offline), offline=offline))
    mask = read_volume(fetch(nearest_resolution(brains, offline=offline), offline=offline))
    return Template(name, t1w, to_grid(mask, t1w).data > 0)
