"""Designs of the library: for each run, the trial regressors of all twenty responses, ready for any voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.glm.hrf import LIBRARY, DoubleGamma
from bids_recon.glm.repeats import Repeats
from bids_recon.glm.run_data import RunModel, regressors

# Directions of the design with less than this share of the strongest are left out, as by a pseudo-inverse.
_LEAST_DIRECTION = 1e-3


@dataclass(frozen=True)
class RunDesign:
    """Singular value decompositions X = U diag(s) Vᵀ of one run's whitened designs, free of confounds.

    With H responses, n volumes, t trials and k directions, all float32 on one device.

    Attributes
    ----------
    project : tensor (H, n, k)
        From percent change to Uᵀy; whitening and the removal of confounds are in it.
    values : tensor (H, k)
        s; zero for directions left out.
    rotation : tensor (H, k, t)
        Vᵀ.
    mean : tensor (H, k)
        UᵀX1: what responses of one to every trial give.
    removed : tensor (n, r)
        See `removed_space`.
    autocorrelation : float
        Of noise at successive volumes, which whitening removes.
    freedom : int
        Volumes less confounds.
    """

    project: torch.Tensor
    values: torch.Tensor
    rotation: torch.Tensor
    mean: torch.Tensor
    removed: torch.Tensor
    autocorrelation: float
    freedom: int

    def energy(self, change: torch.Tensor) -> torch.Tensor:
        """Sum of squares (n_voxels,) of percent change (n_voxels, n), whitened and free of confounds."""
        white = change[:, 1:] - self.autocorrelation * change[:, :-1]
        first = (1 - self.autocorrelation**2) * change[:, 0] ** 2
        return first + (white**2).sum(dim=1) - ((change @ self.removed) ** 2).sum(dim=1)


@dataclass(frozen=True)
class Setting:
    """Size of the data and of the parts it is worked on.

    Attributes
    ----------
    n_voxels, voxels_at_a_time : int
        All, and those worked on together.
    duration : float
        Of a typical trial, in s.
    device : torch.device
        Where to compute.
    """

    n_voxels: int
    voxels_at_a_time: int
    duration: float
    device: torch.device

    def slices(self) -> list[slice]:
        """Parts of all voxels."""
        step = self.voxels_at_a_time
        return [slice(begin, min(begin + step, self.n_voxels)) for begin in range(0, self.n_voxels, step)]

    def designs(
        self, models: Sequence[RunModel], components: Sequence[NDArray[np.float64]], noise: float
    ) -> list[RunDesign]:
        """Designs of runs, given their noise components and the autocorrelation of noise."""
        return [
            run_design(model, own, noise, self.duration, self.device)
            for model, own in zip(models, components, strict=True)
        ]


@dataclass(frozen=True)
class Stack:
    """Designs of all runs for one response, filled up with zeros to the largest; float32 on one device.

    Attributes
    ----------
    project : list of tensor (n_volumes, k)
        See `RunDesign`; one a run.
    values : tensor (n_runs, k)
        See `RunDesign`.
    rotation : tensor (n_runs, k, n_trials)
        See `RunDesign`.
    mean : tensor (n_runs, k)
        See `RunDesign`.
    """

    project: list[torch.Tensor]
    values: torch.Tensor
    rotation: torch.Tensor
    mean: torch.Tensor

    def along(self, changes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Uᵀy (n_runs, k, n_voxels) from percent change (n_voxels, n_volumes) of each run."""
        return padded([own.T @ change.T for own, change in zip(self.project, changes, strict=True)])

    def predicted(self, repeats: Repeats, responses: torch.Tensor) -> torch.Tensor:
        """What the repetitions of each trial predict, as Uᵀy (..., n_runs, k, n_voxels).

        Parameters
        ----------
        repeats : Repeats
            Among the trials of all runs.
        responses : tensor (..., n_runs, n_trials, n_voxels)
            As differences from the mean.
        """
        found = repeats.predict(responses.flatten(-3, -2)).view_as(responses)
        return (self.values[:, :, None] * self.rotation) @ found


def stack(designs: Sequence[RunDesign], hrf: int) -> Stack:
    """Designs of all runs for the response at the position `hrf` of the library."""
    return Stack(
        project=[design.project[hrf] for design in designs],
        values=padded([design.values[hrf] for design in designs]),
        rotation=padded([design.rotation[hrf] for design in designs]),
        mean=padded([design.mean[hrf] for design in designs]),
    )


