"""Norm correction of decoded feature layers (Shen et al. 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_recon.errors import DataError

# Items that are turned into double precision at a time.
ITEMS = 16


def feature_norm(
    features: NDArray[np.floating], mean: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Norm (n,) of each item's features, in the sense of Shen et al. (2019).

    For a convolutional layer, the deviation over the units of each channel, averaged over channels; for a
    fully-connected layer, the deviation over its units. The paper does not say which denominator the
    deviation has: here it is the number of units less one, as in the code that the authors released later;
    their first code has the number of units.

    Parameters
    ----------
    features : ndarray (n, channels, height, width) or (n, units)
        A layer that is spatially 1 x 1 counts as fully connected.
    mean : ndarray (channels, height, width) or (units,), optional
        Taken off first.

    Raises
    ------
    DataError
        When a layer has one unit, which has no deviation.
    ValueError
        When the shape is not that of a layer.
    """
    rows = _channels(features)
    centre = 0.0 if mean is None else np.asarray(mean, dtype=np.float64).reshape(rows.shape[1:])
    norms = np.empty(len(rows))
    for start in range(0, len(rows), ITEMS):
        part = slice(start, start + ITEMS)
        norms[part] = (rows[part].astype(np.float64) - centre).std(axis=2, ddof=1).mean(axis=1)
    return norms


def reference_feature_norm(features: NDArray[np.floating], mean: NDArray[np.floating] | None = None) -> float:
    """Mean norm over pictures, what decoded features are brought to.

    Parameters
    ----------
    features : ndarray (n, channels, height, width) or (n, units)
        True features of training pictures, or of pictures from elsewhere: the paper took 10,000 of ImageNet.
    mean : ndarray (channels, height, width) or (units,), optional
        Taken off first. Give the mean training features where `correct_feature_norm` is given them, so that
        norms of the same thing are compared.

    Raises
    ------
    DataError
        When a layer has one unit.
    """
    return float(feature_norm(features, mean).mean())


def correct_feature_norm(
    predicted: NDArray[np.floating], train_mean: NDArray[np.floating] | None, reference_norm: float
) -> NDArray[np.floating]:
    """Decoded features whose norm is that of true ones; each item by itself.

    The paper (methods, "Norm correction for decoded DNN feature vectors") multiplies the decoded features by
    reference_norm / norm, nothing taken off: `train_mean` None. Decoded features are shrunk towards the mean
    training features though, and not towards zero. With the mean given, only the distance from it is
    stretched: mean + (predicted - mean) · reference_norm / norm(predicted - mean). The code that the authors
    released later takes off the training mean too, but then stretches each item around its own mean over
    units, which it leaves as decoded.

    Parameters
    ----------
    predicted : ndarray (n, channels, height, width) or (n, units)
    train_mean : ndarray (channels, height, width) or (units,), or None
        Mean features of the training pictures.
    reference_norm : float
        Of `reference_feature_norm`, with the same mean.

    Returns
    -------
    ndarray, as `predicted`
        Items without any spread stay as they are.

    Raises
    ------
    DataError
        When a layer has one unit.
    ValueError
        When shapes do not fit.
    """
    norms = feature_norm(predicted, train_mean)
    factors = np.where(norms > 0, reference_norm / np.where(norms > 0, norms, 1.0), 1.0)
    factors = factors.astype(predicted.dtype).reshape((-1,) + (1,) * (predicted.ndim - 1))
    if train_mean is None:
        return predicted * factors
    mean = np.asarray(train_mean, dtype=predicted.dtype).reshape(predicted.shape[1:])
    return (predicted - mean) * factors + mean


def _channels(features: ArrayLike) -> NDArray[np.floating]:
    """Features as (n, channels, units of a channel); a fully-connected layer is one channel."""
    array = np.asarray(features)
    if array.ndim not in (2, 4):
        raise ValueError(
            f"features of a layer are (n, units) or (n, channels, height, width), not {array.shape}"
        )
    fully_connected = array.ndim == 2 or array.shape[2:] == (1, 1)
    rows = array.reshape(len(array), 1 if fully_connected else array.shape[1], -1)
    if rows.shape[2] < 2:
        raise DataError(
            "a layer of one unit has no deviation over units, so that its norm cannot be corrected"
        )
    return rows
