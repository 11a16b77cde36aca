"""From content to one HTML file that needs nothing else: no network, no second file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from bids_recon.outputs.atomic import write_text
from bids_recon.report.audits import audit_of
from bids_recon.report.content import GroupReport, RunContext, SubjectReport
from bids_recon.report.gallery import gallery_data
from bids_recon.report.layers import group_layers, region_grids, split_layers, subject_layers
from bids_recon.report.page_files import script_hash, static_file, template_environment
from bids_recon.report.quality_sections import mean_displacement, quality_view
from bids_recon.report.roi_optimal import synthetic_grids
from bids_recon.report.roi_weights import weight_charts
from bids_recon.report.sections import (
    group_rois,
    group_scores,
    subject_rois,
    subject_scores,
)
from bids_recon.report.tables import cell, number, text_table


@dataclass(frozen=True)
class Tile:
    """One fact of the summary; `state` is passed, failed, unknown, warning or empty."""

    label: str
    value: str
    state: str = ""
    link: str = ""


def write_subject_report(path: str | Path, report: SubjectReport) -> Path:
    """Write the page of one participant.

    Parameters
    ----------
    path : path
        The file, `sub-<label>.html`; replaced when it exists.
    report : SubjectReport
        What it says.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ReconError
        When the file cannot be written, or a picture given as a file cannot be read.
    """
    name_of = _subject_namer([report.subject])
    gallery = gallery_data(report.gallery, report.metrics, name_of)
    audit = audit_of(report.audit, name_of(report.subject))
    definitions = report.context.definitions
    layers, scores = split_layers(report.metrics)
    layers_by_region, rois = split_layers(report.rois)
    tiles = [
        Tile("Runs", str(len(report.runs)), link="data") if len(report.runs) else None,
        _total("Trials", report.runs, "trials"),
        *_set_tiles(report),
        _motion_tile(report),
        _gallery_tile(gallery),
        _audit_tile([audit.state]),
        _warning_tile(report.context),
    ]
    return _write(
        path,
        "subject.html.j2",
        report.context,
        gallery,
        tiles=[tile for tile in tiles if tile],
        audits=[audit],
        subject=name_of(report.subject),
        quality=quality_view(report.quality, report.responses),
        runs=text_table(report.runs),
        sets=text_table(report.sets),
        decoders=text_table(report.decoders),
        scores=subject_scores(scores, definitions),
        layers=subject_layers(layers, definitions),
        rois=subject_rois(rois, definitions),
        layers_by_region=region_grids(layers_by_region, definitions),
    )


def write_group_report(path: str | Path, report: GroupReport) -> Path:
    """Write the page of the group; parameters, result and errors as in `write_subject_report`."""
    participants = _participants(report)
    name_of = _subject_namer(participants)
    gallery = gallery_data(report.gallery, report.metrics, name_of)
    audits = [audit_of(audit, name_of(subject)) for subject, audit in report.audit.items()]
    definitions = report.context.definitions
    layers, scores = split_layers(report.metrics)
    layers_by_region, rois = split_layers(report.rois)
    tiles = [
        Tile("Participants", str(len(participants)), link="data"),
        _gallery_tile(gallery),
        _audit_tile([audit.state for audit in audits]),
        _warning_tile(report.context),
    ]
    return _write(
        path,
        "group.html.j2",
        report.context,
        gallery,
        tiles=[tile for tile in tiles if tile],
        audits=audits,
        participants=[name_of(subject) for subject in participants],
        subjects=text_table(report.subjects),
        pooled=group_scores(scores, participants, name_of, definitions),
        scores=subject_scores(scores, definitions, name_of),
        layers=group_layers(layers, participants, name_of, definitions),
        rois=group_rois(rois, participants, name_of, definitions),
        layers_by_region=region_grids(layers_by_region, definitions),
        weights=weight_charts(report.weights),
        synthetic=synthetic_grids(report.synthetic, name_of),
    )


def _write(
    path: str | Path, template: str, context: RunContext, gallery: Mapping[str, Any], **content: Any
) -> Path:
    script = static_file("film.js") + static_file("report.js")
    text = (
        _environment()
        .get_template(template)
        .render(
            context=context,
            gallery=gallery,
            # Escapes <, >, & and everything beyond ASCII: nothing in the data can end the script element.
            gallery_json=htmlsafe_json_dumps(gallery, allow_nan=False, separators=(",", ":")),
            style=Markup(static_file("report.css")),
            script=Markup(script),
            script_hash=script_hash(script),
            **content,
        )
    )
    # Undecodable bytes of file names reach us as lone surrogates, which no UTF-8 file can hold.
    return write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _environment() -> Environment:
    environment = template_environment()
    environment.filters["cell"] = cell
    return environment


def _subject_namer(participants: list[str]) -> Callable[[str], str]:
    def name_of(label: str) -> str:
        if not label:
            return "n/a"
        return f"sub-{label}" if label in participants and not label.startswith("sub-") else label

    return name_of


def _participants(report: GroupReport) -> list[str]:
    """Whom the table of subjects lists; when it lists nobody, everyone who is named anywhere."""
    if "subject" in report.subjects and len(report.subjects):
        return [str(subject) for subject in report.subjects["subject"]]
    named = [*report.audit, *(item.subject for item in report.gallery)]
    for table in (report.rois, report.metrics):
        if "subject" in table:
            named += [str(subject) for subject in table["subject"].dropna()]
    return list(dict.fromkeys(named))


def _total(label: str, table: pd.DataFrame, column: str) -> Tile | None:
    if column not in table or not len(table):
        return None
    return Tile(label, cell(table[column].sum()), link="data")


def _set_tiles(report: SubjectReport) -> list[Tile]:
    if not len(report.sets) or not {"set", "stimuli"} <= set(report.sets.columns):
        return []
    return [
        Tile(f"Pictures, {cell(row['set'])}", cell(row["stimuli"]), link="data")
        for row in report.sets.head(3).to_dict("records")
    ]


def _motion_tile(report: SubjectReport) -> Tile | None:
    displacement = mean_displacement(report.quality) if report.quality else math.nan
    if math.isnan(displacement):
        return None
    return Tile("Mean displacement", f"{number(displacement)} mm", link="motion")


def _gallery_tile(gallery: Mapping[str, Any]) -> Tile:
    return Tile("Reconstructions", str(len(gallery["items"])), link="reconstructions")


def _audit_tile(states: list[str]) -> Tile:
    if "failed" in states:
        return Tile("Leak audit", "failed", "failed", "audit")
    if not states or "unknown" in states:
        return Tile("Leak audit", "not run", "unknown", "audit")
    return Tile("Leak audit", "passed", "passed", "audit")


def _warning_tile(context: RunContext) -> Tile | None:
    return Tile("Warnings", str(len(context.warnings)), "warning", "warnings") if context.warnings else None
