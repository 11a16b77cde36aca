"""Pictures in an order of their own, so that what is measured on them is the same whoever saw them when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from bids_recon.dataset.stimuli import picture_hash
from bids_recon.latents.base import Image


class DistinctPictures(Sequence[Image]):
    """Pictures each once, in the order of the hashes of their pixels, read when they are asked for.

    Sums over pictures then agree to the last digit between people who saw the same ones in other orders.

    Parameters
    ----------
    images : sequence of pictures
    """

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = images
        places = {picture_hash(images[row]): row for row in range(len(images))}
        self._rows = [places[key] for key in sorted(places)]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Image: ...

    @overload
    def __getitem__(self, place: slice) -> list[Image]: ...

    def __getitem__(self, place: int | slice) -> Image | list[Image]:
        if isinstance(place, slice):
            return [self._images[row] for row in self._rows[place]]
        return self._images[self._rows[place]]
