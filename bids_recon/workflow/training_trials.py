"""Which trials may tune what every decoder shares: voxels, haemodynamic responses, shrinkage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.splits import TRAIN, Split, rows_of
from bids_recon.errors import UsageError


def training_trials(trials: pd.DataFrame, split: Split | None, wish: str) -> NDArray[np.bool_]:
    """Trials (n_trials,) that are for training in the one fold of a split; all of them without a split.

    Parameters
    ----------
    trials : DataFrame
        With the column `set`.
    split : Split or None
    wish : str
        The option that wants to choose by them, for the message.

    Raises
    ------
    UsageError
        When there are several folds, so that every picture is a test picture in one of them, or no training
        trials.
    """
    if split is None:
        return np.ones(len(trials), dtype=bool)
    if len(split.folds) > 1:
        raise UsageError(
            f"{wish} chooses by training pictures, and with the split {split.rule} every picture is tested in"
            " turn, so that test pictures would take part in the choice",
            remedy="Give a --split with a fixed test set, or tune nothing: --glm lsa, and no reliable:N.",
        )
    rows = rows_of(trials, TRAIN, split.folds[0].train) if split.fits else np.zeros(len(trials), dtype=bool)
    if not rows.any():
        raise UsageError(
            f"{wish} chooses by training pictures, and there are none in this run",
            remedy="Use --glm lsa, and no reliable:N.",
        )
    return np.asarray(rows, dtype=bool)


def fixed_training_trials(trials: pd.DataFrame, split: Split | None) -> NDArray[np.bool_] | None:
    """Training trials (n_trials,) where a split has one fold that fits; else None."""
    if split is None or len(split.folds) > 1 or not split.fits:
        return None
    return np.asarray(rows_of(trials, TRAIN, split.folds[0].train), dtype=bool)
