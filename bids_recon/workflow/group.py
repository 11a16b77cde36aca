"""Group level: average latents over people, render, score, write and report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_recon.config import Settings
from bids_recon.dataset.annex import datalad_get
from bids_recon.dataset.layout import read_description
from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.dataset.stimulus_lookup import look_up
from bids_recon.dataset.stimulus_spec import load_stimulus_spec
from bids_recon.dataset.trials import check_files
from bids_recon.errors import MissingInputError, NothingSelectedError
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.seeds import picture_seed
from bids_recon.outputs.atomic import write_json, write_png, write_tsv
from bids_recon.outputs.names import label, stimulus_filename
from bids_recon.outputs.reading import read_tsv
from bids_recon.report.content import GalleryItem, GroupReport
from bids_recon.report.pages import write_group_report
from bids_recon.workflow.audit_log import read_audits
from bids_recon.workflow.averaging import AVERAGE, average_over_people
from bids_recon.workflow.column_notes import IMAGE_COLUMNS, ITEM_COLUMNS, METRIC_COLUMNS, TEXT_COLUMNS
from bids_recon.workflow.decoding import Decoded, rebuild_methods
from bids_recon.workflow.latents_store import decoded_subjects, read_decoded, read_regions
from bids_recon.workflow.method_settings import options_of
from bids_recon.workflow.page_context import run_context
from bids_recon.workflow.scoring import Scores, score
from bids_recon.workflow.stage_cache import remove_leftovers
from bids_recon.workflow.subject_page import gallery_items, seen_thumbnails

DECIMALS = 6
LOGGER = logging.getLogger("bids_recon")


def run_group(settings: Settings, command: str, on_step: Callable[[str], None] = lambda _: None) -> None:
    """Run the group level on the decoded latents in the output folder.

    Raises
    ------
    NothingSelectedError
        When no participant has decoded latents.
    ReconError
        When pictures or latents are missing or damaged.
    """
    group_dir = settings.output_dir / "group"
    remove_leftovers(group_dir)
    description = read_description(settings.bids_dir)
    metrics, items, images, regions = [], [], [], []
    gallery: list[GalleryItem] = []
    warnings: list[str] = []
    sidecars: dict[str, dict[str, Any]] = {}
    for method in settings.method:
        decoded, found = _read(settings, method)
        sidecars.update(found)
        average, more = average_over_people(decoded)
        warnings += more
        everyone = {**decoded, **({AVERAGE: average} if average is not None else {})}
        stimuli = _stimuli(settings, list(decoded.values()), next(iter(found.values())))
        seen = seen_thumbnails(stimuli, stimuli.ids)
        for person, latents in everyone.items():
            options = options_of(found.get(person) or next(iter(found.values())), settings.device)
            scores = score(latents, rebuild_methods(latents, method, options), stimuli, seed=options.seed)
            who = {"subject": person, "method": method}
            metrics.append(scores.metrics.assign(**who)[list(METRIC_COLUMNS)])
            items.append(scores.items.assign(**who)[list(ITEM_COLUMNS)])
            images.append(_write_pictures(settings, person, options, method, latents, scores, stimuli))
            gallery += gallery_items(person, method, latents, scores, seen)
        _remove_unlisted(group_dir, method, images)
        regions += [
            read_regions(settings.output_dir, person, method).assign(subject=person) for person in decoded
        ]
        on_step(f"group {method}")
    tables = {
        "metrics": (metrics, METRIC_COLUMNS),
        "items": (items, ITEM_COLUMNS),
        "images": (images, IMAGE_COLUMNS),
    }
    for name, (parts, columns) in tables.items():
        _write_table(group_dir, name, pd.concat(parts, ignore_index=True), columns, settings.method)
    subjects = [
        {"subject": person, "test trials": "averaged" if one["AveragedTestTrials"] else "single"}
        | {"voxels": one["Voxels"], "responses": one["ResponsesFrom"], "split": one["Split"]}
        for person, one in sidecars.items()
    ]
    one = next(iter(sidecars.values()))
    audits = read_audits(settings.output_dir)
    report = GroupReport(
        context=run_context(
            replace(
                settings,
                average_trials=one["AveragedTestTrials"],
                n_shuffles=one["Shuffles"],
                decoders=Path(one["DecodersFrom"]) if "DecodersFrom" in one else None,
            ),
            command,
            "Group",
            description={**description, "Simulated": one["Simulated"]},
            split=one["Split"],
            source=one["ResponsesFrom"],
            warnings=warnings,
        ),
        subjects=pd.DataFrame(subjects),
        audit={person: audits.get(f"sub-{person}", {}) for person in sidecars},
        rois=pd.concat(regions, ignore_index=True),
        metrics=pd.concat(metrics, ignore_index=True),
        gallery=gallery,
    )
    for warning in warnings:
        LOGGER.warning("%s", warning)
    write_group_report(settings.output_dir / "group.html", report)


def _read(settings: Settings, method: str) -> tuple[dict[str, Decoded], dict[str, dict[str, Any]]]:
    available = decoded_subjects(settings.output_dir, method)
    if missing := sorted(set(settings.participant_label) - set(available)):
        raise NothingSelectedError(
            f"no latents decoded by {method} for {', '.join(missing)}",
            file=settings.output_dir,
            remedy="Run the participant level for them first.",
        )
    chosen = [
        person
        for person in available
        if not settings.participant_label or person in settings.participant_label
    ]
    if not chosen:
        raise NothingSelectedError(
            f"no participant has latents decoded by {method}",
            file=settings.output_dir,
            remedy="Run the participant level first, with the same output folder and method.",
        )
    both = {person: read_decoded(settings.output_dir, person, method) for person in chosen}
    return {p: decoded for p, (decoded, _) in both.items()}, {p: sidecar for p, (_, sidecar) in both.items()}


def _stimuli(settings: Settings, decoded: Sequence[Decoded], sidecar: dict[str, Any]) -> StimulusSet:
    folders = settings.stimuli or tuple(Path(f) for f in sidecar["Stimuli"] if Path(f).is_dir())
    spec = load_stimulus_spec(settings.stimulus_spec or sidecar["StimulusSpec"])
    items = pd.concat([one.items for one in decoded])
    # People may have seen different pictures under one name.
    check_files(items)
    shown = items.drop_duplicates("stimulus_id")
    stimuli = look_up(shown, spec, settings.bids_dir, folders)
    if missing := stimuli.missing():
        annexed = [str(one.path) for one in missing if one.path is not None]
        raise MissingInputError(
            f"{len(missing)} of {len(stimuli.ids)} test pictures are missing",
            file=missing[0].path or missing[0].wanted,
            remedy=f"Fetch with: {datalad_get(annexed, settings.bids_dir)}"
            if annexed
            else "Name their folder with --stimuli.",
        )
    return stimuli


def _write_pictures(
    settings: Settings,
    person: str,
    options: MethodOptions,
    method: str,
    decoded: Decoded,
    scores: Scores,
    stimuli: StimulusSet,
) -> pd.DataFrame:
    assert scores.reconstructed is not None
    rows = []
    for item, picture in zip(decoded.items.to_dict("records"), scores.reconstructed, strict=True):
        stimulus_id, trial = str(item["stimulus_id"]), int(item["trial_index"])
        stem = stimulus_filename(stimulus_id) + ("" if trial < 0 else f"_trial-{trial}")
        file = Path("images") / person / label(method) / str(item["test_set"]) / f"{stem}.png"
        write_png(settings.output_dir / "group" / file, picture)
        rows.append(
            {
                "subject": person,
                "method": method,
                "test_set": item["test_set"],
                "stimulus_id": stimulus_id,
                "trial_index": trial if trial >= 0 else None,
                "n_trials": item["n_trials"],
                "file": file.as_posix(),
                "seen_file": _seen_file(stimuli, stimulus_id, settings.bids_dir),
                "height": picture.shape[0],
                "width": picture.shape[1],
                "seed": int(picture_seed(options.seed, stimulus_id)),
            }
        )
    return pd.DataFrame(rows, columns=list(IMAGE_COLUMNS)).astype({"trial_index": "Int64"})


def _remove_unlisted(group_dir: Path, method: str, images: Sequence[pd.DataFrame]) -> None:
    """Remove pictures of an earlier call, of other people or another split, that no table names any more."""
    listed = {name for table in images for name in table["file"]}
    for file in group_dir.glob(f"images/*/{label(method)}/*/*.png"):
        if file.relative_to(group_dir).as_posix() not in listed:
            file.unlink()


def _seen_file(stimuli: StimulusSet, stimulus_id: str, bids_dir: Path) -> str | None:
    path = stimuli.path(stimulus_id)
    if path is None:
        return None
    inside = path.absolute().is_relative_to(bids_dir.absolute())
    return path.absolute().relative_to(bids_dir.absolute()).as_posix() if inside else path.name


def _write_table(
    folder: Path, name: str, table: pd.DataFrame, columns: dict[str, str], methods: Sequence[str]
) -> None:
    """Write a table; rows of methods that this call did not run are kept."""
    file = folder / f"{name}.tsv"
    if file.is_file():
        old = read_tsv(file, TEXT_COLUMNS)
        if list(old.columns) == list(table.columns):
            kept = old[~old["method"].isin(list(methods))]
            table = pd.concat([kept, table], ignore_index=True) if len(kept) else table
    if "trial_index" in table:
        table = table.assign(
            trial_index=table["trial_index"].where(table["trial_index"] >= 0).astype("Int64")
        )
    if "note" in table:
        table = table.assign(note=table["note"].replace("", "n/a"))
    write_tsv(file, table.round(DECIMALS))
    write_json(folder / f"{name}.json", {column: {"Description": text} for column, text in columns.items()})
