"""Analyses of the group: weights averaged over people, pictures of synthetic patterns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.analysis.roi_weights import mean_over_people
from bids_recon.errors import DataError
from bids_recon.methods.base import Method, MethodOptions
from bids_recon.methods.seeds import picture_seeds
from bids_recon.outputs.atomic import write_png
from bids_recon.outputs.names import label, unique_labels
from bids_recon.report.pictures import thumbnail
from bids_recon.report.roi_optimal import SyntheticPicture
from bids_recon.workflow.analysis_files import (
    AGAIN,
    MEAN_NOTES,
    OPTIMAL,
    PICTURE_NOTES,
    SyntheticLatents,
    read_region_weights,
    read_synthetic_latents,
)
from bids_recon.workflow.averaging import AVERAGE
from bids_recon.workflow.decoding import Decoded, rebuild_methods
from bids_recon.workflow.group_files import write_table
from bids_recon.workflow.latents_store import decoding_file
from bids_recon.workflow.remembered_pictures import RememberedPictures

FOLDER = "roi_optimal"


@dataclass(frozen=True)
class GroupAnalyses:
    """What the group level made of the analyses of one method; empty where there are none.

    Attributes
    ----------
    weights : DataFrame
        Columns `MEAN_NOTES`.
    pictures : list of SyntheticPicture
        As a page shows them.
    """

    weights: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(MEAN_NOTES)))
    pictures: list[SyntheticPicture] = field(default_factory=list)


def analyse_group(
    output_dir: Path,
    work_dir: Path,
    method: str,
    decoded: Mapping[str, Decoded],
    options: Mapping[str, MethodOptions],
) -> GroupAnalyses:
    """Average weights over people, draw synthetic patterns, and write tables and pictures of both.

    Parameters
    ----------
    output_dir, work_dir : Path
    method : str
    decoded : dict of str to Decoded
        By person.
    options : dict of str to MethodOptions
        The same.

    Raises
    ------
    DataError
        When a file is damaged, or is of other latent spaces than the decoded latents.
    ReconError
        When a picture cannot be drawn or written.
    """
    group_dir = output_dir / "group"
    tables = {
        person: table
        for person in decoded
        if (table := read_region_weights(output_dir, person, method)) is not None
    }
    means = mean_over_people(tables).assign(method=method)[list(MEAN_NOTES)] if tables else None
    _write(group_dir, "roi_weights", means, MEAN_NOTES, method)
    drawn = list(_draw(output_dir, work_dir, method, decoded, options))
    rows = pd.DataFrame([row for row, _ in drawn], columns=list(PICTURE_NOTES)) if drawn else None
    if rows is not None:
        rows = rows.astype({"n_voxels": "Int64", "seed": "UInt64"})
    _write(group_dir, FOLDER, rows, PICTURE_NOTES, method)
    listed = {str(row["file"]) for row, _ in drawn}
    for file in group_dir.glob(f"{FOLDER}/*/{label(method)}/*.png"):
        if file.relative_to(group_dir).as_posix() not in listed:
            file.unlink()
    found = GroupAnalyses(pictures=[picture for _, picture in drawn])
    return found if means is None else GroupAnalyses(means, found.pictures)


def _write(folder: Path, name: str, table: pd.DataFrame | None, notes: dict[str, str], method: str) -> None:
    """Write a table; without rows, take those of the method out of one that an earlier call left."""
    if table is None and not (folder / f"{name}.tsv").is_file():
        return
    table = pd.DataFrame(columns=list(notes)) if table is None else table
    write_table(folder, name, table, notes, (method,))


@dataclass(frozen=True)
class _Drawable:
    """Latents of synthetic patterns of someone, or of the mean over people, and who draws them how."""

    who: str
    regions: pd.DataFrame
    latents: dict[str, NDArray[np.float32]]
    method: Method
    seed: int


def _draw(
    output_dir: Path,
    work_dir: Path,
    method: str,
    decoded: Mapping[str, Decoded],
    options: Mapping[str, MethodOptions],
) -> Iterator[tuple[dict[str, Any], SyntheticPicture]]:
    """Rows of the table, and pictures for the page."""
    people = {
        person: synthetic
        for person in decoded
        if (synthetic := read_synthetic_latents(output_dir, person, method)) is not None
    }
    methods: dict[str, Method] = {}
    for person, synthetic in people.items():
        file = decoding_file(output_dir, person, method, OPTIMAL, ".json")
        methods[person] = _method(synthetic, decoded[person], method, options[person], file, work_dir)
    ready = [
        _Drawable(person, one.regions.assign(n_people=1), one.latents, methods[person], options[person].seed)
        for person, one in people.items()
    ]
    mean = _mean(people)
    if mean is not None:
        lead, regions, latents = mean
        ready.append(_Drawable(AVERAGE, regions, latents, methods[lead], options[lead].seed))
    labels = unique_labels(dict.fromkeys(name for one in ready for name in one.regions["roi"]))
    for one in ready:
        seeds = picture_seeds(one.seed, (f"{FOLDER} {roi}" for roi in one.regions["roi"]))
        pictures = one.method.render(one.latents, seeds)
        for row, picture, seed in zip(one.regions.to_dict("records"), pictures, seeds, strict=True):
            roi = str(row["roi"])
            file = Path(FOLDER) / one.who / label(method) / f"{labels[roi]}.png"
            write_png(output_dir / "group" / file, picture)
            facts: dict[str, Any] = {str(name): value for name, value in row.items()}
            facts |= {"subject": one.who, "method": method, "file": file.as_posix()}
            facts |= {"height": picture.shape[0], "width": picture.shape[1], "seed": int(seed)}
            yield facts, SyntheticPicture(one.who, method, roi, thumbnail(picture))


def _method(
    synthetic: SyntheticLatents,
    decoded: Decoded,
    name: str,
    options: MethodOptions,
    file: Path,
    work_dir: Path,
) -> Method:
    """The method as fitted in the fold of the synthetic latents."""
    fold = next((one for one in decoded.folds if one.name == synthetic.fold), None)
    if fold is None or fold.identity != synthetic.identity:
        raise DataError("is of other latent spaces than the decoded latents", file=file, remedy=AGAIN)
    found = rebuild_methods(Decoded((fold,)), name, options)[fold.name]
    return found if found.quick_render else RememberedPictures(found, work_dir / "pictures" / label(name))


def _mean(
    people: Mapping[str, SyntheticLatents],
) -> tuple[str, pd.DataFrame, dict[str, NDArray[np.float32]]] | None:
    """Person whose latent spaces are those of most people, regions of two of them at least, mean latents."""
    by_space: dict[str, list[str]] = {}
    for person, one in people.items():
        by_space.setdefault(one.identity, []).append(person)
    largest = max(by_space.values(), key=len, default=[])
    if len(largest) < 2:
        return None
    tables = {person: people[person].regions for person in largest}
    rows = [table.assign(person=person, row=range(len(table))) for person, table in tables.items()]
    regions, latents = [], []
    for (roi, mix), own in pd.concat(rows).groupby(["roi", "mix"], sort=False):
        if len(own) < 2:
            continue
        regions.append((roi, mix, None, len(own)))
        places = list(zip(own["person"], own["row"], strict=True))
        latents.append(
            {
                space: np.mean([people[person].latents[space][row] for person, row in places], axis=0)
                for space in people[largest[0]].latents
            }
        )
    if not regions:
        return None
    table = pd.DataFrame(regions, columns=["roi", "mix", "n_voxels", "n_people"])
    return largest[0], table, {space: np.stack([one[space] for one in latents]) for space in latents[0]}
