"""Haemodynamic responses: the canonical one, and an ordered library of twenty from early to late.

A response is the difference of two gamma densities (Friston et al., NeuroImage 7:30, 1998; Glover, NeuroImage
9:416, 1999). The response to a stimulus that lasts is its integral, which has a closed form: regressors are
exact at every time, without a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

# Where extremes are looked for, s after onset. The latest response of the library is over by then.
_GRID = np.arange(0, 40, 0.01)
# An event without duration is a flash this short, s.
_FLASH = 0.01


@dataclass(frozen=True)
class DoubleGamma:
    """Response to a brief event: a gamma density minus `ratio` times a later one, scaled to integral one.

    Attributes
    ----------
    delay, undershoot : float
        Means of the two densities, in s.
    dispersion, undershoot_dispersion : float
        Their scales, in s: variance over mean.
    ratio : float
        Integral of the second over that of the first.
    """

    delay: float
    dispersion: float
    undershoot: float
    undershoot_dispersion: float
    ratio: float

    def density(self, times: NDArray[np.floating]) -> NDArray[np.float64]:
        """Response to a very short event of unit integral, at `times` in s after it."""
        peak = stats.gamma.pdf(times, self.delay / self.dispersion, scale=self.dispersion)
        under = stats.gamma.pdf(
            times, self.undershoot / self.undershoot_dispersion, scale=self.undershoot_dispersion
        )
        return np.asarray((peak - self.ratio * under) / (1 - self.ratio), dtype=np.float64)

    def block(self, times: NDArray[np.floating], duration: float) -> NDArray[np.float64]:
        """Response to an event of height one that lasts `duration` s, at `times` in s after its onset.

        It tends to one while the event goes on. An event without duration lasts 0.01 s.
        """
        length = max(duration, _FLASH)
        return self._integral(times) - self._integral(np.asarray(times) - length)

    def peak(self, duration: float) -> float:
        """Largest value of `block`."""
        return float(self.block(_GRID, duration).max())

    @property
    def time_to_peak(self) -> float:
        """When the response to a very short event is largest, in s, to 0.01 s."""
        return float(_GRID[np.argmax(self.density(_GRID))])

    def _integral(self, times: NDArray[np.floating]) -> NDArray[np.float64]:
        after = np.maximum(times, 0)
        peak = special.gammainc(self.delay / self.dispersion, after / self.dispersion)
        under = special.gammainc(
            self.undershoot / self.undershoot_dispersion, after / self.undershoot_dispersion
        )
        return np.asarray((peak - self.ratio * under) / (1 - self.ratio), dtype=np.float64)


# Glover (1999), auditory response, with the numbers that nilearn uses for `hrf_model="glover"`.
CANONICAL = DoubleGamma(delay=6.0, dispersion=0.9, undershoot=12.0, undershoot_dispersion=0.9, ratio=0.48)
