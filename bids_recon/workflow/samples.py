"""Several pictures of one response, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bids_recon.methods.base import Method
from bids_recon.methods.seeds import picture_seeds, sample_seeds
from bids_recon.workflow.decoding import Decoded

# Items whose pictures are asked for at a time: a method may draw them in smaller batches.
AT_ONCE = 64
FOLDER = "samples"
"""Below that of the pictures: a stimulus may be called `cat_spread`."""


class Samples:
    """Further pictures of decoded items, from the same latents with other seeds.

    Parameters
    ----------
    decoded : Decoded
    methods : dict of str to Method
        The fitted method, by fold.
    run_seed : int
    n_samples : int
        Pictures of each item, that of the item's own seed among them.
    """

    def __init__(
        self, decoded: Decoded, methods: Mapping[str, Method], run_seed: int, n_samples: int
    ) -> None:
        self._decoded, self._methods, self.n_samples = decoded, methods, n_samples
        self._seeds = picture_seeds(run_seed, decoded.items["stimulus_id"])
        self._places = [(fold, row) for fold in decoded.folds for row in range(len(fold.items))]

    def draw(self) -> None:
        """Draw all pictures, many at a time, where the method keeps what it drew."""
        begin = 0
        for fold in self._decoded.folds:
            for start in range(0, len(fold.items), AT_ONCE):
                rows = slice(start, min(start + AT_ONCE, len(fold.items)))
                latents = {name: values[rows] for name, values in fold.predicted.items()}
                seeds = self._seeds[begin + rows.start : begin + rows.stop]
                for number in range(1, self.n_samples):
                    self._methods[fold.name].render(latents, sample_seeds(seeds, number))
            begin += len(fold.items)

    def of(self, item: int) -> list[NDArray[np.uint8]]:
        """Further pictures (height, width, 3) of one item, all but the first."""
        fold, row = self._places[item]
        latents = {name: values[row : row + 1] for name, values in fold.predicted.items()}
        seeds = self._seeds[item : item + 1]
        method = self._methods[fold.name]
        return [method.render(latents, sample_seeds(seeds, number))[0] for number in range(1, self.n_samples)]


def spread_map(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Standard deviation (height, width) over samples (n, height, width, 3), mean over colours, grey levels.

    With n - 1 in the denominator.
    """
    return pictures.astype(np.float64).std(axis=0, ddof=1).mean(axis=-1)


def sample_file(file: str, number: int) -> str:
    """Name of the file of a further sample, from that of the picture."""
    path = PurePosixPath(file)
    return str(path.parent / FOLDER / f"{path.stem}_sample-{number + 1:02d}.png")


def spread_file(file: str) -> str:
    """Name of the file of the spread map, from that of the picture."""
    path = PurePosixPath(file)
    return str(path.parent / FOLDER / f"{path.stem}_spread.png")
