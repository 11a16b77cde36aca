"""One latent space of one fold: targets, decoders, decoded latents, and the same with a shuffled brain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import RepeatedRows
from bids_recon.decoders.unit_decoder import UnitDecoder
from bids_recon.latents.base import LatentSpace
from bids_recon.methods.base import Decoder
from bids_recon.outputs.scratch import scratch_array

# Units that are fitted at a time where there are too many to keep the weights of: 100 MB of weights.
UNITS_AT_ONCE = 20_000
# Units whose fitted weights are kept, and bytes of weights of other decoders, which are streamed to the disk.
KEPT_UNITS = 200_000
KEPT_BYTES = 32 * 2**30
# Bytes of the weights of all folds together: where there are several, all are in memory.
KEPT_IN_FOLDS = 2 * 2**30
BYTES_PER_UNIT = 4000


@dataclass(frozen=True)
class FoldData:
    """What the decoders of one fold learn from, and what they are tried on.

    Attributes
    ----------
    X_train : ndarray (n_trials, n_voxels)
        Standardised training responses.
    rows : ndarray (n_trials,) of int
        Row of the training pictures that each of them was a response to.
    groups : ndarray (n_trials,)
        Stimulus ids.
    X_test : ndarray (n_items, n_voxels)
    n_trials : ndarray (n_items,)
        Trials that were averaged into each test item, or so many times a sample of the fit.
    work : SharedWork
        Of `X_train`.
    scratch : Path or None
        Where arrays go that are too large for memory.
    """

    X_train: NDArray[np.floating]
    rows: NDArray[np.intp]
    groups: NDArray[Any]
    X_test: NDArray[np.floating]
    n_trials: NDArray[np.number]
    work: SharedWork
    scratch: Path | None


@dataclass(frozen=True)
class DecodedSpace:
    """Latents of test items in one space.

    Attributes
    ----------
    predicted : ndarray (n_items, *shape) float32
    floor : ndarray (n_shuffles, n_items, *shape) float32
    summary : dict
        What the sidecar says of the decoder.
    decoder : Decoder or None
        None where its weights are too many to be kept.
    """

    predicted: NDArray[np.float32]
    floor: NDArray[np.float32]
    summary: dict[str, Any]
    decoder: Decoder | None


def keeps_weights(
    make: Callable[[str], Decoder], spaces: Mapping[str, LatentSpace], n_voxels: int, n_folds: int = 1
) -> bool:
    """Whether the fitted decoders of all spaces, and folds, together can be kept, and saved."""
    n_targets = {name: int(np.prod(space.shape)) for name, space in spaces.items()}
    units = sum(n for name, n in n_targets.items() if _has_units(make(name)))
    others = 4 * n_voxels * (sum(n_targets.values()) - units)
    in_memory = n_folds * (others + BYTES_PER_UNIT * units) if n_folds > 1 else 0
    return units <= KEPT_UNITS and others <= KEPT_BYTES and in_memory <= KEPT_IN_FOLDS


def _has_units(decoder: Decoder) -> bool:
    """Whether each target has a decoder of its own, which may be rescaled."""
    return isinstance(decoder.decoder if isinstance(decoder, RescaledDecoder) else decoder, UnitDecoder)


def decode_space(
    data: FoldData,
    make: Callable[[], Decoder],
    latents: NDArray[np.floating],
    shape: tuple[int, ...],
    shuffles: Sequence[tuple[NDArray[np.intp], SharedWork]],
    *,
    keep: bool,
) -> DecodedSpace:
    """Decode the test items, and again from each shuffled brain.

    Parameters
    ----------
    data : FoldData
    make : callable
        Makes an unfitted decoder.
    latents : ndarray (n_pictures, n_targets)
        True latents of training pictures, in memory or mapped.
    shape : tuple of int
        Of the latent of one picture.
    shuffles : sequence of (order, work)
        Order (n_trials,) in which training targets go to training responses, and the work of its fits.
    keep : bool
        Whether the fitted decoder is handed back.
    """
    n_items = len(data.X_test)
    predicted = scratch_array((n_items, *shape), data.scratch)
    floor = scratch_array((len(shuffles), n_items, *shape), data.scratch)
    straight = np.arange(len(data.rows))
    decoder, summary = _fit_and_predict(
        data, make, latents, straight, data.work, predicted.reshape(n_items, -1), keep
    )
    for number, (order, work) in enumerate(shuffles):
        _fit_and_predict(data, make, latents, order, work, floor[number].reshape(n_items, -1), False)
    return DecodedSpace(predicted, floor, summary, decoder)


def _fit_and_predict(
    data: FoldData,
    make: Callable[[], Decoder],
    latents: NDArray[np.floating],
    order: NDArray[np.intp],
    work: SharedWork,
    out: NDArray[np.float32],
    keep: bool,
) -> tuple[Decoder | None, dict[str, Any]]:
    """Fit on targets in some order, and write what is predicted; give the decoder and its summary."""
    n_targets = latents.shape[1]
    parts = [slice(None)]
    if not keep and _has_units(make()):
        # Units know nothing of one another; a model of their noise, where rescaling needs one, needs not all.
        parts = [slice(start, start + UNITS_AT_ONCE) for start in range(0, n_targets, UNITS_AT_ONCE)]
    summaries: list[dict[str, Any]] = []
    for part in parts:
        targets = RepeatedRows(latents[:, part], data.rows[order])
        decoder = make().fit(data.X_train, targets, data.groups[order], work=work)
        out[:, part] = predict(decoder, data.X_test, data.n_trials)
        summaries.append(decoder.summary())
    # What differs between parts of a space holds for none of them.
    summary = {
        key: value for key, value in summaries[0].items() if all(one.get(key) == value for one in summaries)
    }
    return decoder if keep else None, summary | {"n_targets": n_targets}


def predict(decoder: Decoder, X: NDArray[np.floating], n_trials: NDArray[np.number]) -> NDArray[np.float32]:
    """Latents (n_items, n_targets) of responses, each the mean of `n_trials` (n_items,) trials."""
    if isinstance(decoder, RescaledDecoder):
        return np.asarray(decoder.predict(X, n_trials), dtype=np.float32)
    return np.asarray(decoder.predict(X), dtype=np.float32)
