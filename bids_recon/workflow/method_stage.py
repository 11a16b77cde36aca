"""One method on one person's responses: fit, decode, write; and read back when that was done before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.config import Settings
from bids_recon.dataset.stimuli import PictureSequence, find_pictures, read_picture
from bids_recon.methods.base import Method
from bids_recon.methods.registry import make_method, method_class
from bids_recon.outputs.names import label
from bids_recon.workflow.analysis_files import remove_analyses
from bids_recon.workflow.analysis_stage import regions_to_analyse, run_analyses
from bids_recon.workflow.decoder_sidecar import decoder_sidecar
from bids_recon.workflow.decoding import (
    Decoded,
    DecodingPlan,
    decode,
    decode_region,
    rebuild_methods,
)
from bids_recon.workflow.latents_store import (
    read_decoded,
    read_regions,
    remove_decoded,
    write_decoded,
    write_regions,
)
from bids_recon.workflow.method_settings import method_options
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.region_names import ALL
from bids_recon.workflow.responses import ResponseResult
from bids_recon.workflow.reuse import EarlierFit, decode_again
from bids_recon.workflow.scoring import Scores, score
from bids_recon.workflow.stage_cache import StageCache, fingerprint, region_hashes, stage_key
from bids_recon.workflow.true_latents import TrueLatents
from bids_recon.workflow.weight_hashes import weight_hashes

ROI_SHUFFLES = 10
ROI_METRICS = ("latent-correlation", "two-way-a", "two-way-c")
ROI_COLUMNS = [
    *("method", "roi", "n_voxels", "test_set", "metric", "protocol", "value", "ci_low", "ci_high"),
    *("floor", "floor_low", "floor_high", "n_items"),
]


@dataclass(frozen=True)
class MethodResult:
    """One method's outcome for one person.

    Attributes
    ----------
    method : str
    decoded : Decoded
    methods : dict of str to Method
        As fitted in each fold.
    scores : Scores
        With pictures where the method draws them quickly.
    regions : DataFrame
        Accuracy by region, columns `ROI_COLUMNS`.
    warnings : list of str
    """

    method: str
    decoded: Decoded
    methods: dict[str, Method]
    scores: Scores
    regions: pd.DataFrame
    warnings: list[str]


def run_method(
    settings: Settings, plan: ParticipantPlan, result: ResponseResult, cache: StageCache, method: str
) -> MethodResult:
    """Decode with one method, or find it done; then score."""
    assert plan.split is not None
    # A wrong name of a region is told before hours of computing.
    analysed = regions_to_analyse(settings, plan.subject, result)
    extra = [] if settings.extra_images is None else find_pictures(settings.extra_images)
    earlier = plan.earlier.get(method)
    n_shuffles = settings.n_shuffles or method_class(method).n_shuffles
    scratch = settings.work_dir / "scratch"
    decoding = DecodingPlan(
        method,
        method_options(settings) if earlier is None else earlier.options,
        plan.split,
        plan.stimuli,
        PictureSequence(extra, read_picture),
        result.zscore,
        settings.average_trials,
        settings.average_training,
        n_shuffles,
        result.modulation,
        scratch,
    )
    sidecar = decoder_sidecar(settings, plan, result, decoding, extra)
    stage, key = f"decode_{label(method)}", _key(settings, plan, result, decoding, extra, sidecar)
    if not cache.outputs(stage, key):
        if earlier is None:
            decoded, methods = decode(result.responses, decoding)
        else:
            decoded = decode_again(
                result.responses,
                earlier,
                plan.split,
                average=settings.average_trials,
                n_shuffles=n_shuffles,
                seed=settings.seed,
            )
            methods = {earlier.fold.name: earlier.method}
        # Saved decoders take their voxels as a whole.
        rois = result.responses.voxels.rois if earlier is None else {}
        output_dir, subject, voxels = settings.output_dir, plan.subject, result.responses.voxels
        # A run that is killed here leaves nothing that the group level would read.
        remove_decoded(output_dir, subject, method)
        remove_analyses(output_dir, subject, method)
        written: list[Path] = []
        tables = []
        truths = TrueLatents(methods, plan.stimuli, scratch)
        for region in _decode_regions(result, rois, decoding, decoded, methods):
            tables.append(_score_region(region, decoding, methods, truths))
            if settings.roi_pictures and region.name != ALL:
                written += write_decoded(
                    output_dir, subject, method, region.decoded, sidecar, voxels, region.name
                )
        written.append(write_regions(output_dir, subject, method, pd.concat(tables, ignore_index=True)))
        written += write_decoded(output_dir, subject, method, decoded, sidecar, voxels)
        cache.finish(stage, key, written)
    # What follows uses what is on disk, as the group level will, so that both see the same.
    decoded, _ = read_decoded(settings.output_dir, plan.subject, method)
    methods = rebuild_methods(decoded, method, decoding.options)
    quick = next(iter(methods.values())).quick_render
    truths = TrueLatents(methods, plan.stimuli, scratch)
    scores = score(decoded, methods, plan.stimuli, seed=settings.seed, pictures=quick, truths=truths)
    regions = read_regions(settings.output_dir, plan.subject, method)
    found = run_analyses(settings, result, decoding, methods, analysed, cache, key)
    warnings = [*_warnings(decoded), *_other_estimator(earlier, sidecar), *found]
    return MethodResult(method, decoded, methods, scores, regions, warnings)


def _other_estimator(earlier: EarlierFit | None, sidecar: Mapping[str, Any]) -> list[str]:
    """Tell when decoders see responses of another kind than those that they were fitted on."""
    before = earlier.sidecar.get("Estimator") if earlier is not None else None
    now = sidecar["Estimator"]
    if before in (None, now):
        return []
    return [f"Decoders were fitted on responses by {before}, and take responses by {now} now."]


def _key(
    settings: Settings,
    plan: ParticipantPlan,
    result: ResponseResult,
    decoding: DecodingPlan,
    extra: list[Path],
    sidecar: dict[str, Any],
) -> str:
    responses, earlier = result.responses, plan.earlier.get(decoding.method)
    unfitted = make_method(decoding.method, decoding.options)
    captioned = unfitted.uses_captions
    return stage_key(
        {
            "output": str(settings.output_dir.resolve()),
            "responses": hashlib.sha256(np.ascontiguousarray(responses.data).data).hexdigest(),
            "voxels": hashlib.sha256(responses.voxels.indices.tobytes()).hexdigest(),
            "regions": region_hashes(responses.voxels),
            "trials": responses.trials[["session", "task", "run", "stimulus_id", "set"]].to_json(),
            "folds": [(fold.train, fold.test) for fold in decoding.split.folds],
            "pictures": {
                name: fingerprint(path) if (path := plan.stimuli.file(name)) else name
                for name in decoding.split.stimuli
            },
            "captions": plan.stimuli.captions(decoding.split.stimuli) if captioned else None,
            "extra": [fingerprint(path) for path in extra],
            "method": decoding.method,
            "roi_pictures": settings.roi_pictures,
            "decoders": [fingerprint(path) for path in earlier.files] if earlier else None,
            "zscore": decoding.zscore,
            "average_trials": decoding.average_trials,
            "average_training": decoding.average_training,
            "n_shuffles": decoding.n_shuffles,
            "glm": result.estimates_key,
            "weights": weight_hashes(unfitted, unfitted.decoding_weights),
            "sidecar": sidecar,
        }
    )


@dataclass(frozen=True)
class _Region:
    """Latents decoded with the voxels of one region; `all` has a floor of fewer shuffles than its own."""

    name: str
    n_voxels: int
    decoded: Decoded


def _decode_regions(
    result: ResponseResult,
    rois: Mapping[str, NDArray[np.bool_]],
    decoding: DecodingPlan,
    decoded: Decoded,
    methods: dict[str, Method],
) -> Iterator[_Region]:
    """Decode with the voxels of each region, one after the other; all together come first."""
    n_shuffles = min(decoding.n_shuffles, ROI_SHUFFLES)
    few = Decoded(tuple(fold.with_floor(n_shuffles) for fold in decoded.folds))
    yield _Region(ALL, result.responses.voxels.n_voxels, few)
    for name, member in rois.items():
        if member.all() and name == ALL:
            continue
        part = few
        if not member.all():
            part = decode_region(result.responses.restrict(member), decoding, methods, n_shuffles)
        yield _Region(name, int(member.sum()), part)


def _score_region(
    region: _Region, decoding: DecodingPlan, methods: dict[str, Method], truths: TrueLatents
) -> pd.DataFrame:
    """Accuracy on latents with the voxels of a region."""
    table = score(
        region.decoded, methods, decoding.stimuli, seed=decoding.options.seed, pictures=False, truths=truths
    ).metrics
    table = table[table["metric"].isin(ROI_METRICS)]
    return table.assign(method=decoding.method, roi=region.name, n_voxels=region.n_voxels)[ROI_COLUMNS]


def _warnings(decoded: Decoded) -> list[str]:
    found = []
    for fold in decoded.folds:
        for space, summary in fold.summaries.items():
            if summary.get("warning"):
                found.append(f"Decoder of {space}, fold {fold.name}: {summary['warning']}")
    for test_set, items in decoded.items.groupby("test_set", sort=False):
        if items["stimulus_id"].nunique() < 2:
            found.append(f"The test set {test_set} has one picture only: identification is undefined for it.")
    return found
