"""What a run will do with one participant, found out before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bids_recon.config import Settings
from bids_recon.dataset.anatomy import Anatomy, find_anatomy
from bids_recon.dataset.events import RunReport
from bids_recon.dataset.layout import BoldRun
from bids_recon.dataset.leak_audit import LeakAudit, audit_leaks
from bids_recon.dataset.nsd_layout import GRID
from bids_recon.dataset.splits import BY_PATTERN, Split, default_rule, make_split, parse_split, test_only
from bids_recon.dataset.stimuli import StimulusSet, find_pictures, picture_hash, read_picture
from bids_recon.dataset.stimulus_lookup import find_stimuli
from bids_recon.dataset.stimulus_rules import SplitRule
from bids_recon.dataset.stimulus_spec import StimulusSpec, load_stimulus_spec, preset_for_doi
from bids_recon.errors import DataError, ExitCode, NothingSelectedError, UsageError
from bids_recon.preprocess.fmriprep import FmriprepRun
from bids_recon.rois.masks import MaskSource, find_masks
from bids_recon.rois.nsd_regions import GENERAL
from bids_recon.rois.requests import Region, resolve_regions
from bids_recon.workflow.caption_files import (
    caption_files,
    check_captions,
    check_fitted_captions,
    with_captions,
)
from bids_recon.workflow.fmriprep_choice import find_fmriprep_runs, fmriprep_root, plain_space
from bids_recon.workflow.missing import Missing, missing_images, missing_pictures
from bids_recon.workflow.nsd_source import (
    DEFAULT_SPEC,
    NSD,
    nsd_release,
    read_nsd_source,
    source_description,
)
from bids_recon.workflow.region_requests import sort_requests
from bids_recon.workflow.reuse import EarlierFit, read_earlier_fits
from bids_recon.workflow.trial_sources import BETAS, trials_of_betas, trials_of_events


@dataclass(frozen=True)
class ParticipantPlan:
    """What is known of a participant from tables and file names alone.

    Attributes
    ----------
    subject : str
    source : {"bold", "betas", "nsd"}
        Where responses come from.
    spec : StimulusSpec
    runs : tuple of BoldRun
        Empty when responses are read.
    reports : tuple of RunReport
        One per run: what the reader of events kept and dropped.
    trials : DataFrame
        With the column `set`.
    split : Split or None
        None when only responses are asked for and nothing can be split.
    stimuli : StimulusSet
    audit : LeakAudit or None
    masks : dict
        ROI masks found, by label.
    regions : tuple of str
        ROI that will be used.
    missing : tuple of Missing
    warnings : tuple of str
    description : dict
        Of the data set.
    earlier : dict of str to EarlierFit
        Decoders of an earlier run, by method; empty when this run fits its own.
    captions : tuple of Path
        Files of captions.
    anatomy : Anatomy
        What raw BOLD is aligned to; empty when it is not preprocessed here.
    fmriprep : dict of str to FmriprepRun
        What fMRIPrep made of each run, by name; empty when its derivatives were not given.
    """

    subject: str
    source: str
    spec: StimulusSpec
    runs: tuple[BoldRun, ...]
    reports: tuple[RunReport, ...]
    trials: pd.DataFrame
    split: Split | None
    stimuli: StimulusSet
    audit: LeakAudit | None
    masks: Mapping[str, Sequence[MaskSource]]
    regions: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    warnings: tuple[str, ...] = ()
    description: Mapping[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, EarlierFit] = field(default_factory=dict)
    captions: tuple[Path, ...] = ()
    anatomy: Anatomy = field(default_factory=Anatomy)
    fmriprep: Mapping[str, FmriprepRun] = field(default_factory=dict)

    @property
    def runs_with_trials(self) -> list[BoldRun]:
        """Runs whose BOLD is read."""
        return [run for run, report in zip(self.runs, self.reports, strict=True) if report.n_trials]

    @property
    def space(self) -> str | None:
        """Space of the BOLD series; None for the native one."""
        return next((plain_space(found.space) for found in self.fmriprep.values()), None)

    @property
    def simulated(self) -> bool:
        """Whether the data set says that its brain is simulated."""
        return bool(self.description.get("Simulated"))

    def blocking(self, responses_only: bool) -> list[Missing]:
        """What is missing and stops the run."""
        return [item for item in self.missing if not (responses_only and item.kind == "picture")]


def choose_spec(settings: Settings, description: Mapping[str, Any]) -> tuple[StimulusSpec, list[str]]:
    """The spec the user names, or the preset of the data set's DOI, or the BIDS way."""
    if settings.stimulus_spec:
        return load_stimulus_spec(settings.stimulus_spec), []
    if nsd_release(settings) is not None:
        return load_stimulus_spec(DEFAULT_SPEC), [f"Stimulus spec {DEFAULT_SPEC} was chosen for NSD."]
    preset = preset_for_doi(str(description.get("DatasetDOI", "")))
    if preset is not None:
        return load_stimulus_spec(preset), [f"Stimulus spec {preset} was chosen by the data set's DOI."]
    return load_stimulus_spec(None), []


