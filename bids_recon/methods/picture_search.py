"""Find the pictures whose features are closest to decoded ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_recon.latents.feature_encoder import FeatureEncoder
from bids_recon.methods.batched_lbfgs import minimise_lbfgs
from bids_recon.methods.deep_recon_settings import DeepReconSettings
from bids_recon.methods.feature_matching import FeatureMatch
from bids_recon.methods.momentum_descent import ICNN_GENERATOR, PAPER, descend
from bids_recon.methods.picture_objective import OnStep, Optimised

# Iterations after which pictures are kept to be shown, beside the last: there is more to see at the start.
SNAPSHOTS = (1, 2, 5, 10, 20, 50, 100)
# Iterations that match the first layer alone, where shallow layers come first, and their share at most.
FIRST_ALONE, FIRST_SHARE = 20, 0.4


@dataclass(frozen=True)
class PictureGenerator:
    """What draws pictures, and the range of its input.

    Attributes
    ----------
    draw : callable
        Pictures (n, 3, height, width), in the units of the encoder, from inputs (n, \\*shape).
    shape : tuple of int
        Of the input of one picture.
    upper : Tensor (\\*shape), optional
        Largest inputs, where the smallest are zero; any by default.
    """

    draw: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    upper: Tensor | None = None


@dataclass(frozen=True)
class Found:
    """Pictures that were found.

    Attributes
    ----------
    pictures : ndarray (n, size, size, 3) uint8
    steps : dict of int to ndarray (n, size, size, 3) uint8
        What they looked like after some of the iterations.
    losses : ndarray (n,) float64
        Loss of the last stage at its end.
    """

    pictures: NDArray[np.uint8]
    steps: dict[int, NDArray[np.uint8]]
    losses: NDArray[np.float64]


def find_pictures(
    encoder: FeatureEncoder,
    targets: Mapping[str, Tensor],
    settings: DeepReconSettings,
    generator: PictureGenerator | None = None,
) -> Found:
    """Pictures of the smallest distance to wanted features, a batch at once.

    Parameters
    ----------
    encoder : FeatureEncoder
    targets : dict of Tensor (n, \\*layer shape)
        By layer, from shallow to deep, on the encoder's device.
    settings : DeepReconSettings
        Optimiser, iterations and order of layers.
    generator : PictureGenerator, optional
        Without it pixels are optimised, within the grey levels 0 to 255, from the mean colour; with it the
        generator's input, from zero, within its range ("Natural image prior").
    """
    n = len(next(iter(targets.values())))
    steps: dict[int, NDArray[np.uint8]] = {}
    x, done = _start(encoder, generator, n), 0
    for layers, iterations in stages(tuple(targets), settings):
        match = FeatureMatch(
            encoder.network,
            {layer: targets[layer] for layer in layers},
            generator=None if generator is None else generator.draw,
            size=(encoder.size, encoder.size),
        )
        watch = _watch(encoder, match, steps, done)
        result = _minimise(match, x, iterations, settings, _bounds(encoder, generator), watch)
        x, done = result.solution, done + iterations
        with torch.inference_mode():
            pictures = encoder.pictures(match.pictures(x))
        # Where all pictures are done early, they do not change any more in this stage.
        steps |= {number: pictures for number in SNAPSHOTS if number <= done and number not in steps}
    losses = result.losses[:, -1].double().cpu().numpy()
    return Found(pictures, dict(sorted((steps | {settings.iterations: pictures}).items())), losses)


def stages(layers: tuple[str, ...], settings: DeepReconSettings) -> list[tuple[tuple[str, ...], int]]:
    """Which layers are matched for how many iterations, one stage after the other.

    Parameters
    ----------
    layers : tuple of str
        From shallow to deep.
    settings : DeepReconSettings
        With `layer_order` "shallow-first", the first iterations match the first layer alone.
    """
    alone = min(FIRST_ALONE, round(FIRST_SHARE * settings.iterations))
    if settings.layer_order == "together" or len(layers) == 1 or alone == 0:
        return [(layers, settings.iterations)]
    return [(layers[:1], alone), (layers, settings.iterations - alone)]


_Bounds = tuple[Tensor | None, Tensor | None]


def _start(encoder: FeatureEncoder, generator: PictureGenerator | None, n: int) -> Tensor:
    if generator is None:
        return encoder.start(n)
    return torch.zeros(n, *generator.shape, device=encoder.device)


def _bounds(encoder: FeatureEncoder, generator: PictureGenerator | None) -> _Bounds:
    if generator is None:
        return encoder.bounds
    upper = generator.upper
    return (None if upper is None else torch.zeros_like(upper)), upper


def _minimise(
    match: FeatureMatch,
    x: Tensor,
    iterations: int,
    settings: DeepReconSettings,
    bounds: _Bounds,
    watch: OnStep,
) -> Optimised:
    lower, upper = bounds
    if settings.optimiser == "lbfgs":
        return minimise_lbfgs(
            match,
            x,
            lower=lower,
            upper=upper,
            iterations=iterations,
            at_once=match.at_once,
            on_step=watch,
        )
    usual = ICNN_GENERATOR if settings.generator == "relu7" else PAPER
    descent = replace(usual, iterations=iterations)
    return descend(match, x, descent, lower=lower, upper=upper, at_once=match.at_once, on_step=watch)


def _watch(
    encoder: FeatureEncoder, match: FeatureMatch, steps: dict[int, NDArray[np.uint8]], before: int
) -> OnStep:
    def watch(iteration: int, x: Tensor) -> None:
        if before + iteration in SNAPSHOTS:
            with torch.inference_mode():
                steps[before + iteration] = encoder.pictures(match.pictures(x))

    return watch
