"""Tables of what disturbs a run, with the columns of fMRIPrep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.preprocess.compcor import HIGH_PASS, cosine_drifts, noise_components

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
HEAD_RADIUS = 50.0
"""Distance (mm) from the centre of the head at which rotations are counted as displacement."""

N_COMPONENTS = 6
_TISSUES = {"CSF": "csf", "WM": "white_matter"}
_DVARS_SCALE = 1000.0
# Double precision for a few voxels at a time.
_VOXELS_AT_A_TIME = 8192

_DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "global_signal": {"Description": "Mean over the brain"},
    "csf": {"Description": "Mean over fluid"},
    "white_matter": {"Description": "Mean over white matter"},
    "std_dvars": {
        "Description": "Change from the volume before, root mean square over the brain, relative to what"
        " autocorrelated noise of the size of each voxel's would give (Nichols 2013)"
    },
    "dvars": {
        "Description": "Change from the volume before, root mean square over the brain, for a median"
        f" intensity of {_DVARS_SCALE:g}"
    },
    "framewise_displacement": {
        "Description": "Sum of the absolute changes of the six motion parameters, rotations as arcs of"
        f" {HEAD_RADIUS:g} mm (Power et al. 2012)",
        "Units": "mm",
    },
    "a_comp_cor": {
        "Description": "Principal component of white matter and fluid, after removal of the cosines and"
        " scaling to unit variance (Behzadi et al. 2007)",
        "Method": "aCompCor",
        "Mask": "combined",
        "Retained": True,
    },
    "cosine": {"Description": "Discrete cosine for slow drift"},
    **{f"trans_{x}": {"Description": f"Movement of the head along {x}", "Units": "mm"} for x in "xyz"},
    **{f"rot_{x}": {"Description": f"Rotation of the head about {x}", "Units": "rad"} for x in "xyz"},
}
_VARIANTS = {
    "_derivative1_power2": "square of the difference from the volume before",
    "_derivative1": "difference from the volume before",
    "_power2": "square",
}


def confounds_table(
    motion: NDArray[np.float64],
    series: NDArray[np.floating],
    *,
    repetition_time: float,
    tissues: Mapping[str, NDArray[np.bool_]] | None = None,
    high_pass: float = HIGH_PASS,
    n_components: int = N_COMPONENTS,
) -> pd.DataFrame:
    """Confounds of one run.

    Parameters
    ----------
    motion : ndarray (n_volumes, 6)
        Position of the head at each volume: translation along x, y, z in mm, rotation about x, y, z in
        radians.
    series : ndarray (n_volumes, n_voxels)
        Voxels of the brain, aligned.
    repetition_time : float
        In s.
    tissues : mapping of str to ndarray (n_voxels,) bool, optional
        Which voxels are surely fluid (`CSF`) and white matter (`WM`). Without them there is neither their
        mean nor aCompCor; a tissue without a voxel is left out.
    high_pass : float
        In Hz, for cosines and aCompCor.
    n_components : int
        Of aCompCor, at most.

    Returns
    -------
    DataFrame (n_volumes rows) float64
        In the order of fMRIPrep: `global_signal`, `csf`, `white_matter`, `std_dvars`, `dvars`,
        `framewise_displacement`, `a_comp_cor_00` and so on, `cosine00` and so on, and each of `trans_x` to
        `rot_z` with its `_derivative1`, `_power2` and `_derivative1_power2`. The first row has no value (NaN)
        where there is a difference from the volume before.

    Raises
    ------
    ValueError
        When motion, series and tissues do not belong together.
    """
    if motion.shape != (len(series), 6):
        raise ValueError(f"{len(series)} volumes, motion parameters of shape {motion.shape}")
    masks = {name: mask for name, mask in (tissues or {}).items() if name in _TISSUES and mask.any()}
    if any(mask.shape != (series.shape[1],) for mask in masks.values()):
        raise ValueError("a tissue is a mask of the voxels of the series")
    columns: dict[str, NDArray[np.float64]] = {"global_signal": series.mean(axis=1, dtype=np.float64)}
    for name, column in _TISSUES.items():
        if name in masks:
            columns[column] = series[:, masks[name]].mean(axis=1, dtype=np.float64)
    columns["std_dvars"], columns["dvars"] = dvars(series)
    columns["framewise_displacement"] = framewise_displacement(motion)
    if masks:
        quiet = np.any(list(masks.values()), axis=0)
        found = noise_components(series[:, quiet], repetition_time, n_components, high_pass)
        columns |= {f"a_comp_cor_{number:02d}": component for number, component in enumerate(found.T)}
    slow = cosine_drifts(len(series), repetition_time, high_pass)
    columns |= {f"cosine{number:02d}": cosine for number, cosine in enumerate(slow.T)}
    for name, values in zip(MOTION, np.asarray(motion, dtype=np.float64).T, strict=True):
        change = np.diff(values, prepend=np.nan)
        columns[name] = values
        columns[f"{name}_derivative1"] = change
        columns[f"{name}_power2"] = values**2
        columns[f"{name}_derivative1_power2"] = change**2
    return pd.DataFrame(columns)


def framewise_displacement(motion: NDArray[np.float64], radius: float = HEAD_RADIUS) -> NDArray[np.float64]:
    """How far the head moved since the volume before.

    Power et al., "Spurious but systematic correlations in functional connectivity MRI networks arise from
    subject motion", NeuroImage 59:2142 (2012): the sum of the absolute changes of the six parameters,
    rotations as arcs of `radius` mm.

    Parameters
    ----------
    motion : ndarray (n_volumes, 6)
        Translations in mm, rotations in radians.
    radius : float
        In mm.

    Returns
    -------
    ndarray (n_volumes,) float64
        In mm; the first is NaN.
    """
    weights = np.array([1, 1, 1, radius, radius, radius])
    change = np.abs(np.diff(np.asarray(motion, dtype=np.float64), axis=0)) @ weights
    return np.concatenate([[np.nan], change])


def dvars(series: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Change from the volume before, root mean square over voxels.

    Nichols, "Notes on creating a standardized version of DVARS" (2013, published as arXiv:1704.01469): in
    series that are autocorrelated noise, the difference of neighbours has the standard deviation
    ``sqrt(2 (1 - r)) s``, with r the lag-one correlation of a voxel and s its deviation, of which a robust
    estimate is taken (the range between the quartiles divided by 1.349). Standardised DVARS is DVARS divided
    by the mean of these over voxels: about one in a run of noise.

    Parameters
    ----------
    series : ndarray (n_volumes, n_voxels)

    Returns
    -------
    std_dvars, dvars : ndarray (n_volumes,) float64
        Standardised; and for intensities scaled to a median of 1000. The first is NaN, and all of them where
        no voxel varies.
    """
    n_volumes = len(series)
    squares, expected, n_varying = np.zeros(max(n_volumes - 1, 0)), 0.0, 0
    means = []
    for begin in range(0, series.shape[1], _VOXELS_AT_A_TIME):
        part = series[:, begin : begin + _VOXELS_AT_A_TIME].astype(np.float64)
        part = part[:, np.ptp(part, axis=0) > 0]
        means.append(part.mean(axis=0))
        part -= means[-1]
        lower, upper = np.percentile(part, [25, 75], axis=0)
        correlation = (part[1:] * part[:-1]).sum(axis=0) / (part**2).sum(axis=0)
        expected += float((np.sqrt(2 * (1 - correlation)) * (upper - lower) / 1.349).sum())
        squares += (np.diff(part, axis=0) ** 2).sum(axis=1)
        n_varying += part.shape[1]
    plain, standardised = np.full(n_volumes, np.nan), np.full(n_volumes, np.nan)
    if n_varying:
        plain[1:] = np.sqrt(squares / n_varying)
        if expected > 0:
            standardised[1:] = plain[1:] / (expected / n_varying)
        plain *= _DVARS_SCALE / max(float(np.median(np.concatenate(means))), 1e-12)
    return standardised, plain


def describe_confounds(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What the columns of a table of `confounds_table` mean, ready for its JSON sidecar.

    The names of components have the fields by which other software chooses among them (`Method`, `Mask`,
    `Retained`).
    """
    described: dict[str, dict[str, Any]] = {}
    for name in map(str, table.columns):
        variant = next((ending for ending in _VARIANTS if name.endswith(ending)), "")
        base = name.removesuffix(variant)
        kind = next((kind for kind in _DESCRIPTIONS if base == kind or base.startswith(kind)), None)
        if kind is None:
            continue
        about = dict(_DESCRIPTIONS[base if base in _DESCRIPTIONS else kind])
        if variant:
            about["Description"] += f": {_VARIANTS[variant]}"
            if variant != "_derivative1":
                about.pop("Units", None)
        described[name] = about
    return described
