"""Render decoded latents and score them, beside their floor and their ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.methods.base import Method
from bids_recon.methods.seeds import picture_seeds
from bids_recon.metrics.identification import correlation_matrix, two_way_a
from bids_recon.metrics.network_features import FeatureScorer
from bids_recon.metrics.permutation import permuted_scores
from bids_recon.metrics.picture_scorer import PictureScorer
from bids_recon.metrics.profiles import ProfileAccuracy, profile_accuracy, summarise_profiles
from bids_recon.metrics.protocols import LATENTS_1, PROFILES_1, Items, evaluate_latents
from bids_recon.metrics.summary import summarise
from bids_recon.workflow.decoding import Decoded
from bids_recon.workflow.true_latents import TrueLatents

METRIC_COLUMNS = [
    *("test_set", "metric", "protocol", "value", "ci_low", "ci_high", "floor", "ceiling", "n_items"),
    *("floor_low", "floor_high", "p_shuffle", "p_permutation", "note"),
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
        floor, ceiling. Scores of units have no items.
    reconstructed, ceiling : ndarray (n_items, height, width, 3) uint8, or None
        In the order of the decoded items; None when pictures were not asked for.
    """

    metrics: pd.DataFrame
    items: pd.DataFrame
    reconstructed: NDArray[np.uint8] | None = None
    ceiling: NDArray[np.uint8] | None = None


# Shuffles whose pictures a network scores, which takes longer than all other scores together.
NETWORK_SHUFFLES = 5


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
    networks: Sequence[FeatureScorer] = (),
    picture_shuffles: int | None = None,
) -> Scores:
    """Score every test set on latents and, when `pictures`, on rendered pictures.

    Parameters
    ----------
    decoded : Decoded
        Its latents may be memory maps.
    methods : dict of str to Method
        The fitted method, by fold.
    stimuli : StimulusSet
        Has the pictures of every item.
    seed : int
        Seed of the run; each picture's own follows from it and the stimulus id.
    truths : TrueLatents, optional
        Of the same methods and stimuli, where several decodings are scored.
    networks : sequence of FeatureScorer
        Score the pictures too.
    picture_shuffles : int, optional
        Draw the pictures of so many shuffles only, for methods that draw slowly; all by default. Where there
        are more, the notes of the pictures' scores say how many their floor rests on.
    """
    truths = truths or TrueLatents(methods, stimuli)
    items = decoded.items
    tests = _test_sets(items)
    parts = {test.name: list(_score_latents(decoded, truths, test, seed)) for test in tests}
    reconstructed = ceiling = None
    if pictures:
        seeds = picture_seeds(seed, items["stimulus_id"])
        n_drawn = decoded.n_shuffles if picture_shuffles is None else picture_shuffles
        n_drawn = min(n_drawn, decoded.n_shuffles)
        scorers = {test.name: _picture_scorer(test, stimuli, networks) for test in tests}

        def scored(drawn: NDArray[np.uint8], with_networks: bool = True) -> dict[str, dict[str, Items]]:
            return {test.name: scorers[test.name].score(drawn[test.rows], with_networks) for test in tests}

        reconstructed = render(decoded, methods, seeds)
        ceiling = _render_ceiling(items, methods, stimuli, seeds)
        values, tops = scored(reconstructed), scored(ceiling)
        permuted = {test.name: scorers[test.name].permuted(reconstructed[test.rows], seed) for test in tests}
        # Pictures of a shuffle are scored and forgotten.
        floors = [
            scored(render(decoded, methods, seeds, number), number < NETWORK_SHUFFLES)
            for number in range(n_drawn)
        ]
        for test in tests:
            for protocol, own in values[test.name].items():
                blind = [floor[test.name][protocol] for floor in floors if protocol in floor[test.name]]
                note = f"floor over {len(blind)} shuffles" if len(blind) < decoded.n_shuffles else ""
                chance = permuted[test.name][protocol]
                scores = _Scored(protocol, own, blind, tops[test.name][protocol], chance)
                parts[test.name].append(_tables(test, scores, seed, note))
    tables, per_item = zip(*(part for test in tests for part in parts[test.name]), strict=True)
    return Scores(
        pd.concat(tables, ignore_index=True),
        pd.concat(per_item, ignore_index=True),
        reconstructed,
        ceiling,
    )


@dataclass(frozen=True)
class _TestSet:
    """Items of a test set; `rows` are their places among all items, `target` their pictures' among `ids`."""

    name: str
    items: pd.DataFrame
    rows: NDArray[np.intp]
    ids: tuple[str, ...]
    target: NDArray[np.intp]


@dataclass(frozen=True)
class _Scored:
    """Scores of a test set by one protocol: decoded, of each shuffle, from true latents, in other orders."""

    protocol: str
    values: Items
    floors: Sequence[Items]
    tops: Items
    permuted: Mapping[str, NDArray[np.float64]]


_Part = tuple[pd.DataFrame, pd.DataFrame | None]


def _test_sets(items: pd.DataFrame) -> list[_TestSet]:
    tests = []
    for name in items["test_set"].unique():
        rows = np.flatnonzero(items["test_set"] == name)
        part = items.iloc[rows].reset_index(drop=True)
        ids = tuple(dict.fromkeys(part["stimulus_id"]))
        place = {stimulus_id: number for number, stimulus_id in enumerate(ids)}
        target = np.array([place[stimulus_id] for stimulus_id in part["stimulus_id"]])
        tests.append(_TestSet(str(name), part, rows, ids, target))
    return tests


