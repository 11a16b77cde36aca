"""Fitted decoders on disk, with everything that predicts again elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_recon.decoders.registry import describe_decoder, on_device
from bids_recon.decoders.standardise import RunwiseStandardiser
from bids_recon.errors import DataError, MissingInputError
from bids_recon.methods.base import Decoder, Method
from bids_recon.outputs.tensor_files import Tensor, below, open_tensors, write_tensors
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.decoding import Decoded, DecodedFold
from bids_recon.workflow.space_decoding import predict

AGAIN = "Run the participant level that fits the decoders again."
# A label that no run has: responses of new runs are standardised by all training trials.
NEW_RUN = "new data"


@dataclass(frozen=True)
class SavedDecoders:
    """Decoders of one person, as fitted in one fold.

    Attributes
    ----------
    decoders : dict of str to Decoder
        By latent space.
    standardiser : RunwiseStandardiser
        Of the responses.
    voxels : VoxelSelection
        The voxels that the decoders take, in their order.
    trained_on : dict of str to str
        Content hash of each training picture, by stimulus id; "" where it was not known.
    """

    decoders: dict[str, Decoder]
    standardiser: RunwiseStandardiser
    voxels: VoxelSelection
    trained_on: dict[str, str]

    def standardise(self, responses: NDArray[np.floating]) -> NDArray[np.floating]:
        """Responses (n_trials, n_voxels) of new runs on the scale of the training ones."""
        return self.standardiser.transform(responses, np.full(len(responses), NEW_RUN))

    def predict(
        self, standardised: NDArray[np.floating], n_trials: NDArray[np.number] | int = 1
    ) -> dict[str, NDArray[np.float32]]:
        """Latents (n_items, n_targets) by latent space, of standardised responses (n_items, n_voxels).

        `n_trials` says how many trials were averaged into each.
        """
        numbers = np.broadcast_to(np.asarray(n_trials), (len(standardised),))
        return {name: predict(decoder, standardised, numbers) for name, decoder in self.decoders.items()}


def decoder_facts(decoded: Decoded, voxels: VoxelSelection) -> dict[str, Any]:
    """What the sidecar holds so that `read_decoders` can rebuild the decoders."""
    fitted = [fold for fold in decoded.folds if fold.standardiser is not None]
    if not fitted:
        return {}
    return {
        "DecoderParameters": {
            fold.name: {space: describe_decoder(decoder) for space, decoder in fold.decoders.items()}
            for fold in fitted
        },
        "ResponseStandardisers": {
            fold.name: fold.standardiser.params() for fold in fitted if fold.standardiser
        },
        "VoxelGrid": {"shape": list(voxels.shape), "space": voxels.space},
    }


def write_decoders(path: Path, decoded: Decoded, voxels: VoxelSelection) -> list[Path]:
    """Write the arrays of decoders, standardisers and voxels; a list without a file when there are none."""
    tensors: dict[str, Tensor] = {}
    for fold in decoded.folds:
        tensors |= _tensors(fold)
    if not tensors:
        path.unlink(missing_ok=True)
        return []
    tensors |= {"voxels/indices": np.asarray(voxels.indices, dtype=np.int64), "voxels/affine": voxels.affine}
    return [write_tensors(path, tensors)]


def _tensors(fold: DecodedFold) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for space, decoder in fold.decoders.items():
        found |= {f"decoder/{fold.name}/{space}/{name}": array for name, array in decoder.state().items()}
    if fold.standardiser is not None:
        state = fold.standardiser.state()
        found |= {f"standardiser/{fold.name}/{name}": array for name, array in state.items()}
    return found


def read_decoders(path: Path, sidecar: Mapping[str, Any], fold: str, method: Method) -> SavedDecoders:
    """Rebuild the decoders of one fold.

    Parameters
    ----------
    path : Path
        What `write_decoders` wrote.
    sidecar : mapping
        Of the decoding, with `decoder_facts`.
    fold : str
    method : Method
        With the options of the fit; its decoders are rebuilt, so that those of other packages are too.

    Raises
    ------
    MissingInputError, DataError
        When the file is missing, damaged or does not fit its sidecar, or decoders were too large to be kept.
    """
    tensors = open_tensors(path, remedy=AGAIN)
    try:
        grid = sidecar["VoxelGrid"]
        voxels = VoxelSelection(
            tuple(grid["shape"]),
            np.asarray(tensors["voxels/affine"]),
            np.asarray(tensors["voxels/indices"]),
            {},
            grid["space"],
        )
        standardiser = RunwiseStandardiser.from_state(
            below(f"standardiser/{fold}/", tensors), sidecar["ResponseStandardisers"][fold]
        )
        decoders = {
            space: type(method.make_decoder(space)).from_state(
                below(f"decoder/{fold}/{space}/", tensors),
                on_device(description["params"], method.options.device),
            )
            for space, description in sidecar["DecoderParameters"][fold].items()
        }
        trained_on = dict(sidecar["TrainingPictures"][fold])
        unkept = [space for space in sidecar["LatentSpaces"][fold] if space not in decoders]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"does not fit its sidecar ({error})", file=path, remedy=AGAIN) from error
    if unkept:
        raise MissingInputError(
            f"holds no decoders of {', '.join(unkept)}: their units are too many for weights to be kept",
            file=path,
            remedy="Fit decoders of fewer layers (--layers), or decode all sessions in one run.",
        )
    return SavedDecoders(decoders, standardiser, voxels, trained_on)
