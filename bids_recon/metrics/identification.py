"""Two-way identification: is a prediction closer to its own truth than to another one?

Three definitions are in use under one name. All start from C[i, j], the correlation of truth i with
prediction j. `target[j]` is the row of C that prediction j should match; several predictions may share a
target (single trials of one picture), and comparisons are only ever made with *other* truths. Throughout, a
tie counts one half, so that a prediction without information scores 0.5 and not 0 or 1.

Each function gives, per prediction, the share of its comparisons that succeed; when every truth has the same
number of predictions, the mean over predictions is the share over all comparisons.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from bids_recon.errors import DataError

TIE = 1e-9
"""Correlations closer than this are equal: double-precision sums of equal vectors differ by about 1e-15."""
_FEATURES_AT_ONCE = 4096
_ROWS_AT_ONCE = 512
_PAIRS_WORTH_THREADS = 250_000

MarginBlock = Callable[[NDArray[np.intp]], NDArray[np.float64]]
"""By how much some predictions win each comparison: rows (m,) -> (m, n_predicted)."""


def correlation_matrix(truth: NDArray, predicted: NDArray) -> NDArray[np.float64]:
    """Pearson correlation of every truth with every prediction, over features.

    Sums run in double precision over blocks of features, so large or memory-mapped arrays are never copied
    whole. A vector without variation correlates 0 with everything.

    Parameters
    ----------
    truth : ndarray (n_truth, ...)
    predicted : ndarray (n_predicted, ...)
        Trailing axes are flattened and must have as many elements as those of `truth`.

    Returns
    -------
    ndarray (n_truth, n_predicted) float64
        In -1..1.

    Raises
    ------
    ValueError
        When the numbers of features differ.
    DataError
        When a value is NaN or infinite.
    """
    rows, columns = truth.reshape(len(truth), -1), predicted.reshape(len(predicted), -1)
    if rows.shape[1] != columns.shape[1]:
        raise ValueError(f"truth has {rows.shape[1]} features, the prediction {columns.shape[1]}")
    means = _means(rows, "true"), _means(columns, "decoded")
    products = np.zeros((len(rows), len(columns)))
    squares = np.zeros(len(rows)), np.zeros(len(columns))
    # Small products gain nothing from threads, and lose tenfold where processes share the processor.
    n_threads = 1 if products.size < _PAIRS_WORTH_THREADS else None
    with _threads().limit(limits=n_threads, user_api="blas"):
        for start in range(0, rows.shape[1], _FEATURES_AT_ONCE):
            block = slice(start, start + _FEATURES_AT_ONCE)
            x, y = rows[:, block] - means[0], columns[:, block] - means[1]
            products += x @ y.T
            squares[0][:] += np.einsum("ij,ij->i", x, x)
            squares[1][:] += np.einsum("ij,ij->i", y, y)
    scales = _inverse_norms(squares[0], rows, means[0]), _inverse_norms(squares[1], columns, means[1])
    correlations: NDArray[np.float64] = np.clip(products * scales[0][:, None] * scales[1], -1.0, 1.0)
    return correlations


@cache
def _threads() -> ThreadpoolController:
    """Handle of the linear algebra libraries in this process; to find them takes milliseconds."""
    return ThreadpoolController()


def _means(vectors: NDArray, kind: str) -> NDArray[np.float64]:
    means = vectors.mean(axis=1, dtype=np.float64, keepdims=True)
    if bad := int((~np.isfinite(means)).sum()):
        raise DataError(
            f"{bad} of {len(vectors)} {kind} pictures or latents hold NaN or infinite values",
            remedy="Look for voxels or targets without variation in the training data.",
        )
    return means


def _inverse_norms(squares: NDArray, vectors: NDArray, means: NDArray) -> NDArray[np.float64]:
    """1 / norm of the centred vectors; 0 where their variation is only rounding of the stored type."""
    precision = np.finfo(vectors.dtype).eps if vectors.dtype.kind == "f" else np.finfo(np.float64).eps
    rounding = vectors.shape[1] * (4 * precision * means[:, 0]) ** 2
    varies = squares > rounding
    inverse = np.zeros(len(squares))
    inverse[varies] = 1 / np.sqrt(squares[varies])
    return inverse


def two_way_a(correlations: NDArray[np.floating], target: NDArray[np.integer]) -> NDArray[np.float64]:
    """Definition A: a prediction against its own and each other truth.

    score_j = share of truths i other than t_j with C[i, j] < C[t_j, j]. The usual one (Shen et al. 2019;
    the code of Brain-Diffuser and MindEye).

    Parameters
    ----------
    correlations : ndarray (n_truth, n_predicted)
        C.
    target : ndarray (n_predicted,) of int
        Row of C that each prediction should match.

    Returns
    -------
    ndarray (n_predicted,) float64
        In 0..1; all NaN when there is only one truth, as nothing is there to compare with.
    """
    C, target = _checked(correlations, target)
    others = len(C) - 1
    if others == 0:
        return np.full(len(target), np.nan)
    wins = comparisons_won(C[target, np.arange(len(target))] - C)
    # A prediction's own truth is among the rows and ties with itself: take its half off.
    return np.asarray((wins.sum(axis=0) - 0.5) / others)


def two_way_a_among(
    correlations: NDArray[np.floating], target: NDArray[np.integer], foils: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Definition A with chosen alternatives.

    score_j = share of truths i with foils[t_j, i] that have C[i, j] < C[t_j, j].

    Parameters
    ----------
    correlations, target
        As in `two_way_a`.
    foils : ndarray (n_truth, n_truth) of bool
        Which truths each truth is compared with.

    Returns
    -------
    ndarray (n_predicted,) float64
        In 0..1; NaN for predictions whose truth has nothing to be compared with.
    """
    C, target = _checked(correlations, target)
    compared = foils[target].T
    wins = np.where(compared, comparisons_won(C[target, np.arange(len(target))] - C), 0.0).sum(axis=0)
    n_compared = compared.sum(axis=0)
    return np.divide(wins, n_compared, out=np.full(len(target), np.nan), where=n_compared > 0)