def plan_participant(settings: Settings, subject: str) -> ParticipantPlan:
    """Read tables and file names of a participant, split the stimuli and audit the split.

    Raises
    ------
    ReconError
        For whatever in the data set or the options cannot be worked with. Missing pictures and BOLD files are
        not raised but listed in the plan.
    """
    description = source_description(settings)
    spec, warnings = choose_spec(settings, description)
    nsd = read_nsd_source(settings, subject, spec) if nsd_release(settings) is not None else None
    runs: list[BoldRun] = []
    reports: list[RunReport] = []
    missing: list[Missing] = []
    space, anatomy = None, Anatomy()
    prepared: dict[str, FmriprepRun] = {}
    if nsd is not None:
        trials, space = nsd.trials, GRID
    elif BETAS in settings.derivatives:
        trials, space = trials_of_betas(settings, subject, spec)
    else:
        runs, reports, trials, found = trials_of_events(settings, subject, spec)
        warnings += found
        read = [run for run, report in zip(runs, reports, strict=True) if report.n_trials]
        if (root := fmriprep_root(settings)) is not None:
            prepared = find_fmriprep_runs(root, read, settings.space)
            space = plain_space(next(iter(prepared.values())).space)
            warnings += [warning for one in prepared.values() for warning in one.warnings]
        elif settings.preprocess == "full":
            anatomy = find_anatomy(settings.bids_dir, subject, settings.bids_filters.get("t1w"))
        missing = missing_images(read, prepared, anatomy)
    if settings.average_training:
        _check_averaging(settings, bold=nsd is None and BETAS not in settings.derivatives)
    stimuli = nsd.stimuli if nsd else find_stimuli(trials, spec, settings.bids_dir, settings.stimuli)
    captions = () if settings.responses_only else caption_files(settings, spec, settings.method)
    stimuli = with_captions(stimuli, captions)
    split, audit = None, None
    earlier = read_earlier_fits(settings, subject)
    undivided = settings.responses_only and not (settings.split or spec.split or settings.decoders)
    try:
        if undivided:
            trials = trials.assign(set="none")
        else:
            trials, split = _split(settings, spec, trials, warnings)
    except (DataError, NothingSelectedError) as error:
        # Responses need no split, and a plan shows what else there is.
        planning = settings.dry_run and isinstance(error, NothingSelectedError)
        if not (settings.responses_only or planning):
            raise
        warnings.append(str(error))
        trials = trials.assign(set="none")
    if split is not None:
        if settings.on_leak == "drop" and split.fits:
            split = split.without_shared(_content_key(stimuli))
        audit = audit_leaks(
            trials,
            split,
            stimuli,
            extra_hashes=_extra_hashes(settings.extra_images),
            legacy_test_statistics=settings.legacy_test_statistics,
            trained_before=_trained_before(earlier) if earlier else None,
        )
        missing += missing_pictures(stimuli, split)
        if not settings.responses_only:
            if earlier:
                for name, fit in earlier.items():
                    fitted = {fit.fold.name: fit.method}
                    warnings += check_fitted_captions(name, fitted, stimuli, split.stimuli, captions)
            else:
                warnings += check_captions(settings.method, stimuli, split.stimuli, captions)
    masks = nsd.masks if nsd else find_masks(settings.bids_dir, subject, settings.derivatives)
    requests = sort_requests(settings.roi)
    # Masks of atlases are made later; with them alone, no other region is meant.
    named = bool(requests.plain) or not requests.atlases
    regions, region_warnings = (
        resolve_regions(requests.plain, masks, space=space) if named and not (earlier or nsd) else ([], [])
    )
    warnings += region_warnings
    for region in regions:
        missing += [
            Missing("mask", str(source.path), True) for source in region.sources if not source.fetched
        ]
    return ParticipantPlan(
        subject=subject,
        source=NSD if nsd else BETAS if BETAS in settings.derivatives else "bold",
        spec=spec,
        runs=tuple(runs),
        reports=tuple(reports),
        trials=trials,
        split=split,
        stimuli=stimuli,
        audit=audit,
        masks=masks,
        regions=(
            (f"the decoders' of {settings.decoders}",)
            if earlier
            else (*_named_regions(requests.plain, regions, nsd is not None), *requests.others)
        ),
        missing=tuple(dict.fromkeys(missing)),
        warnings=tuple(dict.fromkeys(warnings)),
        description=description,
        earlier=earlier,
        captions=captions,
        anatomy=anatomy,
        fmriprep=prepared,
    )


