"""The reconstructions as the data that the script of the page draws from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bids_recon.report.content import GalleryItem
from bids_recon.report.films import film_of
from bids_recon.report.measures import display_name, pictures_first
from bids_recon.report.pictures import PicturePool
from bids_recon.report.tables import number, with_columns


def gallery_data(
    items: Sequence[GalleryItem], metrics: pd.DataFrame, name_of: Callable[[str], str]
) -> dict[str, Any]:
    """Items best first, pictures by index, names by index; JSON-ready, without NaN.

    Parameters
    ----------
    items : list of GalleryItem
        In any order; kept among equal scores.
    metrics : DataFrame
        The scores of whole test sets, put beside the scores of one picture.
    name_of : function
        Writes a subject label.
    """
    ordered = sorted(items, key=lambda item: -item.score if math.isfinite(item.score) else math.inf)
    # Names in the order in which they were given, not in order of score.
    names = {
        field: list(dict.fromkeys(getattr(item, field) for item in items))
        for field in ("subject", "method", "test_set")
    }
    scores = list(dict.fromkeys(metric for item in items for metric in item.scores))
    pool = PicturePool()
    films: list[list[Any]] = []
    entries = [
        {
            "subject": names["subject"].index(item.subject),
            "method": names["method"].index(item.method),
            "test_set": names["test_set"].index(item.test_set),
            "id": item.stimulus_id,
            "seen": pool.add(item.seen),
            "reconstructed": pool.add(item.reconstructed),
            "ceiling": None if item.ceiling is None else pool.add(item.ceiling),
            "film": _add_film(item, films),
            "score": _finite(item.score),
            "scores": [_finite(item.scores.get(metric, math.nan)) for metric in scores],
        }
        for item in ordered
    ]
    return {
        "items": entries,
        "pictures": [[picture.uri, picture.width, picture.height] for picture in pool.encode()],
        "films": films,
        "subjects": [name_of(label) for label in names["subject"]],
        "methods": names["method"],
        "test_sets": names["test_set"],
        "metrics": [display_name(metric) for metric in scores],
        "score_name": display_name(items[0].score_name if items else ""),
        "references": _references(metrics, names, scores),
    }


def _add_film(item: GalleryItem, films: list[list[Any]]) -> int | None:
    """Put the film of an item after the others; its index, None for an item without steps."""
    if not item.steps:
        return None
    film = film_of(item.steps)
    films.append([film.uri, film.width, film.height, list(film.iterations)])
    return len(films) - 1


def _references(metrics: pd.DataFrame, names: dict[str, list[str]], scores: list[str]) -> dict[str, Any]:
    """Value, floor and ceiling of the whole set: {"subject,method,set,metric" by index: three texts}.

    Where several protocols have a metric of one name, the first counts, those of pictures before others.
    """
    table = pictures_first(
        with_columns(
            metrics,
            ("subject", "method", "test_set", "metric", "protocol"),
            ("value", "floor", "ceiling"),
        )
    )
    places = {
        field: {name: index for index, name in enumerate(names[field])}
        for field in ("subject", "method", "test_set")
    }
    metric_places = {name: index for index, name in enumerate(scores)}
    # The table of one participant need not name the participant.
    nameless = 0 if len(names["subject"]) == 1 else None
    found: dict[str, Any] = {}
    for row in table.to_dict("records"):
        key = (
            places["subject"].get(row["subject"], nameless if not row["subject"] else None),
            places["method"].get(row["method"]),
            places["test_set"].get(row["test_set"]),
            metric_places.get(row["metric"]),
        )
        if None not in key:
            found.setdefault(
                ",".join(map(str, key)), [number(row["value"]), number(row["floor"]), number(row["ceiling"])]
            )
    return found


def _finite(value: Any) -> float | None:
    value = float("nan") if value is None else float(value)
    return round(value, 6) if math.isfinite(value) else None
