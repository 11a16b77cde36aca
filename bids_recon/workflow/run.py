"""The levels of analysis, one after the other."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import bids_recon
from bids_recon.config import Settings, settings_to_toml
from bids_recon.dataset.layout import list_participants, read_description, select_participants
from bids_recon.dataset.validation import validate
from bids_recon.errors import ExitCode, MissingInputError, UsageError
from bids_recon.methods.registry import make_method, method_class
from bids_recon.outputs.atomic import write_text
from bids_recon.outputs.dataset import initialise_output
from bids_recon.workflow.engine import Failure, run_all
from bids_recon.workflow.group import run_group
from bids_recon.workflow.method_settings import check_method, method_options
from bids_recon.workflow.modulation import check_parametric
from bids_recon.workflow.nsd_source import nsd_release, source_description
from bids_recon.workflow.page_context import ESTIMATED
from bids_recon.workflow.participant import run_participant
from bids_recon.workflow.plan import exit_code_of, plan_participant
from bids_recon.workflow.plan_text import plan_text
from bids_recon.workflow.preparation import check_preparation
from bids_recon.workflow.region_requests import sort_requests
from bids_recon.workflow.responses import planned_voxels
from bids_recon.workflow.trial_sources import BETAS

# What libraries and the runs of one person take, roughly; one participant is always begun.
MB_PER_PARTICIPANT = 2000
# The same with a network and the features of a batch of pictures.
MB_WITH_NETWORK = 6000
# All responses of a person of NSD, several times over, and the matrices of a ridge.
MB_OF_NSD = 16_000
LOGGER = logging.getLogger("bids_recon")


def _participants(settings: Settings) -> list[str]:
    if (release := nsd_release(settings)) is not None:
        people = release.subjects()
        if not people:
            raise MissingInputError(
                "has no responses of anybody (nsddata_betas/ppdata/subj.../func1pt8mm/...)",
                file=release.root,
                remedy="Fetch those of one person of NSD at least.",
            )
        return select_participants(people, settings.participant_label, release.root)
    # The data set itself is looked at first: without it, options make no sense.
    read_description(settings.bids_dir)
    betas = [settings.derivatives[BETAS]] if BETAS in settings.derivatives else []
    available = list_participants(settings.bids_dir, betas)
    return select_participants(available, settings.participant_label, settings.bids_dir)


def _check_names(settings: Settings) -> None:
    """Names of methods and estimators, and weights, are checked before hours of computing, not after."""
    for method in settings.method:
        fitted = "participant" in settings.levels and not (settings.decoders or settings.responses_only)
        if fitted:
            check_method(method, method_options(settings))
        else:
            # The options are those of an earlier fit, and are checked where they are read.
            method_class(method)
    if settings.glm not in ESTIMATED:
        raise UsageError(
            f"there is no estimator '{settings.glm}'", remedy=f"Choose among: {', '.join(ESTIMATED)}."
        )
    check_parametric(settings)
    check_preparation(settings)
    sort_requests(settings.roi)


def dry_run(settings: Settings) -> ExitCode:
    """Print what a run would do; write nothing. The exit code is the one the run would stop with."""
    _check_names(settings)
    plans = []
    for subject in _participants(settings):
        plan = plan_participant(settings, subject)
        print(plan_text(plan, settings, planned_voxels(settings, plan)), flush=True)
        plans.append(plan)
    return exit_code_of(plans, settings)


def run_levels(settings: Settings, command: str, on_step: Callable[[str], None] = lambda _: None) -> ExitCode:
    """Run the levels asked for; `on_step` is called after each participant and each method of the group.

    Returns
    -------
    ExitCode
        That of the first failure; when participants fail for different reasons, 1.

    Raises
    ------
    ReconError
        When the run as a whole cannot be done.
    """
    _check_names(settings)
    description = source_description(settings)
    initialise_output(
        settings.output_dir,
        bids_dir=settings.bids_dir,
        derivatives=settings.derivatives,
        simulated=bool(description.get("Simulated")),
    )
    _write_config(settings)
    if "participant" in settings.levels:
        subjects = _participants(settings)
        if not settings.skip_bids_validation and nsd_release(settings) is None:
            for line in validate(settings.bids_dir):
                LOGGER.info("%s", line)
        outcome = run_all(
            functools.partial(run_participant, settings, command),
            subjects,
            n_processes=_processes(settings),
            threads=settings.omp_nthreads,
            stop_on_first_crash=settings.stop_on_first_crash,
            on_done=lambda subject: on_step(f"sub-{subject}"),
        )
        if outcome.failures:
            return _report_failures(settings.output_dir, outcome.failures, len(subjects))
    if "group" in settings.levels:
        run_group(settings, command, on_step)
    return ExitCode.OK


def _processes(settings: Settings) -> int:
    """Participants at a time: as many as there are cores, and memory where a limit is given."""
    by_cores = settings.nprocs // settings.omp_nthreads
    networks = not settings.responses_only and any(make_method(name).weights for name in settings.method)
    each = MB_WITH_NETWORK if networks else MB_PER_PARTICIPANT
    if nsd_release(settings) is not None:
        each = max(each, MB_OF_NSD)
    by_memory = settings.memory_mb // each if settings.memory_mb else by_cores
    return max(1, min(by_cores, by_memory))


def _write_config(settings: Settings) -> Path:
    # Jobs of an array begin in the same second.
    name = f"config-{datetime.now():%Y%m%d-%H%M%S-%f}.toml"
    return write_text(settings.output_dir / "logs" / name, settings_to_toml(settings, bids_recon.__version__))


def _report_failures(output_dir: Path, failures: tuple[Failure, ...], n_subjects: int) -> ExitCode:
    for failure in failures:
        if failure.details:
            log = write_text(output_dir / "logs" / f"crash-sub-{failure.item}.txt", failure.details)
            blame = (
                "this is a fault of bids-recon; please report it with" if failure.exit_code == 1 else "see"
            )
            LOGGER.error("sub-%s: %s %s", failure.item, blame, log)
    LOGGER.error("%d of %d participants failed", len(failures), n_subjects)
    codes = {failure.exit_code for failure in failures}
    return codes.pop() if len(codes) == 1 else ExitCode.FAILURE
