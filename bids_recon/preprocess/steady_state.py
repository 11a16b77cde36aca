"""Volumes recorded before the magnetisation has settled: they are brighter than all that follow."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MOST_VOLUMES = 12
LARGEST_SHARE = 0.1
"""Neither more volumes nor a larger share of the run are taken as recorded before the steady state."""

# Robust standard deviations of the change from one volume to the next by which a volume stands out.
_THRESHOLD = 6.0
# A smaller difference, relative to the signal, does not matter, and may be that of a drift or a task.
_LEAST_DIFFERENCE = 0.01
# Volumes whose median is the level after a candidate: few enough for a drift to be small.
_NEIGHBOURS = 5
_SHORTEST_RUN = 20


def count_non_steady_state(signal: NDArray[np.floating]) -> int:
    """Number of volumes at the start of a run that were recorded before the steady state.

    Without saturation by earlier excitations the first volumes of a run are brighter; with a longitudinal
    relaxation time of about 1.3 s (grey matter at 3 T) they settle within a few seconds. The first k volumes
    are taken as such, for the largest k with which each of them is brighter than the volume after them and
    than the median of the five after them, by 6 robust standard deviations (1.4826 times the median absolute
    deviation) of the changes from volume to volume in the rest of the run, and by 1 %. Drift and responses
    to a task change too little from one volume to the next.

    Parameters
    ----------
    signal : ndarray (n_volumes,)
        Mean over the head of each volume, in any unit.

    Returns
    -------
    int
        At most `MOST_VOLUMES`, and `LARGEST_SHARE` of the run; 0 for runs of fewer than 20 volumes.

    Raises
    ------
    ValueError
        When the signal is not one-dimensional and finite.
    """
    values = np.asarray(signal, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("the global signal is one finite number a volume")
    if len(values) < _SHORTEST_RUN:
        return 0
    most = min(MOST_VOLUMES, math.floor(LARGEST_SHARE * len(values)))
    changes = np.diff(values[most:])
    deviation = 1.4826 * float(np.median(np.abs(changes - np.median(changes))))
    least = max(_THRESHOLD * deviation, _LEAST_DIFFERENCE * abs(float(np.median(values[most:]))))
    for count in range(most, 0, -1):
        after = max(values[count], np.median(values[count : count + _NEIGHBOURS]))
        if (values[:count] - after > least).all():
            return count
    return 0
