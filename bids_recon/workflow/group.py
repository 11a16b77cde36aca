"""Group level: average latents over people, render, score, write and report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_recon.config import Settings
from bids_recon.dataset.annex import datalad_get
from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.dataset.stimulus_lookup import look_up
from bids_recon.dataset.stimulus_spec import load_stimulus_spec
from bids_recon.dataset.trials import check_files
from bids_recon.errors import MissingInputError, NothingSelectedError
from bids_recon.methods.base import Method, MethodOptions
from bids_recon.methods.registry import method_class
from bids_recon.metrics.network_features import available_scorers
from bids_recon.outputs.names import label, unique_labels
from bids_recon.report.content import GalleryItem, GroupReport
from bids_recon.report.pages import write_group_report
from bids_recon.report.roi_optimal import SyntheticPicture
from bids_recon.workflow.audit_log import read_audits
from bids_recon.workflow.averaging import AVERAGE, Mean, average_over_people
from bids_recon.workflow.caption_files import caption_files, check_fitted_captions, with_captions
from bids_recon.workflow.column_notes import IMAGE_COLUMNS, ITEM_COLUMNS, METRIC_COLUMNS
from bids_recon.workflow.decoding import Decoded, rebuild_methods
from bids_recon.workflow.drawing_choices import check_settled, drawing_record
from bids_recon.workflow.group_analyses import analyse_group
from bids_recon.workflow.group_files import remove_unlisted, write_pictures, write_table
from bids_recon.workflow.latents_store import (
    decoded_regions,
    decoded_subjects,
    decoding_file,
    read_decoded,
    read_regions,
)
from bids_recon.workflow.method_settings import check_method, options_of
from bids_recon.workflow.nsd_source import NSD, nsd_pictures, nsd_release, source_description
from bids_recon.workflow.page_context import run_context
from bids_recon.workflow.rating_pages import write_rating_pages
from bids_recon.workflow.region_names import ALL, shown_method
from bids_recon.workflow.remembered_pictures import RememberedPictures, steps_of_items
from bids_recon.workflow.samples import Samples
from bids_recon.workflow.scoring import score
from bids_recon.workflow.stage_cache import remove_leftovers
from bids_recon.workflow.subject_page import gallery_items, rows_shown, seen_thumbnails
from bids_recon.workflow.true_latents import TrueLatents

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
    description = source_description(settings)
    decoded = {method: _read(settings, method) for method in settings.method}
    for method, (_, by_person) in decoded.items():
        for person, sidecar in by_person.items():
            check_settled(
                settings,
                method,
                sidecar,
                file=decoding_file(settings.output_dir, person, method, "decoder", ".json"),
            )
            check_method(method, options_of(sidecar, settings))
    drawn = _Drawn()
    for method in settings.method:
        _draw(settings, method, *decoded[method], drawn)
        on_step(f"group {method}")
    warnings, sidecars = drawn.warnings, drawn.sidecars
    tables = {
        "metrics": (drawn.metrics, METRIC_COLUMNS),
        "items": (drawn.items, ITEM_COLUMNS),
        "images": (drawn.images, IMAGE_COLUMNS),
    }
    drawing = {method: drawing_record(choices) for method, choices in drawn.choices.items()}
    for name, (parts, columns) in tables.items():
        write_table(
            group_dir,
            name,
            pd.concat(parts, ignore_index=True),
            columns,
            settings.method,
            drawing=drawing if name == "images" else None,
        )
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
                decoders=Path(one["DecodersFrom"]) if "DecodersFrom" in one else None,
            ),
            command,
            "Group",
            description={**description, "Simulated": one["Simulated"]},
            split=one["Split"],
            source=one["ResponsesFrom"],
            shuffles={
                method: [sidecar["Shuffles"] for sidecar in by_person.values()]
                for method, (_, by_person) in decoded.items()
            },
            choices=list(drawn.choices.values()),
            warnings=warnings,
        ),
        subjects=pd.DataFrame(subjects),
        audit={person: audits.get(f"sub-{person}", {}) for person in sidecars},
        rois=pd.concat(drawn.regions, ignore_index=True),
        metrics=_named_by_region(pd.concat(drawn.metrics, ignore_index=True)),
        gallery=drawn.gallery,
        weights=pd.concat(drawn.weights, ignore_index=True),
        synthetic=drawn.synthetic,
    )
    warnings += write_rating_pages(
        group_dir, drawn.gallery, seed=settings.seed, simulated=bool(one["Simulated"])
    )
    for warning in warnings:
        LOGGER.warning("%s", warning)
    write_group_report(settings.output_dir / "group.html", report)


@dataclass
class _Drawn:
    """What was drawn and scored, method by method."""

    metrics: list[pd.DataFrame] = field(default_factory=list)
    items: list[pd.DataFrame] = field(default_factory=list)
    images: list[pd.DataFrame] = field(default_factory=list)
    regions: list[pd.DataFrame] = field(default_factory=list)
    gallery: list[GalleryItem] = field(default_factory=list)
    choices: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: list[pd.DataFrame] = field(default_factory=list)
    synthetic: list[SyntheticPicture] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sidecars: dict[str, dict[str, Any]] = field(default_factory=dict)

    def warn(self, texts: Sequence[str]) -> None:
        """Add warnings, each once: people of one method have many in common."""
        self.warnings += [text for text in texts if text not in self.warnings]


def _draw(
    settings: Settings,
    method: str,
    decoded: dict[str, Decoded],
    sidecars: dict[str, dict[str, Any]],
    drawn: _Drawn,
) -> None:
    """Draw, score and write what was decoded by one method: everyone, their mean, and single regions."""
    drawn.sidecars.update(sidecars)
    stimuli, captions = _stimuli(settings, method, list(decoded.values()), list(sidecars.values()))
    seen = seen_thumbnails(stimuli, stimuli.ids)
    scratch, group_dir = settings.work_dir / "scratch", settings.output_dir / "group"
    images = []
    options = {person: options_of(sidecar, settings) for person, sidecar in sidecars.items()}
    regions = _read_regions(settings, method, list(decoded))
    labels = unique_labels(regions)
    for region, people in {ALL: decoded, **regions}.items():
        mean, warnings = average_over_people(people, scratch)
        drawn.warnings += warnings if region == ALL else []
        everyone = {person: Mean.of_one(person, latents) for person, latents in people.items()}
        if mean is not None:
            everyone[AVERAGE] = mean
        for person, one in everyone.items():
            latents, seed = one.decoded, options[next(iter(one.leads.values()))].seed
            methods = _methods(method, one, options)
            drawn.choices.setdefault(method, next(iter(methods.values())).choices)
            shown = latents.items["stimulus_id"]
            drawn.warn(check_fitted_captions(method, methods, stimuli, shown, captions))
            if not method_class(method).quick_render:
                folder = settings.work_dir / "pictures" / label(method)
                methods = {fold: RememberedPictures(one, folder) for fold, one in methods.items()}
            scores = score(
                latents,
                methods,
                stimuli,
                seed=seed,
                truths=TrueLatents(methods, stimuli, scratch),
                networks=available_scorers(settings.weights),
                picture_shuffles=method_class(method).picture_shuffles,
            )
            who = {"subject": person, "method": method, "roi": region}
            drawn.metrics.append(scores.metrics.assign(**who)[list(METRIC_COLUMNS)])
            drawn.items.append(scores.items.assign(**who)[list(ITEM_COLUMNS)])
            samples = None
            if settings.samples > 1 and region == ALL and method_class(method).draws_at_random:
                samples = Samples(latents, methods, seed, settings.samples)
                samples.draw()
            images.append(
                write_pictures(
                    group_dir,
                    settings.bids_dir,
                    who,
                    latents,
                    scores,
                    stimuli,
                    seed,
                    region_label=labels.get(region, ""),
                    samples=samples,
                )
            )
            steps = steps_of_items(latents, methods, seed)
            n_items, n_shown = len(latents.items), len(rows_shown(latents.items))
            if n_shown < n_items:
                drawn.warn([f"This page shows {n_shown} of {n_items} pictures of each person and method."])
            drawn.gallery += gallery_items(person, shown_method(method, region), latents, scores, seen, steps)
    if settings.samples > 1 and not method_class(method).draws_at_random:
        drawn.warn([f"{method} draws one picture of each response: its samples would be the same."])
    analysed = analyse_group(settings.output_dir, settings.work_dir, method, decoded, options)
    drawn.weights.append(analysed.weights)
    drawn.synthetic += analysed.pictures
    remove_unlisted(group_dir, method, images)
    drawn.images += images
    drawn.regions += [
        read_regions(settings.output_dir, person, method).assign(subject=person) for person in decoded
    ]


def _methods(method: str, mean: Mean, options: Mapping[str, MethodOptions]) -> dict[str, Method]:
    """The method of each fold, with the options of the person who leads it."""
    found: dict[str, Method] = {}
    for person in dict.fromkeys(mean.leads.values()):
        own = tuple(fold for fold in mean.decoded.folds if mean.leads[fold.name] == person)
        found |= rebuild_methods(Decoded(own), method, options[person])
    return found


def _named_by_region(metrics: pd.DataFrame) -> pd.DataFrame:
    names = [shown_method(*pair) for pair in zip(metrics["method"], metrics["roi"], strict=True)]
    return metrics.assign(method=names)


def _read_regions(settings: Settings, method: str, people: Sequence[str]) -> dict[str, dict[str, Decoded]]:
    """Latents decoded from single regions, by region and person."""
    found: dict[str, dict[str, Decoded]] = {}
    for person in people:
        for short, region in decoded_regions(settings.output_dir, person, method).items():
            latents, _ = read_decoded(settings.output_dir, person, method, short)
            found.setdefault(region, {})[person] = latents
    return found


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


def _stimuli(
    settings: Settings, method: str, decoded: Sequence[Decoded], sidecars: Sequence[dict[str, Any]]
) -> tuple[StimulusSet, tuple[Path, ...]]:
    """Test pictures of a method, and the files of their captions."""
    sidecar = sidecars[0]
    folders = settings.stimuli or tuple(Path(f) for f in sidecar["Stimuli"] if Path(f).is_dir())
    spec = load_stimulus_spec(settings.stimulus_spec or sidecar["StimulusSpec"])
    items = pd.concat([one.items for one in decoded])
    # People may have seen different pictures under one name.
    check_files(items)
    shown = items.drop_duplicates("stimulus_id")
    attributes = {
        name: known for one in sidecars for name, known in one.get("StimulusAttributes", {}).items()
    }
    if release := sidecar.get("NsdRelease"):
        if nsd_release(settings) is None:
            settings = replace(settings, derivatives={**settings.derivatives, NSD: Path(release)})
        stimuli = nsd_pictures(settings, shown["stimulus_id"])
    else:
        stimuli = look_up(shown, spec, settings.bids_dir, folders, attributes)
    before = list(dict.fromkeys(file for one in sidecars for file in one.get("Captions", ())))
    captions = caption_files(settings, spec, (method,), before)
    stimuli = with_captions(stimuli, captions)
    if missing := stimuli.missing():
        annexed = [str(one.path) for one in missing if one.path is not None]
        raise MissingInputError(
            f"{len(missing)} of {len(stimuli.ids)} test pictures are missing",
            file=missing[0].path or missing[0].wanted,
            remedy=f"Fetch with: {datalad_get(annexed, settings.bids_dir)}"
            if annexed
            else spec.stimuli.missing or "Name their folder with --stimuli.",
        )
    return stimuli, captions