def _check_averaging(settings: Settings, *, bold: bool) -> None:
    """Refuse means of training trials where trials are standardised, or modelled, one run at a time."""
    if (settings.zscore or ("run" if bold else "all")) == "run":
        raise UsageError(
            "--average-training makes means over runs, and responses are z-scored within each run",
            remedy="Give --zscore all.",
        )
    if settings.glm == "parametric":
        raise UsageError("--average-training has no meaning for --glm parametric, which models all trials")


def _named_regions(requested: Sequence[str], found: Sequence[Region], nsd: bool) -> list[str]:
    """Regions of a plan; those of NSD are looked at when its responses are read."""
    if nsd:
        return list(requested) or [GENERAL]
    return [region.name for region in found]


def _trained_before(earlier: Mapping[str, EarlierFit]) -> dict[str, str]:
    """Pictures that decoders of any method were trained on, with their hashes where one knows them."""
    found: dict[str, str] = {}
    for fit in earlier.values():
        for name, known in fit.decoders.trained_on.items():
            found[name] = known or found.get(name, "")
    return found


def _split(
    settings: Settings, spec: StimulusSpec, trials: pd.DataFrame, warnings: list[str]
) -> tuple[pd.DataFrame, Split]:
    if settings.decoders is None:
        return make_split(trials, _rule(settings, spec, trials, warnings), seed=settings.seed)
    if settings.split:
        return test_only(trials, parse_split(settings.split))
    if spec.split is not None and spec.split.kind in BY_PATTERN:
        # New data may be of other sessions, and without the column, than those that the spec knows.
        with suppress(DataError, NothingSelectedError):
            return test_only(trials, spec.split)
    return test_only(trials)


def _rule(settings: Settings, spec: StimulusSpec, trials: pd.DataFrame, warnings: list[str]) -> SplitRule:
    if settings.split:
        return parse_split(settings.split)
    if spec.split is not None:
        return spec.split
    rule = default_rule(trials)
    warnings.append("No --split was given: the stimuli are held out in folds, each tested once.")
    return rule


def _extra_hashes(folder: Path | None) -> dict[str, str] | None:
    if folder is None:
        return None
    return {
        file.relative_to(folder).as_posix(): picture_hash(read_picture(file))
        for file in find_pictures(folder)
    }


def _content_key(stimuli: StimulusSet) -> Callable[[str], str]:
    """What tells that two stimulus ids show one picture: its content, where it is here."""
    return lambda name: stimuli.content_hash(name) if stimuli.stimuli[name].available else name


def exit_code_of(plans: Sequence[ParticipantPlan], settings: Settings) -> ExitCode:
    """Exit code with which a run of these plans would stop before its first computation."""
    if any(plan.blocking(settings.responses_only) for plan in plans):
        return ExitCode.NO_INPUT
    if any(plan.split is None for plan in plans) and not settings.responses_only:
        return ExitCode.NOTHING_SELECTED
    leak = any(plan.audit is not None and not plan.audit.passed for plan in plans)
    if leak and settings.on_leak != "allow" and not settings.responses_only:
        return ExitCode.DATA_ERROR
    return ExitCode.OK