def _tables(test: _TestSet, scores: _Scored, seed: int, note: str = "") -> _Part:
    """Rows of `Scores.metrics` and of `Scores.items`."""
    clusters = test.items["stimulus_id"].tolist()
    table = summarise(scores.values, clusters, scores.floors, scores.tops, scores.permuted, seed=seed)
    table["note"] = ["; ".join(filter(None, (own, note))) for own in table["note"]]
    return _labelled(table, test, scores.protocol), _item_rows(test.items, scores)


def _labelled(table: pd.DataFrame, test: _TestSet, protocol: str) -> pd.DataFrame:
    return table.assign(test_set=test.name, protocol=protocol)[METRIC_COLUMNS]


def _picture_scorer(test: _TestSet, stimuli: StimulusSet, networks: Sequence[FeatureScorer]) -> PictureScorer:
    attributes = [stimuli.attributes(name) for name in test.ids]
    return PictureScorer(stimuli.images(test.ids), test.target, attributes, networks)


def _score_latents(decoded: Decoded, true_latents: TrueLatents, test: _TestSet, seed: int) -> Iterator[_Part]:
    """Tables of a test set in each latent space, and of its units where all folds share the space."""
    members = {fold.name: (fold.items["test_set"] == test.name).to_numpy() for fold in decoded.folds}
    folds = [fold for fold in decoded.folds if members[fold.name].any()]
    rows = [_as_slice(members[fold.name]) for fold in folds]
    one_space = len({fold.identity for fold in folds}) == 1
    shuffles = range(decoded.n_shuffles)
    for name in decoded.spaces:
        suffix = "" if len(decoded.spaces) == 1 else f"/{name}"
        truths = [true_latents.of(fold, name, test.ids) for fold in folds]
        predicted = [fold.predicted[name][own] for fold, own in zip(folds, rows, strict=True)]
        # Memory maps stay maps: a shuffle is looked at when its turn comes, and not copied before.
        blind = (
            [fold.floor[name][number][own] for fold, own in zip(folds, rows, strict=True)]
            for number in shuffles
        )
        key = LATENTS_1.key + suffix
        if not one_space:
            C = _across_spaces(predicted, truths)
            values = _of_truths(C, test.target)
            floors = [_of_truths(_across_spaces(parts, truths), test.target) for parts in blind]
            top = {metric: np.ones(len(test.ids)) for metric in values}
            permuted = permuted_scores(C, test.target, tuple(values), seed)
            yield _tables(test, _Scored(key, values, floors, top, permuted), seed)
            continue
        truth, target, decoded_latents = truths[0], test.target, _joined(predicted)
        values, units = _both(decoded_latents, truth, target)
        found = [_both(_joined(parts), truth, target) for parts in blind]
        floors = [items for items, _ in found]
        top = evaluate_latents(truth, truth, None, LATENTS_1)
        permuted = permuted_scores(
            correlation_matrix(truth, decoded_latents), target, LATENTS_1.metrics, seed
        )
        yield _tables(test, _Scored(key, values, floors, top, permuted), seed)
        profiles = summarise_profiles(units, [accuracy for _, accuracy in found], seed=seed)
        yield _labelled(profiles, test, PROFILES_1.key + suffix), None


def _both(
    latents: NDArray[np.floating], truth: NDArray[np.float32], target: NDArray[np.intp]
) -> tuple[Items, ProfileAccuracy]:
    """Scores of pictures over units, and of units over pictures."""
    return evaluate_latents(latents, truth, target, LATENTS_1), profile_accuracy(latents, truth, target)


def _as_slice(member: NDArray[np.bool_]) -> slice | NDArray[np.bool_]:
    """Members as a slice where they follow one another, which views an array instead of copying it."""
    places = np.flatnonzero(member)
    whole = slice(int(places[0]), int(places[-1]) + 1)
    return whole if member[whole].all() else member


def _joined(parts: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _across_spaces(
    predicted: Sequence[NDArray[np.floating]], truths: Sequence[NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Correlations of truths with predictions, each in the space of the prediction's own fold."""
    pairs = zip(truths, predicted, strict=True)
    return np.concatenate([correlation_matrix(truth, latents) for truth, latents in pairs], axis=1)


def _of_truths(C: NDArray[np.float64], target: NDArray[np.intp]) -> Items:
    """Scores that compare a prediction with truths only.

    Definitions B and C compare predictions with one another, which has no meaning between spaces.
    """
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
        images, captions = stimuli.images(ids), stimuli.captions(ids)
        pictures = methods[str(fold)].ceiling(images, seeds[np.asarray(rows)], captions)
        made.update({(fold, name): picture for name, picture in zip(ids, pictures, strict=True)})
    return np.stack([made[key] for key in zip(items["fold"], items["stimulus_id"], strict=True)])


def _item_rows(items: pd.DataFrame, scores: _Scored) -> pd.DataFrame:
    parts = []
    for metric, values in scores.values.items():
        shuffled = (
            np.stack([floor[metric] for floor in scores.floors])
            if scores.floors
            else np.full((1, len(values)), np.nan)
        )
        tops = scores.tops[metric]
        parts.append(
            items[["test_set", "stimulus_id", "trial_index"]].assign(
                metric=metric,
                protocol=scores.protocol,
                value=values,
                floor=shuffled.mean(axis=0),
                ceiling=tops if len(tops) == len(values) else np.nan,
            )
        )
    return pd.concat(parts, ignore_index=True)
