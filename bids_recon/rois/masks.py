"""Masks of regions of interest that come with a data set or its derivatives."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_recon.dataset.annex import is_fetched
from bids_recon.dataset.inheritance import entities_of, inherited_file
from bids_recon.errors import DataError
from bids_recon.rois.lookup import read_table
from bids_recon.rois.naming import Hemisphere, MaskName, parse_mask_name, split_hemisphere

logger = logging.getLogger(__name__)

# FreeSurfer's parcellations cover the whole brain, ventricles included.
_ANATOMICAL_SEGMENTATIONS = frozenset({"aseg", "aparc", "aparcaseg", "carpet"})
_TISSUES = frozenset(
    [
        "gm",
        "wm",
        "csf",
        "sgm",
        "scgm",
        "bg",
        "background",
        "ribbon",
        "cortex",
        "skull",
        "lesion",
        "gray matter",
        "grey matter",
        "white matter",
        "cerebrospinal fluid",
        "goodsignal",
        "adaptivegoodsignal",
    ]
)


@dataclass(frozen=True)
class MaskSource:
    """A file that holds a region of interest, or one hemisphere of it.

    Attributes
    ----------
    path : Path
        NIfTI file.
    label : str
        Region, without its hemisphere.
    hemisphere : {"L", "R"} or None
        None when the file is not of one hemisphere.
    index : int or None
        Value of the region in a segmentation; None for a mask, in which all that is positive belongs to it.
    origin : str
        `sourcedata`, `derivatives/spm`, `raw`, the name of a derivatives folder, or `request` for a file
        that the user named.
    space : str or None
        BIDS `space` label; None for the participant's own space.
    fetched : bool
        False for a link or pointer of git-annex whose content is not on this machine.
    by_name_only : bool
        True for tissues and whole-brain parcellations: they are used when asked for by name, and are no part
        of "every region found".
    """

    path: Path
    label: str
    hemisphere: Hemisphere | None
    index: int | None
    origin: str
    space: str | None = None
    fetched: bool = True
    by_name_only: bool = False


def find_masks(bids_dir: Path, subject: str, derivatives: Mapping[str, Path]) -> dict[str, list[MaskSource]]:
    """Find the masks of one participant.

    Parameters
    ----------
    bids_dir : Path
        Root of the data set. `sourcedata/sub-X`, `derivatives/spm/sub-X` and `sub-X` are searched.
    subject : str
        Participant, with or without `sub-`.
    derivatives : mapping of str to Path
        Further data sets by name; `sub-X` is searched in each.

    Returns
    -------
    dict of str to list of MaskSource
        Sources by region. The hemispheres of a region, and spellings that differ in case, are under one
        label. Within a list, sources of the place searched first come first: Kamitani masks in `sourcedata`,
        those of BOLD5000 in `derivatives/spm`, the data set, the derivatives in the order given.
    """
    folder = f"sub-{subject.removeprefix('sub-')}"
    places = [
        ("sourcedata", bids_dir / "sourcedata"),
        ("derivatives/spm", bids_dir / "derivatives" / "spm"),
        ("raw", bids_dir),
        *derivatives.items(),
    ]
    found: dict[str, list[MaskSource]] = {}
    spelling: dict[str, str] = {}
    seen: set[Path] = set()
    for origin, root in places:
        for path, name in _named_files(root / folder):
            # A data set's own derivatives may be listed a second time by the user.
            # resolve() would follow the links of git-annex, which copies of one mask share.
            location = path.absolute()
            if location in seen:
                continue
            seen.add(location)
            for source in _sources(path, name, origin, root):
                label = spelling.setdefault(source.label.casefold(), source.label)
                found.setdefault(label, []).append(source)
    return found


def segmentation_sources(
    path: Path, regions: Mapping[int, str], *, origin: str, hemisphere: Hemisphere | None, space: str | None
) -> list[MaskSource]:
    """One source for each region of a segmentation, named as in its lookup table."""
    fetched = is_fetched(path)
    whole_brain = entities_of(path).get("desc", "").casefold() in _ANATOMICAL_SEGMENTATIONS
    sources = []
    for index, name in regions.items():
        label, side = split_hemisphere(name)
        by_name_only = whole_brain or label.casefold() in _TISSUES
        sources.append(
            MaskSource(path, label, hemisphere or side, index, origin, space, fetched, by_name_only)
        )
    return sources


def _named_files(folder: Path) -> Iterator[tuple[Path, MaskName]]:
    """Files below a folder, in order of their path, whose name is that of a mask; broken links too."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            name = parse_mask_name(file)
            if name is not None:
                yield Path(parent, file), name


def _sources(path: Path, name: MaskName, origin: str, root: Path) -> list[MaskSource]:
    if name.label is not None:
        by_name_only = name.label.casefold() in _TISSUES
        return [
            MaskSource(
                path, name.label, name.hemisphere, None, origin, name.space, is_fetched(path), by_name_only
            )
        ]
    table = inherited_file(root, path, "dseg", ".tsv")
    if table is None:
        return []
    try:
        regions = read_table(table)
    except DataError as error:
        # A segmentation that nobody asked for must not stop the run; its regions are unknown names then.
        logger.warning("%s The regions of %s are left out.", error, path)
        return []
    return segmentation_sources(path, regions, origin=origin, hemisphere=name.hemisphere, space=name.space)
