"""Pictures compared by the features of a network that had no part in drawing them.

What a method optimises, it scores well on: reconstructions are judged by another network. This one classifies
ImageNet photographs. It was trained on random crops of photographs, and tells shapes and letters badly apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import MissingInputError
from bids_recon.metrics.identification import target_rows
from bids_recon.metrics.prepare import Pictures, to_common_size
from bids_recon.metrics.protocols import (
    IDENTIFICATION,
    MOBILENETV2_1,
    Items,
    Protocol,
    check_metrics,
    evaluate_vectors,
)

if TYPE_CHECKING:
    from torch import Tensor

MOBILENETV2 = "mobilenet-v2"
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
# On a processor, larger batches leave the cache: 32 at once take twice as long.
_PICTURES_AT_ONCE = 8
LOGGER = logging.getLogger("bids_recon")


class FeatureScorer:
    """A network whose features pictures are compared by; on the CPU, where numbers are always the same.

    Parameters
    ----------
    network : callable
        Features (n, n_features) of pictures (n, 3, size, size) float32: RGB in 0..1, less the mean of
        ImageNet, divided by its deviation.
    protocol : Protocol
        Has the size of the pictures, and metrics of features.

    Raises
    ------
    ValueError
        When the protocol is not one of features.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], protocol: Protocol = MOBILENETV2_1) -> None:
        check_metrics(protocol, {"feature-correlation", *IDENTIFICATION}, "features", sized=True)
        self.network, self.protocol = network, protocol

    def features(self, pictures: Pictures) -> NDArray[np.float32]:
        """Features (n, n_features) of pictures of any sizes, each stretched to the protocol's size."""
        import torch

        assert self.protocol.image_size is not None
        parts = []
        for start in range(0, len(pictures), _PICTURES_AT_ONCE):
            some = to_common_size(
                pictures[start : start + _PICTURES_AT_ONCE],
                self.protocol.image_size,
                antialias=self.protocol.antialias,
            )
            scaled = (some - IMAGENET_MEAN) / IMAGENET_DEVIATION
            # Channels last in memory, as they are in pictures.
            pixels = torch.from_numpy(scaled).permute(0, 3, 1, 2)
            with torch.inference_mode():
                parts.append(self.network(pixels).numpy())
        return np.concatenate(parts)


def evaluate_network(
    reconstructed: Pictures,
    seen: Pictures | NDArray[np.float32],
    target: NDArray[np.integer] | None,
    network: FeatureScorer,
) -> Items:
    """Score reconstructed pictures by a network's features.

    Parameters
    ----------
    reconstructed : n_predicted pictures, of any sizes
    seen : n_truth pictures, of any sizes, or ndarray (n_truth, n_features)
        Each test picture once; or their features, to score many sets against the same pictures.
    target : ndarray (n_predicted,) of int, optional
        Index in `seen` of what each reconstruction should show; by default the same position.
    network : FeatureScorer

    Returns
    -------
    dict of ndarray (n_predicted,)
        By metric of the network's protocol; NaN where a metric is undefined.

    Raises
    ------
    ValueError
        When shapes do not fit.
    """
    prepared = isinstance(seen, np.ndarray) and seen.ndim == 2
    truths = np.asarray(seen) if prepared else network.features(seen)
    features = network.features(reconstructed)
    rows = target_rows(target, len(features), len(truths))
    return evaluate_vectors(features, truths, rows, network.protocol)


@cache
def available_scorers(folder: Path | None = None) -> tuple[FeatureScorer, ...]:
    """The networks whose weights are on this machine; where there are none, the log says so once.

    Parameters
    ----------
    folder : Path, optional
        Folder of weights (see `bids_recon.weights.store.weights_folder`).

    Raises
    ------
    DataError
        When weights are damaged.
    """
    from bids_recon.weights.store import find_weight

    try:
        file = find_weight(MOBILENETV2, folder)
    except MissingInputError as error:
        LOGGER.info("Pictures are not scored by features of MobileNetV2: %s", error)
        return ()
    return (load_mobilenet(file),)


def load_mobilenet(file: Path) -> FeatureScorer:
    """MobileNetV2 with the weights of a file, for the protocol `mobilenetv2-1`.

    Raises
    ------
    MissingInputError
        When there is no such file.
    DataError
        When it does not hold the weights.
    """
    from bids_recon.models.mobilenet_v2 import MobileNetV2
    from bids_recon.weights.checkpoint import load_state, load_strictly

    model = MobileNetV2()
    load_strictly(model, load_state(file), file)
    return FeatureScorer(model.features)