def two_way_b(correlations: NDArray[np.floating], target: NDArray[np.integer]) -> NDArray[np.float64]:
    """Definition B: a truth against its own and each other reconstruction.

    score_j = share of predictions k of other truths with C[t_j, k] < C[t_j, j] (Takagi & Nishimoto 2023).
    It says nothing when all reconstructions are the same, and then published code gives 0 or 1 by the
    choice of `<` or `<=`; this function refuses with NaN (see `is_degenerate`).

    Parameters and shape of the result are those of `two_way_a`.

    Returns
    -------
    ndarray (n_predicted,) float64
        In 0..1; all NaN on degenerate output, or when all predictions have the same target.
    """
    C, target = _checked(correlations, target)
    if is_degenerate(C):
        return np.full(len(target), np.nan)
    own = C[target, np.arange(len(target))]

    def block(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        return own[rows, None] - C[target[rows]]

    return _share_of_pairs(block, target)


def two_way_c(correlations: NDArray[np.floating], target: NDArray[np.integer]) -> NDArray[np.float64]:
    """Definition C: two predictions to be matched with their two truths.

    score_j = share of predictions k of other truths with
    C[t_j, j] + C[t_k, k] > C[t_j, k] + C[t_k, j] (Mozafari et al. 2020, equations 3 and 4).

    Parameters and result are those of `two_way_a`; NaN when all predictions have the same target.
    """
    C, target = _checked(correlations, target)
    own = C[target, np.arange(len(target))]

    def block(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        straight = own[rows, None] + own
        crossed = C[target[rows]] + C[np.ix_(target, rows)].T
        return np.asarray(straight - crossed)

    return _share_of_pairs(block, target)


def is_degenerate(correlations: NDArray[np.floating]) -> bool:
    """Tell whether no truth can tell any two predictions apart: the decoder's output has collapsed."""
    return bool(np.all(np.ptp(correlations, axis=1) <= TIE))


def comparisons_won(margin: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 where the margin is positive, 1/2 at a tie, else 0."""
    return np.asarray(0.5 * (margin > TIE) + 0.5 * (margin >= -TIE))


def _share_of_pairs(block: MarginBlock, target: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of won comparisons of each prediction with the predictions of other truths."""
    shares = np.full(len(target), np.nan)
    for start in range(0, len(target), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(target)))
        other = target[rows, None] != target
        n_others = other.sum(axis=1)
        won = np.where(other, comparisons_won(block(rows)), 0.0).sum(axis=1)
        np.divide(won, n_others, out=shares[rows[0] : rows[-1] + 1], where=n_others > 0)
    return shares


def target_rows(target: NDArray[np.integer] | None, n_predicted: int, n_truth: int) -> NDArray[np.intp]:
    """What each prediction should match, (n_predicted,): as given, or the truth at the same position.

    Raises
    ------
    ValueError
        When it does not name one of the truths for each prediction.
    """
    if target is None:
        if n_predicted != n_truth:
            raise ValueError(f"{n_predicted} predictions and {n_truth} truths need a target")
        return np.arange(n_truth)
    rows = np.asarray(target, dtype=np.intp)
    if rows.shape != (n_predicted,) or (rows.size and not (rows.min() >= 0 and rows.max() < n_truth)):
        raise ValueError(
            f"target {rows.shape} must name one of {n_truth} truths for {n_predicted} predictions"
        )
    return rows


def _checked(
    correlations: NDArray[np.floating], target: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    C, rows = np.asarray(correlations, dtype=np.float64), np.asarray(target)
    if rows.shape != C.shape[1:] or (rows.size and not (rows.min() >= 0 and rows.max() < len(C))):
        raise ValueError(f"target {rows.shape} does not name a row of C {C.shape} for each prediction")
    return C, rows.astype(np.intp)
