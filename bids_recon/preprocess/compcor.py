"""Noise components from tissue without neurons.

Behzadi, Restom, Liau & Liu, "A component based noise correction method (CompCor) for BOLD and perfusion based
fMRI", NeuroImage 37:90 (2007): the principal components over time of voxels in white matter and fluid.
As in fMRIPrep, slow drift is taken out before, and each voxel is scaled to unit variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, linalg

HIGH_PASS = 1 / 128
"""Drift below this frequency (Hz) is no matter for components: it has regressors of its own."""

# Double precision for a few voxels at a time.
_VOXELS_AT_A_TIME = 8192


def cosine_drifts(
    n_volumes: int, repetition_time: float, high_pass: float = HIGH_PASS
) -> NDArray[np.float64]:
    """Discrete cosines below a frequency, without the constant.

    Parameters
    ----------
    n_volumes : int
    repetition_time : float
        In s.
    high_pass : float
        In Hz.

    Returns
    -------
    ndarray (n_volumes, n_cosines) float64
        Orthonormal, each with mean zero. There are ``floor(2 * n_volumes * repetition_time * high_pass)``.
    """
    count = min(int(np.floor(2 * n_volumes * repetition_time * high_pass)), n_volumes - 1)
    return fft.idct(np.eye(n_volumes)[:, 1 : count + 1], axis=0, norm="ortho")


def noise_components(
    series: NDArray[np.floating], repetition_time: float, n_components: int, high_pass: float = HIGH_PASS
) -> NDArray[np.float64]:
    """Principal components over time of some voxels.

    Parameters
    ----------
    series : ndarray (n_volumes, n_voxels)
        Voxels without neurons.
    repetition_time : float
        In s.
    n_components : int
        How many are wanted.
    high_pass : float
        Cosines below this frequency (Hz) and the mean are taken out before.

    Returns
    -------
    ndarray (n_volumes, n) float64
        Orthonormal, the strongest first; of each the largest value is positive. n is smaller than
        `n_components` where voxels or volumes do not support as many.
    """
    n_volumes = len(series)
    constant = np.full((n_volumes, 1), n_volumes**-0.5)
    slow = np.hstack([constant, cosine_drifts(n_volumes, repetition_time, high_pass)])
    products = np.zeros((n_volumes, n_volumes))
    n_varying = 0
    for begin in range(0, series.shape[1], _VOXELS_AT_A_TIME):
        part = series[:, begin : begin + _VOXELS_AT_A_TIME].astype(np.float64)
        size = np.linalg.norm(part, axis=0)
        part -= slow @ (slow.T @ part)
        length = np.linalg.norm(part, axis=0)
        # What is left of a voxel that does not vary is rounding.
        varying = length > 1e-6 * size
        part = part[:, varying] / length[varying]
        products += part @ part.T
        n_varying += int(varying.sum())
    n = min(n_components, n_varying, n_volumes - slow.shape[1])
    if n <= 0:
        return np.zeros((n_volumes, 0))
    _, vectors = linalg.eigh(products, subset_by_index=(n_volumes - n, n_volumes - 1))
    components = vectors[:, ::-1]
    largest = components[np.abs(components).argmax(axis=0), np.arange(n)]
    return components * np.sign(largest)
