"""The report of one participant, from what the level computed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.config import Settings
from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.report.content import GalleryItem, SubjectReport
from bids_recon.report.pages import write_subject_report
from bids_recon.report.pictures import thumbnail
from bids_recon.workflow.decoding import Decoded
from bids_recon.workflow.method_stage import MethodResult
from bids_recon.workflow.page_context import run_context
from bids_recon.workflow.page_quality import preprocessing_quality, response_quality
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.plan_text import set_table
from bids_recon.workflow.responses import ResponseResult
from bids_recon.workflow.scoring import Scores

# Identification has many ties at 1, and is undefined for one picture; pixels always tell pictures apart.
SORTED_BY = "pixcorr"
PIXELS = "pixels-1"
MOST_SHOWN = 200
"""Pictures of a person, method and test set that a page shows: each takes some 15 KB of it."""


def seen_thumbnails(stimuli: StimulusSet, ids: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
    """Pictures that were seen, as a page shows them, by stimulus id."""
    return {name: thumbnail(stimuli.image(name)) for name in dict.fromkeys(ids)}


def rows_shown(items: pd.DataFrame) -> list[int]:
    """Rows of the items that a page shows: all, or of large test sets some that their names draw."""
    drawn = [hashlib.sha256(f"{item}".encode()).hexdigest() for item in items["stimulus_id"]]
    ranked = items.assign(drawn=drawn).reset_index(drop=True).groupby("test_set", sort=False)["drawn"]
    return np.flatnonzero(ranked.rank(method="first") <= MOST_SHOWN).tolist()


def gallery_items(
    subject: str,
    method: str,
    decoded: Decoded,
    scores: Scores,
    seen: Mapping[str, NDArray[np.uint8]],
    steps: Sequence[Mapping[int, NDArray[np.uint8]]] = (),
) -> list[GalleryItem]:
    """Reconstructions beside what was seen, with every score of each picture.

    `steps` are the pictures after some of the iterations that led to each item, where there were any.
    """
    if scores.reconstructed is None or scores.ceiling is None:
        return []
    by_item = {
        (str(row["test_set"]), str(row["stimulus_id"]), int(row["trial_index"]), str(row["metric"])): float(
            row["value"]
        )
        for row in scores.items[scores.items["protocol"] == PIXELS].to_dict("records")
    }
    metrics = scores.items.loc[scores.items["protocol"] == PIXELS, "metric"].unique()
    found = []
    items = decoded.items.to_dict("records")
    for row in rows_shown(decoded.items):
        item = items[row]
        key = (str(item["test_set"]), str(item["stimulus_id"]), int(item["trial_index"]))
        values = {metric: by_item[*key, metric] for metric in metrics}
        trial = "" if key[2] < 0 else f" (trial {key[2]})"
        found.append(
            GalleryItem(
                subject=subject,
                method=method,
                test_set=key[0],
                stimulus_id=key[1] + trial,
                seen=seen[key[1]],
                reconstructed=thumbnail(scores.reconstructed[row]),
                ceiling=thumbnail(scores.ceiling[row]),
                score=values[SORTED_BY],
                scores=values,
                score_name=SORTED_BY,
                steps=tuple(steps[row].items()) if steps else (),
            )
        )
    return found


def decoder_table(methods: Sequence[MethodResult]) -> pd.DataFrame:
    """One row per fitted decoder."""
    rows = []
    for result in methods:
        for fold in result.decoded.folds:
            for space, summary in fold.summaries.items():
                plain = {key: value for key, value in summary.items() if isinstance(value, str | int | float)}
                rows.append({"method": result.method, "fold": fold.name, "latent space": space, **plain})
    return pd.DataFrame(rows)


def write_subject_page(
    settings: Settings,
    command: str,
    plan: ParticipantPlan,
    result: ResponseResult,
    methods: Sequence[MethodResult],
    warnings: Sequence[str],
) -> Path:
    """Write `sub-<label>.html`."""
    tables = [one.scores.metrics.assign(method=one.method) for one in methods]
    regions = [one.regions for one in methods]
    drawn = [one for one in methods if one.scores.reconstructed is not None]
    seen = seen_thumbnails(plan.stimuli, [name for one in drawn for name in one.decoded.items["stimulus_id"]])
    report = SubjectReport(
        context=run_context(
            settings,
            command,
            f"sub-{plan.subject}",
            description=plan.description,
            split=plan.split.rule if plan.split else "none",
            source=plan.source,
            shuffles={one.method: [one.decoded.n_shuffles] for one in methods},
            choices=[next(iter(one.methods.values())).choices for one in methods],
            prepared=result.prepared,
            warnings=warnings,
        ),
        subject=plan.subject,
        runs=result.runs,
        sets=set_table(plan),
        audit=plan.audit.to_dict() if plan.audit else {},
        rois=pd.concat(regions, ignore_index=True) if regions else pd.DataFrame(),
        decoders=decoder_table(methods),
        metrics=pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(),
        quality=preprocessing_quality(result),
        responses=response_quality(result),
        gallery=[
            item
            for one in drawn
            for item in gallery_items(plan.subject, one.method, one.decoded, one.scores, seen)
        ],
    )
    return write_subject_report(settings.output_dir / f"sub-{plan.subject}.html", report)
