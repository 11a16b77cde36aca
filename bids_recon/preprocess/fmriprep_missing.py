"""What to say, and what to do, when fMRIPrep's folder does not hold what is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_recon.dataset.inheritance import entities_of
from bids_recon.dataset.layout import BoldRun
from bids_recon.errors import MissingInputError
from bids_recon.outputs.names import is_label
from bids_recon.preprocess.fmriprep_files import NATIVE, DerivedFile, described_file
from bids_recon.preprocess.fmriprep_origin import Origin

_FEW = 8
_GIVE = "Give the folder that holds fMRIPrep's sub-<label> folders, as --derivatives fmriprep=PATH."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (", ..." if len(names) > _FEW else "")


def nothing_of_run(root: Path, run: BoldRun, origin: Origin) -> MissingInputError:
    """Say why there is no file of a run: the folder, the participant or the run is not there."""
    if not root.is_dir():
        return MissingInputError("there is no such folder", file=root, remedy=f"Is it mounted? {_GIVE}")
    label = f"sub-{run.subject}"
    if not (root / label).is_dir():
        return _nothing_of_subject(root, label, origin)
    derived, others = _derived_files(root / label)
    if not derived:
        made = f", and was made by {origin.name}" if origin.name else ""
        return MissingInputError(
            f"is no output of fMRIPrep: {label} holds no file with desc-preproc or desc-confounds{made}",
            file=root,
            remedy=_GIVE,
        )
    if not others:
        return MissingInputError(
            f"{label} has an anatomy but no functional data",
            file=root,
            remedy="Run fMRIPrep again without --anat-only.",
        )
    return MissingInputError(
        f"holds nothing of {run.name}; of {label} there is {_listed(others)}",
        file=root,
        remedy="Run fMRIPrep for this run too, or choose others with --task-id, --session-label or"
        " --bids-filter-file.",
    )


def _nothing_of_subject(root: Path, label: str, origin: Origin) -> MissingInputError:
    inner = sorted(path.parent for depth in ("*", "*/*") for path in root.glob(f"{depth}/{label}"))
    inner = [folder for folder in inner if _derived_files(folder / label)[0]]
    if inner:
        where = ", ".join(map(str, inner))
        return MissingInputError(
            f"holds no {label} itself",
            file=root,
            remedy=f"fMRIPrep's output lies in {where}: give that folder, as --derivatives fmriprep=PATH.",
        )
    people = sorted(
        path.name
        for path in root.glob("sub-*")
        if path.is_dir() and is_label(path.name.removeprefix("sub-")) and _derived_files(path)[0]
    )
    if people:
        return MissingInputError(
            f"holds no {label}, only {_listed(people)}",
            file=root,
            remedy=f"Run fMRIPrep with --participant-label {label.removeprefix('sub-')}, or leave this"
            " participant out.",
        )
    names = sorted(path.name for path in root.iterdir())
    held = f"it holds {_listed(names)}" if names else "it is empty"
    made = f" and was made by {origin.name}" if origin.name else ""
    return MissingInputError(f"is no output of fMRIPrep: {held}{made}", file=root, remedy=_GIVE)


def _derived_files(subject: Path) -> tuple[list[DerivedFile], list[str]]:
    """A participant's files of which only fMRIPrep makes the like, and the names of their runs."""
    files = [described_file(path) for path in sorted(subject.rglob("sub-*"))]
    derived = [
        file
        for file in files
        if file.entities.get("desc") in {"preproc", "confounds", "hmc", "coreg"}
        or file.suffix in {"preproc", "brainmask", "confounds"}
    ]
    runs = dict.fromkeys(_run_name(file.path) for file in derived if "task" in file.entities)
    return derived, list(runs)


def _run_name(path: Path) -> str:
    entities = entities_of(path)
    return "_".join(f"{key}-{entities[key]}" for key in ("ses", "task", "run") if key in entities)


def nothing_in_space(
    root: Path,
    run: BoldRun,
    files: Sequence[DerivedFile],
    spaces: Sequence[str],
    space: str | None,
    lacking: Sequence[str],
) -> MissingInputError:
    """Say which space is missing, with which options fMRIPrep writes it, and what resampling would need.

    Parameters
    ----------
    root : Path
        Output folder of fMRIPrep.
    run : BoldRun
    files : sequence of DerivedFile
        Files of the run.
    spaces : sequence of str
        Those with a BOLD series.
    space : str or None
        The one that was asked for.
    lacking : sequence of str
        What is not there of what resampling here needs.
    """
    wanted = space or NATIVE
    flags = f"--output-spaces {wanted}"
    if spaces:
        problem = (
            f"{run.name}: there is no preprocessed BOLD in the space {wanted}, only in {_listed(spaces)}"
        )
        choices = f", or choose with --space one of: {_listed(spaces)}"
    else:
        surfaces = sorted(
            {f.entities["space"] for f in files if "hemi" in f.entities and "space" in f.entities}
        )
        only = f"; there are surfaces ({_listed(surfaces)}), which are not read" if surfaces else ""
        problem = f"{run.name}: there is no preprocessed BOLD{only}"
        choices = ""
        # With --level minimal or resampling, fMRIPrep leaves references and transforms but no series.
        if any(file.is_motion for file in files):
            flags = f"--level full {flags}"
    return MissingInputError(
        problem,
        file=root,
        remedy=f"Run fMRIPrep again with {flags}{choices}. To resample it here, {' and '.join(lacking)}"
        f" {'is' if len(lacking) == 1 else 'are'} missing.",
    )
