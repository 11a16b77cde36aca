"""Colours of slices. One byte per pixel holds greys, the colours of values and the colours of outlines.

A picture of 256 indexed colours takes a third of the space of one in true colour, and loses nothing that a
reader could tell apart.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREYS = 112
COLOURS = 112
OUTLINES = 256 - GREYS - COLOURS

# From dark to light, so that they read the same in grey and to the colour-blind; the middle of the second
# is dark, so that what is near 0 recedes.
_STOPS = {
    "sequential": ("#1d1147", "#51127c", "#8c2981", "#cc3f71", "#f3705c", "#feae6e", "#fcf5b4"),
    "diverging": ("#9fe3ff", "#3f9fe0", "#1f5fa8", "#22222c", "#a8431f", "#e58a3a", "#ffe1a6"),
}
# Bright: slices are dark in the light scheme of the page as well.
_OUTLINES = ("#5b93ff", "#ff8a3d", "#2ee6a8", "#e879f9", "#ffd83d", "#38d5ff", "#ff5c7a", "#ffffff")


def scale_colours(palette: str) -> NDArray[np.uint8]:
    """Colours from the low to the high end of a scale, (COLOURS, 3)."""
    stops = np.array([_rgb(colour) for colour in _STOPS[palette]], dtype=float)
    places = np.linspace(0, len(stops) - 1, COLOURS)
    channels = [np.interp(places, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def outline_colours(n: int) -> list[str]:
    """Colours of `n` outlines as #rrggbb: told apart at a glance up to 8; repeated after `OUTLINES`."""
    if n <= len(_OUTLINES):
        return list(_OUTLINES[:n])
    different = min(n, OUTLINES)
    wheel = [
        colorsys.hsv_to_rgb(place / different, 0.75 if place % 2 else 0.4, 1) for place in range(different)
    ]
    texts = ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in wheel]
    return [texts[place % different] for place in range(n)]


def indexed(indices: NDArray[np.uint8], palette: str, outlines: list[str]) -> Image.Image:
    """Picture of the indices (height, width) of greys, then colours, then outlines."""
    table = np.zeros((256, 3), np.uint8)
    table[:GREYS] = np.round(np.linspace(0, 255, GREYS))[:, None]
    table[GREYS : GREYS + COLOURS] = scale_colours(palette)
    for place, colour in enumerate(outlines[:OUTLINES]):
        table[GREYS + COLOURS + place] = _rgb(colour)
    image = Image.fromarray(indices)
    image.putpalette(table.tobytes())
    return image


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
