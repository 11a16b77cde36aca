"""The mean over people of decoded latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold

AVERAGE = "average"
_KEY = ["test_set", "stimulus_id"]


def average_over_people(decoded: Mapping[str, Decoded]) -> tuple[Decoded | None, list[str]]:
    """Average what several people's brains say of the same picture.

    Latents are averaged by stimulus id, over those people whose latent space of that picture is the same one:
    a space that was fitted on other pictures has other axes. Single trials are first averaged within people.

    Parameters
    ----------
    decoded : mapping of str to Decoded
        By participant.

    Returns
    -------
    Decoded or None
        None when no picture is shared by two people in one space.
    list of str
        Warnings.
    """
    if len(decoded) < 2:
        return None, []
    rows = pd.concat(
        [
            fold.items.assign(person=person, place=place, row=np.arange(len(fold.items)), space=fold.identity)
            for person, one in decoded.items()
            for place, fold in enumerate(one.folds)
        ],
        ignore_index=True,
    )
    n_shuffles = min(one.n_shuffles for one in decoded.values())
    by_space: dict[str, list[_Mean]] = {}
    leads: dict[str, DecodedFold] = {}
    apart = 0
    for _, same in rows.groupby(_KEY, sort=False):
        # The space of most people, not of most trials.
        space = same.drop_duplicates(["person", "space"])["space"].value_counts().index[0]
        shared = same[same["space"] == space]
        apart += same["person"].nunique() > shared["person"].nunique()
        if shared["person"].nunique() < 2:
            continue
        lead = decoded[shared["person"].iloc[0]].folds[shared["place"].iloc[0]]
        leads.setdefault(space, lead)
        by_space.setdefault(space, []).append(_mean(shared, decoded, n_shuffles))
    warnings = []
    if apart:
        warnings.append(
            f"{apart} pictures were averaged over fewer people than saw them: the latent spaces of the others"
            " were fitted on other training pictures."
        )
    if not by_space:
        warnings.append("No picture is shared by two people, so there is no mean over people.")
        return None, warnings
    folds = [
        _fold(str(number), leads[space], means) for number, (space, means) in enumerate(by_space.items())
    ]
    return Decoded(tuple(folds)), warnings


_Mean = tuple[tuple[Any, ...], dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]


def _mean(shared: pd.DataFrame, decoded: Mapping[str, Decoded], n_shuffles: int) -> _Mean:
    """Item, latents (*shape) and floor (n_shuffles, *shape) of one picture."""
    predicted: dict[str, list[NDArray[np.float32]]] = {}
    floor: dict[str, list[NDArray[np.float32]]] = {}
    for person, own in shared.groupby("person", sort=False):
        fold = decoded[str(person)].folds[own["place"].iloc[0]]
        index = own["row"].to_numpy()
        for name, array in fold.predicted.items():
            predicted.setdefault(name, []).append(array[index].mean(axis=0))
            floor.setdefault(name, []).append(fold.floor[name][:n_shuffles, index].mean(axis=1))
    first = shared.iloc[0]
    where = tuple(first[column] for column in ITEM_COLUMNS[1:6])
    item = (*where, -1, int(shared["n_trials"].sum()))
    return (
        item,
        {name: np.mean(arrays, axis=0, dtype=np.float32) for name, arrays in predicted.items()},
        {name: np.mean(arrays, axis=0, dtype=np.float32) for name, arrays in floor.items()},
    )


def _fold(name: str, lead: DecodedFold, means: Sequence[_Mean]) -> DecodedFold:
    items = [(name, *item) for item, _, _ in means]
    return DecodedFold(
        name,
        pd.DataFrame(items, columns=list(ITEM_COLUMNS)),
        {space: np.stack([predicted[space] for _, predicted, _ in means]) for space in lead.predicted},
        {space: np.stack([floor[space] for _, _, floor in means], axis=1) for space in lead.predicted},
        lead.state,
        lead.identity,
    )
