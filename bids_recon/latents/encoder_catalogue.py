"""The networks whose layers can be decoded: names of layers, units of the input, weights.

Shen et al. (2017), "Deep neural network features": the Caffe model of VGG19, its 19 layers in eight groups
DNN1 to DNN8; for imagery, average pooling and leaky ReLUs of slope 0.2 in place of max pooling and ReLUs.
EfficientNet-Lite0 is no part of the publication. Its real weights come with a Python package, so that the
method runs where nothing can be downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bids_recon.errors import UsageError


@dataclass(frozen=True)
class EncoderSpec:
    """A network, without its weights.

    Attributes
    ----------
    name : str
        As asked for with `--encoder`.
    groups : dict of str to tuple of str
        Layers, from shallow to deep, by the groups that publications name.
    weight : str
        Name in the manifest of weights.
    size : int
        Height and width of the input, in pixels, where nothing else is asked for.
    fixed_size : bool
        Whether the network takes no other size.
    colours : {"RGB", "BGR"}
        Order of the channels.
    mean : (float, float, float)
        Grey levels that are taken off, in the order of the channels.
    scale : float
        What is divided by then.
    shallow_first : bool
        Whether its features are matched beginning with the shallow layers. Where a network has ReLUs with an
        upper end (ReLU6), pictures that are far off give no gradient in deep layers.
    norm_correction : str
        How the norm of decoded features is corrected where nothing else is asked for.
    options : dict
        How the network is built.
    """

    name: str
    groups: Mapping[str, tuple[str, ...]]
    weight: str
    size: int
    fixed_size: bool
    colours: str
    mean: tuple[float, float, float]
    scale: float
    shallow_first: bool = False
    norm_correction: str = "training"
    options: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers, from shallow to deep."""
        return tuple(layer for group in self.groups.values() for layer in group)

    def choose_layers(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Layers by name, by group (`DNN3`) or by a range of groups (`DNN1-4`), from shallow to deep.

        Raises
        ------
        UsageError
            When there is no such layer or group.
        """
        chosen: set[str] = set()
        for name in wanted:
            if name in self.layers:
                chosen.add(name)
                continue
            found = re.fullmatch(r"DNN(\d)(?:-(\d))?", name, flags=re.IGNORECASE)
            first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
            if not 1 <= first <= last <= len(self.groups):
                raise UsageError(
                    f"the network {self.name} has no layer '{name}'",
                    remedy=f"Name groups (DNN1 to DNN{len(self.groups)}, DNN1-3) or layers:"
                    f" {', '.join(self.layers)}.",
                )
            chosen |= {layer for group in list(self.groups.values())[first - 1 : last] for layer in group}
        return tuple(layer for layer in self.layers if layer in chosen)


_VGG19_GROUPS = {
    "DNN1": ("conv1_1", "conv1_2"),
    "DNN2": ("conv2_1", "conv2_2"),
    "DNN3": ("conv3_1", "conv3_2", "conv3_3", "conv3_4"),
    "DNN4": ("conv4_1", "conv4_2", "conv4_3", "conv4_4"),
    "DNN5": ("conv5_1", "conv5_2", "conv5_3", "conv5_4"),
    "DNN6": ("fc6",),
    "DNN7": ("fc7",),
    "DNN8": ("fc8",),
}
# Blocks of one resolution and width make a group.
_LITE0_GROUPS = {
    "DNN1": ("stem", "block1"),
    "DNN2": ("block2", "block3"),
    "DNN3": ("block4", "block5"),
    "DNN4": ("block6", "block7", "block8"),
    "DNN5": ("block9", "block10", "block11"),
    "DNN6": ("block12", "block13", "block14", "block15", "block16"),
    "DNN7": ("head",),
    "DNN8": ("logits",),
}
# Mean over pixels of ilsvrc_2012_mean, which the authors' programs take off (BGR).
_ILSVRC_MEAN = (104.00698793, 116.66876762, 122.67891434)


def _vgg19(name: str, **options: str | float) -> EncoderSpec:
    return EncoderSpec(
        name, _VGG19_GROUPS, "vgg19-caffe", 224, True, "BGR", _ILSVRC_MEAN, 1.0, options=options
    )


ENCODERS = {
    spec.name: spec
    for spec in (
        _vgg19("vgg19"),
        _vgg19("vgg19-imagery", pooling="average", negative_slope=0.2),
        EncoderSpec(
            "efficientnet-lite0",
            _LITE0_GROUPS,
            "efficientnet-lite0",
            224,
            False,
            "RGB",
            (127.0, 127.0, 127.0),
            128.0,
            shallow_first=True,
            # Its linear bottlenecks have means that are large beside what differs between pictures.
            norm_correction="centred",
        ),
    )
}
SIZE_STEP = 32


def encoder_spec(name: str, size: int | None = None) -> tuple[EncoderSpec, int]:
    """A network by name, and the size of its input.

    Raises
    ------
    UsageError
        When there is no such network, or it does not take pictures of that size.
    """
    if name not in ENCODERS:
        raise UsageError(f"there is no encoder '{name}'", remedy=f"Choose one of: {', '.join(ENCODERS)}.")
    spec = ENCODERS[name]
    wanted = spec.size if size is None else size
    if spec.fixed_size and wanted != spec.size:
        raise UsageError(
            f"the encoder {name} takes pictures of {spec.size} x {spec.size} pixels, not {wanted}",
            remedy="Leave --image-size out.",
        )
    if wanted < SIZE_STEP or wanted % SIZE_STEP:
        raise UsageError(
            f"the encoder {name} takes pictures whose side is a multiple of {SIZE_STEP} pixels, not {wanted}",
            remedy=f"Give --image-size {max(SIZE_STEP, round(wanted / SIZE_STEP) * SIZE_STEP)}.",
        )
    return spec, wanted
