"""Which voxels of a participant's BOLD are estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bids_recon.config import Settings
from bids_recon.errors import UsageError
from bids_recon.outputs.names import bids_uri
from bids_recon.rois.brain import brain_mask
from bids_recon.rois.grids import open_image
from bids_recon.rois.select import needs_brain, select_voxels
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.atlas_regions import atlas_masks
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedBold
from bids_recon.workflow.region_requests import sort_requests
from bids_recon.workflow.reuse import check_grid, voxels_of
from bids_recon.workflow.stage_cache import StageCache


def voxels_of_bold(
    settings: Settings, plan: ParticipantPlan, prepared: PreparedBold, cache: StageCache
) -> tuple[VoxelSelection, list[str]]:
    """Voxels of the regions asked for, on the common grid, and warnings."""
    files = [run.bold for run in prepared.runs.values()]
    grid = open_image(files[0])
    if plan.earlier:
        wanted = voxels_of(plan.earlier)
        check_grid(grid, wanted, files[0])
        return wanted, []
    requests = sort_requests(settings.roi)
    requested: Sequence[str] = requests.plain
    if requests.atlases:
        requested = [*requested, *atlas_masks(requests.atlases, settings, plan, prepared, cache)]
    brain = prepared.brain
    if brain is None and needs_brain(requested, plan.masks, space=prepared.space):
        brain = brain_mask(files, None)
    voxels, warnings = select_voxels(
        requested, plan.masks, grid, brain=brain, space=prepared.space, anatomy_affine=prepared.anatomy_affine
    )
    roots = {"raw": settings.bids_dir, **settings.derivatives}
    sources = {
        name: [bids_uri(Path(file), roots) for file in files] for name, files in voxels.sources.items()
    }
    return replace(voxels, sources=sources), warnings


def refuse_atlases_of_betas(settings: Settings) -> None:
    """Atlases are brought to BOLD; of ready responses nobody knows how they lie to the template.

    Raises
    ------
    UsageError
        When `--roi` names one.
    """
    if sort_requests(settings.roi).atlases:
        raise UsageError(
            "--roi atlas:... needs BOLD, and responses were given with --derivatives betas",
            remedy="Give a mask on the grid of the responses as NAME=FILE.",
        )
