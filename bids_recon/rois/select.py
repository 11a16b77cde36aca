"""The voxels that are used: masks brought to the grid of the responses, and their union."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_recon.dataset.annex import not_fetched
from bids_recon.errors import DataError, MissingInputError, UsageError
from bids_recon.rois.brain import BrainMask
from bids_recon.rois.grids import Grid, Volume, describe_grid, read_volume, same_grid, to_grid
from bids_recon.rois.masks import MaskSource
from bids_recon.rois.requests import BRAIN, EVERY_REGION, WHOLE, Region, resolve_regions
from bids_recon.rois.selection import VoxelSelection

FUNCTIONAL_SPACES = frozenset({"func", "bold", "boldref", "orig"})


def select_voxels(
    requested: Sequence[str],
    sources: Mapping[str, Sequence[MaskSource]],
    reference: Grid,
    *,
    brain: BrainMask | None,
    space: str | None,
    anatomy_affine: NDArray[np.float64] | None = None,
) -> tuple[VoxelSelection, list[str]]:
    """Choose the voxels that decoders see.

    Parameters
    ----------
    requested : sequence of str
        Regions of interest, as `bids_recon.rois.requests.resolve_regions` takes them; empty for every region
        found or, where there is none, the brain.
    sources : mapping of str to sequence of MaskSource
        What `bids_recon.rois.masks.find_masks` found.
    reference : image, or anything else with a shape and an affine
        Grid of the responses. Masks on another grid are resampled to it by nearest neighbour.
    brain : ndarray (x, y, z) bool or None
        Brain mask on the grid of the responses. None where `needs_brain` says that it is not used.
    space : str or None
        BIDS `space` label of the responses.
    anatomy_affine : ndarray (4, 4), optional
        Affine of the grid of the responses in the space of the T1w image, where a registration found it.
        Masks are then taken to lie on the T1w image, unless their `space` is functional, or they have none
        and lie on the very grid of the responses.

    Returns
    -------
    VoxelSelection
        The union of the regions. `rois` holds each region asked for and, for a group, its members; regions
        that the user did not name and that have no voxel here are left out.
    list of str
        Warnings, each a sentence or two.

    Raises
    ------
    UsageError
        If a name is unknown, two different regions would have one name, or one that is a part of the voxels
        would be called `all`.
    DataError
        If a mask cannot be read, if a region that the user named has no voxel on this grid, or if no voxel is
        left at all.
    MissingInputError
        If a file is not there or is in git-annex and has not been fetched, or the brain is asked for and
        there is no brain mask.
    """
    regions, warnings = resolve_regions(requested, sources, space=space)
    absent = [source.path for region in regions for source in region.sources if not source.fetched]
    if absent:
        raise not_fetched(absent)

    reader = _Reader(reference, anatomy_affine)
    masks: dict[str, NDArray[np.bool_]] = {}
    files: dict[str, list[str]] = {}
    # Groups come after the parts they are made of.
    for region in sorted(regions, key=lambda region: bool(region.members)):
        if region.members:
            masks[region.name] = np.logical_or.reduce([masks[member] for member in region.members])
            listed = [file for member in region.members for file in files[member]]
        elif region.sources:
            masks[region.name] = reader.mask(region)
            listed = [str(source.path) for source in region.sources]
        else:
            masks[region.name] = _on_grid(brain, reference)
            listed = []
        files[region.name] = list(dict.fromkeys(listed))

    empty = [region for region in regions if not masks[region.name].any()]
    for region in empty:
        if region.required or len(empty) == len(regions):
            raise _no_voxel(region, reader.void, reference, files[region.name])
    if empty:
        warnings.append(
            f"{', '.join(region.name for region in empty)}: left out, without a voxel in the field of view of"
            " the responses."
        )
    kept = {region.name: masks[region.name] for region in regions if region not in empty}
    selection = VoxelSelection.from_masks(
        kept, reference.affine, space=space, sources={name: files[name] for name in kept}
    )
    if WHOLE in kept and not selection.rois[WHOLE].all():
        raise UsageError(
            f"the region of interest {WHOLE} is a part of the voxels, and results call all of them so",
            file=next(iter(files[WHOLE]), None),
            remedy=f"Give it another name, as NAME=FILE, or ask for {EVERY_REGION[0]}: every region found.",
        )
    return selection, [*warnings, *reader.warnings()]


def needs_brain(
    requested: Sequence[str], sources: Mapping[str, Sequence[MaskSource]], *, space: str | None
) -> bool:
    """Whether `select_voxels` will use the brain mask; raises what `resolve_regions` raises."""
    regions, _ = resolve_regions(requested, sources, space=space)
    return any(region.name == BRAIN and not region.sources for region in regions)


class _Reader:
    """Reads masks onto one grid, each file once, and remembers what is to be told about them.

    Attributes
    ----------
    void : set of str
        Regions whose files have no voxel on their own grid either.
    """

    def __init__(self, reference: Grid, anatomy_affine: NDArray[np.float64] | None) -> None:
        self.reference = reference
        shape = tuple(reference.shape[:3])
        self._on_anatomy = (
            None if anatomy_affine is None else Volume(np.broadcast_to(np.uint8(0), shape), anatomy_affine)
        )
        self.void: set[str] = set()
        self._volumes: dict[Path, tuple[Volume, Volume]] = {}
        self._registered: set[Path] = set()
        self._moved: dict[str, list[str]] = {}
        self._graded: list[str] = []

    def mask(self, region: Region) -> NDArray[np.bool_]:
        """Union (x, y, z) of the files of a region, on the grid of the responses."""
        anywhere, parts = False, []
        for source in region.sources:
            if source.path not in self._volumes:
                volume = read_volume(source.path)
                target: Grid = self.reference
                if self._on_anatomy is not None and not self._is_functional(volume, source):
                    target = self._on_anatomy
                    self._registered.add(source.path)
                self._volumes[source.path] = volume, to_grid(volume, target)
            own, here = self._volumes[source.path]
            inside = _belongs(own, source)
            anywhere |= bool(inside.any())
            parts.append(_belongs(here, source))
            if source.path not in self._registered and not same_grid(own, self.reference):
                self._moved.setdefault(describe_grid(own), []).append(region.name)
            if source.index is None and np.unique(own.data[inside]).size > 1:
                self._graded.append(str(source.path))
        if not anywhere:
            self.void.add(region.name)
        return np.logical_or.reduce(parts)

    def _is_functional(self, volume: Volume, source: MaskSource) -> bool:
        if source.space is None:
            return same_grid(volume, self.reference)
        return source.space in FUNCTIONAL_SPACES

    def warnings(self) -> list[str]:
        """One sentence for each grid that masks were brought over from, and for each mask of many values."""
        here = describe_grid(self.reference)
        moved = [
            f"{', '.join(dict.fromkeys(names))}: brought from another grid ({grid}) to that of the responses"
            f" ({here}) by nearest neighbour."
            for grid, names in self._moved.items()
        ]
        graded = [
            f"{file}: holds several values where a mask has one; all voxels above 0 are used."
            for file in dict.fromkeys(self._graded)
        ]
        return moved + graded


def _belongs(volume: Volume, source: MaskSource) -> NDArray[np.bool_]:
    return volume.data > 0 if source.index is None else volume.data == source.index


def _on_grid(brain: BrainMask | None, reference: Grid) -> NDArray[np.bool_]:
    if brain is None:
        raise MissingInputError(
            "the voxels of the brain were to be used, but there is no brain mask",
            remedy="Name a region of interest, or give a mask as NAME=FILE.",
        )
    if brain.shape != tuple(reference.shape[:3]):
        raise DataError(
            f"the brain mask has {brain.shape} voxels, the responses have {tuple(reference.shape[:3])}",
            remedy="Give a brain mask on the grid of the responses.",
        )
    return brain.astype(bool)


def _no_voxel(region: Region, void: set[str], reference: Grid, files: Sequence[str]) -> DataError:
    file = files[0] if files else None
    if not files or void.issuperset(region.members or (region.name,)):
        return DataError(f"the mask of {region.name} holds no voxel", file=file, remedy="Give another mask.")
    return DataError(
        f"no voxel of {region.name} lies in the field of view of the responses ({describe_grid(reference)})",
        file=file,
        remedy="Check that mask and responses are of the same participant and in the same space.",
    )
