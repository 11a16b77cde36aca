"""How far raters agree, beyond what chance gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

N_RESAMPLES = 1000


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's alpha, its 95 % interval over pictures, and how many trials it rests on."""

    value: float
    ci_low: float
    ci_high: float
    n_trials: int


def krippendorff_alpha(codes: NDArray[np.floating]) -> float:
    """Krippendorff's alpha for nominal codes and any number of missing ones.

    1 is perfect agreement, 0 what raters reach who code by chance with the same shares of codes. From
    Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C, written with the number of
    pairs that differ:

        alpha = 1 - (n - 1) sum_u [(m_u^2 - sum_c n_uc^2) / (m_u - 1)] / (n^2 - sum_c n_c^2)

    where unit u has m_u >= 2 codes, n_uc of them c, n_c = sum_u n_uc and n = sum_c n_c.

    Parameters
    ----------
    codes : ndarray (n_raters, n_units)
        NaN where a rater did not see a unit.

    Returns
    -------
    float
        NaN when no unit has two codes, or only one code occurs.
    """
    differ, counts = _pairs(np.asarray(codes, dtype=np.float64))
    return float(_alpha(differ.sum(keepdims=True), counts.sum(axis=0, keepdims=True))[0])


def agreement_of_choices(
    choices: NDArray[np.floating], n_alternatives: int, pictures: ArrayLike, seed: int = 0
) -> Agreement:
    """Krippendorff's alpha of choices between unlabelled candidates.

    The candidates of one trial have nothing to do with those of another, so numbering them is arbitrary.
    With the original as number 0, raters who are nearly always right would share one code, and alpha would
    fall towards 0 though they hardly ever differ. Each trial therefore enters once with every cyclic
    renumbering of its candidates. All codes are then equally frequent, and chance agreement is
    1 / n_alternatives, as for raters who see no difference and guess.

    Parameters
    ----------
    choices : ndarray (n_raters, n_trials)
        Number of the chosen candidate, from 0, in an order that is the same for all raters; NaN where a rater
        did not see the trial.
    n_alternatives : int
    pictures : array (n_trials,)
        Picture that the trial is about: the interval comes from drawing pictures with all their trials.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Agreement
        NaN when no trial has two raters; without an interval when they are of one picture.
    """
    several = (~np.isnan(choices)).sum(axis=0) >= 2
    kept = np.asarray(choices, dtype=np.float64)[:, several]
    if not several.any():
        return Agreement(np.nan, np.nan, np.nan, 0)
    turned = np.concatenate([(kept + turn) % n_alternatives for turn in range(n_alternatives)], axis=1)
    names, picture = np.unique(np.asarray(pictures)[several], return_inverse=True)
    differ, counts = _pairs(turned)
    member = (np.tile(picture, n_alternatives) == np.arange(len(names))[:, None]).astype(np.float64)
    differ, counts = member @ differ, member @ counts
    value = float(_alpha(differ.sum(keepdims=True), counts.sum(axis=0, keepdims=True))[0])
    if len(names) < 2:
        return Agreement(value, np.nan, np.nan, int(several.sum()))
    shares = np.full(len(names), 1 / len(names))
    times = np.random.default_rng(seed).multinomial(len(names), shares, size=N_RESAMPLES).astype(np.float64)
    low, high = np.quantile(_alpha(times @ differ, times @ counts), [0.025, 0.975])
    return Agreement(value, float(low), float(high), int(several.sum()))


def _pairs(codes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs that differ, over m_u - 1: (n_units,); and codes by kind: (n_units, n_codes).

    Units with fewer than two codes count nothing.
    """
    kinds = np.unique(codes[~np.isnan(codes)])
    counts = (codes[..., None] == kinds).sum(axis=0).astype(np.float64)
    number = counts.sum(axis=1)
    counts[number < 2] = 0
    number = counts.sum(axis=1)
    return (number**2 - (counts**2).sum(axis=1)) / np.maximum(number - 1, 1), counts


def _alpha(differ: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha (n,) of sums over units: differing pairs (n,) and codes by kind (n, n_codes)."""
    number = counts.sum(axis=1)
    possible = number**2 - (counts**2).sum(axis=1)
    return np.where(possible > 0, 1 - (number - 1) * differ / np.where(possible > 0, possible, 1), np.nan)
