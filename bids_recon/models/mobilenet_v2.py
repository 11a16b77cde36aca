"""MobileNetV2 with the parameter names of torchvision.

Sandler et al. 2018. It judges reconstructions apart from the network that they were optimised for.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

_STEM = 32
_HEAD = 1280


class _Stage(NamedTuple):
    """Blocks that share their width; the first of them strides."""

    expansion: int
    channels: int
    repeats: int
    stride: int


# Table 2 of the paper.
_STAGES = (
    _Stage(1, 16, 1, 1),
    _Stage(6, 24, 2, 2),
    _Stage(6, 32, 3, 2),
    _Stage(6, 64, 4, 2),
    _Stage(6, 96, 3, 1),
    _Stage(6, 160, 3, 2),
    _Stage(6, 320, 1, 1),
)


def _convolution(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU6(),
    )


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow without ReLU; added to its input if that fits."""

    def __init__(self, n_in: int, n_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        n_wide = n_in * expansion
        self.skips = stride == 1 and n_in == n_out
        self.conv = nn.Sequential(
            *([_convolution(n_in, n_wide, 1)] if expansion > 1 else []),
            _convolution(n_wide, n_wide, 3, stride, groups=n_wide),
            nn.Conv2d(n_wide, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )

    def forward(self, values: Tensor) -> Tensor:
        return values + self.conv(values) if self.skips else self.conv(values)


class _PooledSequential(nn.Sequential):
    """Layers one after the other, then the mean over the picture."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values).mean((2, 3))


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1 in eval mode, its weights frozen.

    Pictures are (n, 3, height, width) float32, RGB in 0..1, less the mean (0.485, 0.456, 0.406), divided by
    the deviation (0.229, 0.224, 0.225). Trained at 224 x 224.

    Attributes
    ----------
    features : nn.Module
        Pictures to pooled features (n, 1280).
    """

    def __init__(self) -> None:
        super().__init__()
        steps: list[nn.Module] = [_convolution(3, _STEM, 3, stride=2)]
        n_in = _STEM
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                steps.append(_Block(n_in, stage.channels, stride, stage.expansion))
                n_in = stage.channels
        steps.append(_convolution(n_in, _HEAD, 1))
        self.features = _PooledSequential(*steps)
        # Dropout does nothing in eval mode; it is here for the numbers in the names of the parameters.
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(_HEAD, 1000))
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Class scores (n, 1000) before the softmax."""
        return self.classifier(self.features(pixels))
