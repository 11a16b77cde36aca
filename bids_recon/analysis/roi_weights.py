"""Which regions a latent space is read from: strength of regression weights, voxel by voxel and by region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.targets import chunks
from bids_recon.decoders.unit_decoder import UnitDecoder
from bids_recon.decoders.unit_weights import UnitWeights

FEW_VOXELS = 20
"""Regions with fewer voxels than these are said to have few: their means are those of a handful."""
WEIGHT_COLUMNS = ("roi", "n_voxels", "space", "baseline", "percentile", "difference", "note")
MEAN_COLUMNS = (
    *("roi", "space", "baseline", "n_people", "n_voxels"),
    *("percentile", "percentile_sem", "difference", "difference_sem", "note"),
)
# Weights of unit decoders that are turned into absolute values in double precision at a time.
BLOCK = 1 << 22


def plain_regression(decoder: Any) -> Any:
    """The regression itself, where its predictions are rescaled."""
    return decoder.decoder_ if isinstance(decoder, RescaledDecoder) else decoder


def has_weights(decoder: Any) -> bool:
    """Whether a decoder is a linear regression whose weights can be looked at, rescaled or not."""
    return isinstance(plain_regression(decoder), RidgeDecoder | UnitDecoder)


def weight_strength(decoder: Any) -> NDArray[np.float64]:
    """Strength (n_voxels,) of each voxel: L1 norm of its regression weights over all targets.

    Ozcelik & VanRullen (2023), section 3.5. Weights are per unit of response as the decoder takes it, which
    is standardised; a rescaled decoder counts with the regression inside it. They are computed some targets
    at a time and never held together: 15,724 voxels times 91,168 targets would take 5.7 GB.

    Parameters
    ----------
    decoder : RidgeDecoder, UnitRidgeDecoder, SparseDecoder or RescaledDecoder of one of them
        Fitted, or read from disk.

    Raises
    ------
    ValueError
        When it has no regression weights (see `has_weights`).
    """
    plain = plain_regression(decoder)
    if isinstance(plain, RidgeDecoder):
        return _ridge_strength(plain)
    if isinstance(plain, UnitDecoder):
        return _unit_strength(plain.weights_)
    raise ValueError(f"{type(plain).__name__} has no regression weights")


def _ridge_strength(decoder: RidgeDecoder) -> NDArray[np.float64]:
    n_voxels = int(decoder.n_features_in_)
    strength = np.zeros(n_voxels)
    for part in chunks(decoder.n_targets_, max(n_voxels, decoder.n_trials_), decoder.x_mean_.itemsize):
        weights = decoder.coefficients(part)
        strength += np.abs(weights, out=weights).sum(axis=1, dtype=np.float64)
    return strength


def _unit_strength(weights: UnitWeights) -> NDArray[np.float64]:
    n_voxels = len(weights.x_mean)
    strength = np.zeros(n_voxels)
    for start in range(0, len(weights.weights), BLOCK):
        part = slice(start, start + BLOCK)
        size = np.abs(weights.weights[part].astype(np.float64))
        strength += np.bincount(weights.voxels[part], weights=size, minlength=n_voxels)
    return strength


def strength_percentiles(strength: NDArray[np.floating]) -> NDArray[np.float64]:
    """Percentile (n_voxels,) of each voxel's strength among all voxels, above 0 and below 100.

    Mid-ranks: (rank - 1/2) / n · 100, equal strengths sharing their mean rank. The mean over all voxels is
    50, whatever the strengths are.
    """
    ranks: NDArray[np.float64] = rankdata(strength, method="average")
    return 100.0 * (ranks - 0.5) / len(ranks)


def baseline_space(spaces: Mapping[str, Any]) -> str:
    """Latent space that the others are compared with: `vdvae` as in the paper, else the first."""
    return "vdvae" if "vdvae" in spaces else next(iter(spaces))


def region_weights(
    percentiles: Mapping[str, NDArray[np.floating]], regions: Mapping[str, NDArray[np.bool_]]
) -> pd.DataFrame:
    """Mean percentile of each region in each latent space, and how it differs from the baseline's.

    difference = (P - P_baseline) / P_baseline, where P is the mean percentile over the voxels of the region:
    Ozcelik & VanRullen (2023), Figure 7. Positive where the region counts for more in this space than in the
    baseline.

    Parameters
    ----------
    percentiles : dict of str to ndarray (n_voxels,)
        Of `strength_percentiles`, by latent space; the baseline is that of `baseline_space`.
    regions : dict of str to ndarray (n_voxels,) bool
        May overlap.

    Returns
    -------
    DataFrame
        Columns `WEIGHT_COLUMNS`, one row per region and space; the difference of the baseline is missing.
    """
    baseline = baseline_space(percentiles)
    rows = []
    for region, member in regions.items():
        n_voxels = int(member.sum())
        means = {
            space: float(values[member].mean()) if n_voxels else np.nan
            for space, values in percentiles.items()
        }
        for space, mean in means.items():
            difference = np.nan if space == baseline else (mean - means[baseline]) / means[baseline]
            rows.append((region, n_voxels, space, baseline, mean, difference, _note(member, n_voxels)))
    return pd.DataFrame(rows, columns=list(WEIGHT_COLUMNS))


def _note(member: NDArray[np.bool_], n_voxels: int) -> str:
    if n_voxels == 0:
        return "no voxel"
    if n_voxels == len(member):
        return "all voxels: the mean percentile is 50 by definition"
    return f"fewer than {FEW_VOXELS} voxels" if n_voxels < FEW_VOXELS else ""


def mean_over_people(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Means of `region_weights` over people, with the standard error of the mean.

    Parameters
    ----------
    tables : dict of str to DataFrame
        Of `region_weights`, by person; people in whom a region has no voxel do not enter its means.

    Returns
    -------
    DataFrame
        Columns `MEAN_COLUMNS`, regions and spaces in the order in which they first appear. `n_voxels` is the
        mean; standard errors (deviation with n - 1, divided by √n) are missing of one person.
    """
    everyone = pd.concat([table.assign(subject=person) for person, table in tables.items()])
    rows = []
    for (region, space, baseline), own in everyone.groupby(["roi", "space", "baseline"], sort=False):
        there = own[own["n_voxels"] > 0]
        few = int((own["n_voxels"] < FEW_VOXELS).sum())
        note = f"fewer than {FEW_VOXELS} voxels in {few} of {len(own)} people" if few else ""
        stated = [there[name] for name in ("percentile", "difference")]
        numbers = [number for values in stated for number in (values.mean(), values.sem(ddof=1))]
        rows.append((region, space, baseline, len(there), there["n_voxels"].mean(), *numbers, note))
    return pd.DataFrame(rows, columns=list(MEAN_COLUMNS))
