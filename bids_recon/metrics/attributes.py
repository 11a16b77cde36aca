"""Attributes of pictures scored apart: is the shape right, is the colour right?

Shen et al. 2019 (figure 3d): a reconstruction is compared with pictures of the same colour and another shape,
which scores its shape, and with pictures of the same shape and another colour, which scores its colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bids_recon.metrics.catalogue import attribute_metric
from bids_recon.metrics.identification import (
    comparisons_won,
    correlation_matrix,
    target_rows,
    two_way_a_among,
)
from bids_recon.metrics.permutation import means_by_order, picture_orders
from bids_recon.metrics.prepare import Pictures, to_common_size
from bids_recon.metrics.protocols import ATTRIBUTES_1, Items

Attributes = Mapping[str, str]
"""Attributes of one picture, by name: {"colour": "red", "shape": "square"}; empty where it has none."""


def varying_attributes(attributes: Sequence[Attributes]) -> tuple[str, ...]:
    """Names of the attributes in which some of the pictures (n,) differ, sorted."""
    values: dict[str, set[str]] = {}
    for one in attributes:
        for name, value in one.items():
            values.setdefault(name, set()).add(value)
    return tuple(sorted(name for name, found in values.items() if len(found) > 1))


def foils_of(attributes: Sequence[Attributes], name: str) -> NDArray[np.bool_]:
    """Which pictures differ in one attribute and agree in all others, (n, n).

    Pictures without the attribute have no foils, and are none.
    """
    own = [one.get(name) for one in attributes]
    others = [{key: value for key, value in one.items() if key != name} for one in attributes]
    n = len(attributes)
    differ = [
        [None not in (own[i], own[j]) and own[i] != own[j] and others[i] == others[j] for j in range(n)]
        for i in range(n)
    ]
    return np.array(differ, dtype=bool).reshape(n, n)


def evaluate_attributes(
    reconstructed: Pictures,
    seen: Pictures,
    attributes: Sequence[Attributes],
    target: NDArray[np.integer] | None = None,
) -> Items:
    """Score each attribute of reconstructed pictures, by protocol `attributes-1`.

    Parameters
    ----------
    reconstructed : n_predicted pictures, of any sizes
    seen : n_truth pictures, of any sizes
        Each test picture once.
    attributes : sequence (n_truth,) of dict
        Of the pictures seen.
    target : ndarray (n_predicted,) of int, optional
        Index in `seen` of what each reconstruction should show; by default the same position.

    Returns
    -------
    dict of ndarray (n_predicted,)
        Share of won comparisons by metric (`two-way-a/colour`, ...), for each attribute that varies; NaN for
        pictures that no other one differs from in this attribute alone.

    Raises
    ------
    ValueError
        When shapes do not fit.
    """
    if len(attributes) != len(seen):
        raise ValueError(f"there are {len(seen)} pictures, and attributes of {len(attributes)}")
    names = varying_attributes(attributes)
    if not names:
        return {}
    assert ATTRIBUTES_1.image_size is not None
    pictures, truths = (
        to_common_size(images, ATTRIBUTES_1.image_size, antialias=ATTRIBUTES_1.antialias)
        for images in (reconstructed, seen)
    )
    rows = target_rows(target, len(pictures), len(truths))
    C = correlation_matrix(truths, pictures)
    return {attribute_metric(name): two_way_a_among(C, rows, foils_of(attributes, name)) for name in names}


def permuted_attributes(
    correlations: NDArray[np.floating],
    target: NDArray[np.integer],
    attributes: Sequence[Attributes],
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Mean scores with the pictures in other orders (see `bids_recon.metrics.permutation`).

    Pictures change places only with those that agree in all other attributes: whether the colour was decoded
    is asked while the shape stays.

    Parameters
    ----------
    correlations : ndarray (n_truth, n_predicted)
        Of pictures seen with reconstructions.
    target : ndarray (n_predicted,) of int
        Row that each reconstruction should match.
    attributes : sequence (n_truth,) of dict
    seed : int

    Returns
    -------
    dict of ndarray (n_orders,)
        By metric, as `evaluate_attributes` has them.
    """
    C = np.asarray(correlations, dtype=np.float64)
    found = {}
    for name in varying_attributes(attributes):
        pairs = np.full(C.shape, np.nan)
        for truth, compared in enumerate(foils_of(attributes, name)):
            if compared.any():
                pairs[truth] = comparisons_won(C[truth] - C[compared]).mean(axis=0)
        orders = picture_orders(_agreeing(attributes, name), seed)
        found[attribute_metric(name)] = means_by_order(pairs, target, orders)
    return found


def _agreeing(attributes: Sequence[Attributes], name: str) -> NDArray[np.intp]:
    """Number of the block (n,) of pictures that agree in all attributes but one, which they have."""
    keys = [
        frozenset((key, value) for key, value in one.items() if key != name) if name in one else number
        for number, one in enumerate(attributes)
    ]
    blocks = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([blocks[key] for key in keys])
