"""What every report says of the run it belongs to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import bids_recon
from bids_recon.config import Settings
from bids_recon.methods.registry import make_method
from bids_recon.metrics.catalogue import METRICS
from bids_recon.report.content import RunContext
from bids_recon.workflow.prepared import PreparedBold

BOILERPLATE = (
    "Results were obtained with bids_recon {version}, a BIDS App that reconstructs seen pictures from fMRI."
    " {responses} The stimuli were split by the rule {split}; an audit before any fit looked for pictures"
    " shared between training and test. Means, deviations, penalties and latent spaces come from training"
    " trials only.",
    "Every score is given beside its floor, {floor} ({shuffles} times), and its ceiling, pictures rendered"
    " from true latents. Intervals are 95 % bootstrap intervals over pictures. A realistic picture is not an"
    " accurate one.",
)

SHUFFLED = "the same procedure after the training responses were shuffled among trials"
PERMUTED = "the same decoders with the responses to other pictures of the test set"

ESTIMATED = {
    "block-average": "Single-trial responses are means over shifted blocks (Horikawa & Kamitani 2017).",
    "lsa": "Single-trial responses were estimated by a linear model of each run with one regressor a trial"
    " (canonical response of nilearn, ordinary least squares).",
    "lss": "Single-trial responses were estimated by one linear model a trial, with the other trials in one"
    " regressor (Mumford et al. 2012; canonical response of nilearn).",
    "library": "Single-trial responses were estimated as by GLMsingle (Prince et al. 2022): a haemodynamic"
    " response out of a library for each voxel, noise components and fractional ridge regression, all chosen"
    " by training trials.",
    "parametric": "Training responses are those of a linear model with latents as parametric modulators"
    " (Mozafari et al. 2020); test responses were estimated with one regressor a trial.",
}


def _steps(prepared: PreparedBold) -> Mapping[str, Any]:
    return prepared.description.get("Preprocessing", {})


def _preprocessing(prepared: PreparedBold | None) -> str:
    """Say in a sentence where the BOLD came from."""
    if prepared is None:
        return ""
    about = _steps(prepared)
    if about.get("Engine") == "fMRIPrep":
        return f"BOLD was preprocessed by fMRIPrep ({about['Space'] or 'native space'})."
    if not about:
        return "BOLD was taken as it is."
    aligned = (
        f" The reference was aligned to the T1w image ({about['Coregistration']})." if about["T1w"] else ""
    )
    return (
        "Volumes before the steady state were dropped, slice timing was corrected where it is stated, and"
        " head motion was corrected by least-squares rigid realignment across runs and sessions, with one"
        f" interpolation by cubic B-splines.{aligned}"
    )


def _by_method(shuffles: Mapping[str, Sequence[int]]) -> str:
    """`20` of one method, `eigenimage 20, deep-recon 2` of several, `2 to 20` where people differ."""
    shown = {}
    for method, numbers in shuffles.items():
        least, most = min(numbers), max(numbers)
        shown[method] = str(least) if least == most else f"{least} to {most}"
    if len(shown) == 1:
        return next(iter(shown.values()))
    return ", ".join(f"{method} {number}" for method, number in shown.items())


def _shown(choices: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Options of single methods, as they were taken."""
    shown = {}
    for name, value in (pair for one in choices for pair in one.items()):
        listed = ", ".join(value) if isinstance(value, list) else str(value)
        shown[name.replace("_", " ")] = listed or "nothing"
    return shown


def run_context(
    settings: Settings,
    command: str,
    title: str,
    *,
    description: Mapping[str, Any],
    split: str,
    source: str,
    shuffles: Mapping[str, Sequence[int]],
    choices: Iterable[Mapping[str, Any]] = (),
    prepared: PreparedBold | None = None,
    warnings: Sequence[str],
) -> RunContext:
    """Facts for the head and the foot of a report.

    `shuffles` are those behind the floor, of each person by method; empty when nothing was decoded.
    `choices` are those of each method (`Method.choices`).
    """
    simulated = bool(description.get("Simulated"))
    responses = (
        "Single-trial responses were read as they were given."
        if source != "bold"
        else f"{_preprocessing(prepared)} {ESTIMATED[settings.glm]}".strip()
    )
    notes = [
        text.format(
            version=bids_recon.__version__,
            responses=responses,
            split=split,
            shuffles=_by_method(shuffles),
            floor=SHUFFLED if settings.decoders is None else PERMUTED,
        )
        for text in (BOILERPLATE if shuffles else BOILERPLATE[:1])
    ]
    if not settings.responses_only:
        notes += [f"{name}: {make_method(name).reference}" for name in settings.method]
    if simulated:
        notes.append("The brain was simulated: no person was scanned, and no score here is a finding.")
    if settings.decoders is not None:
        notes.append(f"Nothing was fitted in this run: decoders are those of {settings.decoders}.")
    if settings.legacy_test_statistics:
        notes.append("Test-set statistics were used as in the publication (--legacy-test-statistics).")
    shown = {
        "method": ", ".join(settings.method) if not settings.responses_only else "none",
        "decoder": settings.decoder or "the method's own",
        **({"decoders": f"fitted before, from {settings.decoders}"} if settings.decoders else {}),
        "split": split,
        "regions": ", ".join(settings.roi) or "all that were found",
        **({"preprocessing": str(_steps(prepared).get("Engine", "none"))} if prepared else {}),
        "estimator": settings.glm if source == "bold" else "responses were read",
        "test trials": "averaged by picture" if settings.average_trials else "one by one",
        **({"shuffles": _by_method(shuffles)} if shuffles else {}),
        **(_shown(choices) if shuffles else {}),
        "seed": str(settings.seed),
    }
    return RunContext(
        title=title,
        command=command,
        version=bids_recon.__version__,
        date=time.strftime("%Y-%m-%d %H:%M"),
        simulated=simulated,
        dataset={
            "name": str(description.get("Name", "")),
            "folder": str(settings.bids_dir),
            "licence": str(description.get("License", "not stated")),
            "identifier": str(description.get("DatasetDOI", "none")),
        },
        settings=shown,
        warnings=list(warnings),
        notes=notes,
        definitions={name: metric.definition for name, metric in METRICS.items()},
    )
