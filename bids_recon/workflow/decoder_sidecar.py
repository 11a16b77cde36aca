"""What is written beside decoded latents: how they came about, so that later levels and readers know it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_recon.config import Settings
from bids_recon.dataset.stimuli import picture_hash, read_picture
from bids_recon.dataset.stimulus_spec import names_file
from bids_recon.methods.registry import method_class
from bids_recon.workflow.decoding import DecodingPlan
from bids_recon.workflow.method_settings import options_record
from bids_recon.workflow.nsd_source import nsd_release
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.responses import ResponseResult
from bids_recon.workflow.reuse import FLOOR, EarlierFit
from bids_recon.workflow.training_means import trials_per_sample


def decoder_sidecar(
    settings: Settings,
    plan: ParticipantPlan,
    result: ResponseResult,
    decoding: DecodingPlan,
    extra: list[Path],
) -> dict[str, Any]:
    """Entries of the sidecar of one method, JSON-ready; those of each decoder are added when it is written.

    `extra` are files of further pictures that latent spaces were fitted on.
    """
    earlier = plan.earlier.get(decoding.method)
    return {
        "Simulated": plan.simulated,
        "StimulusSpec": _spec_to_load_again(settings, plan),
        "Stimuli": [str(folder.absolute()) for folder in settings.stimuli],
        "NsdRelease": str(release.root.absolute()) if (release := nsd_release(settings)) else None,
        "Captions": [
            str(file.absolute()) for file in plan.captions if method_class(decoding.method).uses_captions
        ],
        "Split": decoding.split.rule,
        "Folds": {fold.name: {"train": len(fold.train), "test": {k: len(v) for k, v in fold.test.items()}}
                  for fold in decoding.split.folds},
        "LeakAuditPassed": plan.audit.passed if plan.audit else None,
        "ResponsesFrom": plan.source,
        "Estimator": settings.glm if plan.source == "bold" else "read",
        "Standardisation": {"mode": result.zscore, "statistics": _statistics(settings)}
        if earlier is None
        else earlier.sidecar["Standardisation"],
        "LegacyTestStatistics": decoding.options.legacy_test_statistics,
        "AveragedTestTrials": settings.average_trials,
        **_training_samples(settings, result, decoding, earlier),
        "Regions": {name: int(member.sum()) for name, member in result.responses.voxels.rois.items()},
        "Voxels": result.responses.voxels.n_voxels,
        "StimulusAttributes": {
            name: found for name in decoding.split.stimuli if (found := plan.stimuli.attributes(name))
        },
        "ExtraImages": len(extra),
        "Seed": settings.seed,
        "MethodOptions": options_record(decoding.options),
        **_how_fitted(settings, plan, decoding, extra),
    }  # fmt: skip


def _training_samples(
    settings: Settings, result: ResponseResult, decoding: DecodingPlan, earlier: EarlierFit | None
) -> dict[str, Any]:
    """What one sample of the fit was."""
    if earlier is not None:
        return {name: earlier.sidecar.get(name) for name in ("AveragedTrainingTrials", "TrialsPerSample")}
    trials, folds = result.responses.trials, decoding.split.folds
    mean = (
        {fold.name: trials_per_sample(trials, fold) for fold in folds} if settings.average_training else None
    )
    return {"AveragedTrainingTrials": settings.average_training, "TrialsPerSample": mean}


def _how_fitted(
    settings: Settings, plan: ParticipantPlan, decoding: DecodingPlan, extra: list[Path]
) -> dict[str, Any]:
    """Where decoders come from: what they were trained on here, or the earlier run."""
    if settings.decoders is not None:
        return {"DecodersFrom": str(settings.decoders.absolute()), "Floor": FLOOR}
    return {
        "Floor": "decoders fitted on shuffled training responses",
        "TrainingPictures": {
            fold.name: {
                name: plan.stimuli.content_hash(name) if plan.stimuli.stimuli[name].available else ""
                for name in fold.train
            }
            | {f"extra pictures/{file.name}": picture_hash(read_picture(file)) for file in extra}
            for fold in decoding.split.folds
        },
    }


def _statistics(settings: Settings) -> str:
    return "all trials, as published" if settings.legacy_test_statistics else "training trials"


def _spec_to_load_again(settings: Settings, plan: ParticipantPlan) -> str:
    given = settings.stimulus_spec
    return str(Path(given).resolve()) if given and names_file(given) else plan.spec.name
