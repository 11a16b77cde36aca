"""Line search of a batch: between which lengths each picture's good step lies, and which to try next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GROWTH = 10.0
# An interpolated step keeps this share of the bracket away from both ends.
MARGIN = 0.1


@dataclass
class StepBracket:
    """Step lengths (b,) between which a good one lies, with losses and slopes there, and the one to try.

    The lower end gained enough and is still steep; the upper one, infinite at first, did not gain enough.
    """

    low: Tensor
    low_loss: Tensor
    low_slope: Tensor
    high: Tensor
    trial: Tensor

    @classmethod
    def of(cls, losses: Tensor, slopes: Tensor, first: Tensor) -> StepBracket:
        """From losses and slopes at no step, and the first lengths to try, all (b,)."""
        zero = torch.zeros_like(losses, dtype=torch.float64)
        return cls(zero, zero + losses, zero + slopes, zero + torch.inf, zero + first)

    def narrow(self, which: Tensor, losses: Tensor, slopes: Tensor, good: Tensor) -> None:
        """Put the ends of some pictures' brackets where they were tried, and choose what to try next.

        Parameters
        ----------
        which : Tensor (c,) int64
            The pictures, of the batch of b.
        losses, slopes : Tensor (c,)
            What was found at the lengths `trial`.
        good : Tensor (c,) bool
            Whether these gained enough; such a picture is asked about again only if it is still steep.
        """
        tried, losses, slopes = self.trial[which], losses.double(), slopes.double()
        high = torch.where(good, self.high[which], tried)
        inside = _cubic_minimum(
            self.low[which], self.low_loss[which], self.low_slope[which], tried, losses, slopes
        )
        rising, steep = which[~good], which[good]
        self.low[steep], self.low_loss[steep], self.low_slope[steep] = tried[good], losses[good], slopes[good]
        self.high[rising] = tried[~good]
        low = self.low[which]
        # Towards an upper end whose values were not kept, the bracket is halved.
        next_trial = torch.where(good, (low + high) / 2, inside)
        self.trial[which] = torch.where(high.isinf(), GROWTH * tried, next_trial)


def _cubic_minimum(
    low: Tensor, low_loss: Tensor, low_slope: Tensor, high: Tensor, high_loss: Tensor, high_slope: Tensor
) -> Tensor:
    """Where the cubic through two losses and slopes is least, kept away from both ends."""
    width = high - low
    bend = low_slope + high_slope - 3 * (high_loss - low_loss) / width
    root = (bend.square() - low_slope * high_slope).sqrt()
    share = 1 - (high_slope + root - bend) / (high_slope - low_slope + 2 * root)
    # Where the loss is not finite nothing is known but that the step was far too long.
    return low + width * share.nan_to_num(MARGIN, MARGIN, MARGIN).clamp(MARGIN, 1 - MARGIN)
