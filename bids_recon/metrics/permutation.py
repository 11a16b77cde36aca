"""What scores would be if reconstructions belonged to other pictures of their test set.

Shuffled decoders tell what *training* on nothing gives, not whether the *test* responses hold anything: a
good decoder draws noise in lively pictures, which scatter more than those of one that learned nothing. Here
decoder and reconstructions stay, and the pictures seen change places, each with all its trials: a permutation
test (Good 2005, Permutation, Parametric, and Bootstrap Tests of Hypotheses, chapter 3).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_recon.metrics.identification import TIE, comparisons_won, is_degenerate

N_ORDERS = 999
_OWN_CORRELATION = ("pixcorr", "latent-correlation", "feature-correlation")
_PAIRS_IN_ALL = 200_000_000
"""Comparisons of definition C over all orders: about two seconds."""


def picture_orders(blocks: NDArray[np.integer], seed: int = 0, n_orders: int = N_ORDERS) -> NDArray[np.intp]:
    """Other orders of the pictures.

    Parameters
    ----------
    blocks : ndarray (n_truth,) of int
        Pictures change places within their block only.
    seed : int
    n_orders : int
        As many are drawn at random, unless there are no more: then each is there once.

    Returns
    -------
    ndarray (at most n_orders, n_truth) of int
        The picture that takes the place of each. Those that are listed leave the true order out.
    """
    _, codes = np.unique(blocks, return_inverse=True)
    places = np.argsort(codes, kind="stable")
    members = np.split(places, np.cumsum(np.bincount(codes))[:-1])
    rng = np.random.default_rng(seed)
    if math.prod(math.factorial(len(block)) for block in members) <= n_orders + 1:
        every = itertools.product(*(itertools.permutations(block) for block in members))
        drawn = np.array([list(itertools.chain(*blocks)) for blocks in every], dtype=np.intp)
        # The true order comes first. In a random sequence, the first few are a sample of all.
        drawn = rng.permutation(drawn[1:])
    else:
        keys = rng.random((n_orders, len(codes)))
        drawn = np.argsort(codes + keys, axis=1)
    orders = np.empty_like(drawn)
    orders[:, places] = drawn
    return orders


def permuted_scores(
    correlations: NDArray[np.floating], target: NDArray[np.integer], metrics: Sequence[str], seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Mean scores with the pictures in other orders.

    Parameters
    ----------
    correlations : ndarray (n_truth, n_predicted)
        Of truths with predictions (`bids_recon.metrics.identification.correlation_matrix`).
    target : ndarray (n_predicted,) of int
        Row that each prediction should match.
    metrics : sequence of str
        Those that do not follow from the correlations are left out.
    seed : int

    Returns
    -------
    dict of ndarray (n_orders,)
        By metric. All orders but the true one where there are fewer than 1000 (up to six pictures), else 999
        by chance; fewer of definition C above 447 predictions, at least 99. NaN where a metric is undefined.
    """
    C = np.asarray(correlations, dtype=np.float64)
    orders = picture_orders(np.zeros(len(C), dtype=np.intp), seed)
    found = {}
    for name in metrics:
        if name in _OWN_CORRELATION:
            found[name] = means_by_order(C, target, orders)
        elif name == "two-way-a":
            found[name] = means_by_order(_pairs_a(C), target, orders)
        elif name == "two-way-b":
            found[name] = means_by_order(_pairs_b(C, target), target, orders)
        elif name == "two-way-c":
            found[name] = _means_of_c(C, target, orders[: max(99, _PAIRS_IN_ALL // C.shape[1] ** 2)])
    return found


def means_by_order(
    pairs: NDArray[np.float64], target: NDArray[np.integer], orders: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Mean over predictions, for each order (n_orders,), of a score that a truth and a prediction decide.

    Parameters
    ----------
    pairs : ndarray (n_truth, n_predicted)
        Score of each prediction if it should match each truth. NaN for truths without a score, which change
        places among themselves.
    target : ndarray (n_predicted,) of int
    orders : ndarray (n_orders, n_truth) of int
    """
    n_scored = (~np.isnan(pairs[target, np.arange(len(target))])).sum()
    if not n_scored:
        return np.full(len(orders), np.nan)
    own = target[:, None] == np.arange(len(pairs))
    sums = np.nan_to_num(pairs) @ own
    return np.asarray(sums[orders, np.arange(len(pairs))].sum(axis=1) / n_scored)


def _pairs_a(C: NDArray[np.float64]) -> NDArray[np.float64]:
    """Definition A of each prediction with each truth as its own."""
    others = len(C) - 1
    return (_n_beaten(C.T).T - 0.5) / others if others else np.full(C.shape, np.nan)


def _pairs_b(C: NDArray[np.float64], target: NDArray[np.integer]) -> NDArray[np.float64]:
    """Definition B of each prediction with each truth as its own."""
    shares = np.full(C.shape, np.nan)
    if is_degenerate(C):
        return shares
    beaten = _n_beaten(C)
    for picture in range(len(C)):
        same = np.flatnonzero(target == picture)
        if 0 < len(same) < len(target):
            own = C[:, same]
            among_same = comparisons_won(own[:, :, None] - own[:, None, :]).sum(axis=2)
            shares[:, same] = (beaten[:, same] - among_same) / (len(target) - len(same))
    return shares


def _n_beaten(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many values of its row each one beats; it ties with itself."""
    beaten = np.empty(values.shape)
    for row, own in enumerate(values):
        ordered = np.sort(own)
        lower = np.searchsorted(ordered, own - TIE, side="left")
        beaten[row] = (lower + np.searchsorted(ordered, own + TIE, side="right")) / 2
    return beaten


def _means_of_c(
    C: NDArray[np.float64], target: NDArray[np.integer], orders: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Definition C, which two truths and two predictions decide."""
    other = target[:, None] != target
    n_others = other.sum(axis=1, keepdims=True)
    if not n_others.all():
        return np.full(len(orders), np.nan)
    weights = other / (n_others * len(target))
    means = np.empty(len(orders))
    for number, order in enumerate(orders):
        lead = C[order[target]]
        lead = np.diagonal(lead)[:, None] - lead
        margin = lead + lead.T
        means[number] = (np.vdot(weights, margin > TIE) + np.vdot(weights, margin >= -TIE)) / 2
    return means
