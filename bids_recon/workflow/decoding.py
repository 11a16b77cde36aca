"""Fit decoders on training trials, decode test trials, and do the same with a shuffled brain."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.splits import TRAIN, Fold, Split, rows_of
from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.decoders.registry import describe_decoder
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.standardise import RunwiseStandardiser, shuffled_order
from bids_recon.errors import DataError
from bids_recon.glm.responses import Responses
from bids_recon.latents.base import Image
from bids_recon.methods.base import Decoder, Method, MethodOptions
from bids_recon.methods.registry import make_method
from bids_recon.outputs.tensor_files import in_memory
from bids_recon.workflow.encoding import encode
from bids_recon.workflow.modulation import Modulation
from bids_recon.workflow.space_decoding import DecodedSpace, FoldData, decode_space, keeps_weights
from bids_recon.workflow.training_means import averaged_like, trials_per_sample, with_mean_training

# Bytes of the training latents of all spaces up to which they stay on the disk, for the next region.
KEPT_ON_DISK = 32 * 2**30
# Trials up to which what the fits of each shuffle share is kept from one latent space to the next.
FEW_TRIALS = 2000
ITEM_COLUMNS = ("fold", "test_set", "stimulus_id", "stim_file", "session", "task", "trial_index", "n_trials")


@dataclass(frozen=True)
class DecodedFold:
    """Latents of the test items of one fold, all in the latent spaces that were fitted in this fold.

    Attributes
    ----------
    name : str
        Of the fold.
    items : DataFrame (n_items rows)
        Columns `ITEM_COLUMNS`; `trial_index` is -1 where an item is the mean of several trials, and session
        and task are those of the first of them.
    predicted : dict of str to ndarray (n_items, *shape) float32
        By latent space.
    floor : dict of str to ndarray (n_shuffles, n_items, *shape) float32
        The same from decoders that were fitted on shuffled training responses.
    state : dict of str to ndarray
        Fitted latent spaces.
    identity : str
        Latents of two people, or two folds, may be averaged and compared where this agrees.
    summaries : dict
        What the sidecar says of each decoder, by latent space.
    decoders : dict of str to Decoder
        As fitted, by latent space; empty when they were left on disk.
    standardiser : RunwiseStandardiser or None
        Of the responses that the decoders take.
    """

    name: str
    items: pd.DataFrame
    predicted: dict[str, NDArray[np.float32]]
    floor: dict[str, NDArray[np.float32]]
    state: dict[str, NDArray[Any]]
    identity: str
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    decoders: dict[str, Decoder] = field(default_factory=dict)
    standardiser: RunwiseStandardiser | None = None

    @property
    def n_shuffles(self) -> int:
        """Shuffles behind the floor."""
        return len(next(iter(self.floor.values())))

    def with_floor(self, n_shuffles: int) -> DecodedFold:
        """Keep the first shuffles only."""
        return replace(self, floor={name: array[:n_shuffles] for name, array in self.floor.items()})


@dataclass(frozen=True)
class Decoded:
    """Decoded latents of one participant (or of the mean over people) by one method, fold by fold."""

    folds: tuple[DecodedFold, ...]

    @property
    def items(self) -> pd.DataFrame:
        """Items of all folds, one fold after the other."""
        return pd.concat([fold.items for fold in self.folds], ignore_index=True)

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the latent spaces."""
        return tuple(self.folds[0].predicted)

    @property
    def n_shuffles(self) -> int:
        """Shuffles behind the floor."""
        return min(fold.n_shuffles for fold in self.folds)


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
        Whether the test trials of a picture are one item.
    average_training : bool
        Whether the training trials of a picture are one sample of the fit.
    n_shuffles : int
    modulation : Modulation or None
        Gives the responses to training trials from BOLD and latents, in place of single-trial estimates.
    scratch : Path or None
        Folder for arrays that are too large for memory.
    encoded : dict
        Training latents that were encoded already, by identity of the space and stimulus ids.
    """

    method: str
    options: MethodOptions
    split: Split
    stimuli: StimulusSet
    extra_images: Sequence[Image] = ()
    zscore: str = "run"
    average_trials: bool = True
    average_training: bool = False
    n_shuffles: int = 20
    modulation: Modulation | None = None
    scratch: Path | None = None
    encoded: dict[tuple[str, tuple[str, ...]], NDArray[np.floating]] = field(
        default_factory=dict, compare=False, repr=False
    )


def decode(responses: Responses, plan: DecodingPlan) -> tuple[Decoded, dict[str, Method]]:
    """Decode every test item of every fold.

    Parameters
    ----------
    responses : Responses
        Its trials carry the column `set` of `make_split`.
    plan : DecodingPlan

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
    parts: list[DecodedFold] = []
    methods: dict[str, Method] = {}
    for fold in plan.split.folds:
        part, methods[fold.name] = _decode_fold(responses, plan, fold, None)
        if len(plan.split.folds) > 1:
            # Fitted decoders hold the responses of their fold: too much where there are many folds.
            part = replace(part, decoders={name: compact(one) for name, one in part.decoders.items()})
        parts.append(part)
    return Decoded(tuple(parts)), methods


