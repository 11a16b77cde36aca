"""What the pictures show, in words, from what is known of how they were made."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bids_recon.simulate.photos import Crop
from bids_recon.simulate.pictures import Picture

PHOTO_WORDS = {
    "china": "a Chinese tower with tiled roofs above a lake",
    "flower": "an orange dahlia before dark green leaves",
    "motorcycle": "a red motorcycle in a garage",
    "retina": "the red retina of an eye on black",
    "tissue": "brown and blue stained tissue under a microscope",
    "hubble": "hundreds of galaxies in a black sky",
    "coins": "rows of old coins on a dark ground",
    "moon": "the grey surface of the moon with craters",
    "gravel": "grey gravel",
    "clock": "a wall clock blurred by motion",
    "astronaut": "a smiling astronaut in an orange suit",
    "coffee": "a red cup of coffee on a wooden table",
    "chelsea": "the face of a tabby cat",
    "rocket": "a rocket on its launch pad at dusk",
    "camera": "a man behind a camera on a lawn",
}
SHAPE_WORDS = {
    "square": "square",
    "smallring": "small ring",
    "largering": "large ring",
    "plus": "plus sign",
    "cross": "diagonal cross",
}
GROUND = "on a grey background"

# Sides of crops, as a share of the photograph's shorter side.
_CLOSE, _WIDE = 0.4, 0.75
# Where the middle of a crop lies, as a share of the photograph.
_FIRST, _LAST = 0.4, 0.6


def captions_of(picture: Picture) -> tuple[str, ...]:
    """Captions of a picture: two of a photograph, one of a shape or letter."""
    if picture.crop is not None:
        subject = PHOTO_WORDS[picture.crop.source.name]
        return (f"part of a photograph of {subject}", f"{subject}: {_view(picture.crop)}")
    if picture.shape is not None:
        return (f"a {picture.colour} {SHAPE_WORDS[picture.shape]} {GROUND}",)
    return (f"the black letter {picture.stimulus_id.removeprefix('letter-')} {GROUND}",)


def _view(crop: Crop) -> str:
    """How close the crop is, and from where in the photograph."""
    scale = crop.side / min(crop.extent)
    distance = "close" if scale < _CLOSE else "wide" if scale > _WIDE else "middle"
    across = _place(crop.left, crop.side, crop.extent[0], ("left", "", "right"))
    down = _place(crop.top, crop.side, crop.extent[1], ("upper", "", "lower"))
    place = " ".join(word for word in (down, across) if word) or "central"
    mirrored = ", mirrored" if crop.mirrored else ""
    return f"a {distance} view of the {place} part{mirrored}"


def _place(start: int, side: int, extent: int, words: tuple[str, str, str]) -> str:
    middle = (start + side / 2) / extent
    return words[0] if middle < _FIRST else words[2] if middle > _LAST else words[1]


def caption_table(pictures: Sequence[Picture]) -> pd.DataFrame:
    """One row a caption: columns `stim_file` (below the folder `stimuli`) and `caption`."""
    rows = [(picture.file, caption) for picture in pictures for caption in captions_of(picture)]
    return pd.DataFrame(rows, columns=["stim_file", "caption"])
