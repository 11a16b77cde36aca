"""How reliable each voxel is over repeats of a picture, and the most reliable ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_recon.config import Settings
from bids_recon.dataset.splits import rows_of
from bids_recon.errors import DataError
from bids_recon.glm.noise_ceiling import noise_ceiling, reliability
from bids_recon.glm.responses import Responses
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.region_requests import sort_requests
from bids_recon.workflow.training_trials import fixed_training_trials, training_trials

TRAINING, TEST = "training", "test"


@dataclass(frozen=True)
class Reliability:
    """Noise ceilings, and the voxels that are kept for theirs.

    Attributes
    ----------
    kept : ndarray (n_all_voxels,) bool
    ceilings : dict of str to ndarray (n_voxels,)
        Explainable variance of single trials in percent, of the voxels that are kept, from the repeats of
        `training` and `test` pictures, where there are any.
    warnings : tuple of str
    """

    kept: NDArray[np.bool_]
    ceilings: Mapping[str, NDArray[np.floating]]
    warnings: tuple[str, ...] = ()

    def restrict(self, responses: Responses) -> Responses:
        """Responses of the voxels that are kept."""
        return responses if self.kept.all() else responses.restrict(self.kept)


def reliability_of(settings: Settings, plan: ParticipantPlan, responses: Responses) -> Reliability:
    """Noise ceilings of training and of test repeats, and the choice that `--roi reliable:N` asks for.

    Only training repeats choose; those of test pictures are for the report.

    Raises
    ------
    UsageError, DataError
        When reliable voxels are asked for and there are no training pictures for all folds, or none was shown
        again.
    """
    wanted = sort_requests(settings.roi).n_reliable if not plan.earlier else None
    ceilings: dict[str, NDArray[np.floating]] = {}
    ids = responses.trials["stimulus_id"].to_numpy(dtype=str)
    training = fixed_training_trials(responses.trials, plan.split)
    if training is not None and _repeated(ids[training]):
        ceilings[TRAINING] = noise_ceiling(responses.data[training], ids[training])
    test = _test_trials(plan, responses)
    if _repeated(ids[test]):
        ceilings[TEST] = noise_ceiling(responses.data[test], ids[test])
    kept = np.ones(responses.voxels.n_voxels, dtype=bool)
    if wanted is None:
        return Reliability(kept, ceilings)
    name = f"--roi reliable:{wanted}"
    rows = training_trials(responses.trials, plan.split, name)
    if not _repeated(ids[rows]):
        raise DataError(
            f"sub-{plan.subject}: fewer than two training pictures were shown again, and {name} goes by them",
            remedy="Name regions, or use a --split that trains on pictures that were shown again.",
        )
    if wanted >= len(kept):
        warning = f"{name}: there are {len(kept)} voxels in all, and all are used."
        return Reliability(kept, ceilings, (warning,))
    score = np.nan_to_num(reliability(responses.data[rows], ids[rows]), nan=-np.inf)
    kept[:] = False
    kept[np.argsort(-score, kind="stable")[:wanted]] = True
    return Reliability(kept, {key: values[kept] for key, values in ceilings.items()})


def _repeated(ids: NDArray[np.str_]) -> bool:
    """Whether two pictures at least were shown again: one says nothing of the signal."""
    return int((np.unique(ids, return_counts=True)[1] > 1).sum()) > 1


def _test_trials(plan: ParticipantPlan, responses: Responses) -> NDArray[np.bool_]:
    member = np.zeros(len(responses.trials), dtype=bool)
    if plan.split is None or len(plan.split.folds) > 1:
        return member
    for name, ids in plan.split.folds[0].test.items():
        member |= np.asarray(rows_of(responses.trials, name, ids), dtype=bool)
    return member
