"""What a mask's file name says: region, hemisphere and space."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bids_recon.dataset.inheritance import entities_of, suffix_of

Hemisphere = str
"""`"L"` or `"R"`."""

_NIFTI = re.compile(r"\.nii(\.gz)?$")
_KAMITANI = re.compile(r"^sub-[^_]+_mask_(?P<hemisphere>[LR])H_(?P<label>.+)$")
_BOLD5000 = re.compile(r"^sub-[^_]+_mask-(?P<hemisphere>[LR])H(?P<label>.+)$")
# "LHV1", "lh.V1", "lhV1" and "rh_V1" carry a hemisphere; "lhasa" does not.
_PREFIX = re.compile(
    r"^(?:(?P<upper>[LR])H[ _.-]?|(?P<lower>[lr])h(?:[ _.-]|(?=[A-Z])))(?P<label>[^ _.-].*)$"
)

# Two participants of BOLD5000 (OpenNeuro ds001499) have "LO" where the others have "LOC", and one file
# doubles the R of its hemisphere.
_BOLD5000_SPELLINGS = {"LO": "LOC", "RRSC": "RSC"}

_BRAIN = frozenset({"brain", "brainmask"})


@dataclass(frozen=True)
class MaskName:
    """Region, hemisphere and space that a file name states.

    Attributes
    ----------
    label : str or None
        Region of interest; None for a segmentation, whose regions are named in its lookup table.
    hemisphere : {"L", "R"} or None
        None when the mask is not of one hemisphere.
    space : str or None
        BIDS `space` label; None for the participant's own space.
    segmentation : bool
        Whether the file is a `dseg`, in which every value is a region.
    """

    label: str | None
    hemisphere: Hemisphere | None
    space: str | None
    segmentation: bool = False


def is_nifti(name: str) -> bool:
    """Whether a file name ends as a NIfTI volume does."""
    return _NIFTI.search(name) is not None


def stem(name: str) -> str:
    """File name without `.nii` or `.nii.gz`."""
    return _NIFTI.sub("", name)


def split_hemisphere(label: str) -> tuple[str, Hemisphere | None]:
    """Take the prefix that names a hemisphere off a label, as in `LHV1d` or `lh.V1d`."""
    match = _PREFIX.match(label)
    if match is None:
        return label, None
    return match["label"], (match["upper"] or match["lower"]).upper()


def parse_mask_name(name: str) -> MaskName | None:
    """Read the file name of a mask or segmentation of a region of interest.

    Three ways of naming are understood: that of the Kamitani laboratory (`sub-01_mask_LH_V1d.nii.gz`), that
    of BOLD5000 (`sub-CSI1_mask-LHPPA.nii.gz`, misspellings corrected) and BIDS derivatives
    (`sub-01_hemi-L_label-V1_mask.nii.gz`, `sub-01_seg-visual_dseg.nii.gz`).

    Parameters
    ----------
    name : str
        File name without its folder.

    Returns
    -------
    MaskName or None
        None for every other file, brain masks among them.
    """
    if not is_nifti(name):
        return None
    if match := _KAMITANI.match(stem(name)):
        return MaskName(match["label"], match["hemisphere"], None)
    if match := _BOLD5000.match(stem(name)):
        label = _BOLD5000_SPELLINGS.get(match["label"], match["label"])
        return MaskName(label, match["hemisphere"], None)
    pairs, suffix = entities_of(name), suffix_of(name)
    space = pairs.get("space")
    if suffix == "dseg":
        return MaskName(None, pairs.get("hemi"), space, segmentation=True)
    stated = pairs.get("label") or pairs.get("desc")
    if suffix != "mask" or not stated or stated.casefold() in _BRAIN:
        return None
    label, hemisphere = split_hemisphere(stated)
    return MaskName(label, pairs.get("hemi") or hemisphere, space)
