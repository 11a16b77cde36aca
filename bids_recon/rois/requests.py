"""Which regions are meant by the names that a user gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bids_recon.dataset.annex import is_fetched, not_fetched
from bids_recon.dataset.inheritance import inherited_file
from bids_recon.errors import DataError, MissingInputError, UsageError
from bids_recon.rois.grids import read_volume
from bids_recon.rois.lookup import read_table
from bids_recon.rois.masks import MaskSource, segmentation_sources
from bids_recon.rois.naming import MaskName, is_nifti, parse_mask_name, stem

BRAIN = "brain"
# What results call the voxels of all regions together.
WHOLE = "all"
EVERY_REGION = ("VC", WHOLE)
PARTS = {"V1": ("V1d", "V1v"), "V2": ("V2d", "V2v"), "V3": ("V3d", "V3v")}

# Spaces in which a volume lies on the participant's own anatomy, so that header affines relate them.
_OWN_SPACES = frozenset({None, "T1w", "T2w", "anat", "func", "bold", "boldref", "orig", "individual"})
_FROM_USER = "request"


@dataclass(frozen=True)
class Region:
    """A region of interest that was asked for, or is part of one.

    Attributes
    ----------
    name : str
        As it is called in the results.
    sources : tuple of MaskSource
        Files whose union it is; empty for a group and for the brain.
    members : tuple of str
        For a group, the regions whose union it is.
    required : bool
        Whether the user named it, so that it must have voxels.
    """

    name: str
    sources: tuple[MaskSource, ...] = ()
    members: tuple[str, ...] = ()
    required: bool = True


def resolve_regions(
    requested: Sequence[str], sources: Mapping[str, Sequence[MaskSource]], *, space: str | None
) -> tuple[list[Region], list[str]]:
    """Turn the names that a user gives into regions and their files; no mask is read.

    Parameters
    ----------
    requested : sequence of str
        Labels in any case; `V1`, `V2`, `V3` for their dorsal and ventral parts where there is no mask of the
        whole; `VC` or `all` for every region found; `brain`; a NIfTI file; or `NAME=file`. Empty: every
        region found or, where there is none, the brain.
    sources : mapping of str to sequence of MaskSource
        What `find_masks` found.
    space : str or None
        BIDS `space` label of the responses. Masks in a template space that is not that of the responses are
        left aside. Of several sources of a region, the first place that has it is used.

    Returns
    -------
    list of Region
        In the order asked for; a group is followed by its members.
    list of str
        Warnings.

    Raises
    ------
    UsageError
        If a name is unknown, two different regions would have one name, or a file would be called `all`.
    MissingInputError
        If a file that the user named is not there.
    """
    resolver = _Resolver(sources, space)
    if not requested:
        resolver.add_default()
    for request in requested:
        resolver.add(request.strip())
    return list(resolver.regions.values()), resolver.warnings


class _Resolver:
    def __init__(self, sources: Mapping[str, Sequence[MaskSource]], space: str | None) -> None:
        self.space = space
        self.regions: dict[str, Region] = {}
        self.warnings: list[str] = []
        self.known: dict[str, Region] = {}
        self.elsewhere: dict[str, tuple[str, set[str | None]]] = {}
        for label, listed in sources.items():
            usable = [source for source in listed if _alignable(source.space, space)]
            if not usable:
                self.elsewhere[label.casefold()] = (label, {source.space for source in listed})
                continue
            # The first place that has the region decides; within it, the space of the responses.
            first = [source for source in usable if source.origin == usable[0].origin]
            best = min(first, key=lambda source: source.space != space)
            chosen = tuple(source for source in first if source.space == best.space)
            self.known[label.casefold()] = Region(label, chosen)

    def names(self) -> list[str]:
        labels = [region.name for region in self.known.values()]
        parts = [name for name in PARTS if name.casefold() not in self.known and self._parts(name)]
        return [*labels, *parts, *(EVERY_REGION if self._every_region() else ()), BRAIN]

    def add_default(self) -> None:
        every = self._every_region()
        for region in every:
            self._put(replace(region, required=False))
        if not every:
            self._put(Region(BRAIN))
            if self.elsewhere:
                spaces = _list_spaces({space for _, listed in self.elsewhere.values() for space in listed})
                self.warnings.append(
                    f"The masks of regions of interest are {spaces}, the responses are"
                    f" {_in_space(self.space)}: the voxels of the whole brain are used."
                )

    def add(self, request: str) -> None:
        name, file = _split_request(request)
        key = request.casefold()
        if file is not None:
            self._add_file(name, file)
        elif key == BRAIN:
            self._put(Region(BRAIN))
        elif key in self.known:
            self._put(self.known[key])
        elif group := next(
            (group for group in PARTS if group.casefold() == key and self._parts(group)), None
        ):
            members = self._parts(group)
            absent = [part for part in PARTS[group] if part.casefold() not in self.known]
            if absent:
                self.warnings.append(
                    f"{group} is made of {members[0].name} alone: no mask of {absent[0]} was found."
                )
            self._put_group(group, members)
        elif group := next((group for group in EVERY_REGION if group.casefold() == key), None):
            every = self._every_region()
            if not every:
                raise self._unknown(request)
            self._put_group(group, every)
        else:
            raise self._unknown(request)

    def _add_file(self, name: str | None, file: Path) -> None:
        if not file.exists() and not file.is_symlink():
            raise MissingInputError(
                "there is no such file", file=file, remedy="Correct the path of this region of interest."
            )
        if (name or _label_of_file(file, parse_mask_name(file.name))).casefold() == WHOLE:
            raise UsageError(
                f"would be a region of interest called {WHOLE}, which is the name of all regions together",
                file=file,
                remedy="Give it another name, as NAME=FILE.",
            )
        parsed = parse_mask_name(file.name)
        if parsed is not None and parsed.segmentation:
            merged: dict[str, tuple[MaskSource, ...]] = {}
            for source in _read_segmentation(file, parsed):
                merged[source.label] = (*merged.get(source.label, ()), source)
            regions = [Region(label, listed, required=False) for label, listed in merged.items()]
            if name is None:
                for region in regions:
                    self._put(region)
            else:
                self._put_group(name, regions)
            return
        label = name or _label_of_file(file, parsed)
        source = MaskSource(
            file, label, None, None, _FROM_USER, parsed.space if parsed else None, is_fetched(file)
        )
        before = self.regions.get(label)
        if before is not None and before.sources and before.sources[0].origin == _FROM_USER:
            # NAME=left.nii.gz NAME=right.nii.gz: one region of two files.
            self.regions[label] = replace(before, sources=(*before.sources, source))
        else:
            self._put(Region(label, (source,)))

    def _put(self, region: Region) -> None:
        before = self.regions.get(region.name)
        if before is None:
            self.regions[region.name] = region
        elif (before.sources, before.members) != (region.sources, region.members):
            raise UsageError(
                f"two different regions of interest would be called {region.name}",
                remedy="Give one of them another name, as NAME=FILE.",
            )
        elif region.required:
            self.regions[region.name] = region

    def _put_group(self, name: str, members: Iterable[Region]) -> None:
        members = list(members)
        self._put(Region(name, members=tuple(member.name for member in members)))
        for member in members:
            self._put(replace(member, required=False))

    def _parts(self, group: str) -> list[Region]:
        return [self.known[part.casefold()] for part in PARTS[group] if part.casefold() in self.known]

    def _every_region(self) -> list[Region]:
        return [r for r in self.known.values() if not all(source.by_name_only for source in r.sources)]

    def _unknown(self, request: str) -> UsageError:
        if request.casefold() in self.elsewhere:
            label, spaces = self.elsewhere[request.casefold()]
            return UsageError(
                f"the masks of the region of interest {label} are {_list_spaces(spaces)},"
                f" the responses are {_in_space(self.space)}",
                remedy="Use responses in the space of the masks, or give a mask in theirs as NAME=FILE.",
            )
        return UsageError(
            f"the region of interest {request!r} is not known",
            remedy=f"Available: {', '.join(self.names())}; or a NIfTI file, as NAME=FILE.",
        )


def _split_request(request: str) -> tuple[str | None, Path | None]:
    name, equals, path = request.partition("=")
    # An equals sign may also stand within a folder's name.
    if equals and "/" not in name:
        if not name or not path:
            raise UsageError(
                f"{request!r} names no region or no file", remedy="Write it as NAME=FILE, without spaces."
            )
        return name, Path(path).expanduser()
    return None, (Path(request).expanduser() if is_nifti(request) else None)


def _label_of_file(file: Path, parsed: MaskName | None) -> str:
    if parsed is None or parsed.label is None:
        return stem(file.name)
    return f"{parsed.hemisphere}H{parsed.label}" if parsed.hemisphere else parsed.label


def _read_segmentation(file: Path, parsed: MaskName) -> list[MaskSource]:
    """Regions of a segmentation that the user named: those of its table or, without one, its values."""
    if not is_fetched(file):
        raise not_fetched([file])
    table = inherited_file(file.parent, file, "dseg", ".tsv")
    if table is not None:
        regions = read_table(table)
    else:
        values = np.unique(read_volume(file).data).astype(int)
        regions = {
            int(value): f"{stem(file.name).removesuffix('_dseg')}-{value}" for value in values if value != 0
        }
    if not regions:
        raise DataError("holds no region of interest", file=file)
    return segmentation_sources(
        file, regions, origin=_FROM_USER, hemisphere=parsed.hemisphere, space=parsed.space
    )


def _alignable(one: str | None, other: str | None) -> bool:
    return one == other or (one in _OWN_SPACES and other in _OWN_SPACES)


def _in_space(space: str | None) -> str:
    return "in the participant's own space" if space is None else f"in space {space}"


def _list_spaces(spaces: Iterable[str | None]) -> str:
    return " and ".join(_in_space(space) for space in sorted(spaces, key=lambda space: space or ""))
