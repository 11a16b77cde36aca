"""Training responses out of a linear model with latents as parametric modulators.

Mozafari, Reddy & VanRullen (2020) fit the BOLD of training runs with latents as modulators, and invert the
weights to decode responses that were estimated trial by trial. Responses that the fitted model gives to the
training pictures carry exactly its weights: a decoder that regresses them on the latents finds them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bids_recon.config import Settings
from bids_recon.errors import UsageError
from bids_recon.glm.parametric import parametric_modulation
from bids_recon.glm.run_data import RunData
from bids_recon.rois.selection import VoxelSelection

PARAMETRIC = "parametric"
INVERSION = "parametric-inversion"


@dataclass(frozen=True)
class Modulation:
    """BOLD of a participant, ready to be fitted with any latents.

    Attributes
    ----------
    runs : sequence of RunData
    rows : sequence of ndarray (n_trials,) bool
        Trials of each run among those of the participant.
    voxels : VoxelSelection
        Of the time courses.
    """

    runs: Sequence[RunData]
    rows: Sequence[NDArray[np.bool_]]
    voxels: VoxelSelection
    _weights: dict[str, NDArray[np.floating]] = field(default_factory=dict, compare=False, repr=False)

    def responses(
        self,
        training: NDArray[np.bool_],
        latents: NDArray[np.floating],
        voxels: VoxelSelection,
    ) -> NDArray[np.float32]:
        """Responses that the model gives to training trials.

        Parameters
        ----------
        training : ndarray (n_trials,) bool
        latents : ndarray (n_training, n_latents)
            Of the training trials, in their order; the weights of the last latents are kept.
        voxels : VoxelSelection
            Some of those of the time courses.

        Returns
        -------
        ndarray (n_training, n_voxels) float32
            Percent signal change.
        """
        key = hashlib.sha256(training.tobytes() + np.ascontiguousarray(latents).tobytes()).hexdigest()
        if key not in self._weights:
            # Trials that are not for training are modelled one by one, and their latents do not count.
            every = np.zeros((len(training), latents.shape[1]))
            every[training] = latents
            runs = [
                replace(run, training=training[rows]) for run, rows in zip(self.runs, self.rows, strict=True)
            ]
            self._weights.clear()
            self._weights[key] = parametric_modulation(runs, [every[rows] for rows in self.rows])
        place = np.searchsorted(self.voxels.indices, voxels.indices)
        weights = self._weights[key][:, place]
        modelled = np.column_stack([np.ones(len(latents)), latents]) @ weights
        return np.asarray(modelled, dtype=np.float32)


def check_parametric(settings: Settings) -> None:
    """The modulator model goes with the decoder that inverts it, and with nothing that needs single trials.

    Raises
    ------
    UsageError
    """
    if settings.glm != PARAMETRIC:
        return
    if settings.responses_only:
        raise UsageError(
            f"--glm {PARAMETRIC} models responses by the latents of a method, and --responses-only has none",
            remedy="Use --glm lsa.",
        )
    if settings.decoder != INVERSION:
        raise UsageError(
            f"--glm {PARAMETRIC} gives responses without noise, by which other decoders choose no penalty",
            remedy=f"Add --decoder {INVERSION}, or use --glm lsa.",
        )
    for option, value in (("noise-covariance", settings.noise_covariance), ("rescale", settings.rescale)):
        if value not in (None, "none"):
            raise UsageError(
                f"--{option} {value} needs the noise of single trials, and --glm {PARAMETRIC} leaves none",
                remedy="Leave it out, or use --glm lsa.",
            )
    if settings.decoders is not None:
        raise UsageError(
            f"--glm {PARAMETRIC} fits the decoder, and with --decoders nothing is fitted",
            remedy="Use --glm lsa.",
        )
