"""Very deep VAE of pictures of 64 x 64 pixels, with the parameter names of the published ImageNet-64 network.

Child 2021, "Very deep VAEs generalize autoregressive models and can outperform them on images", Figure 3 and
section 3. An encoder goes from the picture to a single pixel; a decoder comes back in 75 blocks. Each has a
latent, with a prior given the blocks before it, and a posterior given the encoder too.
Ozcelik & VanRullen 2023 decode the latents of the first 31 blocks from brain activity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 64
"""Height and width of the pictures in pixels."""
Z_CHANNELS = 16
N_MIXTURES = 10
# Blocks by the side of their maps. The last encoder block of a side shrinks its output to the next side; the
# first decoder block of a side adds the map of the side before.
_ENCODER_BLOCKS = {64: 12, 32: 21, 16: 10, 8: 9, 4: 8, 1: 5}
_DECODER_BLOCKS = {1: 2, 4: 4, 8: 8, 16: 16, 32: 32, 64: 13}
_SIDES = tuple(_DECODER_BLOCKS)
_BLOCK_SIDES = tuple(side for side, n_blocks in _DECODER_BLOCKS.items() for _ in range(n_blocks))
N_BLOCKS = len(_BLOCK_SIDES)
_LENGTHS = tuple(Z_CHANNELS * side**2 for side in _BLOCK_SIDES)
_SHIFT, _SCALE = -115.92961967, 1 / 69.37404

Noise = Callable[[torch.Size], Tensor]
"""Gives standard normal numbers of a shape (n, channels, height, width), on any device."""


class Gaussian(NamedTuple):
    """Independent normal distributions of the latent of a block, each (n, 16, side, side)."""

    mean: Tensor
    log_deviation: Tensor

    def draw(self, noise: Noise | None) -> Tensor:
        """A sample, or the mean where there is no noise."""
        if noise is None:
            return self.mean
        return self.mean + self.log_deviation.exp() * noise(self.mean.shape).to(self.mean)


Draw = Callable[[int, Tensor, Gaussian], Tensor]
"""Chooses the latent of a block from its number, the map that it starts from, and its prior."""


def latent_length(n_blocks: int) -> int:
    """Numbers in the latents of the first `n_blocks` blocks of a picture; 91,168 of 31 blocks."""
    return sum(_LENGTHS[:n_blocks])


class _Bottleneck(nn.Module):
    """Four convolutions, each after a GELU, through a quarter of the width."""

    def __init__(self, n_in: int, n_middle: int, n_out: int, side: int) -> None:
        super().__init__()
        # Maps of one pixel have no neighbours to look at.
        kernel = 3 if side > 2 else 1
        self.c1 = nn.Conv2d(n_in, n_middle, 1)
        self.c2 = nn.Conv2d(n_middle, n_middle, kernel, padding=kernel // 2)
        self.c3 = nn.Conv2d(n_middle, n_middle, kernel, padding=kernel // 2)
        self.c4 = nn.Conv2d(n_middle, n_out, 1)

    def forward(self, values: Tensor) -> Tensor:
        for convolution in (self.c1, self.c2, self.c3, self.c4):
            values = convolution(functional.gelu(values))
        return values


class _Encoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_conv = nn.Conv2d(3, width, 3, padding=1)
        self.enc_blocks = nn.ModuleList()
        self.shrinks: list[int] = []
        sides = list(_ENCODER_BLOCKS)
        for side, following in zip(sides, [*sides[1:], sides[-1]], strict=True):
            n_blocks = _ENCODER_BLOCKS[side]
            self.enc_blocks += [_Bottleneck(width, width // 4, width, side) for _ in range(n_blocks)]
            self.shrinks += [1] * (n_blocks - 1) + [side // following]

    def forward(self, values: Tensor) -> dict[int, Tensor]:
        """Activations (n, width, side, side) by side: of the last block whose output has that side."""
        values = self.in_conv(values)
        activations = {}
        for block, shrink in zip(self.enc_blocks, self.shrinks, strict=True):
            values = values + block(values)
            if shrink > 1:
                values = functional.avg_pool2d(values, shrink)
            activations[values.shape[-1]] = values
        return activations


class _DecoderBlock(nn.Module):
    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.enc = _Bottleneck(2 * width, width // 4, 2 * Z_CHANNELS, side)
        self.prior = _Bottleneck(width, width // 4, 2 * Z_CHANNELS + width, side)
        self.z_proj = nn.Conv2d(Z_CHANNELS, width, 1)
        self.resnet = _Bottleneck(width, width // 4, width, side)

    def posterior(self, values: Tensor, activations: Tensor) -> Gaussian:
        return Gaussian(*self.enc(torch.cat([values, activations], 1)).chunk(2, 1))

    def look(self, values: Tensor) -> tuple[Gaussian, Tensor]:
        """Prior of the latent, and the map that the latent will be added to."""
        mean, log_deviation, more = self.prior(values).split([Z_CHANNELS, Z_CHANNELS, values.shape[1]], 1)
        return Gaussian(mean, log_deviation), values + more

    def add(self, values: Tensor, z: Tensor) -> Tensor:
        values = values + self.z_proj(z)
        return values + self.resnet(values)


class _OutputNetwork(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, 10 * N_MIXTURES, 1)


class _Decoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dec_blocks = nn.ModuleList(_DecoderBlock(width, side) for side in _BLOCK_SIDES)
        self.bias_xs = nn.ParameterList(torch.zeros(1, width, side, side) for side in _SIDES)
        self.out_net = _OutputNetwork(width)
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))


class Vdvae(nn.Module):
    """The very deep VAE in eval mode, its weights frozen.

    Parameters
    ----------
    width : int
        Channels of all maps; 512 as published, a multiple of 4 for small tests. Latents are as long with any.
    """

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.encoder = _Encoder(width)
        self.decoder = _Decoder(width)
        self.eval().requires_grad_(False)

    def activations(self, levels: Tensor) -> dict[int, Tensor]:
        """What the encoder makes of pictures.

        Parameters
        ----------
        levels : Tensor (n, 3, 64, 64) float32
            RGB, grey levels in 0..255.

        Returns
        -------
        dict of int to Tensor (n, width, side, side) float32
            By side: 64, 32, 16, 8, 4, 1.
        """
        activations: dict[int, Tensor] = self.encoder((levels + _SHIFT) * _SCALE)
        return activations

    def posterior(self, number: int, values: Tensor, activations: Mapping[int, Tensor]) -> Gaussian:
        """Posterior of the latent of one block, from the map that the block starts from (see `walk`)."""
        return self._block(number).posterior(values, activations[_BLOCK_SIDES[number]])

    def walk(self, n: int, draw: Draw, n_blocks: int = N_BLOCKS) -> tuple[list[Tensor], dict[int, Tensor]]:
        """Go through the first decoder blocks of `n` pictures with latents that `draw` chooses.

        Returns
        -------
        latents : list of Tensor (n, 16, side, side)
            One a block.
        maps : dict of int to Tensor (n, width, side, side)
            By side, after these blocks.
        """
        first = zip(_SIDES, self.decoder.bias_xs, strict=True)
        maps = {side: bias.expand(n, -1, -1, -1) for side, bias in first}
        latents = []
        before = _BLOCK_SIDES[0]
        for number, side in enumerate(_BLOCK_SIDES[:n_blocks]):
            values = maps[side]
            if side > before:
                values = values + functional.interpolate(maps[before], size=(side, side), mode="nearest")
            block = self._block(number)
            prior, following = block.look(values)
            z = draw(number, values, prior)
            maps[side] = block.add(following, z)
            latents.append(z)
            before = side
        return latents, maps

    def _block(self, number: int) -> _DecoderBlock:
        return self.decoder.dec_blocks[number]  # type: ignore[return-value]

    def latents(self, levels: Tensor, n_blocks: int = N_BLOCKS, noise: Noise | None = None) -> Tensor:
        """Latents of pictures in the first blocks.

        Parameters
        ----------
        levels : Tensor (n, 3, 64, 64) float32
            As for `activations`.
        n_blocks : int
        noise : callable, optional
            Draws from the posteriors with it, in the order of the blocks; without it, every latent is the
            mean of its posterior.

        Returns
        -------
        Tensor (n, latent_length(n_blocks)) float32
            Each block flattened (channels, height, width), in the order of the blocks.
        """
        activations = self.activations(levels)

        def draw(number: int, values: Tensor, prior: Gaussian) -> Tensor:
            del prior
            return self.posterior(number, values, activations).draw(noise)

        latents, _ = self.walk(len(levels), draw, n_blocks)
        return torch.cat([z.flatten(1) for z in latents], 1)

    def features(self, latents: Tensor, noise: Noise | None = None) -> Tensor:
        """Maps from which the output network makes pictures.

        Parameters
        ----------
        latents : Tensor (n, length) float32
            Of the first blocks, as `latents` gives them.
        noise : callable, optional
            Draws the latents of the other blocks from their priors with it (temperature 1), in the order of
            the blocks; without it, each is the mean of its prior.

        Returns
        -------
        Tensor (n, width, 64, 64) float32

        Raises
        ------
        ValueError
            When the length is not that of a number of blocks.
        """
        ends = list(accumulate(_LENGTHS, initial=0))
        if latents.shape[1] not in ends:
            raise ValueError(f"latents of length {latents.shape[1]} end inside a block")
        n_given = ends.index(latents.shape[1])

        def draw(number: int, values: Tensor, prior: Gaussian) -> Tensor:
            del values
            if number >= n_given:
                return prior.draw(noise)
            return latents[:, ends[number] : ends[number + 1]].reshape(prior.mean.shape)

        return self.final(self.walk(len(latents), draw)[1])

    def final(self, maps: Mapping[int, Tensor]) -> Tensor:
        """Features (n, width, 64, 64) from the maps that `walk` gives after all blocks."""
        return maps[SIDE] * self.decoder.gain + self.decoder.bias

    def mixture(self, features: Tensor) -> Tensor:
        """Parameters (n, 64, 64, 100) of the mixture of logistics of each pixel, from its features.

        They are what `bids_recon.models.logistic_mixture` takes.
        """
        parameters: Tensor = self.decoder.out_net.out_conv(features)
        return parameters.permute(0, 2, 3, 1)
