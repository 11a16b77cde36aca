"""Upper bounds of a generator's input, as published in `act_range/3x/fc7.txt`.

Nguyen et al. 2016 set them three standard deviations above the mean activation that natural pictures cause;
Shen et al. 2017 keep the input of the generator between zero and these.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import DataError, MissingInputError

_REMEDY = "Give the file of upper bounds that belongs to the generator's input (act_range/3x/fc7.txt)."


def read_activation_range(path: Path, n: int) -> NDArray[np.float32]:
    """Read the upper bound of each unit.

    Parameters
    ----------
    path : Path
        Text of numbers with white space between them.
    n : int
        Units of the generator's input.

    Returns
    -------
    ndarray (n,) float32
        Bounds, not negative.

    Raises
    ------
    MissingInputError
        When there is no such file.
    DataError
        When it does not hold `n` finite numbers that are not negative.
    """
    if not path.is_file():
        raise MissingInputError("is missing", file=path, remedy=_REMEDY)
    try:
        bounds = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float32)
    except ValueError as error:
        raise DataError(f"is no list of numbers ({error})", file=path, remedy=_REMEDY) from error
    if bounds.size != n:
        raise DataError(f"has {bounds.size} numbers, but the generator takes {n}", file=path, remedy=_REMEDY)
    wrong = np.flatnonzero(~np.isfinite(bounds) | (bounds < 0))
    if wrong.size:
        i = int(wrong[0])
        raise DataError(f"its number {i + 1}, {bounds[i]}, is no upper bound", file=path, remedy=_REMEDY)
    return bounds