def decode_region(
    responses: Responses, plan: DecodingPlan, methods: dict[str, Method], n_shuffles: int
) -> Decoded:
    """Decode with some voxels only, in the latent spaces that `decode` fitted."""
    plan = replace(plan, n_shuffles=n_shuffles)
    folds = plan.split.folds
    parts = (_decode_fold(responses, plan, fold, methods[fold.name])[0] for fold in folds)
    return Decoded(tuple(replace(part, decoders={}, standardiser=None) for part in parts))


def _decode_fold(
    responses: Responses, plan: DecodingPlan, fold: Fold, method: Method | None
) -> tuple[DecodedFold, Method]:
    if not rows_of(responses.trials, TRAIN, fold.train).any():
        raise DataError(f"fold {fold.name} of the split {plan.split.rule} has no training trials")
    per_sample = 1.0
    if plan.average_training:
        per_sample = trials_per_sample(responses.trials, fold)
        responses = with_mean_training(responses, fold)
    trials = responses.trials
    training = rows_of(trials, TRAIN, fold.train)
    ids = tuple(dict.fromkeys(trials.loc[training, "stimulus_id"]))
    if method is None:
        method = make_method(plan.method, plan.options)
        method.fit_latent_spaces(plan.stimuli.images(ids), plan.extra_images, plan.stimuli.captions(ids))
    runs = run_labels(trials)
    standardiser = RunwiseStandardiser(mode=plan.zscore, legacy=plan.options.legacy_test_statistics)
    standardised = standardiser.fit(responses.data, runs, training).transform(responses.data, runs)
    X_train = standardised[training]
    items, X_test = items_of_tests(trials, standardised, fold, plan.average_trials, plan.split.rule)
    groups = trials.loc[training, "stimulus_id"].to_numpy(dtype=str)
    row_of = {name: row for row, name in enumerate(ids)}
    rows = np.array([row_of[name] for name in groups])
    spaces = method.latent_spaces
    if plan.modulation is not None:
        (name,) = spaces
        modelled = plan.modulation.responses(
            training, training_latents(plan, method, name, ids)[rows], responses.voxels
        )
        X_train = standardiser.transform(modelled, runs[training])
    # One decomposition of the responses serves all latent spaces, and where it can all shuffles.
    work = SharedWork(X_train)
    n_trials = averaged_like(items["n_trials"].to_numpy(), per_sample)
    data = FoldData(X_train, rows, groups, X_test, n_trials, work, plan.scratch)
    orders = _shuffled_orders(plan, str(trials["subject"].iloc[0]), len(X_train))
    # What the fits of a shuffle share is large where there are many trials.
    kept = [work.branch() for _ in orders] if len(X_train) <= FEW_TRIALS else None
    keep = keeps_weights(method.make_decoder, spaces, X_train.shape[1], len(plan.split.folds))
    decoded: dict[str, DecodedSpace] = {}
    for name, space in spaces.items():
        shuffles = zip(orders, kept or [work.branch() for _ in orders], strict=True)
        latents = training_latents(plan, method, name, ids)
        make = partial(method.make_decoder, name)
        decoded[name] = decode_space(data, make, latents, space.shape, list(shuffles), keep=keep)
    fitted = DecodedFold(
        fold.name,
        items,
        {name: one.predicted for name, one in decoded.items()},
        {name: one.floor for name, one in decoded.items()},
        method.state(),
        _identity(method),
        {name: one.summary for name, one in decoded.items()},
        {name: one.decoder for name, one in decoded.items() if one.decoder is not None},
        standardiser,
    )
    return fitted, method


