"""Anatomical images of a participant: the T1w image, and inplane T2 images of functional sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_recon.dataset.inheritance import entities_of, same_value
from bids_recon.errors import NothingSelectedError

_LONG = {"session": "ses", "acquisition": "acq", "reconstruction": "rec", "direction": "dir"}


@dataclass(frozen=True)
class Anatomy:
    """Anatomical images.

    Attributes
    ----------
    t1w : Path or None
        The T1w image that functional images are aligned to.
    inplane : dict of str to Path
        Inplane T2 image of a session, by its label ("" where there are no sessions).
    warnings : tuple of str
        What was chosen among several.
    """

    t1w: Path | None = None
    inplane: Mapping[str, Path] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def find_anatomy(bids_dir: Path, subject: str, filters: Mapping[str, Any] | None = None) -> Anatomy:
    """Find the anatomical images of one participant, in whatever session they were taken.

    Parameters
    ----------
    bids_dir : Path
    subject : str
        Label without `sub-`.
    filters : mapping, optional
        Entities of the T1w image, as in the query `t1w` of a BIDS filter file; None stands for "absent",
        "*" for "any".

    Raises
    ------
    NothingSelectedError
        When there are T1w images and the filters leave none.
    """
    found = _images(bids_dir, subject, "T1w")
    kept = [file for file in found if _matches(file, filters or {})]
    if found and not kept:
        raise NothingSelectedError(
            f"the BIDS filters of t1w leave none of {len(found)} T1w images of sub-{subject}",
            file=found[0],
            remedy="Correct or leave out the query t1w of --bids-filter-file.",
        )
    warnings = []
    if len(kept) > 1:
        warnings.append(
            f"{len(kept)} T1w images were found; {kept[0].name} is used. Another one can be chosen with"
            ' --bids-filter-file, such as {"t1w": {"run": 2}}.'
        )
    inplane: dict[str, Path] = {}
    for file in _images(bids_dir, subject, "inplaneT2"):
        inplane.setdefault(entities_of(file).get("ses", ""), file)
    return Anatomy(kept[0] if kept else None, inplane, tuple(warnings))


def _images(bids_dir: Path, subject: str, suffix: str) -> list[Path]:
    folder = bids_dir / f"sub-{subject}"
    return sorted(
        file
        for place in ("anat", "ses-*/anat")
        for extension in (".nii.gz", ".nii")
        for file in folder.glob(f"{place}/sub-{subject}_*{suffix}{extension}")
        if file.name.split(".", 1)[0].endswith(f"_{suffix}") and not file.name.startswith(".")
    )


def _matches(file: Path, filters: Mapping[str, Any]) -> bool:
    entities = entities_of(file)
    for key, value in filters.items():
        short = _LONG.get(key, key)
        if short in {"suffix", "extension", "datatype"}:
            continue
        stated = entities.get(short)
        if value == "*":
            if stated is None:
                return False
            continue
        wanted = value if isinstance(value, list) else [value]
        if not any(
            stated is None if one is None else stated is not None and same_value(short, stated, str(one))
            for one in wanted
        ):
            return False
    return True
