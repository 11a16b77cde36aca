"""Decoders of an earlier run on new data: nothing is fitted."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.config import Settings
from bids_recon.dataset.splits import Split
from bids_recon.errors import DataError, MissingInputError, UsageError
from bids_recon.glm.responses import Responses
from bids_recon.methods.base import Method, MethodOptions
from bids_recon.rois.grids import Grid, same_grid
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.decoder_store import AGAIN, SavedDecoders, read_decoders
from bids_recon.workflow.decoding import (
    Decoded,
    DecodedFold,
    items_of_tests,
    rebuild_methods,
)
from bids_recon.workflow.latents_store import decoding_file, read_decoded
from bids_recon.workflow.method_settings import check_method, options_of
from bids_recon.workflow.training_means import averaged_like

FLOOR = "responses to other pictures of the test set"


@dataclass(frozen=True)
class EarlierFit:
    """One person's decoders by one method, as an earlier run left them.

    Attributes
    ----------
    fold : DecodedFold
        Of the earlier run; its latent spaces are used.
    sidecar : dict
    options : MethodOptions
    method : Method
        As it was fitted.
    decoders : SavedDecoders
    files : tuple of Path
    """

    fold: DecodedFold
    sidecar: dict[str, Any]
    options: MethodOptions
    method: Method
    decoders: SavedDecoders
    files: tuple[Path, ...]


def read_earlier_fits(settings: Settings, subject: str) -> dict[str, EarlierFit]:
    """Decoders of a person by every method asked for; empty when this run fits its own.

    Raises
    ------
    MissingInputError
        When the earlier run has none.
    UsageError
        When they were fitted in folds, so that there is not one decoder, or methods took different voxels.
    DataError
        When a file is damaged.
    """
    if settings.decoders is None:
        return {}
    found = {name: _read(settings, settings.decoders, subject, name) for name in settings.method}
    voxels = [fit.decoders.voxels for fit in found.values()]
    if any(not np.array_equal(one.indices, voxels[0].indices) for one in voxels):
        raise UsageError(
            f"the decoders of {', '.join(found)} in {settings.decoders} take different voxels",
            remedy="Run one method at a time.",
        )
    return found


def _read(settings: Settings, folder: Path, subject: str, name: str) -> EarlierFit:
    weights = decoding_file(folder, subject, name, "decoder", ".safetensors")
    if not weights.is_file():
        raise MissingInputError(
            f"sub-{subject} has no decoders of the method {name}",
            file=weights,
            remedy="Fit them first: run the participant level with that output folder.",
        )
    decoded, sidecar = read_decoded(folder, subject, name)
    if len(decoded.folds) != 1:
        raise UsageError(
            f"the decoders in {weights} were fitted in {len(decoded.folds)} folds: there is not one of them",
            remedy="Fit them with a --split that has one training set.",
        )
    sidecar_file = weights.with_suffix(".json")
    try:
        options = options_of(sidecar, settings)
        how = sidecar["Standardisation"]
    except (KeyError, TypeError) as error:
        raise DataError(f"lacks {error}", file=sidecar_file, remedy=AGAIN) from error
    if options.legacy_test_statistics:
        raise UsageError(
            f"the decoders in {weights} were fitted with statistics of their test set ({how['statistics']})",
            remedy="Fit them without --legacy-test-statistics.",
        )
    check_method(name, options)
    fold = decoded.folds[0]
    method = rebuild_methods(decoded, name, options)[fold.name]
    decoders = read_decoders(weights, sidecar, fold.name, method)
    return EarlierFit(fold, sidecar, options, method, decoders, (weights, sidecar_file))


def voxels_of(fits: Mapping[str, EarlierFit]) -> VoxelSelection:
    """The voxels that the decoders take."""
    return next(iter(fits.values())).decoders.voxels


def check_grid(own: Grid, wanted: VoxelSelection, where: Path) -> None:
    """Refuse data on another grid than that the decoders were fitted on.

    Raises
    ------
    DataError
    """
    if not same_grid(own, wanted):
        raise DataError(
            "lies on another grid than the responses that the decoders were fitted on",
            file=where,
            remedy="Decoders are of one person on one grid: resample the data, or fit decoders on them.",
        )


def on_voxels(responses: Responses, wanted: VoxelSelection, where: Path) -> Responses:
    """Responses restricted to the voxels that decoders take.

    Raises
    ------
    DataError
        When they lie on another grid, or lack some of the voxels.
    """
    own = responses.voxels
    check_grid(own, wanted, where)
    if missing := int((~np.isin(wanted.indices, own.indices)).sum()):
        raise DataError(
            f"{missing} of the {wanted.n_voxels} voxels that the decoders take have no usable response",
            file=where,
            remedy="Fit the decoders on voxels that both data sets cover (--roi).",
        )
    return responses.restrict(np.isin(own.indices, wanted.indices))


def decode_again(
    responses: Responses, fit: EarlierFit, split: Split, *, average: bool, n_shuffles: int, seed: int
) -> Decoded:
    """Decode every test item with decoders that were fitted before.

    The floor comes from the same decoders, with the responses to other pictures of the test set. Where a set
    has one picture only, it is what the decoders say of a response of zero: the mean training response, where
    responses are z-scored.
    """
    standardised = fit.decoders.standardise(responses.data)
    fold = split.folds[0]
    items, X = items_of_tests(responses.trials, standardised, fold, average, split.rule)
    per_sample = (fit.sidecar.get("TrialsPerSample") or {}).get(fit.fold.name, 1.0)
    flat = fit.decoders.predict(X, averaged_like(items["n_trials"].to_numpy(), per_sample))
    neutral = fit.decoders.predict(np.zeros_like(X[:1]))
    predicted, floor = {}, {}
    for name, space in fit.method.latent_spaces.items():
        shape = (len(items), *space.shape)
        predicted[name] = flat[name].reshape(shape)
        floor[name] = np.empty((n_shuffles, *shape), dtype=np.float32)
    brain = zlib.crc32(str(responses.trials["subject"].iloc[0]).encode())
    for number in range(n_shuffles):
        others = other_pictures(items, np.random.default_rng([seed, number, brain]))
        for name, values in predicted.items():
            floor[name][number] = values[others]
            floor[name][number, others < 0] = neutral[name].reshape(values.shape[1:])
    summaries = {name: decoder.summary() for name, decoder in fit.decoders.decoders.items()}
    again = DecodedFold(
        fit.fold.name,
        items.assign(fold=fit.fold.name),
        predicted,
        floor,
        fit.fold.state,
        fit.fold.identity,
        summaries,
    )
    return Decoded((again,))


def other_pictures(items: pd.DataFrame, rng: np.random.Generator) -> NDArray[np.intp]:
    """For each item, the row (n_items,) of one of another picture of its test set; -1 where there is none."""
    others = np.full(len(items), -1)
    for rows in items.groupby("test_set", sort=False).indices.values():
        shown = items["stimulus_id"].to_numpy()[rows]
        pictures = rng.permutation(np.unique(shown))
        if len(pictures) < 2:
            continue
        # In a circle, so that no picture keeps its own responses.
        for picture, other in zip(pictures, np.roll(pictures, 1), strict=True):
            own = rows[shown == picture]
            others[own] = rng.choice(rows[shown == other], len(own))
    return others