def _shuffled_orders(plan: DecodingPlan, subject: str, n_trials: int) -> list[NDArray[np.intp]]:
    """Orders in which targets go to responses, one a shuffle."""
    # Each brain is shuffled in its own way, so that the mean over people has an honest floor too.
    brain = zlib.crc32(subject.encode())
    # Targets go to the responses, not responses to the targets: the same pairs, and one copy of X.
    return [
        np.argsort(shuffled_order(n_trials, np.random.default_rng([plan.options.seed, number, brain])))
        for number in range(plan.n_shuffles)
    ]


def training_latents(
    plan: DecodingPlan, method: Method, space: str, ids: tuple[str, ...]
) -> NDArray[np.floating]:
    """Latents (n_ids, n_targets) of pictures; kept for the next region of one fold, where there is room."""
    identities = {name: one.identity for name, one in method.latent_spaces.items()}
    key = (identities[space], ids)
    if key not in plan.encoded:
        if len(plan.split.folds) > 1 and key[1] not in {known[1] for known in plan.encoded}:
            plan.encoded.clear()
        images, captions = plan.stimuli.images(ids), plan.stimuli.captions(ids)
        for name, latents in encode(method, space, images, plan.scratch, captions).items():
            plan.encoded[identities[name], ids] = latents.reshape(len(latents), -1)
    found = plan.encoded[key]
    numbers = sum(math.prod(one.shape) for one in method.latent_spaces.values())
    if isinstance(found, np.memmap) and 4 * numbers * len(ids) > KEPT_ON_DISK:
        # Latents of many layers do not stay on the disk beside one another.
        del plan.encoded[key]
    return found


def compact(decoder: Decoder) -> Decoder:
    """The decoder as it would be read from disk: coefficients alone, without training data."""
    params = describe_decoder(decoder)["params"]
    return type(decoder).from_state(in_memory(decoder.state()), params)


def run_labels(trials: pd.DataFrame) -> NDArray[np.str_]:
    """Label (n_trials,) of each trial's run, unique within a person."""
    return (trials["session"] + "/" + trials["task"] + "/" + trials["run"]).to_numpy(dtype=str)


def items_of_tests(
    trials: pd.DataFrame, standardised: NDArray[np.floating], fold: Fold, average: bool, rule: str
) -> tuple[pd.DataFrame, NDArray[np.floating]]:
    """Items of the test sets of a fold (columns `ITEM_COLUMNS`) and their responses (n_items, n_voxels).

    Raises
    ------
    DataError
        When there are none.
    """
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
            if average:
                rows.append((*common, -1, len(shown)))
                patterns.append(standardised[shown].mean(axis=0))
            else:
                rows += [(*common, int(trials["trial_index"].iloc[row]), 1) for row in shown]
                patterns += list(standardised[shown])
    if not rows:
        raise DataError(f"fold {fold.name} of the split {rule} has no test trials")
    return pd.DataFrame(rows, columns=list(ITEM_COLUMNS)), np.stack(patterns)


def rebuild_methods(decoded: Decoded, method: str, options: MethodOptions) -> dict[str, Method]:
    """Make the method of each fold again from the latent spaces that were saved.

    Raises
    ------
    DataError
        When these are other spaces than those of decoding, such as those of other weights.
    """
    methods = {}
    for fold in decoded.folds:
        rebuilt = methods[fold.name] = make_method(method, options)
        rebuilt.load_state(fold.state)
        if _identity(rebuilt) != fold.identity:
            raise DataError(
                f"the latent spaces of {method} are others than those of the decoded latents: weights or"
                " options have changed",
                remedy="Run the participant level again, or take the weights of that time.",
            )
    return methods


def _identity(method: Method) -> str:
    """What tells the latent spaces of a fitted method, all together, from others."""
    return "+".join(f"{name}:{space.identity}" for name, space in sorted(method.latent_spaces.items()))
