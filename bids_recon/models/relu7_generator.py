"""Deep generator network that draws the picture behind a pattern of AlexNet's relu7 (its fc7 after the ReLU).

Dosovitskiy & Brox 2016, "Generating images with perceptual similarity metrics based on deep networks",
released as the fc7 generator of DeepSim. Shen et al. 2017 optimise its input in place of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

_SLOPE = 0.3
# Name, channels out, kernel, stride; one pixel of padding keeps or doubles the size.
_CONVOLUTIONS = (
    ("deconv5", 256, 4, 2),
    ("conv5_1", 512, 3, 1),
    ("deconv4", 256, 4, 2),
    ("conv4_1", 256, 3, 1),
    ("deconv3", 128, 4, 2),
    ("conv3_1", 128, 3, 1),
    ("deconv2", 64, 4, 2),
    ("deconv1", 32, 4, 2),
    ("deconv0", 3, 4, 2),
)
_LINEAR = ("defc7", "defc6", "defc5")
# Side of the map that the last linear layer makes.
_SIDE = 4
_CHANNELS = 256


class Relu7Generator(nn.Module):
    """The relu7 generator in eval mode, its weights frozen; parameters have the names of the Caffe layers.

    Parameters
    ----------
    latent : int
        Units of the input and of the three linear layers, 4096 as published.
    divisor : int
        Divides every number of channels but the three of the picture, for small tests. The linear layers make
        256 / divisor maps of 4 x 4, so that `latent` is 4096 / divisor.

    Attributes
    ----------
    latent : int
        Units of the input.
    """

    def __init__(self, latent: int = 4096, divisor: int = 1) -> None:
        super().__init__()
        n_in = _CHANNELS // divisor
        if latent != n_in * _SIDE**2:
            raise ValueError(
                f"{latent} units do not make {n_in} maps of {_SIDE} x {_SIDE}; give {n_in * _SIDE**2}"
            )
        self.latent = latent
        for name in _LINEAR:
            self.add_module(name, nn.Linear(latent, latent))
        for name, channels, kernel, stride in _CONVOLUTIONS:
            n_out = channels // divisor if channels > 3 else channels
            # Those called conv are transposed as well, as their blobs (in, out, 3, 3) show.
            self.add_module(name, nn.ConvTranspose2d(n_in, n_out, kernel, stride, padding=1))
            n_in = n_out
        self.to_maps = nn.Unflatten(1, (latent // _SIDE**2, _SIDE, _SIDE))
        self.activation = nn.LeakyReLU(_SLOPE)
        self.eval().requires_grad_(False)

    def _steps(self) -> Iterator[nn.Module]:
        for name in _LINEAR:
            yield self.get_submodule(name)
            yield self.activation
        yield self.to_maps
        for name, *_ in _CONVOLUTIONS[:-1]:
            yield self.get_submodule(name)
            yield self.activation
        yield self.get_submodule(_CONVOLUTIONS[-1][0])

    def forward(self, codes: Tensor) -> Tensor:
        """Draw pictures.

        Parameters
        ----------
        codes : Tensor (n, latent) float32
            Patterns of relu7, not negative.

        Returns
        -------
        Tensor (n, 3, 256, 256) float32
            BGR in 0..255 less the mean colour; values may lie outside.
        """
        values = codes
        for step in self._steps():
            values = step(values)
        return values
