"""Files that a run needs and that are not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bids_recon.dataset.anatomy import Anatomy
from bids_recon.dataset.annex import is_fetched
from bids_recon.dataset.layout import BoldRun
from bids_recon.dataset.splits import Split
from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.preprocess.fmriprep import FmriprepRun


@dataclass(frozen=True)
class Missing:
    """A file that is needed and not here.

    Attributes
    ----------
    kind : {"picture", "bold", "anatomy", "mask"}
    path : str
        Where it was expected.
    annexed : bool
        Whether `datalad get` can bring it.
    """

    kind: str
    path: str
    annexed: bool


def missing_images(
    runs: Sequence[BoldRun], prepared: Mapping[str, FmriprepRun], anatomy: Anatomy
) -> list[Missing]:
    """Images that will be read and are not here; the BOLD of a run without trials is not read."""
    missing: list[Missing] = []
    for run in runs:
        if run.name in prepared and not prepared[run.name].resample:
            continue
        if run.bold is None:
            assert run.events is not None
            expected = run.events.with_name(run.events.name.replace("_events.tsv", "_bold.nii.gz"))
            missing.append(Missing("bold", str(expected), False))
        elif not run.fetched:
            missing.append(Missing("bold", str(run.bold), True))
    used = [anatomy.t1w, *(anatomy.inplane.get(run.session) for run in runs[:1])]
    missing += [Missing("anatomy", str(file), True) for file in used if file and not is_fetched(file)]
    return missing


def missing_pictures(stimuli: StimulusSet, split: Split) -> list[Missing]:
    """Pictures of the split that are not here."""
    return [
        Missing("picture", str(stimulus.path or stimulus.wanted), stimulus.path is not None)
        for stimulus in stimuli.missing(split.stimuli)
    ]
