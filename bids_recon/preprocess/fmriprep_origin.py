"""Which program, of which version, made a folder of derivatives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_recon.dataset.annex import is_fetched
from bids_recon.outputs.reading import read_json
from bids_recon.preprocess.fmriprep_files import DerivedFile

# The first versions with the names of a generation, newest first.
_GENERATIONS = (((26, 0), "26"), ((23, 2), "25"), ((22, 1), "22"), ((1, 2), "20.2"))
_OLDEST = "2018"


@dataclass(frozen=True)
class Origin:
    """What `dataset_description.json` says of a folder.

    Attributes
    ----------
    name, version : str
        Of the program; "" where it says nothing.
    described : bool
        False when there is no such file.
    """

    name: str
    version: str
    described: bool


def read_origin(root: Path) -> Origin:
    """Find out which program made a folder of derivatives.

    Raises
    ------
    DataError
        When `dataset_description.json` is no JSON object.
    """
    file = root / "dataset_description.json"
    if not is_fetched(file):
        return Origin("", "", described=False)
    description = read_json(file)
    # `PipelineDescription` is what BIDS had before 1.4.0 (2020).
    makers = description.get("GeneratedBy") or description.get("PipelineDescription") or {}
    maker = makers[0] if isinstance(makers, list) else makers
    if not isinstance(maker, dict):
        maker = {}
    return Origin(str(maker.get("Name", "")), str(maker.get("Version", "")), described=True)


def generation_of(origin: Origin, files: Sequence[DerivedFile]) -> str:
    """The generation of the names: `26`, `25` (since 23.2), `22` (since 22.1), `20.2` (since 1.2) or `2018`.

    It is that of the version where the folder tells it, and else that of the names themselves.
    """
    version = re.match(r"(\d+)\.(\d+)", origin.version)
    if version and "fmriprep" in origin.name.casefold():
        number = (int(version[1]), int(version[2]))
        return next((name for first, name in _GENERATIONS if number >= first), _OLDEST)
    if any(file.suffix in {"preproc", "brainmask"} for file in files):
        return _OLDEST
    ways = {(file.entities.get("from"), file.entities.get("to")) for file in files if file.is_motion}
    if ("orig", "run") in ways:
        return "26"
    if ("orig", "boldref") in ways:
        return "25"
    return "22" if ways else "20.2"
