"""Which of fMRIPrep's derivatives a run of the program uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_recon.config import Settings
from bids_recon.dataset.layout import BoldRun
from bids_recon.errors import UsageError
from bids_recon.preprocess.fmriprep import FmriprepRun, find_fmriprep, list_spaces

FMRIPREP = "fmriprep"
# As fMRIPrep calls the space of a run itself.
NATIVE = "func"
ANATOMY = "T1w"


def fmriprep_root(settings: Settings) -> Path | None:
    """Folder of the derivatives that are called `fmriprep`, or begin so (`fmriprep-25.1.0`).

    Raises
    ------
    UsageError
        When there are several.
    """
    found = [path for name, path in settings.derivatives.items() if name.startswith(FMRIPREP)]
    if len(found) > 1:
        raise UsageError(
            f"--derivatives names several folders of fMRIPrep: {', '.join(map(str, found))}",
            remedy="Give one of them.",
        )
    return found[0] if found else None


def plain_space(space: str | None) -> str | None:
    """Name of a space without its resolution: `MNI152NLin2009cAsym` of `MNI152NLin2009cAsym:res-2`."""
    return None if space is None else space.split(":")[0]


def find_fmriprep_runs(root: Path, runs: Sequence[BoldRun], space: str | None) -> dict[str, FmriprepRun]:
    """Find what fMRIPrep made of each run, all in one space.

    fMRIPrep's native space is that of each run: several runs lie on one another in T1w or a template only, or
    after each was resampled through its own transform. So of several runs T1w is taken before a template, and
    the native space last, unless the user asks for one.

    Raises
    ------
    MissingInputError, UsageError
        When the derivatives lack what is needed; the message says what to add.
    """
    if space is None and len(runs) > 1:
        common = [set(list_spaces(root, run)) for run in runs]
        shared = set.intersection(*common)
        others = [name for name in list_spaces(root, runs[0]) if name in shared - {ANATOMY, NATIVE}]
        space = next((name for name in (ANATOMY, *others) if name in shared), NATIVE)
    return {run.name: find_fmriprep(root, run, space=space) for run in runs}
