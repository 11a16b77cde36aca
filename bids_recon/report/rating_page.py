"""The page on which people judge reconstructions: one file, which sends nothing anywhere."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from bids_recon.errors import DataError, MissingInputError, NothingSelectedError
from bids_recon.outputs.atomic import write_text
from bids_recon.report.content import GalleryItem
from bids_recon.report.page_files import script_hash, static_file, template_environment
from bids_recon.report.pictures import PicturePool

FORMAT, VERSION = "bids-recon-rating-page", 1
MAX_ALTERNATIVES = 10
"""As many as there are number keys."""

_DATA = re.compile(r'<script type="application/json" id="rating-data">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class RatingPage:
    """What raters are asked, and of what.

    Attributes
    ----------
    items : list of GalleryItem
        Reconstructions beside what was seen.
    task : {"forced-choice", "which-better"}
        Which of several pictures a reconstruction is of; or which of two reconstructions of one picture is
        better (Shen et al. 2017, "Reconstruction quality evaluation").
    alternatives : int
        Candidates of a forced choice, 2 to 10: the original and others of the same test set.
    compare : {"method", "subject"}
        What the two reconstructions of `which-better` differ in; the rest is the same.
    max_trials : int
        Trials of one rater at most, catch trials not counted.
    max_stimuli : int
        Pictures of one test set at most, drawn by `seed`.
    seed : int
        Of all that is drawn, with the id of the rater.
    simulated : bool
        Whether the responses come from a simulated brain; the page then says so.
    version : str
        Version of bids_recon.
    """

    items: Sequence[GalleryItem]
    task: Literal["forced-choice", "which-better"] = "forced-choice"
    alternatives: int = 2
    compare: Literal["method", "subject"] = "method"
    max_trials: int = 300
    max_stimuli: int = 100
    seed: int = 0
    simulated: bool = False
    version: str = ""


def write_rating_page(path: str | Path, page: RatingPage) -> Path:
    """Write the page.

    Parameters
    ----------
    path : path
        The file, in the folder `group` of the outputs: `rating.html` or another name that begins with
        `rating`.
    page : RatingPage
        What it asks.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    NothingSelectedError
        When there is nothing to choose between: no test set has as many pictures as there are alternatives,
        or no picture has two reconstructions.
    ReconError
        When the file cannot be written, or a picture given as a file cannot be read.
    ValueError
        When there are fewer than 2 or more than 10 alternatives, or less than one trial.
    """
    data = page_data(page)
    script = static_file("rating_trials.js") + static_file("rating.js")
    text = (
        template_environment()
        .get_template("rating.html.j2")
        .render(
            page=page,
            # Escapes <, >, & and everything beyond ASCII: nothing in the data can end the script element.
            data_json=htmlsafe_json_dumps(data, allow_nan=False, separators=(",", ":")),
            style=Markup(static_file("report.css") + static_file("rating.css")),
            script=Markup(script),
            script_hash=script_hash(script),
        )
    )
    return write_text(path, text)


def read_rating_page(path: Path) -> dict[str, Any]:
    """Read the data of a page back.

    Raises
    ------
    MissingInputError
        When there is no such file.
    DataError
        When it is no page for raters, or was changed after it was written.
    """
    remedy = "Run the group level again."
    try:
        found = _DATA.search(path.read_text(encoding="utf-8"))
        data = json.loads(found[1]) if found else None
    except FileNotFoundError as error:
        raise MissingInputError("there is no page for raters", file=path, remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"is damaged ({error})", file=path, remedy=remedy) from error
    if not isinstance(data, dict) or (data.get("format"), data.get("version")) != (FORMAT, VERSION):
        raise DataError("is no page for raters that this version can read", file=path, remedy=remedy)
    if data.pop("page", None) != (identity := _identity(data)):
        raise DataError("was changed after it was written", file=path, remedy=remedy)
    return {**data, "page": identity}


def page_data(page: RatingPage) -> dict[str, Any]:
    """All that the page asks and shows, as JSON: groups, units (what a round of trials is made of), pictures.

    A group of a forced choice has `stimuli` (the originals, in an order of their own), and `blocks`: sets of
    shifts, each the foils of one trial; its units are reconstructions. A group of `which-better` has two
    sources and `comparisons`; it is its own unit. `page` is a hash of all the rest.

    Raises
    ------
    As `write_rating_page`.
    """
    if not 2 <= page.alternatives <= MAX_ALTERNATIVES or page.max_trials < 1:
        raise ValueError(f"{page.alternatives} alternatives, at most {page.max_trials} trials")
    stimuli, rng = PicturePool(), np.random.default_rng(page.seed)
    shown = _drawn(page, [_Shown(item, stimuli.add(item.seen)) for item in page.items], rng)
    pool = PicturePool()
    if page.task == "forced-choice":
        groups, units = _choices(shown, page.alternatives, pool, rng)
        problem = f"no test set has the {page.alternatives} different pictures that raters could choose from"
    else:
        groups = _contests(shown, page.compare, pool, rng)
        units = [{"group": number} for number in range(len(groups))]
        problem = f"no picture has reconstructions that differ in {page.compare} alone"
    if not groups:
        raise NothingSelectedError(problem, remedy="Leave the page for raters out, or ask another question.")
    data = {
        "format": FORMAT,
        "version": VERSION,
        "task": page.task,
        "alternatives": page.alternatives if page.task == "forced-choice" else 2,
        "seed": page.seed,
        "max_trials": page.max_trials,
        "groups": groups,
        "units": [units[place] for place in rng.permutation(len(units))],
        "pictures": [[picture.uri, picture.width, picture.height] for picture in pool.encode()],
    }
    return {**data, "page": _identity(data)}


@dataclass(frozen=True)
class _Shown:
    """An item, and the number of the seen picture: equal pictures are one stimulus, whatever their ids."""

    item: GalleryItem
    seen: int

    @property
    def stimulus_id(self) -> str:
        # Single trials are told apart by their number; all show the same picture.
        return re.sub(r" \(trial \d+\)$", "", self.item.stimulus_id)


def _drawn(page: RatingPage, shown: Sequence[_Shown], rng: np.random.Generator) -> list[_Shown]:
    """What is of at most `max_stimuli` pictures of each test set, the same for all people and methods."""
    kept: set[tuple[str, int]] = set()
    for test_set, members in _grouped(shown, "test_set"):
        seen = list(dict.fromkeys(one.seen for one in members))
        kept |= {(*test_set, seen[place]) for place in rng.permutation(len(seen))[: page.max_stimuli]}
    return [one for one in shown if (one.item.test_set, one.seen) in kept]


def _grouped(shown: Iterable[_Shown], *names: str) -> Iterator[tuple[tuple[str, ...], list[_Shown]]]:
    groups: dict[tuple[str, ...], list[_Shown]] = {}
    for one in shown:
        groups.setdefault(tuple(getattr(one.item, name) for name in names), []).append(one)
    yield from groups.items()


def _choices(
    shown: Sequence[_Shown], alternatives: int, pool: PicturePool, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    groups: list[dict[str, Any]] = []
    units: list[dict[str, Any]] = []
    names = ("subject", "method", "test_set")
    for key, members in _grouped(shown, *names):
        of_stimulus = {one.seen: one for one in reversed(members)}
        if len(of_stimulus) < alternatives:
            continue
        # In random order a shift means nothing, even where ids follow categories.
        seen = [list(of_stimulus)[place] for place in rng.permutation(len(of_stimulus))]
        shifts = (1 + rng.permutation(len(seen) - 1)).tolist()
        n_blocks, width = len(shifts) // (alternatives - 1), alternatives - 1
        units += [
            {
                "group": len(groups),
                "stimulus_id": one.item.stimulus_id,
                "stimulus": seen.index(one.seen),
                "picture": pool.add(one.item.reconstructed),
            }
            for one in members
        ]
        groups.append(
            {
                **dict(zip(names, key, strict=True)),
                "stimuli": [
                    {"stimulus_id": one.stimulus_id, "picture": pool.add(one.item.seen)}
                    for one in map(of_stimulus.__getitem__, seen)
                ],
                "blocks": [shifts[k * width : (k + 1) * width] for k in range(n_blocks)],
            }
        )
    return groups, units


def _contests(
    shown: Sequence[_Shown], compare: str, pool: PicturePool, rng: np.random.Generator
) -> list[dict[str, Any]]:
    groups = []
    same = "subject" if compare == "method" else "method"
    for (_, test_set), members in _grouped(shown, same, "test_set"):
        by_source = {
            source: {one.item.stimulus_id: one for one in of_source}
            for source, of_source in _grouped(members, "subject", "method")
        }
        for first, second in combinations(by_source, 2):
            a, b = by_source[first], by_source[second]
            # Two people may have seen different pictures under one name.
            common = [name for name in a if name in b and a[name].seen == b[name].seen]
            comparisons = [
                {
                    "stimulus_id": common[place],
                    "original": pool.add(a[common[place]].item.seen),
                    "first": pool.add(a[common[place]].item.reconstructed),
                    "second": pool.add(b[common[place]].item.reconstructed),
                }
                for place in rng.permutation(len(common))
            ]
            if comparisons:
                sources = {
                    key: dict(zip(("subject", "method"), source, strict=True))
                    for key, source in (("first", first), ("second", second))
                }
                groups.append({"test_set": test_set, **sources, "comparisons": comparisons})
    return groups


def _identity(data: Mapping[str, Any]) -> str:
    """What changes with every picture and every question of a page."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
