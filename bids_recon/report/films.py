"""How a picture came into being: its steps as one film strip, a picture inside the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image

from bids_recon.report.content import Picture
from bids_recon.report.pictures import LOSSLESS_EDGE, as_image, data_uri

EDGE = 96
"""Longest edge of a step, in pixels."""

QUALITY = 60
"""Of WebP: nine steps of a finely textured picture take about 15 KB in the page, smooth ones less."""

MOST_STEPS = 40
"""Steps that a film shows; a strip of so many stays far below the 16383 pixels that WebP can hold."""


@dataclass(frozen=True)
class Film:
    """Steps side by side: address of the strip (a data URI), size of a step in pixels, iteration of each."""

    uri: str
    width: int
    height: int
    iterations: tuple[int, ...]


def film_of(steps: Sequence[tuple[int, Picture]]) -> Film:
    """Lay steps side by side, as one WebP picture.

    Pictures of up to 64 pixels keep their values, larger ones become lossy thumbnails. Of more than
    `MOST_STEPS` steps, so many are kept, evenly spread, the first and the last among them.

    Parameters
    ----------
    steps : sequence of (int, Picture)
        At least one; iteration and picture, in order.

    Raises
    ------
    ValueError
        When iterations do not rise, or pictures differ in size.
    ReconError
        When a picture given as a file cannot be read.
    """
    if len(steps) > MOST_STEPS:
        steps = [steps[k * (len(steps) - 1) // (MOST_STEPS - 1)] for k in range(MOST_STEPS)]
    iterations = tuple(int(iteration) for iteration, _ in steps)
    if any(later <= earlier for earlier, later in pairwise(iterations)):
        raise ValueError(f"iterations of steps must rise: {iterations}")
    frames = [as_image(picture).convert("RGB") for _, picture in steps]
    if len(sizes := {frame.size for frame in frames}) != 1:
        raise ValueError(f"steps of one picture have one size, not {sorted(sizes)}")
    lossless = max(frames[0].size) <= LOSSLESS_EDGE
    for frame in frames:
        frame.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    width, height = frames[0].size
    strip = Image.new("RGB", (width * len(frames), height))
    for place, frame in enumerate(frames):
        strip.paste(frame, (width * place, 0))
    options = {"lossless": True} if lossless else {"quality": QUALITY}
    return Film(data_uri(strip, "webp", **options), width, height, iterations)
