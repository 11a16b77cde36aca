"""Find the pictures whose features are closest to decoded ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_recon.latents.feature_encoder import FeatureEncoder
from bids_recon.methods.batched_lbfgs import minimise_lbfgs
from bids_recon.methods.deep_recon_settings import DeepReconSettings
from bids_recon.methods.feature_matching import FeatureMatch
from bids_recon.methods.momentum_descent import ICNN_GENERATOR, PAPER, DescentSettings, descend
from bids_recon.methods.picture_objective import OnStep, Optimised

# Iterations after which pictures are kept to be shown, beside the last: there is more to see at the start.
SNAPSHOTS = (1, 2, 5, 10, 20, 50, 100)
# Shares of the iterations, and of the layers that are matched in them, when shallow layers come first.
STAGES = ((0.1, 0.0), (0.2, 0.25), (0.3, 0.5), (0.4, 1.0))


@dataclass(frozen=True)
class PictureGenerator:
    """A network that draws pictures, and the range of its input.

    Attributes
    ----------
    draw : callable
        Pictures (n, 3, height, width), in the units of the encoder, from inputs (n, \\*shape).
    upper : Tensor (\\*shape)
        Largest inputs; the smallest are zero.
    """

    draw: Callable[[Tensor], Tensor]
    upper: Tensor


@dataclass(frozen=True)
class Found:
    """Pictures that were found.

    Attributes
    ----------
    pictures : ndarray (n, size, size, 3) uint8
    steps : dict of int to ndarray (n, size, size, 3) uint8
        What they looked like after some of the iterations.
    losses : ndarray (n,) float64
        Loss of all layers at the end.
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
        By layer, on the encoder's device.
    settings : DeepReconSettings
        Optimiser, iterations and order of layers.
    generator : PictureGenerator, optional
        Without it pixels are optimised, within the grey levels 0 to 255, from the mean colour; with it the
        generator's input, from zero, within its range ("Natural image prior").
    """
    n = len(next(iter(targets.values())))
    if generator is None:
        start, (lower, upper) = encoder.start(n), encoder.bounds
    else:
        start, lower, upper = (
            generator.upper.new_zeros((n, *generator.upper.shape)),
            torch.zeros_like(generator.upper),
            generator.upper,
        )
    steps: dict[int, NDArray[np.uint8]] = {}
    done = 0
    result: Optimised | None = None
    for layers, iterations in stages(tuple(targets), settings):
        match = FeatureMatch(
            encoder.network,
            {layer: targets[layer] for layer in layers},
            generator=None if generator is None else generator.draw,
            size=(encoder.size, encoder.size),
        )
        watch = _watch(encoder, match, steps, done)
        if settings.optimiser == "lbfgs":
            result = minimise_lbfgs(
                match, start, lower=lower, upper=upper, iterations=iterations, on_step=watch
            )
        else:
            result = descend(
                match,
                start,
                _descent(settings, generator is not None),
                lower=lower,
                upper=upper,
                on_step=watch,
            )
        start, done = result.solution, done + iterations
    assert result is not None
    pictures = encoder.pictures(match.pictures(start))
    losses = result.losses[:, -1].double().cpu().numpy()
    return Found(pictures, steps | {settings.iterations: pictures}, losses)


def stages(layers: tuple[str, ...], settings: DeepReconSettings) -> list[tuple[tuple[str, ...], int]]:
    """Which layers are matched for how many iterations, one stage after the other.

    Parameters
    ----------
    layers : tuple of str
        From shallow to deep.
    settings : DeepReconSettings
        With `layer_order` "shallow-first", a tenth of the iterations match the first layer, two tenths the
        first quarter of them, three tenths the first half, and the rest all.
    """
    if settings.layer_order == "together" or len(layers) == 1:
        return [(layers, settings.iterations)]
    found: list[tuple[tuple[str, ...], int]] = []
    share = 0.0
    for part, depth in STAGES:
        begin, share = round(share * settings.iterations), share + part
        n_layers = max(1, round(depth * len(layers)))
        n_iterations = round(share * settings.iterations) - begin
        if n_iterations:
            found.append((layers[:n_layers], n_iterations))
    return found


def _descent(settings: DeepReconSettings, with_generator: bool) -> DescentSettings:
    usual = ICNN_GENERATOR if with_generator else PAPER
    return DescentSettings(
        settings.iterations, usual.rate, usual.momentum, usual.decay, usual.blur, usual.rate_scales
    )


def _watch(
    encoder: FeatureEncoder, match: FeatureMatch, steps: dict[int, NDArray[np.uint8]], before: int
) -> OnStep:
    def watch(iteration: int, x: Tensor) -> None:
        if before + iteration in SNAPSHOTS:
            with torch.inference_mode():
                steps[before + iteration] = encoder.pictures(match.pictures(x))

    return watch
