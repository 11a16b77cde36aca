"""Regions of interest of TemplateFlow's atlases, by name.

In TemplateFlow 25.1 these atlases of the human cortex lie in an MNI volume. `HOCPA` is Harvard-Oxford; among
its regions are Intracalcarine Cortex, Lingual Gyrus, Cuneal Cortex, Occipital Pole, Occipital Fusiform Gyrus,
Temporal Occipital Fusiform Cortex and two divisions of Lateral Occipital Cortex. It comes as probabilities in
`MNI152NLin6Asym`, as labels in `MNI152NLin2009cAsym` too. `Schaefer2018` has parcels named by network, the
visual ones with `_Vis_`. `DiFuMo` has soft maps, whose values are weights and no probabilities. None is
retinotopic; an atlas that a laboratory has can be put into TemplateFlow's folder under a name such as
`tpl-MNI152NLin2009cAsym/tpl-MNI152NLin2009cAsym_res-02_atlas-Mine_probseg.nii.gz`, with a `.tsv` beside it.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_recon.errors import UsageError
from bids_recon.rois.atlas_table import find_table, read_regions
from bids_recon.rois.grids import Volume, open_image, read_array
from bids_recon.rois.templateflow_files import TemplateFile, fetch, list_files, nearest_resolution

DEFAULT_TEMPLATE = "MNI152NLin2009cAsym"
DEFAULT_THRESHOLD = 0.25
"""Least probability of the voxels of a region, as in the `th25` of `HOCPA`."""

LABEL_THRESHOLD = 0.5
"""The same for a region of labels, of which interpolation makes values between 0 and 1."""


@dataclass(frozen=True)
class AtlasRequest:
    """What a user asks for.

    Attributes
    ----------
    atlas : str
        `NAME` or `NAME-DESC`, as `HOCPA` or `Schaefer2018-100Parcels7Networks`.
    region : str or None
        Name of a region in any case, or a pattern such as `*_Vis_*`; None for every region.
    threshold : float
        Least probability, 0 to 1; not used with labels.
    """

    atlas: str
    region: str | None
    threshold: float


@dataclass(frozen=True)
class Atlas:
    """An atlas whose files are on this machine.

    Attributes
    ----------
    name : str
        As it was asked for.
    template : str
        Template whose space it lies in.
    image : Path
        NIfTI file.
    kind : {"dseg", "probseg"}
        Labels in one volume, or a volume of probabilities for each region.
    regions : dict of int to str
        Names, by value for labels and by number of the volume, from 0, for probabilities.
    resolution : int or None
        TemplateFlow's index of the grid.
    """

    name: str
    template: str
    image: Path
    kind: str
    regions: dict[int, str]
    resolution: int | None


def parse_request(text: str) -> AtlasRequest:
    """Read a request: ``[atlas:]NAME[-DESC][:REGION][@PERCENT]``, as `atlas:HOCPA:Lingual Gyrus@50`.

    Raises
    ------
    UsageError
        If it has no name, or a threshold that is no percentage.
    """
    body, at, percent = text.removeprefix("atlas:").partition("@")
    name, colon, region = (part.strip() for part in body.partition(":"))
    usage = "Write it as atlas:NAME, atlas:NAME:REGION or atlas:NAME:REGION@PERCENT."
    if not name or (colon and not region):
        raise UsageError(f"{text!r} names no atlas or no region", remedy=usage)
    try:
        threshold = float(percent.removesuffix("%")) / 100 if at else DEFAULT_THRESHOLD
    except ValueError:
        threshold = math.nan
    if not 0 < threshold <= 1:
        raise UsageError(f"{text!r}: {percent!r} is no percentage above 0 and up to 100", remedy=usage)
    return AtlasRequest(name, region or None, threshold)


def list_cached_atlases() -> dict[str, list[str]]:
    """Atlases that are on this machine, by template; no connection is opened."""
    found: dict[str, set[str]] = {}
    for file in _images(list_files(offline=True)):
        if file.cached:
            found.setdefault(file.template, set()).add(file.atlas)
    return {template: sorted(names) for template, names in sorted(found.items())}


def find_atlas(name: str, *, template: str = DEFAULT_TEMPLATE, offline: bool = False) -> Atlas:
    """Find an atlas in TemplateFlow, and download it if it is not on this machine.

    Of several files of one atlas, probabilities come before labels, the plain file before the described
    ones, and of these the labels from 25 % on (`th25`); then the grid of 2 mm.

    Parameters
    ----------
    name : str
        `NAME`, or `NAME-DESC` where there are several versions, in any case.
    template : str
        Template whose space it shall lie in.
    offline : bool
        Open no connection: only what is cached is found.

    Returns
    -------
    Atlas

    Raises
    ------
    UsageError
        If the template has no such atlas, or several versions of it.
    MissingInputError
        If it is not cached and cannot be fetched.
    CannotCreateError
        If TemplateFlow's folder cannot be written.
    DataError
        If its table cannot be read, or does not fit the image.
    """
    everywhere = list_files(offline=offline)
    images = [file for file in _images(everywhere) if file.template == template]
    wanted, _, desc = name.casefold().partition("-")
    versions: dict[tuple[str, str], list[TemplateFile]] = {}
    for file in images:
        if file.entities["atlas"].casefold() == wanted:
            versions.setdefault((file.suffix, file.entities.get("desc", "")), []).append(file)
    if not versions:
        raise _unknown(name, template, everywhere, offline)
    if offline and not desc:
        # A version that is here is better than one that cannot be had.
        cached = {key: files for key, files in versions.items() if any(file.cached for file in files)}
        versions = cached or versions
    file = nearest_resolution(versions[_version(name, desc, list(versions))], offline=offline)
    image = fetch(file, offline=offline)
    table = find_table(file, everywhere)
    regions = read_regions(file, fetch(table, offline=offline) if table else None)
    return Atlas(name, template, image, file.suffix, regions, file.resolution)


def find_regions(atlas: Atlas, region: str | None = None) -> dict[str, list[int]]:
    """Indices of the regions asked for, by name.

    Parameters
    ----------
    atlas : Atlas
    region : str, optional
        A name, in any case; or a pattern with `*` and `?`, whose matches make one region, called after what
        is left of the pattern without these (`*_Vis_*` is called `Vis`). None: every region.

    Raises
    ------
    UsageError
        If there is none.
    """
    if region is None:
        every: dict[str, list[int]] = {}
        for index, name in atlas.regions.items():
            every.setdefault(name, []).append(index)
        return every
    asked = region.casefold()
    matches = [index for index, name in atlas.regions.items() if name.casefold() == asked]
    if matches:
        return {atlas.regions[matches[0]]: matches}
    matches = [i for i, name in atlas.regions.items() if fnmatch.fnmatchcase(name.casefold(), asked)]
    if matches:
        return {region.replace("*", " ").replace("?", " ").strip(" _-,") or atlas.name: matches}
    names = list(dict.fromkeys(atlas.regions.values()))
    near = difflib.get_close_matches(region, names, n=5, cutoff=0.4) or names[:20]
    raise UsageError(
        f"the atlas {atlas.name} has no region {region!r}",
        remedy=f"It has {len(names)}, among them: {'; '.join(near)}. A pattern such as *Vis* takes several.",
    )


def read_region(atlas: Atlas, indices: list[int]) -> Volume:
    """Read some regions of an atlas as one.

    Parameters
    ----------
    atlas : Atlas
    indices : list of int
        Keys of `atlas.regions`.

    Returns
    -------
    Volume
        float32, in the space of the template, from 0 to 1: for probabilities, their sum, at most 1 (areas of
        one atlas exclude one another); for labels, 1 within the regions.

    Raises
    ------
    DataError
        If the image cannot be read.
    """
    image = open_image(atlas.image)
    affine = np.asarray(image.affine, dtype=np.float64)
    if atlas.kind == "dseg":
        labels = np.asarray(read_array(image, atlas.image)).reshape(image.shape[:3])
        return Volume(np.isin(labels, indices).astype(np.float32), affine)
    data = np.asarray(read_array(image, atlas.image), dtype=np.float32).reshape(*image.shape[:3], -1)
    # FSL stores whole per cents.
    scale = 100.0 if np.nanmax(data) > 1.5 else 1.0
    total = np.nan_to_num(data[..., indices]).sum(axis=-1) / scale
    return Volume(np.clip(total, 0, 1).astype(np.float32), affine)


def _images(files: list[TemplateFile]) -> list[TemplateFile]:
    return [
        file
        for file in files
        if "atlas" in file.entities and file.suffix in ("dseg", "probseg") and file.extension == ".nii.gz"
    ]


def _version(name: str, desc: str, versions: list[tuple[str, str]]) -> tuple[str, str]:
    """Which of the versions (suffix, desc) of an atlas is meant."""
    if desc:
        ordered = [(suffix, own) for suffix, own in versions if own.casefold() == desc]
    else:
        plain = [version for version in versions if version[1] in ("", "th25")]
        ordered = plain or (versions if len({own for _, own in versions}) == 1 else [])
    if not ordered:
        atlas, known = name.partition("-")[0], sorted({own for _, own in versions if own})
        problem = f"has no version {name.partition('-')[2]!r}" if desc else "has several versions"
        remedy = (
            f"Name one of: {', '.join(f'{atlas}-{own}' for own in known)}." if known else f"Name {atlas}."
        )
        raise UsageError(f"the atlas {atlas} {problem}", remedy=remedy)
    return min(ordered, key=lambda version: (version[0] != "probseg", version[1]))


def _unknown(name: str, template: str, files: list[TemplateFile], offline: bool) -> UsageError:
    images = _images(files)
    here = sorted({file.entities["atlas"] for file in images if file.template == template})
    wanted = name.casefold().partition("-")[0]
    others = {file.template for file in images if file.entities["atlas"].casefold() == wanted}
    elsewhere = f" {name} lies in {', '.join(sorted(others))}." if others else ""
    known = f"It has: {', '.join(here)}." if here else f"No atlas of {template} is known here."
    hint = " Without --offline, more may be found." if offline and not here else ""
    return UsageError(f"TemplateFlow has no atlas {name!r} in {template}", remedy=f"{known}{elsewhere}{hint}")
