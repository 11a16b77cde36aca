"""What a network must offer so that features of its layers can be computed, decoded and optimised for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from torch import Tensor


class FeatureNetwork(Protocol):
    """A network in eval mode whose layers have names.

    Attributes
    ----------
    layers : tuple of str
        Names of the layers, from shallow to deep.
    """

    layers: tuple[str, ...]

    def layer_features(self, pixels: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Features of layers, as they are before the layer's ReLU.

        The network runs no further than the deepest layer asked for. Gradients reach the pixels. What is
        returned is never changed afterwards.

        Parameters
        ----------
        pixels : Tensor (n, 3, height, width) float32
            Pictures in the units of the network's input, already centred and scaled.
        names : sequence of str
            Layers, in any order.

        Returns
        -------
        dict of Tensor
            By layer, in the order asked for: (n, channels, height, width) or (n, units).

        Raises
        ------
        ValueError
            When a layer is unknown.
        """
        ...


def run_to_deepest(
    steps: Iterable[tuple[str | None, Callable[[Tensor], Tensor]]], pixels: Tensor, names: Sequence[str]
) -> dict[str, Tensor]:
    """Run steps one after the other until every layer asked for was met.

    Parameters
    ----------
    steps : iterable of (name or None, callable)
        The whole network. A step with a name ends a layer; none may work in place.
    pixels : Tensor (n, 3, height, width)
        Input of the first step.
    names : sequence of str
        Layers, in any order.

    Returns
    -------
    dict of Tensor
        Outputs of the named steps, in the order asked for.

    Raises
    ------
    ValueError
        When no step has a name that is asked for.
    """
    missing = set(names)
    found: dict[str, Tensor] = {}
    values = pixels
    for name, step in steps:
        if not missing:
            break
        values = step(values)
        if name in missing:
            found[name] = values
            missing.remove(name)
    if missing:
        raise ValueError(f"the network has no layer {', '.join(sorted(missing))}")
    return {name: found[name] for name in names}
