"""Regressors of no interest: slow drift, head motion, and what a confounds table adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bids_recon.errors import DataError
from bids_recon.preprocess.compcor import cosine_drifts

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
# fMRIPrep before 1.2 (2018), whose derivatives are still distributed with some data sets.
_MOTION_2018 = ("X", "Y", "Z", "RotX", "RotY", "RotZ")
_REMEDY_MOTION = (
    "Give a table with trans_x, trans_y, trans_z, rot_x, rot_y and rot_z (fMRIPrep's desc-confounds), or turn"
    " motion regressors off."
)


def drift_regressors(
    n_volumes: int, repetition_time: float, *, kind: str = "linear", high_pass: float = 1 / 128
) -> pd.DataFrame:
    """Slow drift, without the constant.

    Parameters
    ----------
    n_volumes : int
        Length of the run.
    repetition_time : float
        In s.
    kind : {"linear", "cosine", "none"}
        One straight line (as Horikawa & Kamitani, 2017), the discrete cosines below `high_pass`, or nothing.
    high_pass : float
        In Hz, for cosines.

    Returns
    -------
    DataFrame (n_volumes, n_regressors) float64
        Each column with mean zero. There are ``floor(2 * n_volumes * repetition_time * high_pass)`` cosines,
        which is none in a run shorter than half a period of `high_pass`.
    """
    if kind == "none":
        return pd.DataFrame(index=range(n_volumes))
    if kind == "linear":
        return pd.DataFrame({"drift_linear": np.linspace(-1, 1, n_volumes)})
    if kind == "cosine":
        cosines = cosine_drifts(n_volumes, repetition_time, high_pass)
        names = [f"drift_cosine{order:02d}" for order in range(1, cosines.shape[1] + 1)]
        return pd.DataFrame(cosines, columns=names)
    raise ValueError(f"drift {kind!r}: choose linear, cosine or none")


def motion_regressors(confounds: pd.DataFrame, n: int = 6) -> pd.DataFrame:
    """Head motion from a confounds table.

    Parameters
    ----------
    confounds : DataFrame
        One row a volume; columns named as by fMRIPrep. Text is turned into numbers.
    n : {6, 24}
        Three translations and three rotations; or these, their differences from the volume before, and the
        squares of both (Satterthwaite et al., NeuroImage 64:240, 2013).

    Returns
    -------
    DataFrame (n_volumes, n) float64
        Columns named as by fMRIPrep. Differences and squares are computed from the six, so that tables
        without them serve as well; the first difference is zero.

    Raises
    ------
    DataError
        When a motion column is missing or not numeric.
    """
    if n not in (6, 24):
        raise ValueError(f"{n} motion regressors: choose 6 or 24")
    names = MOTION if "trans_x" in confounds or "X" not in confounds else _MOTION_2018
    if missing := [name for name in names if name not in confounds]:
        raise DataError(f"motion columns are missing: {', '.join(missing)}", remedy=_REMEDY_MOTION)
    six = pd.DataFrame(
        {new: _numbers(confounds[old], new) for new, old in zip(MOTION, names, strict=True)}
    ).reset_index(drop=True)
    if n == 6:
        return six
    # Where the head was before the first volume is unknown: taken as where it was then.
    change = six.diff().fillna(0.0).add_suffix("_derivative1")
    return pd.concat(
        [six, change, six.pow(2).add_suffix("_power2"), change.pow(2).add_suffix("_power2")], axis=1
    )


def select_confounds(
    confounds: pd.DataFrame, *, motion: int | None = 6, extra: Sequence[str] = ()
) -> pd.DataFrame:
    """Pick the nuisance regressors out of a confounds table.

    Parameters
    ----------
    confounds : DataFrame
        One row a volume.
    motion : {6, 24} or None
        Number of motion regressors.
    extra : sequence of str
        Further columns, such as `csf` or `framewise_displacement`.

    Returns
    -------
    DataFrame (n_volumes, n_regressors) float64
        Motion, the volumes marked as recorded before the steady state (`non_steady_state_outlier*`), and
        `extra`. Free of NaN.

    Raises
    ------
    DataError
        When a column is missing, not numeric, or has no value in other rows than the first.
    """
    if missing := [name for name in extra if name not in confounds]:
        raise DataError(
            f"confound columns are missing: {', '.join(missing)}",
            remedy=f"Choose among: {', '.join(map(str, confounds.columns))}.",
        )
    unsteady = [name for name in confounds if str(name).startswith("non_steady_state_outlier")]
    picked = {str(name): _numbers(confounds[name], str(name)) for name in dict.fromkeys([*unsteady, *extra])}
    others = pd.DataFrame(picked, index=confounds.index).reset_index(drop=True)
    if motion is None:
        return others
    moved = motion_regressors(confounds, motion)
    return pd.concat([moved, others.drop(columns=moved.columns, errors="ignore")], axis=1)


def nuisance_matrix(
    n_volumes: int,
    repetition_time: float,
    *,
    confounds: pd.DataFrame | None = None,
    drift: str = "linear",
    motion: int | None = 6,
    extra: Sequence[str] = (),
    high_pass: float = 1 / 128,
) -> pd.DataFrame:
    """All regressors of no interest of one run.

    Parameters
    ----------
    n_volumes, repetition_time, drift, high_pass
        See `drift_regressors`.
    confounds, motion, extra
        See `select_confounds`; without a table there is drift only.

    Returns
    -------
    DataFrame (n_volumes, n_regressors) float64
        Columns with mean zero and standard deviation one; columns that do not vary are left out.

    Raises
    ------
    DataError
        As `select_confounds`, and when the table has not one row a volume.
    """
    parts = [drift_regressors(n_volumes, repetition_time, kind=drift, high_pass=high_pass)]
    if confounds is not None:
        if len(confounds) != n_volumes:
            raise DataError(
                f"the confounds table has {len(confounds)} rows, the run {n_volumes} volumes",
                remedy="Check that table and run belong together.",
            )
        parts.append(select_confounds(confounds, motion=motion, extra=extra))
    table = pd.concat(parts, axis=1)
    deviation = table.std(ddof=0)
    varying = deviation > 1e-12 * table.abs().max()
    return ((table - table.mean()) / deviation).loc[:, varying]


def _numbers(column: pd.Series, name: str) -> pd.Series:
    """Turn one column into numbers, with the first row filled in where it has no value."""
    text = column.astype(str).str.strip()
    empty = column.isna() | text.str.lower().isin(["n/a", "nan", ""])
    values = pd.to_numeric(text.mask(empty), errors="coerce").astype(float)
    bad = ~np.isfinite(values) & ~(empty & (np.arange(len(values)) == 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"confound {name} has the value {text.iloc[row]!r} in row {row + 1}",
            remedy="Only the first row may be without a value. Correct the table, or leave the column out.",
        )
    if len(values) and empty.iloc[0]:
        # Differences with the volume before (derivatives, framewise displacement, DVARS) have no first value.
        # A derivative of zero says that nothing changed; a displacement or DVARS is never about zero, so the
        # mean is what stands out least.
        values.iloc[0] = 0.0 if "derivative1" in name else values.iloc[1:].mean()
    return values
