"""VGG-19 with the layer names of Caffe and the parameter names of torchvision.

Simonyan & Zisserman 2015, configuration E. Deep image reconstruction (Shen et al. 2017) uses the weights that
the authors published for Caffe: input BGR in 0..255 less the mean colour. Those of torchvision are another
network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from torch import Tensor, nn

from bids_recon.models.feature_network import run_to_deepest

# Convolutions between two poolings.
_CONVOLUTIONS = (2, 2, 4, 4, 4)
_DOWNSAMPLING = 2 ** len(_CONVOLUTIONS)


class Vgg19(nn.Module):
    """VGG-19 in eval mode, its weights frozen.

    Parameters
    ----------
    channels : sequence of 5 int
        Channels of the convolutions between two poolings.
    hidden : int
        Units of fc6 and fc7.
    n_classes : int
        Units of fc8.
    image_size : int
        Height and width for which fc6 was made, in pixels, a multiple of 32. Convolutions take any size.
    pooling : {"max", "average"}
        "max" is what was trained. "average" with a `negative_slope` of 0.2 keeps gradients where a unit is
        silent or not the largest, as used to draw imagery.
    negative_slope : float
        Slope of the ReLUs below zero.

    Attributes
    ----------
    layers : tuple of str
        conv1_1 ... conv5_4, fc6, fc7, fc8.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: int = 4096,
        n_classes: int = 1000,
        image_size: int = 224,
        pooling: Literal["max", "average"] = "max",
        negative_slope: float = 0.0,
    ) -> None:
        super().__init__()
        if len(channels) != len(_CONVOLUTIONS):
            raise ValueError(f"{len(_CONVOLUTIONS)} channel counts are needed, not {len(channels)}")
        if image_size % _DOWNSAMPLING or image_size <= 0:
            raise ValueError(f"an image size of {image_size} is not a multiple of {_DOWNSAMPLING}")
        if pooling not in ("max", "average"):
            raise ValueError(f"pooling {pooling!r} is neither max nor average")

        def activation() -> nn.Module:
            return nn.LeakyReLU(negative_slope) if negative_slope else nn.ReLU()

        blocks: list[nn.Module] = []
        names: list[str] = []
        n_in = 3
        for stage, (n_out, depth) in enumerate(zip(channels, _CONVOLUTIONS, strict=True), start=1):
            for position in range(1, depth + 1):
                blocks += [nn.Conv2d(n_in, n_out, 3, padding=1), activation()]
                names.append(f"conv{stage}_{position}")
                n_in = n_out
            blocks.append(nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2))
        self.features = nn.Sequential(*blocks)
        self.flatten = nn.Flatten()
        # Dropout does nothing in eval mode; it is here for the numbers in the names of the parameters.
        self.classifier = nn.Sequential(
            nn.Linear(n_in * (image_size // _DOWNSAMPLING) ** 2, hidden),
            activation(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            activation(),
            nn.Dropout(),
            nn.Linear(hidden, n_classes),
        )
        self.layers: tuple[str, ...] = (*names, "fc6", "fc7", "fc8")
        self.eval().requires_grad_(False)

    def _steps(self) -> Iterator[tuple[str | None, nn.Module]]:
        names = iter(self.layers)
        for step in (*self.features, self.flatten, *self.classifier):
            yield (next(names) if isinstance(step, nn.Conv2d | nn.Linear) else None), step

    def layer_features(self, pixels: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Features before the ReLU; see `FeatureNetwork`.

        Parameters
        ----------
        pixels : Tensor (n, 3, height, width) float32
            BGR in 0..255 less the mean colour.
        names : sequence of str
            Some of `layers`.

        Returns
        -------
        dict of Tensor
            By layer: (n, channels, height, width), or (n, units) for fc6, fc7 and fc8.

        Raises
        ------
        ValueError
            When a layer is unknown.
        """
        return run_to_deepest(self._steps(), pixels, names)

    def forward(self, pixels: Tensor) -> Tensor:
        """Class scores (n, n_classes) before the softmax, of pictures as in `layer_features`."""
        return self.layer_features(pixels, [self.layers[-1]])[self.layers[-1]]
