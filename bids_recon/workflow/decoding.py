"""Fit decoders on training trials, decode test trials, and do the same with a shuffled brain."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.splits import TRAIN, Fold, Split, rows_of
from bids_recon.dataset.stimuli import PictureSequence, StimulusSet
from bids_recon.decoders.standardise import RunwiseStandardiser, shuffle_responses
from bids_recon.errors import DataError
from bids_recon.glm.responses import Responses
from bids_recon.latents.base import Image
from bids_recon.methods.base import Method, MethodOptions
from bids_recon.methods.registry import make_method

ITEM_COLUMNS = ("fold", "test_set", "stimulus_id", "stim_file", "session", "task", "trial_index", "n_trials")


@dataclass(frozen=True)
class Decoded:
    """Decoded latents of one participant (or of the mean over people) by one method.

    Attributes
    ----------
    items : DataFrame (n_items rows)
        Columns `ITEM_COLUMNS`; `trial_index` is -1 where an item is the mean of several trials, and session
        and task are those of the first of them.
    predicted : dict of str to ndarray (n_items, *shape) float32
        By latent space.
    floor : dict of str to ndarray (n_shuffles, n_items, *shape) float32
        The same from decoders that were fitted on shuffled training responses.
    states : dict of str to dict of str to ndarray
        Fitted latent spaces, by fold.
    identities : dict of str to str
        By fold; latents of two people may be averaged where these agree.
    summaries : dict
        What the sidecar says of each decoder, by fold and latent space.
    decoder_states : dict
        Arrays of each fitted decoder, by fold and latent space.
    """

    items: pd.DataFrame
    predicted: dict[str, NDArray[np.float32]]
    floor: dict[str, NDArray[np.float32]]
    states: dict[str, dict[str, NDArray[Any]]]
    identities: dict[str, str]
    summaries: dict[str, dict[str, dict[str, Any]]]
    decoder_states: dict[str, dict[str, dict[str, NDArray[Any]]]]


@dataclass(frozen=True)
class DecodingPlan:
    """Everything but the responses that decoding needs.

    Attributes
    ----------
    method : str
    options : MethodOptions
    split : Split
    stimuli : StimulusSet
    extra_images : sequence of pictures
    zscore : {"run", "all", "none"}
    average_trials : bool
    n_shuffles : int
    """

    method: str
    options: MethodOptions
    split: Split
    stimuli: StimulusSet
    extra_images: Sequence[Image] = ()
    zscore: str = "run"
    average_trials: bool = True
    n_shuffles: int = 20


def decode(
    responses: Responses, plan: DecodingPlan, *, progress: Callable[[], None] = lambda: None
) -> tuple[Decoded, dict[str, Method]]:
    """Decode every test item of every fold.

    Parameters
    ----------
    responses : Responses
        Its trials carry the column `set` of `make_split`.
    plan : DecodingPlan
    progress : callable
        Called after each fold.

    Returns
    -------
    decoded : Decoded
    methods : dict of str to Method
        The method as fitted in each fold.

    Raises
    ------
    DataError
        When a fold has no training or no test trials.
    """
    parts: list[Decoded] = []
    methods: dict[str, Method] = {}
    for fold in plan.split.folds:
        part, methods[fold.name] = _decode_fold(responses, plan, fold, methods.get(fold.name))
        parts.append(part)
        progress()
    return concatenate(parts), methods


def decode_region(
    responses: Responses, plan: DecodingPlan, methods: dict[str, Method], n_shuffles: int
) -> Decoded:
    """Decode with some voxels only, in the latent spaces that `decode` fitted."""
    plan = replace(plan, n_shuffles=n_shuffles)
    parts = [_decode_fold(responses, plan, fold, methods[fold.name])[0] for fold in plan.split.folds]
    return concatenate(parts)


def _decode_fold(
    responses: Responses, plan: DecodingPlan, fold: Fold, method: Method | None
) -> tuple[Decoded, Method]:
    trials = responses.trials
    training = rows_of(trials, TRAIN, fold.train)
    if not training.any():
        raise DataError(f"fold {fold.name} of the split {plan.split.rule} has no training trials")
    ids = tuple(dict.fromkeys(trials.loc[training, "stimulus_id"]))
    if method is None:
        method = make_method(plan.method, plan.options)
        method.fit_latent_spaces(PictureSequence(ids, plan.stimuli.image), plan.extra_images)
    runs = (trials["session"] + "/" + trials["task"] + "/" + trials["run"]).to_numpy(dtype=str)
    standardiser = RunwiseStandardiser(mode=plan.zscore, legacy=plan.options.legacy_test_statistics)
    standardised = standardiser.fit(responses.data, runs, training).transform(responses.data, runs)
    X_train = standardised[training]
    items, X_test = _test_items(trials, standardised, fold, plan)
    groups = trials.loc[training, "stimulus_id"].to_numpy(dtype=str)
    row_of = {name: row for row, name in enumerate(ids)}
    rows = np.array([row_of[name] for name in groups])

    # Each brain is shuffled in its own way, so that the mean over people has an honest floor too.
    brain = zlib.crc32(str(trials["subject"].iloc[0]).encode())
    predicted, floor, summaries, states = {}, {}, {}, {}
    for name, space in method.latent_spaces.items():
        targets = space.encode(PictureSequence(ids, plan.stimuli.image))
        Y = targets.reshape(len(targets), -1)[rows]
        shape = (len(items), *space.shape)
        decoder = method.make_decoder(name).fit(X_train, Y, groups)
        predicted[name] = np.asarray(decoder.predict(X_test), dtype=np.float32).reshape(shape)
        summaries[name] = decoder.summary()
        states[name] = decoder.state()
        shuffled = np.empty((plan.n_shuffles, *shape), dtype=np.float32)
        for number in range(plan.n_shuffles):
            rng = np.random.default_rng([plan.options.seed, number, brain])
            blind = method.make_decoder(name).fit(shuffle_responses(X_train, rng), Y, groups)
            shuffled[number] = np.asarray(blind.predict(X_test)).reshape(shape)
        floor[name] = shuffled
    identity = "+".join(f"{name}:{space.identity}" for name, space in sorted(method.latent_spaces.items()))
    decoded = Decoded(
        items,
        predicted,
        floor,
        {fold.name: method.state()},
        {fold.name: identity},
        {fold.name: summaries},
        {fold.name: states},
    )
    return decoded, method


def _test_items(
    trials: pd.DataFrame, standardised: NDArray[np.floating], fold: Fold, plan: DecodingPlan
) -> tuple[pd.DataFrame, NDArray[np.floating]]:
    rows: list[tuple[Any, ...]] = []
    patterns: list[NDArray[np.floating]] = []
    files = trials["stim_file"] if "stim_file" in trials else pd.Series("", index=trials.index)
    for test_set, ids in fold.test.items():
        member = rows_of(trials, test_set, ids)
        for stimulus_id in ids:
            shown = np.flatnonzero(member & (trials["stimulus_id"] == stimulus_id).to_numpy())
            if not len(shown):
                continue
            first = shown[0]
            where = (trials["session"].iloc[first], trials["task"].iloc[first])
            common = (fold.name, test_set, stimulus_id, files.iloc[first], *where)
            if plan.average_trials:
                rows.append((*common, -1, len(shown)))
                patterns.append(standardised[shown].mean(axis=0))
            else:
                rows += [(*common, int(trials["trial_index"].iloc[row]), 1) for row in shown]
                patterns += list(standardised[shown])
    if not rows:
        raise DataError(f"fold {fold.name} of the split {plan.split.rule} has no test trials")
    return pd.DataFrame(rows, columns=list(ITEM_COLUMNS)), np.stack(patterns)


def rebuild_methods(decoded: Decoded, method: str, options: MethodOptions) -> dict[str, Method]:
    """Make the method of each fold again from the latent spaces that were saved."""
    methods = {}
    for fold, state in decoded.states.items():
        methods[fold] = make_method(method, options)
        methods[fold].load_state(state)
    return methods


def concatenate(parts: Sequence[Decoded]) -> Decoded:
    """Put the folds of one participant together."""
    spaces = parts[0].predicted
    return Decoded(
        pd.concat([part.items for part in parts], ignore_index=True),
        {name: np.concatenate([part.predicted[name] for part in parts]) for name in spaces},
        {name: np.concatenate([part.floor[name] for part in parts], axis=1) for name in spaces},
        {fold: state for part in parts for fold, state in part.states.items()},
        {fold: identity for part in parts for fold, identity in part.identities.items()},
        {fold: summary for part in parts for fold, summary in part.summaries.items()},
        {fold: state for part in parts for fold, state in part.decoder_states.items()},
    )
