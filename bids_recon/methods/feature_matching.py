"""The loss that deep image reconstruction minimises: distance of a picture's features from decoded ones.

Shen et al. 2017, "Optimization methods for reconstruction" and "Natural image prior": for features φ of
layers l and targets y,

    L(x) = ½ Σ_l β_l ‖φ_l(x) - y_l‖²,    β_l = 1 / ‖y_l‖²,

over pixels x, or over the input of a generator that draws x. The authors' programs (icnn, bdpy) have the
weights sum to one instead: their loss is 2 / Σ_l β_l times this one. That is one number for each picture. It
moves no minimum, and no step of optimisers that measure steps by the size of the gradient, as ours do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bids_recon.models.feature_network import FeatureNetwork

# Pictures in one call: on the CPU so few that caches help; on a GPU VGG-19 then takes, by estimate, 4 GB.
AT_ONCE_CPU, AT_ONCE_GPU = 4, 16


class FeatureMatch:
    """Loss of each picture of a batch; an `Objective`.

    Parameters
    ----------
    network : FeatureNetwork
        What features are computed with.
    targets : dict of Tensor (n, *layer shape)
        Wanted features by layer, on the network's device; any of its layers.
    generator : callable, optional
        Draws pictures (b, 3, height, width) in the network's units from inputs (b, \\*shape).
    size : (int, int), optional
        Height and width to cut from the middle of what the generator draws; all of it by default.

    Attributes
    ----------
    at_once : int
        Pictures that are best computed in one call, for the optimisers.

    Raises
    ------
    ValueError
        When there are no targets, their numbers of pictures differ, or one is zero or not finite.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        targets: Mapping[str, Tensor],
        *,
        generator: Callable[[Tensor], Tensor] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        if len({len(target) for target in targets.values()}) != 1:
            raise ValueError("targets of the same number of pictures are needed, in at least one layer")
        on_gpu = next(iter(targets.values())).device.type == "cuda"
        self.at_once = AT_ONCE_GPU if on_gpu else AT_ONCE_CPU
        self._network = network
        self._targets = dict(targets)
        self._generator = generator
        self._size = size
        self._weights = {}
        for layer, target in targets.items():
            weights = 0.5 / target.flatten(1).square().sum(dim=1)
            if not weights.isfinite().all() or not weights.all():
                raise ValueError(f"the wanted features of layer {layer} are zero or not finite")
            self._weights[layer] = weights

    def pictures(self, x: Tensor) -> Tensor:
        """Pictures (b, 3, height, width) that the network sees for x, in its units."""
        if self._generator is None:
            return x
        drawn = self._generator(x)
        return drawn if self._size is None else centre_crop(drawn, self._size)

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        """Losses (b,) of x (b, \\*shape), for the targets `rows` (b,) int64, increasing."""
        features = self._network.layer_features(self.pictures(x), list(self._targets))
        # Taking single rows copies features, which are large in shallow layers.
        first, last = int(rows[0]), int(rows[-1])
        wanted_rows = slice(first, last + 1) if last - first == len(rows) - 1 else rows
        losses = torch.zeros(len(x), device=x.device)
        for layer, target in self._targets.items():
            distances = (features[layer] - target[wanted_rows]).flatten(1).square().sum(dim=1)
            losses = losses + self._weights[layer][rows] * distances
        return losses


def centre_crop(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle (b, channels, \\*size) of pictures that are at least as large.

    Raises
    ------
    ValueError
        When they are smaller.
    """
    top, left = ((have - want) // 2 for have, want in zip(pictures.shape[2:], size, strict=True))
    if min(top, left) < 0:
        raise ValueError(f"pictures of {tuple(pictures.shape[2:])} are smaller than {size}")
    return pictures[:, :, top : top + size[0], left : left + size[1]]
