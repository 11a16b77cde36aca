"""The mean over people of decoded latents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.outputs.scratch import scratch_array
from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold

AVERAGE = "average"
_KEY = ["test_set", "stimulus_id"]


@dataclass(frozen=True)
class Mean:
    """The mean over people.

    Attributes
    ----------
    decoded : Decoded
    leads : dict of str to str
        By fold, the person whose latent spaces it lives in: pictures are drawn as that person's are.
    """

    decoded: Decoded
    leads: dict[str, str]

    @classmethod
    def of_one(cls, person: str, decoded: Decoded) -> Mean:
        """What one person's brain says, who leads all folds."""
        return cls(decoded, {fold.name: person for fold in decoded.folds})


def average_over_people(
    decoded: Mapping[str, Decoded], scratch: Path | None = None
) -> tuple[Mean | None, list[str]]:
    """Average what several people's brains say of the same picture.

    Latents are averaged by stimulus id, over those people whose latent space of that picture is the same one:
    a space that was fitted on other pictures has other axes. Single trials are first averaged within people.

    A space that is the same in all folds may come with what was measured on the training pictures of a fold,
    such as norms. Each mean takes this from a fold of one of its people that left the picture out, and the
    means of one fold are those that share it.

    Parameters
    ----------
    decoded : mapping of str to Decoded
        By participant.
    scratch : Path, optional
        Folder for means that are too large for memory.

    Returns
    -------
    Mean or None
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
    measured: dict[tuple[str, int], str] = {}
    by_space: dict[tuple[str, str], list[_Shared]] = {}
    leads: dict[tuple[str, str], tuple[str, DecodedFold]] = {}
    apart = 0
    for _, same in rows.groupby(_KEY, sort=False):
        # The space of most people, not of most trials.
        space = same.drop_duplicates(["person", "space"])["space"].value_counts().index[0]
        shared = same[same["space"] == space]
        apart += same["person"].nunique() > shared["person"].nunique()
        if shared["person"].nunique() < 2:
            continue
        person, place = str(shared["person"].iloc[0]), int(shared["place"].iloc[0])
        lead = decoded[person].folds[place]
        if (person, place) not in measured:
            measured[person, place] = _content(lead.state)
        key = (space, measured[person, place])
        leads.setdefault(key, (person, lead))
        by_space.setdefault(key, []).append(_share(shared, decoded))
    warnings = []
    if apart:
        warnings.append(
            f"{apart} pictures were averaged over fewer people than saw them: the others were decoded into"
            " other latent spaces (other training pictures, encoder or layers)."
        )
    if not by_space:
        warnings.append(
            "No picture is shared by two people in one latent space, so there is no mean over people."
        )
        return None, warnings
    n_shuffles = min(one.n_shuffles for one in decoded.values())
    folds = [
        _fold(str(number), leads[key][1], shared, n_shuffles, scratch)
        for number, (key, shared) in enumerate(by_space.items())
    ]
    people = [leads[key][0] for key in by_space]
    return Mean(
        Decoded(tuple(folds)), {fold.name: who for fold, who in zip(folds, people, strict=True)}
    ), warnings


def _content(state: Mapping[str, NDArray[Any]]) -> str:
    """Hash of arrays by name."""
    digest = hashlib.sha256()
    for name, array in sorted(state.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Shared:
    """One picture: what its row of the table says, and the fold and rows in it of each person."""

    item: tuple[Any, ...]
    people: list[tuple[DecodedFold, NDArray[np.intp]]]


def _share(shared: pd.DataFrame, decoded: Mapping[str, Decoded]) -> _Shared:
    first = shared.iloc[0]
    where = tuple(first[column] for column in ITEM_COLUMNS[1:6])
    people = [
        (decoded[str(person)].folds[own["place"].iloc[0]], own["row"].to_numpy(dtype=np.intp))
        for person, own in shared.groupby("person", sort=False)
    ]
    return _Shared((*where, -1, int(shared["n_trials"].sum())), people)


def _fold(
    name: str, lead: DecodedFold, shared: Sequence[_Shared], n_shuffles: int, scratch: Path | None
) -> DecodedFold:
    predicted, floor = {}, {}
    for space, latents in lead.predicted.items():
        shape = latents.shape[1:]
        predicted[space] = scratch_array((len(shared), *shape), scratch)
        floor[space] = scratch_array((n_shuffles, len(shared), *shape), scratch)
        for row, one in enumerate(shared):
            predicted[space][row] = _mean([fold.predicted[space][own] for fold, own in one.people])
            for number in range(n_shuffles):
                floor[space][number, row] = _mean(
                    [fold.floor[space][number][own] for fold, own in one.people]
                )
    items = pd.DataFrame([(name, *one.item) for one in shared], columns=list(ITEM_COLUMNS))
    return DecodedFold(name, items, predicted, floor, lead.state, lead.identity)


def _mean(people: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Mean (*shape) over people of the means over their trials, each (n_trials, *shape)."""
    mean: NDArray[np.float32] = np.mean([own.mean(axis=0) for own in people], axis=0, dtype=np.float32)
    return mean
