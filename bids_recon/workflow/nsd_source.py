"""NSD's own release in place of a BIDS data set: trials, pictures, regions and responses of a participant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_recon.config import Settings
from bids_recon.dataset.layout import read_description
from bids_recon.dataset.nsd_layout import COMPLETED, TASK, NsdRelease, is_release, open_release
from bids_recon.dataset.nsd_trials import choose_sessions, nsd_stimuli, nsd_trials, read_coco_ids, read_design
from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.dataset.stimulus_spec import StimulusSpec
from bids_recon.errors import NothingSelectedError, UsageError
from bids_recon.glm.nsd_betas import read_nsd_responses
from bids_recon.glm.responses import Responses
from bids_recon.outputs.names import bids_uri
from bids_recon.rois.masks import MaskSource, find_masks
from bids_recon.rois.nsd_regions import nsd_masks, select_nsd_voxels
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.region_requests import sort_requests

# Name under which --derivatives gives the release.
NSD = "nsd"
# The paper's sessions, where no stimulus spec is named.
DEFAULT_SPEC = "nsd37"
DESCRIPTION = {"Name": "Natural Scenes Dataset", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}


@dataclass(frozen=True)
class NsdSource:
    """What is known of a participant of NSD from tables and file names alone.

    Attributes
    ----------
    trials : DataFrame
        See `bids_recon.dataset.nsd_trials.nsd_trials`.
    stimuli : StimulusSet
    masks : dict of str to list of MaskSource
    """

    trials: pd.DataFrame
    stimuli: StimulusSet
    masks: Mapping[str, Sequence[MaskSource]]


def nsd_release(settings: Settings) -> NsdRelease | None:
    """The release that --derivatives names, or that the BIDS folder is; None for other data sets.

    Raises
    ------
    MissingInputError
        When the folder that was named is no release.
    """
    if NSD in settings.derivatives:
        return open_release(settings.derivatives[NSD])
    return NsdRelease(settings.bids_dir) if is_release(settings.bids_dir) else None


def source_description(settings: Settings) -> dict[str, Any]:
    """The data set's description; the release of NSD has none, and needs none.

    Raises
    ------
    MissingInputError
        When the folder that was named for NSD is no release.
    DataError
        When the data set has no description.
    """
    # A folder that was said to be NSD, and is not, is told before what the BIDS folder lacks.
    nsd_release(settings)
    if is_release(settings.bids_dir) and not (settings.bids_dir / "dataset_description.json").is_file():
        return dict(DESCRIPTION)
    return read_description(settings.bids_dir)


def read_nsd_source(settings: Settings, subject: str, spec: StimulusSpec) -> NsdSource:
    """Trials, pictures and regions of one participant.

    Raises
    ------
    UsageError
        When options ask for what NSD's responses do not have.
    NothingSelectedError, MissingInputError, DataError
        When the sessions and tasks asked for do not exist, or files are absent or damaged.
    """
    release = _release(settings)
    if subject not in COMPLETED:
        raise NothingSelectedError(
            f"NSD has no participant {subject}",
            file=release.root,
            remedy=f"There are {', '.join(COMPLETED)}.",
        )
    if "betas" in settings.derivatives:
        raise UsageError(
            f"--derivatives {NSD} and betas both give responses", remedy="Give one of them, run by run."
        )
    if settings.task_id and TASK not in settings.task_id:
        raise NothingSelectedError(
            f"the responses of NSD are of the task {TASK} only",
            file=release.root,
            remedy="Leave --task-id out.",
        )
    _refuse_what_is_not_read(settings)
    if sort_requests(settings.roi).atlases:
        raise UsageError(
            "--roi atlas:... needs BOLD, and the responses of NSD are read",
            remedy="Give a mask on their grid as NAME=FILE, or name a region of NSD.",
        )
    design = read_design(release.design)
    sessions = choose_sessions(release, design, subject, spec, settings.session_label)
    coco_ids = read_coco_ids(release, design)
    trials = nsd_trials(design, coco_ids, subject, sessions)
    stimuli = nsd_stimuli(release, trials["stimulus_id"], coco_ids)
    # Masks of one's own, on NSD's grid, may lie in other derivatives.
    own = {name: folder for name, folder in settings.derivatives.items() if name != NSD}
    masks = {**find_masks(release.root, subject, own), **nsd_masks(release, subject)}
    return NsdSource(trials, stimuli, masks)


def _refuse_what_is_not_read(settings: Settings) -> None:
    """Options that would have no effect on responses that are read."""
    given = {
        f"--glm {settings.glm}": settings.glm != Settings.glm,
        "--derivatives fmriprep=PATH": "fmriprep" in settings.derivatives,
        "--bids-filter-file": bool(settings.bids_filters.get("bold")),
        "--stimuli": bool(settings.stimuli),
        "--hrf-shift": settings.hrf_shift is not None,
        "--space": settings.space is not None,
    }
    if named := [option for option, there in given.items() if there]:
        raise UsageError(
            f"{', '.join(named)} has no effect on the release of NSD, whose responses and pictures are read",
            remedy="Leave it out.",
        )


def nsd_voxels(
    settings: Settings, subject: str, masks: Mapping[str, Sequence[MaskSource]]
) -> tuple[VoxelSelection, list[str]]:
    """Voxels of the regions asked for, and warnings; no response is read."""
    release = _release(settings)
    voxels, warnings = select_nsd_voxels(masks, release, subject, sort_requests(settings.roi).plain)
    roots = {"raw": settings.bids_dir, **settings.derivatives}
    sources = {
        name: [bids_uri(Path(file), roots) for file in files] for name, files in voxels.sources.items()
    }
    return replace(voxels, sources=sources), warnings


def nsd_responses(
    settings: Settings, subject: str, trials: pd.DataFrame, voxels: VoxelSelection
) -> tuple[Responses, list[str]]:
    """Responses of all trials of a plan in some voxels, and warnings."""
    return read_nsd_responses(_release(settings), subject, trials, voxels)


def nsd_pictures(settings: Settings, ids: Iterable[str]) -> StimulusSet:
    """Pictures by stimulus id, for the group level."""
    release = _release(settings)
    return nsd_stimuli(release, ids, read_coco_ids(release, read_design(release.design)))


def _release(settings: Settings) -> NsdRelease:
    release = nsd_release(settings)
    if release is None:
        raise ValueError("no release of NSD was given")
    return release
