"""Regions of an atlas, brought from its template to a participant's BOLD."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from bids_recon.config import Settings
from bids_recon.errors import MissingInputError
from bids_recon.outputs.atomic import write_nifti
from bids_recon.outputs.names import label
from bids_recon.preprocess.fmriprep import FmriprepAnatomy, anatomical_transforms
from bids_recon.preprocess.itk_transforms import read_itk_composite
from bids_recon.preprocess.normalisation import normalise
from bids_recon.preprocess.template import load_template
from bids_recon.rois.atlas import (
    DEFAULT_TEMPLATE,
    LABEL_THRESHOLD,
    find_atlas,
    find_regions,
    parse_request,
    read_region,
)
from bids_recon.rois.grids import Volume, open_image, read_volume
from bids_recon.workflow.fmriprep_choice import fmriprep_root
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedBold
from bids_recon.workflow.stage_cache import StageCache, fingerprint, stage_key

# From points (n, 3) of the common grid in its own space to points of the template, in mm.
ToTemplate = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def atlas_masks(
    requests: Sequence[str],
    settings: Settings,
    plan: ParticipantPlan,
    prepared: PreparedBold,
    cache: StageCache,
) -> list[str]:
    """Bring regions of atlases to the common grid, into the work folder.

    Parameters
    ----------
    requests : sequence of str
        As `bids_recon.rois.atlas.parse_request` takes them.
    settings, plan, prepared, cache
        Of the participant.

    Returns
    -------
    list of str
        `REGION=FILE` for each region, to be asked for in their place.

    Raises
    ------
    UsageError
        When there is no such atlas or region.
    MissingInputError
        When an atlas is not cached and may not be fetched, or there is no T1w image to bring it by.
    """
    grid = open_image(next(iter(prepared.runs.values())).bold)
    volume = Volume(np.broadcast_to(np.uint8(0), grid.shape[:3]), np.asarray(grid.affine, dtype=float))
    wanted = []
    for request in map(parse_request, requests):
        atlas = find_atlas(request.atlas, offline=settings.offline)
        for name, indices in find_regions(atlas, request.region).items():
            least = request.threshold if atlas.kind == "probseg" else LABEL_THRESHOLD
            wanted.append((name, atlas, indices, least))
    root = fmriprep_root(settings)
    derived = None if root is None else anatomical_transforms(root, plan.subject)
    used = [plan.anatomy.t1w] if derived is None else [derived.from_template, derived.t1w, derived.brain_mask]
    key = stage_key(
        {
            "regions": [(name, fingerprint(a.image), i, t) for name, a, i, t in wanted],
            "grid": (volume.shape, volume.affine.tolist()),
            "anatomy": None if prepared.anatomy_affine is None else prepared.anatomy_affine.tolist(),
            "from": [fingerprint(file) for file in used if file is not None],
            "seed": settings.seed,
        }
    )
    folder = cache.folder / "atlas"
    files = [folder / f"{number}{label(name)}_mask.nii.gz" for number, (name, *_) in enumerate(wanted)]
    if not cache.outputs("atlas", key):
        to_template = _to_template(settings, plan, prepared, derived, volume.affine)
        points = apply_affine(volume.affine, np.indices(volume.shape).reshape(3, -1).T)
        found = to_template(points)
        for file, (_, atlas, indices, threshold) in zip(files, wanted, strict=True):
            region = read_region(atlas, indices)
            voxels = apply_affine(np.linalg.inv(region.affine), found).T
            mask = map_coordinates(region.data, voxels, order=1) >= threshold
            image = nib.Nifti1Image(mask.reshape(volume.shape).astype(np.uint8), volume.affine)
            image.header.set_xyzt_units("mm")
            write_nifti(file, image)
        cache.finish("atlas", key, files)
    return [f"{name.replace('=', ' ')}={file}" for (name, *_), file in zip(wanted, files, strict=True)]


def _to_template(
    settings: Settings,
    plan: ParticipantPlan,
    prepared: PreparedBold,
    derived: FmriprepAnatomy | None,
    affine: NDArray[np.float64],
) -> ToTemplate:
    if prepared.space is not None and prepared.space.startswith(DEFAULT_TEMPLATE):
        return lambda points: points
    if prepared.anatomy_affine is None:
        raise MissingInputError(
            f"sub-{plan.subject}: atlases come to BOLD by way of the T1w image, and there is none",
            remedy="Give a mask on the grid of the BOLD as NAME=FILE.",
        )
    to_t1w = prepared.anatomy_affine @ np.linalg.inv(affine)
    t1w, mask = plan.anatomy.t1w, None
    if derived is not None:
        if derived.from_template is not None:
            composite = read_itk_composite(derived.from_template)
            return lambda points: composite.map_points(apply_affine(to_t1w, points))
        t1w = derived.t1w
        mask = None if derived.brain_mask is None else read_volume(derived.brain_mask).data > 0
    if t1w is None:
        raise MissingInputError(
            f"sub-{plan.subject}: has neither the transform from {DEFAULT_TEMPLATE} to the T1w image nor that"
            " image",
            file=fmriprep_root(settings),
            remedy=f"Run fMRIPrep with --output-spaces {DEFAULT_TEMPLATE} T1w.",
        )
    template = load_template(offline=settings.offline)
    way = normalise(read_volume(t1w), mask, template=template, seed=settings.seed)
    return lambda points: way.to_template(apply_affine(to_t1w, points))
