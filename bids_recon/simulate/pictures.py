"""The pictures that simulated people look at: photographs, coloured shapes and letters.

The kinds are those of Shen et al. (2019, PLOS Computational Biology 15: e1006633): training on photographs
only, test on photographs, on combinations of five shapes and eight colours, and on ten letters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bids_recon.simulate.design import LETTERS, SimulationDesign
from bids_recon.simulate.photos import TEST_PHOTOS, TRAINING_PHOTOS, Crop, crops

TRAINING_SCALES = (0.25, 1.0)
# Test photos are cut wide, so that a person can tell what they show.
TEST_SCALES = (0.4, 1.0)
GREY = 128
SUPERSAMPLING = 4

COLOURS = {
    "red": (230, 25, 25),
    "green": (20, 170, 40),
    "blue": (30, 50, 230),
    "cyan": (30, 200, 220),
    "magenta": (220, 30, 200),
    "yellow": (235, 220, 30),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}
SHAPES = ("square", "smallring", "largering", "plus", "cross")


@dataclass(frozen=True)
class Picture:
    """A picture that is shown.

    Attributes
    ----------
    stimulus_id : str
        Such as `photo-coffee-012`, `shape-red-cross`, `letter-A`; also the stem of its file.
    kind : str
        `natural`, `shape` or `letter`.
    picture_set : str
        `train`, `natural`, `shapes` or `letters`.
    pixels : ndarray (size, size, 3) uint8
        The picture.
    crop : Crop or None
        Where a photograph was cut out.
    colour, shape : str or None
        What a coloured shape is.
    """

    stimulus_id: str
    kind: str
    picture_set: str
    pixels: NDArray[np.uint8]
    crop: Crop | None = None
    colour: str | None = None
    shape: str | None = None

    @property
    def file(self) -> str:
        """Path relative to the folder `stimuli`."""
        return f"{self.stimulus_id}.png"


def make_pictures(design: SimulationDesign, seed: int) -> tuple[Picture, ...]:
    """Make the pictures of an experiment, training pictures first.

    The same design and seed give the same pictures, whoever looks at them.
    """
    rng = np.random.default_rng([seed, 0])
    size = design.picture_size
    training = crops(TRAINING_PHOTOS, design.n_train, size, rng, scales=TRAINING_SCALES, mirror=True)
    test = crops(TEST_PHOTOS, design.n_natural, size, rng, scales=TEST_SCALES, mirror=False)
    return (
        *_photos(training, "train"),
        *_photos(test, "natural"),
        *(_shape(index, size) for index in range(design.n_shapes)),
        *(_letter(letter, size) for letter in LETTERS[: design.n_letters]),
    )


def _photos(taken: list[Crop], picture_set: str) -> list[Picture]:
    counts: dict[str, int] = {}
    pictures = []
    for crop in taken:
        number = counts[crop.source.name] = counts.get(crop.source.name, 0) + 1
        identity = f"photo-{crop.source.name}-{number:03d}"
        pictures.append(Picture(identity, "natural", picture_set, crop.pixels, crop))
    return pictures


def _shape(index: int, size: int) -> Picture:
    """The `index`-th of 40 combinations, ordered so that the first few differ in colour and in shape."""
    colour = list(COLOURS)[index % len(COLOURS)]
    shape = SHAPES[(index % len(COLOURS) + index // len(COLOURS)) % len(SHAPES)]
    cover = shape_cover(shape, size)[..., None]
    pixels = GREY * (1 - cover) + np.asarray(COLOURS[colour]) * cover
    drawn = np.round(pixels).astype(np.uint8)
    return Picture(f"shape-{colour}-{shape}", "shape", "shapes", drawn, colour=colour, shape=shape)


def shape_cover(shape: str, size: int) -> NDArray[np.float64]:
    """How much of each pixel a shape covers, (size, size), 0 to 1.

    Parameters
    ----------
    shape : str
        One of `SHAPES`; it fills at most three quarters of the picture's side.
    size : int
        Side of the picture in pixels.
    """
    fine = size * SUPERSAMPLING
    axis = (np.arange(fine) + 0.5) / fine * 2 - 1
    x, y = axis[None, :], axis[:, None]
    radius = np.hypot(x, y)
    along, across = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    inside = {
        "square": np.maximum(abs(x), abs(y)) < 0.55,
        "smallring": (radius > 0.22) & (radius < 0.48),
        "largering": (radius > 0.48) & (radius < 0.75),
        "plus": (np.minimum(abs(x), abs(y)) < 0.16) & (np.maximum(abs(x), abs(y)) < 0.7),
        "cross": (np.minimum(abs(along), abs(across)) < 0.16) & (np.maximum(abs(along), abs(across)) < 0.8),
    }[shape]
    blocks = inside.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING)
    return blocks.mean(axis=(1, 3))


def _letter(letter: str, size: int) -> Picture:
    canvas = Image.new("L", (size, size), GREY)
    font = ImageFont.load_default(size * 0.8)
    ImageDraw.Draw(canvas).text(
        (size / 2, size / 2), letter, fill=0, font=font, anchor="mm", stroke_width=size // 28, stroke_fill=0
    )
    return Picture(f"letter-{letter}", "letter", "letters", np.asarray(canvas.convert("RGB")))
