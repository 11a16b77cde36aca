"""The mean over people of decoded latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded

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
            one.items.assign(
                person=person,
                row=np.arange(len(one.items)),
                space=[one.identities[fold] for fold in one.items["fold"]],
            )
            for person, one in decoded.items()
        ],
        ignore_index=True,
    )
    warnings: list[str] = []
    n_shuffles = min(next(iter(one.floor.values())).shape[0] for one in decoded.values())
    first = next(iter(decoded.values()))
    items: list[tuple[Any, ...]] = []
    predicted: dict[str, list[Any]] = {name: [] for name in first.predicted}
    floor: dict[str, list[Any]] = {name: [] for name in first.predicted}
    states, identities = {}, {}
    apart = 0
    for (test_set, stimulus_id), same in rows.groupby(_KEY, sort=False):
        space = same["space"].value_counts().index[0]
        shared = same[same["space"] == space]
        people = list(dict.fromkeys(shared["person"]))
        apart += same["person"].nunique() > len(people)
        if len(people) < 2:
            continue
        lead = shared.iloc[0]
        fold = f"{lead['person']}f{lead['fold']}"
        states[fold] = decoded[lead["person"]].states[lead["fold"]]
        identities[fold] = space
        where = (lead["stim_file"], lead["session"], lead["task"])
        items.append((fold, test_set, stimulus_id, *where, -1, int(shared["n_trials"].sum())))
        for name in predicted:
            own = [shared.loc[shared["person"] == person, "row"].to_numpy() for person in people]
            each = [decoded[p].predicted[name][r].mean(axis=0) for p, r in zip(people, own, strict=True)]
            predicted[name].append(np.mean(each, axis=0))
            blind = [
                decoded[p].floor[name][:n_shuffles, r].mean(axis=1) for p, r in zip(people, own, strict=True)
            ]
            floor[name].append(np.mean(blind, axis=0))
    if apart:
        warnings.append(
            f"{apart} pictures were averaged over fewer people than saw them: the latent spaces of the others"
            " were fitted on other training pictures."
        )
    if not items:
        warnings.append("No picture is shared by two people, so there is no mean over people.")
        return None, warnings
    return (
        Decoded(
            pd.DataFrame(items, columns=list(ITEM_COLUMNS)),
            {name: np.stack(arrays).astype(np.float32) for name, arrays in predicted.items()},
            {name: np.stack(arrays, axis=1).astype(np.float32) for name, arrays in floor.items()},
            states,
            identities,
            {},
            {},
        ),
        warnings,
    )
