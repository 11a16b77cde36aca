"""Haemodynamic responses: the canonical one, and an ordered library of twenty from early to late.

A response is the difference of two gamma densities (Friston et al., NeuroImage 7:30, 1998; Glover, NeuroImage
9:416, 1999). The response to a stimulus that lasts is a difference of its integral, which has a closed form:
regressors are right at any time, to a few millionths of the plateau, whatever the grid of volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

# Where integrals are tabulated and extremes looked for, s after onset. The latest response of the library is
# over by then, to one in a million.
_GRID = np.arange(0, 50, 0.01)
# An event without duration is a flash this short, s.
_FLASH = 0.1


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

    def block(
        self, times: NDArray[np.floating], duration: float | NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Response to an event of height one that lasts `duration` s, at `times` in s after its onset.

        It tends to one while the event goes on. An event without duration lasts 0.1 s. Durations may be an
        array that is broadcast against `times`.
        """
        length = np.maximum(duration, _FLASH)
        return self._integral(times) - self._integral(np.asarray(times) - length)

    def peak(self, duration: float) -> float:
        """Largest value of `block`."""
        return float(self.block(_GRID, duration).max())

    @property
    def time_to_peak(self) -> float:
        """When the response to a very short event is largest, in s, to 0.01 s."""
        return float(_GRID[np.argmax(self.density(_GRID))])

    def _integral(self, times: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(np.interp(times, _GRID, self._integrals, left=0.0, right=1.0), dtype=np.float64)

    @cached_property
    def _integrals(self) -> NDArray[np.float64]:
        peak = special.gammainc(self.delay / self.dispersion, _GRID / self.dispersion)
        under = special.gammainc(
            self.undershoot / self.undershoot_dispersion, _GRID / self.undershoot_dispersion
        )
        return np.asarray((peak - self.ratio * under) / (1 - self.ratio), dtype=np.float64)


# Glover (1999), auditory response, with the numbers that nilearn uses for `hrf_model="glover"`.
CANONICAL = DoubleGamma(delay=6.0, dispersion=0.9, undershoot=12.0, undershoot_dispersion=0.9, ratio=0.48)

# Peaks of the library, s, at equal ratios: early responses differ by less than late ones.
_EARLIEST_PEAK, _LATEST_PEAK, _N_LIBRARY = 3.0, 9.0, 20


def _with_peak_at(time: float) -> DoubleGamma:
    """SPM's response (peak at 5 s, variance 6 s², undershoot 10 s later), moved and widened.

    Widths go with the square root of the time to peak: between responses that are merely shifted and ones
    that are stretched as a whole.
    """
    width = np.sqrt(time / 5.0)
    variance = 6.0 * width**2
    # A gamma density of scale b and mode `time` has variance b (time + b).
    dispersion = (np.sqrt(time**2 + 4 * variance) - time) / 2
    delay = time + dispersion
    return DoubleGamma(delay, dispersion, delay + 10.0 * width, width, 1 / 6)


# Twenty responses that peak 3 to 9 s after a brief event, full width at half maximum 3.8 to 7.1 s, in order.
# Responses of people and regions differ by seconds (Handwerker, Ollinger & D'Esposito, NeuroImage 21:1639,
# 2004). The library of the Natural Scenes Dataset (Allen et al., Nature Neuroscience 25:116, 2022), which
# GLMsingle uses, has as many members, of which later ones are wider too. The numbers come from the formula
# above, not from either paper.
LIBRARY = tuple(_with_peak_at(float(time)) for time in np.geomspace(_EARLIEST_PEAK, _LATEST_PEAK, _N_LIBRARY))


def library_span(duration: float, n_components: int = 6) -> NDArray[np.float64]:
    """Combinations of the library whose responses span those of all its members.

    Parameters
    ----------
    duration : float
        Of the event, in s.
    n_components : int
        Principal components; six leave 0.04 % of the norm of any member (events of 2 s), four 1.6 %.

    Returns
    -------
    ndarray (20, n_components) float64
        Weights of the members' responses.
    """
    responses = np.stack([one.block(_GRID, duration) / one.peak(duration) for one in LIBRARY])
    left = np.linalg.svd(responses, full_matrices=False)[0][:, :n_components]
    peaks = np.array([one.peak(duration) for one in LIBRARY])
    return np.asarray(left / peaks[:, None], dtype=np.float64)
