"""Decoders of an earlier run on new data: nothing is fitted."""

from __future__ import annotations

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
from bids_recon.workflow.decoder_store import SavedDecoders, read_decoders
from bids_recon.workflow.decoding import Decoded, DecodedFold, items_of_tests, rebuild_methods
from bids_recon.workflow.latents_store import decoding_file, read_decoded
from bids_recon.workflow.method_settings import options_of

FLOOR = "responses of other test pictures, permuted within the test set"


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
    options = options_of(sidecar, settings.device)
    fold = decoded.folds[0]
    method = rebuild_methods(decoded, name, options)[fold.name]
    decoders = read_decoders(weights, sidecar, fold.name, method)
    sidecar_file = weights.with_suffix(".json")
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

    The floor comes from the same decoders, with the responses of other pictures of the test set. Where a set
    has one picture only, it is what the decoders say of the mean training response.
    """
    standardised = fit.decoders.standardise(responses.data)
    fold = split.folds[0]
    items, X = items_of_tests(responses.trials, standardised, fold, average, split.rule)
    n_trials = items["n_trials"].to_numpy()
    flat = fit.decoders.predict(X, n_trials)
    neutral = fit.decoders.predict(np.zeros_like(X[:1])) if _single_sets(items) else {}
    predicted, floor = {}, {}
    for name, space in fit.method.latent_spaces.items():
        shape = (len(items), *space.shape)
        predicted[name] = flat[name].reshape(shape)
        floor[name] = np.empty((n_shuffles, *shape), dtype=np.float32)
    for number in range(n_shuffles):
        rng = np.random.default_rng([seed, number])
        order = _permuted(items, rng)
        for name in predicted:
            floor[name][number] = predicted[name][order]
            for row in _single_sets(items):
                floor[name][number, row] = neutral[name][0].reshape(predicted[name].shape[1:])
    summaries = {name: decoder.summary() for name, decoder in fit.decoders.decoders.items()}
    items = items.assign(fold=fit.fold.name)
    again = DecodedFold(fit.fold.name, items, predicted, floor, fit.fold.state, fit.fold.identity, summaries)
    return Decoded((again,))


def _single_sets(items: pd.DataFrame) -> list[int]:
    """Rows of test sets that hold one picture only."""
    pictures = items.groupby("test_set")["stimulus_id"].transform("nunique")
    return np.flatnonzero(pictures == 1).tolist()


def _permuted(items: pd.DataFrame, rng: np.random.Generator) -> NDArray[np.intp]:
    order = np.arange(len(items))
    for rows in items.groupby("test_set", sort=False).indices.values():
        order[rows] = rng.permutation(rows)
    return order
