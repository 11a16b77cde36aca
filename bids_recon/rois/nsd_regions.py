"""Regions of interest of NSD, and the voxels that decoders see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_recon.dataset.annex import is_fetched
from bids_recon.dataset.nsd_layout import GRID, NsdRelease
from bids_recon.errors import DataError, MissingInputError
from bids_recon.rois.grids import read_volume
from bids_recon.rois.masks import MaskSource
from bids_recon.rois.select import needs_brain, select_voxels
from bids_recon.rois.selection import VoxelSelection

# Voxels that respond to the pictures, drawn by hand by the authors of NSD.
GENERAL = "nsdgeneral"
# Regions of Ozcelik & VanRullen 2023, section 3.5.
OF_THE_PAPER = ("V1", "V2", "V3", "hV4", "Face-ROI", "Word-ROI", "Place-ROI", "Body-ROI")
# What the values of the volumes are, from 1, where their tables were not fetched (data manual, "ROIs").
AREAS = {
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
}
# Unions of areas (Ozcelik & VanRullen 2023, section 3.5). Their V4 is hV4 alone.
UNIONS = {
    "V1": ("V1v", "V1d"),
    "V2": ("V2v", "V2d"),
    "V3": ("V3v", "V3d"),
    "Face-ROI": AREAS["floc-faces"],
    "Word-ROI": AREAS["floc-words"],
    "Place-ROI": AREAS["floc-places"],
    "Body-ROI": AREAS["floc-bodies"],
}
_ORIGIN = "nsd"


def nsd_masks(release: NsdRelease, subject: str) -> dict[str, list[MaskSource]]:
    """Regions of one person, as `bids_recon.rois.masks.find_masks` gives them.

    Parameters
    ----------
    release : NsdRelease
    subject : str
        Label, such as `01`.

    Returns
    -------
    dict of str to list of MaskSource
        `nsdgeneral`, single areas, unions of areas and bins of eccentricity; those whose volume is not there
        are left out.

    Raises
    ------
    DataError
        When a table of areas cannot be read.
    """
    found: dict[str, list[MaskSource]] = {}
    general = release.region_file(subject, GENERAL)
    if _exists(general):
        found[GENERAL] = [_source(general, GENERAL, None)]
    areas: dict[str, MaskSource] = {}
    for name, known in AREAS.items():
        volume = release.region_file(subject, name)
        if not _exists(volume):
            continue
        table = release.region_table(subject, name)
        listed = read_areas(table) if table.is_file() else dict(enumerate(known, 1))
        areas |= {area: _source(volume, area, value) for value, area in listed.items()}
    for union, members in UNIONS.items():
        if parts := [areas[area] for area in members if area in areas]:
            found[union] = parts
    return found | {area: [source] for area, source in areas.items()}


def read_areas(table: Path) -> dict[int, str]:
    """Read a table of areas of the release: a value and a name a line; 0 is no area.

    Raises
    ------
    DataError
        When a line is something else.
    """
    areas: dict[int, str] = {}
    try:
        text = table.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            "is not UTF-8 text",
            file=table,
            remedy="Fetch it again, or remove it: the names of the data manual are used then.",
        ) from error
    for line in text.splitlines():
        if not (cells := line.split()):
            continue
        if len(cells) < 2 or not cells[0].isdecimal():
            raise DataError(
                f"has the line '{line}', which is no value and name",
                file=table,
                remedy="Fetch it again, or remove it: the names of the data manual are used then.",
            )
        if int(cells[0]):
            areas[int(cells[0])] = cells[1]
    return areas


def select_nsd_voxels(
    masks: Mapping[str, Sequence[MaskSource]], release: NsdRelease, subject: str, requested: Sequence[str]
) -> tuple[VoxelSelection, list[str]]:
    """Choose the voxels that decoders see.

    Parameters
    ----------
    masks : mapping of str to sequence of MaskSource
        What `nsd_masks` found.
    release : NsdRelease
    subject : str
        Label, such as `01`.
    requested : sequence of str
        As `bids_recon.rois.requests.resolve_regions` takes them. Empty: the voxels of `nsdgeneral`, with the
        regions of the paper as far as they lie in it.

    Returns
    -------
    VoxelSelection
        On the grid of 1.8 mm.
    list of str
        Warnings.

    Raises
    ------
    MissingInputError
        When the volume of `nsdgeneral` is needed and not there, or no volume is, or the brain is asked for
        and has no mask.
    ReconError
        What `bids_recon.rois.select.select_voxels` raises.
    """
    whole = release.brain_mask(subject)
    if (not requested and GENERAL not in masks) or not (masks or whole.is_file()):
        raise MissingInputError(
            "there is no such volume of regions",
            file=release.region_file(subject, GENERAL),
            remedy="Fetch the folder roi of the release, or name other regions with --roi.",
        )
    grid = read_volume(next(iter(masks.values()))[0].path if masks else whole)
    wanted = requested or [GENERAL, *(name for name in OF_THE_PAPER if name in masks)]
    brain = None
    if needs_brain(wanted, masks, space=GRID) and whole.is_file():
        brain = read_volume(whole).data > 0
    voxels, warnings = select_voxels(wanted, masks, grid, brain=brain, space=GRID)
    return (voxels if requested else voxels.restrict(voxels.rois[GENERAL])), warnings


def _source(volume: Path, label: str, value: int | None) -> MaskSource:
    return MaskSource(volume, label, None, value, _ORIGIN, GRID, is_fetched(volume))


def _exists(volume: Path) -> bool:
    """Whether a volume is there, be it as a link to content that was not fetched."""
    return volume.exists() or volume.is_symlink()
