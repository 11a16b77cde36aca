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

from dataclasses import dataclass

import numpy as np
import torch

from bids_recon.glm.library_design import RunDesign, Stack
from bids_recon.glm.repeats import Repeats

# Keeps divisions by zero from giving anything but zero.
_NOTHING = 1e-20
# Numbers held at a time while penalties are tried: 2 MB in single precision.
_MOST_ELEMENTS = 500_000
# Noise variance over the variance of single trials about the mean, in units of the regressors' peak.
PENALTIES = tuple(float(value) for value in np.geomspace(0.03, 300, 13))


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


def mean_response(along: torch.Tensor, stack: Stack) -> torch.Tensor:
    """Amplitude (n_voxels,) of the response common to all trials of all runs, by least squares.

    Parameters
    ----------
    along : tensor (n_runs, k, n_voxels)
        Uᵀy of each run.
    stack : Stack
        Designs of all runs for one response.
    """
    product = (along * stack.mean[:, :, None]).sum(dim=(0, 1))
    return product / (stack.mean**2).sum().clamp_min(_NOTHING)


def about_mean(along: torch.Tensor, stack: Stack, mean: torch.Tensor) -> torch.Tensor:
    """What is left of Uᵀy (n_runs, k, n_voxels) when every trial had the mean response."""
    return along - stack.mean[:, :, None] * mean


def responses_of_run(along: torch.Tensor, design: RunDesign, hrf: int, shrinkage: Shrinkage) -> torch.Tensor:
    """Responses (n_trials, n_voxels) of one run, drawn towards the mean.

    Parameters
    ----------
    along : tensor (k, n_voxels)
        Uᵀy.
    design : RunDesign
        Of the run.
    hrf : int
        Position in the library.
    shrinkage : Shrinkage
        Of the voxels.
    """
    apart = along - design.mean[hrf][:, None] * shrinkage.mean
    values = design.values[hrf][:, None]
    apart *= shrinkage.scale * values / (values**2 + shrinkage.penalty).clamp_min(_NOTHING)
    return shrinkage.mean + design.rotation[hrf].T @ apart


def fit_shrinkage(along: torch.Tensor, stack: Stack, repeats: Repeats) -> Shrinkage:
    """Choose the penalty for each voxel by the repetitions of training pictures.

    Each run's data are predicted from the responses to the same pictures in other runs. The responses of a
    run depend on that run alone once mean and penalty are given, so that runs are left out without fitting
    again. Afterwards the differences from the mean are scaled, as in the paper, so that they are not smaller
    than the data say; the scale is that of a regression of the data on what the responses predict.

    Parameters
    ----------
    along, stack
        See `mean_response`.
    repeats : Repeats
        Among the trials of the stack. Without any, the penalty is zero and the fraction one.
    """
    mean = mean_response(along, stack)
    one, penalty = torch.ones_like(mean), torch.zeros_like(mean)
    if not repeats.any:
        return Shrinkage(mean, penalty, one, one)
    apart = about_mean(along, stack, mean)
    values = stack.values[:, :, None]
    tried = torch.tensor((0.0, *PENALTIES), device=mean.device)
    # As many penalties at a time as memory allows; the same for all voxels, so that each is a product.
    size = max(1, _MOST_ELEMENTS // (stack.rotation[:, 0].numel() * len(mean)))
    errors = []
    for some in tried.split(size):
        gain = values / (values**2 + some[:, None, None, None]).clamp_min(_NOTHING)
        responses = (gain * stack.rotation).transpose(2, 3) @ apart
        predicted = stack.predicted(repeats, responses)
        errors.append(predicted.sub_(apart).square_().sum(dim=(1, 2)))
    penalty = tried[torch.cat(errors).argmin(dim=0)]

    squares = apart.square_()
    kept = values**2 / (values**2 + penalty).clamp_min(_NOTHING)
    lengths = squares * torch.where(values > 0, 1 / values.clamp_min(_NOTHING) ** 2, 0.0)
    fraction = (kept**2 * lengths).sum(dim=(0, 1)) / lengths.sum(dim=(0, 1)).clamp_min(_NOTHING)
    scale = (kept * squares).sum(dim=(0, 1)) / (kept**2 * squares).sum(dim=(0, 1)).clamp_min(_NOTHING)
    return Shrinkage(mean, penalty, fraction.sqrt(), scale)


def explained_share(apart: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Share (n_voxels,) of the variance about the mean response that a prediction explains, to a factor.

    Parameters
    ----------
    apart, predicted : tensors (n_runs, k, n_voxels)
        Data (`about_mean`) and prediction (`Stack.predicted`).
    """
    product = (apart * predicted).sum(dim=(0, 1)).clamp_min(0)
    energies = (predicted**2).sum(dim=(0, 1)) * (apart**2).sum(dim=(0, 1))
    return product**2 / energies.clamp_min(_NOTHING)
