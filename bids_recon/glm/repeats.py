"""Presentations of the same picture: what single-trial responses are validated against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Repeats:
    """For every trial that has repetitions, where they are.

    Attributes
    ----------
    trial : tensor (n,) int64
        Positions of the trials with repetitions.
    others : tensor (n, most) int64
        Positions of their repetitions, filled up with zeros.
    weight : tensor (n, most) float32
        One over the number of repetitions; zero where there is none.
    """

    trial: torch.Tensor
    others: torch.Tensor
    weight: torch.Tensor

    @property
    def any(self) -> bool:
        """Whether a picture was shown more than once."""
        return len(self.trial) > 0

    def predict(self, estimate: torch.Tensor) -> torch.Tensor:
        """Responses as their repetitions predict them.

        Parameters
        ----------
        estimate : tensor (..., n_trials, n_voxels)
            Responses of all trials, as differences from their mean.

        Returns
        -------
        tensor (..., n_trials, n_voxels)
            The mean of a trial's repetitions; zero, which is the mean of all, where it has none.
        """
        mean = torch.zeros((), dtype=estimate.dtype, device=estimate.device)
        for others, weight in zip(self.others.T, self.weight.T, strict=True):
            mean = torch.addcmul(mean, estimate.index_select(-2, others), weight[:, None])
        if len(self.trial) == estimate.shape[-2]:
            return mean
        return torch.zeros_like(estimate).index_copy_(-2, self.trial, mean)


def find_repeats(stimulus_ids: NDArray[np.object_], device: torch.device) -> Repeats:
    """Repetitions of each trial, in other runs where there are any, else in the same run.

    Parameters
    ----------
    stimulus_ids : ndarray (n_runs, most_trials) of object
        Picture of each trial; None where a run has fewer trials.
    device : torch.device
        Where the tensors go.

    Returns
    -------
    Repeats
        Positions are those in the flattened array.
    """
    runs = np.repeat(np.arange(len(stimulus_ids)), stimulus_ids.shape[1])
    groups: dict[object, list[int]] = {}
    for row, name in enumerate(stimulus_ids.ravel()):
        if name is not None:
            groups.setdefault(name, []).append(row)
    found = []
    for rows in groups.values():
        for row in rows if len(rows) > 1 else []:
            elsewhere = [other for other in rows if runs[other] != runs[row]]
            found.append((row, elsewhere or [other for other in rows if other != row]))
    found.sort()
    most = max((len(rows) for _, rows in found), default=0)
    others = np.zeros((len(found), most), dtype=np.int64)
    weight = np.zeros((len(found), most), dtype=np.float32)
    for position, (_, rows) in enumerate(found):
        others[position, : len(rows)] = rows
        weight[position, : len(rows)] = 1 / len(rows)
    trial = np.array([row for row, _ in found], dtype=np.int64)
    return Repeats(*(torch.from_numpy(array).to(device) for array in (trial, others, weight)))
