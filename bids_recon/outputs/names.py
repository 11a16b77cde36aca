"""File names of derivatives, and how they refer to files of other data sets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

ENTITY_ORDER = (
    ("subject", "sub"),
    ("session", "ses"),
    ("task", "task"),
    ("acquisition", "acq"),
    ("run", "run"),
    ("from", "from"),
    ("to", "to"),
    ("mode", "mode"),
    ("space", "space"),
    ("segmentation", "seg"),
    ("resolution", "res"),
    ("stat", "stat"),
    ("label", "label"),
    ("description", "desc"),
)
MAX_STEM = 120
_ENTITIES = dict(ENTITY_ORDER)


def derivative_name(entities: Mapping[str, str | None], suffix: str, extension: str) -> str:
    """Name of a derivative, with entities in the order of BIDS and `desc` last.

    Parameters
    ----------
    entities : mapping
        Values by entity, in long (`subject`) or short (`sub`) form; None and "" are left out.
    suffix, extension : str
        Such as `statmap` and `.nii.gz`.

    Raises
    ------
    ValueError
        When an entity is unknown or a value is not alphanumeric.
    """
    values = {_ENTITIES.get(key, key): value for key, value in entities.items() if value}
    order = [short for _, short in ENTITY_ORDER]
    if unknown := set(values) - set(order):
        raise ValueError(f"unknown entities: {sorted(unknown)}")
    for key, value in values.items():
        if not is_label(value):
            raise ValueError(f"{key}-{value}: BIDS labels are alphanumeric")
    parts = [f"{short}-{values[short]}" for short in order if short in values]
    return "_".join([*parts, suffix]) + extension


def is_label(text: str) -> bool:
    """Whether BIDS allows a text as the value of an entity."""
    return re.fullmatch(r"[A-Za-z0-9+]+", text) is not None


def label(text: str) -> str:
    """Reduce text to the letters and digits that BIDS allows in an entity's value."""
    return re.sub(r"[^A-Za-z0-9]", "", text) or "x"


def unique_labels(names: Iterable[str]) -> dict[str, str]:
    """Give each name a label that BIDS allows and no other has, also where case does not count.

    `V1_d` and `V1-d` become `V1d` and `V1dx2`, in the order given.
    """
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        short = plain = label(name)
        number = 2
        while short.casefold() in taken:
            short = f"{plain}x{number}"
            number += 1
        taken.add(short.casefold())
        labels[name] = short
    return labels


def stimulus_filename(stimulus_id: str) -> str:
    """File name stem that is unique to a stimulus id, whatever characters the id holds.

    Ids such as `colorExpStim19_yellow_+` are kept as they are. Ids that a file system may not take (empty,
    with slashes or a leading dot, too long) are changed and get a hash.
    """
    stem = re.sub(r"[^A-Za-z0-9._+-]", "_", stimulus_id).lstrip(".")[:MAX_STEM]
    if stem == stimulus_id and stem:
        return stem
    return f"{stem or 'x'}-{hashlib.sha1(stimulus_id.encode()).hexdigest()[:8]}"


def bids_uri(path: Path, roots: Mapping[str, Path]) -> str:
    """BIDS URI of a file, by the innermost of the named folders that holds it; elsewhere its plain path."""
    holding = [
        (name, root) for name, root in roots.items() if path.absolute().is_relative_to(root.absolute())
    ]
    if not holding:
        return str(path)
    name, root = max(holding, key=lambda pair: len(pair[1].absolute().parts))
    return f"bids:{name}:{path.absolute().relative_to(root.absolute()).as_posix()}"
