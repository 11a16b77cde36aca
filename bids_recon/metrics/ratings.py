"""Scores of human judgement: how often raters choose right, or prefer one of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bids_recon.metrics.bootstrap import bootstrap_interval


@dataclass(frozen=True)
class RatedScore:
    """Share of answers in favour, over raters and pictures.

    Attributes
    ----------
    value, ci_low, ci_high : float
        Mean over items of the mean over raters, and its interval over pictures; in 0..1.
    n_items, n_answers : int
        Items with an answer, and answers.
    by_rater : dict of str to float
        Share of each rater's own answers.
    """

    value: float
    ci_low: float
    ci_high: float
    n_items: int
    n_answers: int
    by_rater: dict[str, float]


def score_answers(
    in_favour: ArrayLike, raters: ArrayLike, items: ArrayLike, pictures: ArrayLike, seed: int = 0
) -> RatedScore:
    """Score answers as Shen et al. 2017 do ("Reconstruction quality evaluation").

    The share of a rater's answers in favour is taken for each item, averaged over the raters of the item, and
    then over items. Items count the same, however often they were asked. The interval comes from drawing
    pictures, as all intervals of these tables (and as the paper's, "95 % C.I. across samples"): it speaks of
    other pictures judged by these raters. Raters are too few to be drawn; `by_rater` shows how they differ.

    Parameters
    ----------
    in_favour : array (n_answers,) of bool
        Whether the original was chosen; whether the source in question was preferred.
    raters, items, pictures : array (n_answers,)
        Who answered, about which reconstruction, of which picture. Single trials of one picture are several
        items.
    seed : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        When there is no answer.
    """
    table = pd.DataFrame({"hit": in_favour, "rater": raters, "item": items, "picture": pictures})
    if not len(table):
        raise ValueError("there are no answers")
    hits = table["hit"].astype(np.float64)
    per_rater = hits.groupby([table["picture"], table["item"], table["rater"]]).mean()
    per_item = per_rater.groupby(level=["picture", "item"]).mean()
    values = np.asarray(per_item, dtype=np.float64)
    low, high = bootstrap_interval(values, per_item.index.get_level_values("picture").to_numpy(), seed=seed)
    return RatedScore(
        value=float(values.mean()),
        ci_low=low,
        ci_high=high,
        n_items=len(values),
        n_answers=len(table),
        by_rater={str(name): float(share) for name, share in hits.groupby(table["rater"]).mean().items()},
    )
