"""Participant level: responses, decoders, decoded latents and a report for one person."""

from __future__ import annotations

import logging

from bids_recon.config import Settings
from bids_recon.errors import MissingInputError
from bids_recon.workflow.audit_log import write_audit
from bids_recon.workflow.method_stage import MethodResult, run_method
from bids_recon.workflow.plan import plan_participant
from bids_recon.workflow.plan_text import missing_sentences
from bids_recon.workflow.responses import participant_responses
from bids_recon.workflow.stage_cache import StageCache, remove_leftovers
from bids_recon.workflow.subject_page import write_subject_page

LOGGER = logging.getLogger("bids_recon")


def run_participant(settings: Settings, command: str, subject: str) -> list[str]:
    """Run the participant level for one person and return its warnings.

    Parameters
    ----------
    settings : Settings
    command : str
        The command line, for the report.
    subject : str
        Label without `sub-`.

    Raises
    ------
    ReconError
        When something in the input, the options or the machine stops it.
    """
    remove_leftovers(settings.output_dir / f"sub-{subject}")
    remove_leftovers(settings.work_dir / f"sub-{subject}")
    plan = plan_participant(settings, subject)
    if blocking := plan.blocking(settings.responses_only):
        only_pictures = all(item.kind == "picture" for item in blocking)
        raise MissingInputError(
            f"sub-{subject}: {'; '.join(missing_sentences(blocking, settings.bids_dir, plan.spec))}".rstrip(
                "."
            ),
            remedy="Responses alone need no pictures: --responses-only." if only_pictures else None,
        )
    if plan.audit is not None:
        write_audit(settings.output_dir, subject, plan.audit)
        if settings.on_leak != "allow" and not settings.responses_only:
            plan.audit.stop_on_leak(subject)
    cache = StageCache(settings.work_dir, subject)
    result = participant_responses(settings, plan, cache)
    methods: list[MethodResult] = []
    for method in () if settings.responses_only else settings.method:
        methods.append(run_method(settings, plan, result, cache, method))
        LOGGER.info("sub-%s: %s is decoded", subject, method)
    warnings = list(
        dict.fromkeys([*plan.warnings, *result.warnings, *(w for m in methods for w in m.warnings)])
    )
    for warning in warnings:
        LOGGER.warning("sub-%s: %s", subject, warning)
    write_subject_page(settings, command, plan, result, methods, warnings)
    return warnings
