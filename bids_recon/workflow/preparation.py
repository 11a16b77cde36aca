"""Where the BOLD of a participant comes from: raw and preprocessed here, fMRIPrep's, or as it is."""

from __future__ import annotations

from bids_recon.config import Settings
from bids_recon.dataset.layout import find_confounds
from bids_recon.outputs.reading import read_tsv
from bids_recon.workflow.fmriprep_runs import prepare_fmriprep
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedBold, PreparedRun
from bids_recon.workflow.preprocessing import prepare_raw
from bids_recon.workflow.stage_cache import StageCache

AS_IT_IS = (
    "The BOLD series were taken as they are (--preprocess none): head motion was not corrected, and sessions"
    " were not aligned."
)


def prepare(settings: Settings, plan: ParticipantPlan, cache: StageCache) -> PreparedBold:
    """Get BOLD series of one grid, with their confounds and times."""
    if plan.fmriprep:
        return prepare_fmriprep(plan, cache)
    if settings.preprocess == "full":
        return prepare_raw(settings, plan, cache)
    return take_as_it_is(settings, plan)


def take_as_it_is(settings: Settings, plan: ParticipantPlan) -> PreparedBold:
    """BOLD without preprocessing, with confounds where a derivative has some."""
    runs: dict[str, PreparedRun] = {}
    for run in plan.runs_with_trials:
        assert run.bold is not None
        file = find_confounds(settings.derivatives.values(), run)
        confounds = (
            None if file is None else read_tsv(file, remedy="Confounds are tab-separated, with a header.")
        )
        runs[run.name] = PreparedRun(
            run.name, run.bold, run.repetition_time, run.start_time, confounds, (run.bold,)
        )
    return PreparedBold(runs, warnings=(AS_IT_IS,))


def unaligned(settings: Settings, plan: ParticipantPlan) -> PreparedBold:
    """The grid of a participant's BOLD before anything is computed, for the plan of a run."""
    if not plan.fmriprep:
        return take_as_it_is(settings, plan)
    runs: dict[str, PreparedRun] = {}
    for run in plan.runs_with_trials:
        found = plan.fmriprep[run.name]
        runs[run.name] = PreparedRun(
            run.name, found.bold, found.repetition_time, found.start_time, None, (found.bold,)
        )
    return PreparedBold(runs, space=plan.space)
