"""Latents that decoders make of a synthetic pattern: one region active, the rest of the brain silent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Bytes of training latents that are looked at, in double precision, at a time.
BLOCK_BYTES = 64 * 2**20


def training_norms(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over pictures of the Euclidean norm of training latents around their mean.

    Parameters
    ----------
    latents : ndarray (n_pictures, *shape)
        True latents of training pictures; may be memory-mapped, and is read some rows at a time.

    Returns
    -------
    ndarray (n_tokens,) or ()
        Of each token, where the shape of a latent is (tokens, features); else of the whole latent.
    """
    n_pictures, shape = len(latents), latents.shape[1:]
    height = max(1, BLOCK_BYTES // (8 * int(np.prod(shape))))
    parts = [slice(start, start + height) for start in range(0, n_pictures, height)]
    total = np.zeros(shape)
    for part in parts:
        total += latents[part].sum(axis=0, dtype=np.float64)
    mean, summed = total / n_pictures, np.zeros(_norm_shape(shape))
    for part in parts:
        summed += _norms(latents[part].astype(np.float64) - mean).sum(axis=0)
    return summed / n_pictures


def synthetic_latents(
    predict: Callable[[NDArray[np.float64]], NDArray[np.floating]],
    members: NDArray[np.bool_],
    shape: tuple[int, ...],
    norms: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Latents (n_regions, *shape) of patterns that are 1 in a region and 0 elsewhere, norms restored.

    Ozcelik & VanRullen (2023), section 3.6. With the prediction b of the pattern that is 0 everywhere, the
    prediction of a region is b + d; d is stretched to the norm that the latents of training pictures have
    around their mean. The regression is linear, so that the size of the pattern does not matter.

    Parameters
    ----------
    predict : callable
        From standardised responses (n, n_voxels) to latents (n, n_targets): a linear regression, without
        rescaling.
    members : ndarray (n_regions, n_voxels) bool
    shape : tuple of int
        Of a latent.
    norms : ndarray (n_tokens,) or ()
        Of `training_norms`.
    """
    patterns = np.vstack([np.zeros(members.shape[1]), members.astype(np.float64)])
    predicted = np.asarray(predict(patterns), dtype=np.float64).reshape(len(patterns), *shape)
    return predicted[:1] + restore_norms(predicted[1:] - predicted[:1], norms)


def restore_norms(directions: NDArray[np.floating], norms: NDArray[np.floating]) -> NDArray[np.float64]:
    """Stretch directions (n, *shape) to norms, (n_tokens,) or () as in `training_norms`; zero stays zero."""
    own = _norms(directions)
    varies = own > 0
    factors = np.where(varies, norms / np.where(varies, own, 1.0), 0.0)
    missing = directions.ndim - factors.ndim
    return directions.astype(np.float64) * factors.reshape(*factors.shape, *(1,) * missing)


def _norm_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:1] if len(shape) == 2 else ()


def _norms(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Euclidean norms (n, n_tokens) of the tokens of latents (n, n_tokens, n_features), else (n,) of all."""
    rows = latents if latents.ndim == 3 else latents.reshape(len(latents), -1)
    return np.linalg.norm(rows.astype(np.float64, copy=False), axis=-1)
