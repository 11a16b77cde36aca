"""The analyses that a run asks for, of one person and method."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_recon.config import Settings
from bids_recon.dataset.splits import TRAIN, rows_of
from bids_recon.glm.responses import Responses
from bids_recon.methods.base import Method
from bids_recon.rois.eccentricity import find_eccentricity
from bids_recon.workflow.analyses import ChosenRegions, FittedMethod, analyse_participant, choose_regions
from bids_recon.workflow.decoding import DecodingPlan, training_latents
from bids_recon.workflow.latents_store import read_decoded
from bids_recon.workflow.nsd_source import nsd_release
from bids_recon.workflow.responses import ResponseResult
from bids_recon.workflow.stage_cache import StageCache


def regions_to_analyse(settings: Settings, subject: str, result: ResponseResult) -> ChosenRegions | None:
    """Find the regions of the analyses: before decoding, so that a wrong name is told before the work.

    None when no analysis is asked for, or decoders are those of an earlier run.

    Raises
    ------
    ReconError
        As `choose_regions` and `find_eccentricity` do.
    """
    if not settings.analyses or settings.decoders is not None:
        return None
    voxels, prepared = result.responses.voxels, result.prepared
    file = settings.eccentricity
    if file is None and (release := nsd_release(settings)) is not None:
        own_map = release.eccentricity(subject)
        file = own_map if own_map.is_file() else None
    elif file is None:
        own = sorted(path for path in (settings.bids_dir / "derivatives").glob("*") if path.is_dir())
        file = find_eccentricity(subject, [*settings.derivatives.values(), *own], voxels.space)
    anatomy = None if prepared is None else prepared.anatomy_affine
    return choose_regions(settings.roi_mix, voxels, file, anatomy)


def run_analyses(
    settings: Settings,
    result: ResponseResult,
    decoding: DecodingPlan,
    methods: Mapping[str, Method],
    regions: ChosenRegions | None,
    cache: StageCache,
    key: str,
) -> list[str]:
    """Make the analyses of one method from what is on the disk; give warnings.

    Parameters
    ----------
    settings : Settings
    result : ResponseResult
    decoding : DecodingPlan
    methods : dict of str to Method
        As fitted in each fold.
    regions : ChosenRegions or None
        Of `regions_to_analyse`.
    cache : StageCache
    key : str
        Of the stage of decoding.

    Raises
    ------
    ReconError
        When decoders cannot be read, or files not be written.
    """
    if not settings.analyses:
        return []
    if regions is None:
        return [f"{decoding.method} was not analysed: its decoders were fitted by another run."]
    subject = str(result.responses.trials["subject"].iloc[0])
    decoded, sidecar = read_decoded(settings.output_dir, subject, decoding.method)

    def of_fold(fold: str, space: str) -> NDArray[np.floating]:
        return true_training_latents(result.responses, decoding, methods[fold], fold, space)

    fitted = FittedMethod(
        settings.output_dir,
        subject,
        decoding.method,
        result.responses.voxels,
        decoded,
        sidecar,
        methods,
        of_fold,
    )
    return analyse_participant(fitted, settings.analyses, regions, cache, key)


def true_training_latents(
    responses: Responses, decoding: DecodingPlan, method: Method, fold: str, space: str
) -> NDArray[np.floating]:
    """True latents (n_pictures, n_targets) of the training pictures of a fold, as its decoders learnt them.

    Those that decoding keeps are taken; large ones, which it does not keep, are encoded again.
    """
    trials, (own,) = responses.trials, [one for one in decoding.split.folds if one.name == fold]
    ids = tuple(dict.fromkeys(trials.loc[rows_of(trials, TRAIN, own.train), "stimulus_id"]))
    return training_latents(decoding, method, space, ids)
