"""Shrinkage: how far single-trial responses are drawn towards the voxel's mean response.

GLMsingle (Prince et al., eLife 11:e77599, 2022) chooses for each voxel the ridge penalty with which responses
predict those to repetitions of the same picture best, and states it as a fraction: the length of the
coefficients relative to that without a penalty (Rokem & Kay, GigaScience 9:giaa133, 2020). Here

* coefficients are differences of single trials from the voxel's mean response, which is estimated first.
  With stimuli in quick succession most of the signal is the mean, and to draw it to zero along with the
  differences would put the pace of the design into the responses;
* penalties are tried, and fractions reported. What a fraction means depends on how well the design tells
  trials apart, which is not the same when choices are made and when responses are estimated;
* what is predicted are the data of the other run, not its unpenalised responses, most of whose variance is
  noise that the design amplifies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bids_recon.glm.library_design import RunDesign
from bids_recon.glm.repeats import Repeats

# Keeps divisions by zero from giving anything but zero.
_NOTHING = 1e-30
# Noise variance over the variance of single trials about the mean, in units of the regressors' peak.
PENALTIES = tuple(float(value) for value in np.geomspace(0.03, 300, 25))


@dataclass(frozen=True)
class Shrinkage:
    """How the responses of some voxels are estimated; all tensors (n_voxels,) float32.

    Attributes
    ----------
    mean : tensor
        Mean response.
    penalty : tensor
        Of the ridge.
    fraction : tensor
        Length of the differences from the mean before scaling, relative to that without a penalty.
    scale : tensor
        Of the differences, so that they fit the data best in the mean over trials.
    """

    mean: torch.Tensor
    penalty: torch.Tensor
    fraction: torch.Tensor
    scale: torch.Tensor


def mean_response(along: Sequence[torch.Tensor], designs: Sequence[RunDesign], hrf: int) -> torch.Tensor:
    """Amplitude (n_voxels,) of the response common to all trials of all runs, by least squares.

    Parameters
    ----------
    along : sequence of tensors (n_voxels, k)
        Uᵀy of each run, for the response `hrf`.
    designs : sequence of RunDesign
        One a run.
    hrf : int
        Position in the library.
    """
    means = [design.mean[hrf] for design in designs]
    product = sum((one @ mean for one, mean in zip(along, means, strict=True)), torch.zeros(()))
    return product / sum((mean @ mean for mean in means), torch.zeros(()))


def responses_of_run(along: torch.Tensor, design: RunDesign, hrf: int, shrinkage: Shrinkage) -> torch.Tensor:
    """Responses (n_voxels, n_trials) of one run, drawn towards the mean.

    Parameters
    ----------
    along : tensor (n_voxels, k)
        Uᵀy.
    design : RunDesign
        Of the run.
    hrf : int
        Position in the library.
    shrinkage : Shrinkage
        Of the voxels.
    """
    mean = shrinkage.mean[:, None]
    apart = along - mean * design.mean[hrf]
    values = design.values[hrf]
    gain = shrinkage.scale[:, None] * values / (values**2 + shrinkage.penalty[:, None]).clamp_min(_NOTHING)
    return mean + (apart * gain) @ design.rotation[hrf]


def fit_shrinkage(
    along: Sequence[torch.Tensor], designs: Sequence[RunDesign], hrf: int, repeats: Repeats
) -> Shrinkage:
    """Choose the penalty for each voxel by the repetitions of training pictures.

    Each run's data are predicted from the responses to the same pictures in other runs. The responses of a
    run depend on that run alone once mean and penalty are given, so that runs are left out without fitting
    again. Afterwards the differences from the mean are scaled, as in the paper, so that they are not smaller
    than the data say; the scale is that of a regression of the data on what the responses predict.

    Parameters
    ----------
    along, designs, hrf
        See `mean_response`.
    repeats : Repeats
        Among the trials of all runs, in their order. Without any, the penalty is zero and the fraction one.
    """
    mean = mean_response(along, designs, hrf)
    one = torch.ones_like(mean)
    penalty = torch.zeros_like(mean)
    if not repeats.any:
        return Shrinkage(mean, penalty, one, one)
    least = torch.full_like(mean, torch.inf)
    for value in (0.0, *PENALTIES):
        tried = Shrinkage(mean, value * one, one, one)
        responses = [
            responses_of_run(y, design, hrf, tried) for y, design in zip(along, designs, strict=True)
        ]
        error = prediction_error(along, designs, hrf, repeats.predict(torch.hstack(responses)))
        better = error < least
        least = torch.where(better, error, least)
        penalty = torch.where(better, tried.penalty, penalty)

    values = torch.cat([design.values[hrf] for design in designs])
    apart = torch.hstack(
        [y - mean[:, None] * design.mean[hrf] for y, design in zip(along, designs, strict=True)]
    )
    kept = values**2 / (values**2 + penalty[:, None]).clamp_min(_NOTHING)
    inverse = torch.where(values > 0, 1 / values.clamp_min(_NOTHING), 0.0)
    fraction = (kept * apart * inverse).norm(dim=1) / (apart * inverse).norm(dim=1).clamp_min(_NOTHING)
    scale = (kept * apart**2).sum(dim=1) / (kept * apart).square().sum(dim=1).clamp_min(_NOTHING)
    return Shrinkage(mean, penalty, fraction, scale)


def prediction_error(
    along: Sequence[torch.Tensor], designs: Sequence[RunDesign], hrf: int, responses: torch.Tensor
) -> torch.Tensor:
    """Squared difference (n_voxels,) between the data and what responses predict.

    Parameters
    ----------
    along, designs, hrf
        See `mean_response`.
    responses : tensor (n_voxels, n_trials)
        Of the trials of all runs.
    """
    return sum(
        (((one - own) ** 2).sum(dim=1) for one, own in _beside_predictions(along, designs, hrf, responses)),
        torch.zeros_like(responses[:, 0]),
    )


def explained_share(
    along: Sequence[torch.Tensor],
    designs: Sequence[RunDesign],
    hrf: int,
    mean: torch.Tensor,
    responses: torch.Tensor,
) -> torch.Tensor:
    """Share (n_voxels,) of the data's variance about the mean response that responses predict, to a factor.

    Parameters
    ----------
    along, designs, hrf, responses
        See `prediction_error`; responses are differences from their mean.
    mean : tensor (n_voxels,)
        Mean response.
    """
    product, predicted, total = torch.zeros(3, *mean.shape, device=mean.device)
    pairs = _beside_predictions(along, designs, hrf, responses)
    for (one, own), design in zip(pairs, designs, strict=True):
        apart = one - mean[:, None] * design.mean[hrf]
        product += (apart * own).sum(dim=1)
        predicted += (own**2).sum(dim=1)
        total += (apart**2).sum(dim=1)
    return product.clamp_min(0) ** 2 / (predicted * total).clamp_min(_NOTHING)


def _beside_predictions(
    along: Sequence[torch.Tensor], designs: Sequence[RunDesign], hrf: int, responses: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each run's data and what responses predict of them, both (n_voxels, k)."""
    first = 0
    for one, design in zip(along, designs, strict=True):
        rotation = design.rotation[hrf]
        own = responses[:, first : first + rotation.shape[1]]
        yield one, (own @ rotation.T) * design.values[hrf]
        first += rotation.shape[1]
