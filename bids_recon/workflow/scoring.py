"""Render decoded latents and score them, beside their floor and their ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.latents.base import Image
from bids_recon.methods.base import Method
from bids_recon.methods.seeds import picture_seed
from bids_recon.metrics.identification import correlation_matrix, two_way_a
from bids_recon.metrics.prepare import to_common_size
from bids_recon.metrics.protocols import PIXELS_1, Items, evaluate_latents, evaluate_pictures, summarise
from bids_recon.workflow.decoding import Decoded, DecodedFold

LATENT_PROTOCOL = "latents-1"
METRIC_COLUMNS = [
    *("test_set", "metric", "protocol", "value", "ci_low", "ci_high", "floor", "ceiling", "n_items"),
    *("floor_low", "floor_high", "p_shuffle", "note"),
]


@dataclass(frozen=True)
class Scores:
    """Everything that is known of one person's (or the mean person's) reconstructions by one method.

    Attributes
    ----------
    metrics : DataFrame
        Columns `METRIC_COLUMNS`, one row per test set, metric and protocol.
    items : DataFrame
        One row per item, metric and protocol: test_set, stimulus_id, trial_index, metric, protocol, value,
        floor, ceiling.
    reconstructed, ceiling : ndarray (n_items, height, width, 3) uint8, or None
        In the order of the decoded items; None when pictures were not asked for.
    """

    metrics: pd.DataFrame
    items: pd.DataFrame
    reconstructed: NDArray[np.uint8] | None = None
    ceiling: NDArray[np.uint8] | None = None


class TrueLatents:
    """True latents of seen pictures, encoded once in each latent space, however often they are asked for.

    Parameters
    ----------
    methods : dict of str to Method
        The fitted method, by fold.
    stimuli : StimulusSet
        Has the pictures, which are read one at a time.
    """

    def __init__(self, methods: Mapping[str, Method], stimuli: StimulusSet) -> None:
        self._methods, self._stimuli = methods, stimuli
        self._known: dict[tuple[str, str, tuple[str, ...]], NDArray[np.float32]] = {}

    def of(self, fold: DecodedFold, space: str, ids: Sequence[str]) -> NDArray[np.float32]:
        """Latents (n, *shape) of some pictures in a latent space of a fold."""
        key = (fold.identity, space, tuple(ids))
        if key not in self._known:
            latent_space = self._methods[fold.name].latent_spaces[space]
            self._known[key] = latent_space.encode(self._stimuli.images(ids))
        return self._known[key]


def render(
    decoded: Decoded, methods: Mapping[str, Method], seeds: NDArray[np.uint64], shuffle: int | None = None
) -> NDArray[np.uint8]:
    """Pictures (n_items, height, width, 3) of all items, each by the method as it was fitted in its fold.

    With `shuffle`, from the latents of that shuffle.
    """
    pictures = []
    begin = 0
    for fold in decoded.folds:
        latents = fold.predicted
        if shuffle is not None:
            latents = {name: array[shuffle] for name, array in fold.floor.items()}
        pictures.append(methods[fold.name].render(latents, seeds[begin : begin + len(fold.items)]))
        begin += len(fold.items)
    return np.concatenate(pictures)


def score(
    decoded: Decoded,
    methods: Mapping[str, Method],
    stimuli: StimulusSet,
    *,
    seed: int,
    pictures: bool = True,
    truths: TrueLatents | None = None,
) -> Scores:
    """Score every test set on latents and, when `pictures`, on rendered pictures.

    Parameters
    ----------
    decoded : Decoded
    methods : dict of str to Method
        The fitted method, by fold.
    stimuli : StimulusSet
        Has the pictures of every item.
    seed : int
        Seed of the run; each picture's own follows from it and the stimulus id.
    truths : TrueLatents, optional
        Of the same methods and stimuli, where several decodings are scored.
    """
    truths = truths or TrueLatents(methods, stimuli)
    items = decoded.items
    seeds = np.array([picture_seed(seed, name) for name in items["stimulus_id"]], dtype=np.uint64)
    rendered = [render(decoded, methods, seeds)] if pictures else []
    blind = [
        render(decoded, methods, seeds, number) for number in range(decoded.n_shuffles if pictures else 0)
    ]
    tables: list[pd.DataFrame] = []
    per_item: list[pd.DataFrame] = []
    ceiling = np.zeros_like(rendered[0]) if pictures else None
    for test_set in items["test_set"].unique():
        rows = np.flatnonzero(items["test_set"] == test_set)
        part = items.iloc[rows].reset_index(drop=True)
        ids = list(dict.fromkeys(part["stimulus_id"]))
        target = np.array([ids.index(name) for name in part["stimulus_id"]])
        scored = _score_latents(decoded, truths, str(test_set), ids, target)
        if ceiling is not None:
            ceiling[rows] = _render_ceiling(part, methods, stimuli, seeds[rows])
            seen = stimuli.images(ids)
            scored.append(_score_pictures(rendered[0], blind, ceiling, rows, seen, target))
        for protocol, (values, floors, tops) in scored:
            clusters = part["stimulus_id"].tolist()
            table = summarise(values, clusters, floors, tops, seed=seed)
            tables.append(table.assign(test_set=test_set, protocol=protocol)[METRIC_COLUMNS])
            per_item.append(_item_rows(part, protocol, values, floors, tops))
    return Scores(
        pd.concat(tables, ignore_index=True),
        pd.concat(per_item, ignore_index=True),
        rendered[0] if pictures else None,
        ceiling,
    )


_Scored = tuple[str, tuple[Items, list[Items], Items]]


def _score_pictures(
    rendered: NDArray[np.uint8],
    blind: Sequence[NDArray[np.uint8]],
    ceiling: NDArray[np.uint8],
    rows: NDArray[np.intp],
    seen: Sequence[Image],
    target: NDArray[np.intp],
) -> _Scored:
    assert PIXELS_1.image_size is not None
    truths = to_common_size(seen, PIXELS_1.image_size, antialias=PIXELS_1.antialias)
    values = evaluate_pictures(rendered[rows], truths, target, PIXELS_1)
    floors = [evaluate_pictures(pictures[rows], truths, target, PIXELS_1) for pictures in blind]
    return PIXELS_1.key, (values, floors, evaluate_pictures(ceiling[rows], truths, target, PIXELS_1))


def _score_latents(
    decoded: Decoded,
    true_latents: TrueLatents,
    test_set: str,
    ids: Sequence[str],
    target: NDArray[np.intp],
) -> list[_Scored]:
    member = {fold.name: (fold.items["test_set"] == test_set).to_numpy() for fold in decoded.folds}
    folds = [fold for fold in decoded.folds if member[fold.name].any()]
    one_space = len({fold.identity for fold in folds}) == 1
    scored: list[_Scored] = []
    for name in decoded.spaces:
        protocol = LATENT_PROTOCOL if len(decoded.spaces) == 1 else f"{LATENT_PROTOCOL}/{name}"
        truths = [true_latents.of(fold, name, ids) for fold in folds]
        latents = [[fold.predicted[name][member[fold.name]] for fold in folds]]
        latents += [
            [fold.floor[name][number][member[fold.name]] for fold in folds]
            for number in range(decoded.n_shuffles)
        ]
        if one_space:
            values, *floors = (
                evaluate_latents(np.concatenate(parts), truths[0], target, LATENT_PROTOCOL)
                for parts in latents
            )
            top = evaluate_latents(truths[0], truths[0], None, LATENT_PROTOCOL)
        else:
            values, *floors = (_across_spaces(parts, truths, target) for parts in latents)
            top = {metric: np.ones(len(ids)) for metric in values}
        scored.append((protocol, (values, floors, top)))
    return scored


def _across_spaces(
    predicted: Sequence[NDArray[np.floating]],
    truths: Sequence[NDArray[np.float32]],
    target: NDArray[np.intp],
) -> Items:
    """Scores that compare a prediction with truths only, each in the space of the prediction's own fold.

    Definitions B and C compare predictions with one another, which has no meaning between spaces.
    """
    C = np.concatenate(
        [
            correlation_matrix(truth.reshape(len(truth), -1), latents.reshape(len(latents), -1))
            for truth, latents in zip(truths, predicted, strict=True)
        ],
        axis=1,
    )
    return {
        "latent-correlation": C[target, np.arange(len(target))],
        "two-way-a": two_way_a(C, target),
    }


def _render_ceiling(
    items: pd.DataFrame, methods: Mapping[str, Method], stimuli: StimulusSet, seeds: NDArray[np.uint64]
) -> NDArray[np.uint8]:
    """Ceiling of every item; trials of one picture share theirs."""
    first = items.drop_duplicates(["fold", "stimulus_id"])
    made = {}
    for fold, rows in first.groupby("fold", sort=False).groups.items():
        ids = [str(items["stimulus_id"].iloc[row]) for row in rows]
        pictures = methods[str(fold)].ceiling(stimuli.images(ids), seeds[np.asarray(rows)])
        made.update({(fold, name): picture for name, picture in zip(ids, pictures, strict=True)})
    return np.stack([made[key] for key in zip(items["fold"], items["stimulus_id"], strict=True)])


def _item_rows(
    items: pd.DataFrame, protocol: str, values: Items, floors: Sequence[Items], tops: Items
) -> pd.DataFrame:
    parts = []
    for metric, scores in values.items():
        shuffled = (
            np.stack([floor[metric] for floor in floors]) if floors else np.full((1, len(scores)), np.nan)
        )
        same_items = len(tops[metric]) == len(scores)
        parts.append(
            items[["test_set", "stimulus_id", "trial_index"]].assign(
                metric=metric,
                protocol=protocol,
                value=scores,
                floor=shuffled.mean(axis=0),
                ceiling=tops[metric] if same_items else np.nan,
            )
        )
    return pd.concat(parts, ignore_index=True)
