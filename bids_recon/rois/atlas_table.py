"""Which region of an atlas has which name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.errors import DataError
from bids_recon.rois.grids import open_image, read_array
from bids_recon.rois.templateflow_files import TemplateFile

_INDEX, _NAME = ("index", "Component"), ("name", "Difumo_names")


def find_table(image: TemplateFile, files: list[TemplateFile]) -> TemplateFile | None:
    """Table of an atlas among all files: its own or, as some have none, that of another template."""
    own = {key: value for key, value in image.entities.items() if key != "res"}
    fitting = [
        file
        for file in files
        if file.extension == ".tsv"
        and file.entities.get("atlas") == own["atlas"]
        and all(own.get(key) == value for key, value in file.entities.items() if key != "res")
    ]
    return min(
        fitting,
        key=lambda file: (
            file.template != image.template,
            file.suffix != image.suffix,
            -len(file.entities),
            file.path,
        ),
        default=None,
    )


def read_regions(image: TemplateFile, table: Path | None) -> dict[int, str]:
    """Names of the regions of an atlas.

    Parameters
    ----------
    image : TemplateFile
        Labels (`dseg`) or probabilities (`probseg`), on this machine.
    table : Path or None
        Columns `index` and `name`, or `Component` and `Difumo_names`. None: regions are numbered.

    Returns
    -------
    dict of int to str
        By value for labels, without the background; by number of the volume, from 0, for probabilities.
        Tables count volumes from 1 (`HOCPA`, `DiFuMo`) or from 0 (`HOCPAL`).

    Raises
    ------
    DataError
        If the table is no such table, or does not fit the image.
    """
    if table is None:
        return _unnamed(image)
    listed = _read_names(table)
    from_zero = 0 in listed and listed[0].casefold() not in ("background", "unknown", "")
    if image.suffix == "dseg":
        if from_zero:
            # As in HOCPAL: numbers of volumes, so that each label would get its neighbour's name.
            raise DataError(
                "counts regions from 0, which is the background of the labels",
                file=table,
                remedy=f"The labels of {image.path.name} cannot be named; take another version of the atlas.",
            )
        return {index: name for index, name in listed.items() if index != 0 and name}
    regions = {index if from_zero else index - 1: name for index, name in listed.items() if name}
    regions.pop(-1, None)
    n_volumes = math.prod(open_image(image.path).shape[3:])
    if max(regions, default=-1) >= n_volumes:
        raise DataError(f"names {max(regions) + 1} regions, {image.path.name} has {n_volumes}", file=table)
    return regions


def _unnamed(image: TemplateFile) -> dict[int, str]:
    opened = open_image(image.path)
    if image.suffix == "probseg":
        return {volume: f"{image.atlas}-{volume + 1}" for volume in range(math.prod(opened.shape[3:]))}
    values = np.unique(np.asarray(read_array(opened, image.path)).astype(int))
    return {int(value): f"{image.atlas}-{value}" for value in values if value != 0}


def _read_names(path: Path) -> dict[int, str]:
    remedy = "Give it the columns index (whole numbers) and name, separated by tabs."
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        index = next(column for column in _INDEX if column in table.columns)
        name = next(column for column in _NAME if column in table.columns)
        return {int(number): text.strip() for number, text in zip(table[index], table[name], strict=True)}
    except (OSError, ValueError, StopIteration) as error:
        raise DataError("cannot be read as a table of regions", file=path, remedy=remedy) from error