def padded(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack tensors of different sizes, filled up with zeros to the largest."""
    sizes = [max(lengths) for lengths in zip(*(tensor.shape for tensor in tensors), strict=True)]
    out = tensors[0].new_zeros(len(tensors), *sizes)
    for place, tensor in zip(out, tensors, strict=True):
        place[tuple(slice(length) for length in tensor.shape)] = tensor
    return out


def whitening(
    n_volumes: int, autocorrelation: float, shared: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What makes noise white that is autoregressive and partly shared between voxels.

    Parameters
    ----------
    n_volumes : int
        Length of the run.
    autocorrelation : float
        Of noise at successive volumes.
    shared : ndarray (n_volumes, n_components) float64
        Time courses of shared noise, in standard deviations of the noise that is not shared.

    Returns
    -------
    whitening : ndarray (n_volumes, n_volumes) float64
        Applied to time courses from the left.
    removed : ndarray (n_volumes, n_components) float64
        Of the energy without autocorrelation, whitening takes away the squared products with these.
    """
    first = np.eye(n_volumes) - autocorrelation * np.eye(n_volumes, k=-1)
    first[0, 0] = np.sqrt(1 - autocorrelation**2)
    # (I + SSᵀ)^(-1/2) from the singular vectors of S.
    vectors, values, _ = np.linalg.svd(first @ shared, full_matrices=False)
    variance = 1 + values**2
    second = np.eye(n_volumes) + (vectors * (variance**-0.5 - 1)) @ vectors.T
    return second @ first, first.T @ vectors * np.sqrt(1 - 1 / variance)


def run_design(
    model: RunModel,
    shared: NDArray[np.float64],
    autocorrelation: float,
    typical_duration: float,
    device: torch.device,
) -> RunDesign:
    """Decompose the designs of one run for every response of the library.

    Parameters
    ----------
    model : RunModel
        Trials and confounds.
    shared, autocorrelation
        See `whitening`.
    typical_duration : float
        In s. Regressors are scaled so that a trial of this length has a peak of one.
    device : torch.device
        Where the tensors go.
    """
    white, _ = whitening(model.run.n_volumes, autocorrelation, shared)
    confounds = np.linalg.qr(white @ model.confounds)[0]
    designs = np.stack([white @ scaled_regressors(hrf, model, typical_duration) for hrf in LIBRARY])
    designs -= confounds @ (confounds.T @ designs)
    # Gram matrices are small, and in double precision keep more than the directions that are used.
    squares, vectors = np.linalg.eigh(designs.transpose(0, 2, 1) @ designs)
    values = np.sqrt(squares.clip(min=0))
    values[values < _LEAST_DIRECTION * values.max(axis=1, keepdims=True, initial=0)] = 0
    inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
    left = designs @ (vectors * inverse[:, None, :])

    def tensor(array: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)

    return RunDesign(
        project=tensor(white.T @ left),
        values=tensor(values),
        rotation=tensor(vectors.transpose(0, 2, 1)),
        mean=tensor(values * vectors.sum(axis=1)),
        removed=tensor(removed_space(model, shared, autocorrelation)),
        autocorrelation=autocorrelation,
        freedom=model.run.n_volumes - confounds.shape[1],
    )


def removed_space(
    model: RunModel, shared: NDArray[np.float64], autocorrelation: float
) -> NDArray[np.float64]:
    """What shared noise and confounds take away.

    The energy of a time course y, whitened and free of confounds, is that of y without autocorrelation less
    the squares of its products with these.

    Returns
    -------
    ndarray (n_volumes, r) float64
    """
    white, removed = whitening(model.run.n_volumes, autocorrelation, shared)
    return np.hstack([white.T @ np.linalg.qr(white @ model.confounds)[0], removed])


def scaled_regressors(hrf: DoubleGamma, model: RunModel, typical_duration: float) -> NDArray[np.float64]:
    """Regressors (n_volumes, n_modelled) with a peak of one for a trial of `typical_duration` s."""
    return regressors(hrf, model.times, model.onsets, model.durations) / hrf.peak(typical_duration)


def read_change(model: RunModel, voxels: slice | NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Percent change (n_chosen, n_volumes) float32 of some voxels of a run."""
    return torch.from_numpy(model.percent_change(voxels)).to(device)
