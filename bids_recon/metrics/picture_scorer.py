"""Everything that pictures are scored by, with what was seen prepared once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_recon.metrics.attributes import Attributes, evaluate_attributes, permuted_attributes
from bids_recon.metrics.identification import correlation_matrix
from bids_recon.metrics.network_features import FeatureScorer, evaluate_network
from bids_recon.metrics.permutation import permuted_scores
from bids_recon.metrics.prepare import Pictures, to_common_size
from bids_recon.metrics.protocols import ATTRIBUTES_1, PIXELS_1, Items, evaluate_pictures


class PictureScorer:
    """Scores sets of reconstructions (decoded, of each shuffle, from true latents) of the same pictures.

    Parameters
    ----------
    seen : n_truth pictures, of any sizes
        Each test picture once.
    target : ndarray (n_predicted,) of int
        Index in `seen` of what each reconstruction should show.
    attributes : sequence (n_truth,) of dict
        Attributes of the pictures seen; empty where a picture has none.
    networks : sequence of FeatureScorer
    """

    def __init__(
        self,
        seen: Pictures,
        target: NDArray[np.integer],
        attributes: Sequence[Attributes],
        networks: Sequence[FeatureScorer] = (),
    ) -> None:
        # The protocol of attributes takes pictures as that of pixels does.
        assert PIXELS_1.image_size is not None
        self._seen = to_common_size(seen, PIXELS_1.image_size, antialias=PIXELS_1.antialias)
        self._target, self._attributes = target, attributes
        self._networks = [(network, network.features(seen)) for network in networks]

    def score(self, reconstructed: Pictures, with_networks: bool = True) -> dict[str, Items]:
        """Scores of each of n_predicted reconstructions, by protocol and metric."""
        scores = {PIXELS_1.key: evaluate_pictures(reconstructed, self._seen, self._target, PIXELS_1)}
        if apart := evaluate_attributes(reconstructed, self._seen, self._attributes, self._target):
            scores[ATTRIBUTES_1.key] = apart
        for network, features in self._networks if with_networks else ():
            scores[network.protocol.key] = evaluate_network(reconstructed, features, self._target, network)
        return scores

    def permuted(self, reconstructed: Pictures, seed: int) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Mean scores with the pictures seen in other orders (n_orders,), by protocol and metric."""
        assert PIXELS_1.image_size is not None
        pictures = to_common_size(reconstructed, PIXELS_1.image_size, antialias=PIXELS_1.antialias)
        C = correlation_matrix(self._seen, pictures)
        found = {
            PIXELS_1.key: permuted_scores(C, self._target, PIXELS_1.metrics, seed),
            ATTRIBUTES_1.key: permuted_attributes(C, self._target, self._attributes, seed),
        }
        for network, features in self._networks:
            C = correlation_matrix(features, network.features(reconstructed))
            found[network.protocol.key] = permuted_scores(C, self._target, network.protocol.metrics, seed)
        return found
