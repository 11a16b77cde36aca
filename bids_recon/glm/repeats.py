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
        estimate : tensor (n_voxels, n_trials)
            Responses of all trials.

        Returns
        -------
        tensor (n_voxels, n_trials)
            The mean of a trial's repetitions; of all trials where it has none.
        """
        predicted = torch.zeros_like(estimate[:, self.trial])
        for others, weight in zip(self.others.T, self.weight.T, strict=True):
            predicted += estimate[:, others] * weight
        found = estimate.mean(dim=1, keepdim=True).repeat(1, estimate.shape[1])
        found[:, self.trial] = predicted
        return found


def find_repeats(
    stimulus_ids: NDArray[np.generic], runs: NDArray[np.integer], device: torch.device
) -> Repeats:
    """Repetitions of each trial, in other runs where there are any, else in the same run.

    Parameters
    ----------
    stimulus_ids, runs : ndarrays (n_trials,)
        Picture and run of each trial.
    device : torch.device
        Where the tensors go.
    """
    groups: dict[object, list[int]] = {}
    for row, name in enumerate(stimulus_ids.tolist()):
        groups.setdefault(name, []).append(row)
    found = []
    for row, name in enumerate(stimulus_ids.tolist()):
        same = [other for other in groups[name] if other != row]
        elsewhere = [other for other in same if runs[other] != runs[row]]
        if same:
            found.append((row, elsewhere or same))
    most = max((len(rows) for _, rows in found), default=0)
    others = np.zeros((len(found), most), dtype=np.int64)
    weight = np.zeros((len(found), most), dtype=np.float32)
    for position, (_, rows) in enumerate(found):
        others[position, : len(rows)] = rows
        weight[position, : len(rows)] = 1 / len(rows)
    trial = np.array([row for row, _ in found], dtype=np.int64)
    return Repeats(*(torch.from_numpy(array).to(device) for array in (trial, others, weight)))
