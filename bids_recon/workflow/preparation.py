"""Where the BOLD of a participant comes from: raw and preprocessed here, fMRIPrep's, or as it is."""

from __future__ import annotations

from bids_recon.config import Settings
from bids_recon.dataset.layout import find_confounds
from bids_recon.errors import UsageError
from bids_recon.workflow.fmriprep_choice import fmriprep_root
from bids_recon.workflow.fmriprep_runs import prepare_fmriprep
from bids_recon.workflow.joint_estimates import LIBRARY
from bids_recon.workflow.modulation import PARAMETRIC
from bids_recon.workflow.plan import ParticipantPlan
from bids_recon.workflow.prepared import PreparedBold, PreparedRun, read_confounds
from bids_recon.workflow.preprocessing import earlier_reference, prepare_raw
from bids_recon.workflow.stage_cache import StageCache

AS_IT_IS = (
    "The BOLD series were taken as they are (--preprocess none): head motion was not corrected, and sessions"
    " were not aligned."
)


def check_preparation(settings: Settings) -> None:
    """Refuse options that would do nothing, or contradict one another.

    Raises
    ------
    UsageError
    """
    if "none" in settings.nuisance and len(settings.nuisance) > 1:
        others = " ".join(name for name in settings.nuisance if name != "none")
        raise UsageError(f"--nuisance none goes with no other, and {others} was named too")
    if settings.space is not None and fmriprep_root(settings) is None:
        raise UsageError(
            f"--space {settings.space} chooses among fMRIPrep's series, and no derivatives of it were given",
            remedy="Add --derivatives fmriprep=PATH, or leave --space out.",
        )
    if "betas" in settings.derivatives and settings.glm in (LIBRARY, PARAMETRIC):
        raise UsageError(
            f"--glm {settings.glm} estimates responses, and with --derivatives betas they are read",
            remedy="Leave one of them out.",
        )


def check_reuse(settings: Settings, plan: ParticipantPlan) -> None:
    """Decoders see voxels at a place: new BOLD has to come to the same.

    Raises
    ------
    UsageError
        When BOLD would be prepared in another way than that which the decoders were fitted on.
    """
    if not plan.earlier:
        return
    aligned = earlier_reference(settings, plan.subject) is not None
    if plan.fmriprep:
        if plan.space is None:
            raise UsageError(
                "decoders are used again, and fMRIPrep's native series lie where the head was in each run",
                remedy="Fit and use decoders in one space of fMRIPrep: --space T1w.",
            )
    elif settings.preprocess == "full" and not aligned:
        raise UsageError(
            "the decoders were not fitted on BOLD that was preprocessed here, so that there is no reference",
            file=settings.decoders,
            remedy="Prepare BOLD as then: --preprocess none, or fMRIPrep's derivatives.",
        )
    elif settings.preprocess == "none" and aligned:
        raise UsageError(
            "the decoders were fitted on BOLD that was preprocessed here, and this would be taken as it is",
            file=settings.decoders,
            remedy="Leave out --preprocess none.",
        )


def prepare(settings: Settings, plan: ParticipantPlan, cache: StageCache) -> PreparedBold:
    """Get BOLD series of one grid, with their confounds and times."""
    check_reuse(settings, plan)
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
        confounds = read_confounds(find_confounds(settings.derivatives.values(), run))
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
