"""What the files that fMRIPrep wrote for a run are, by the names of all its generations.

The names are those of fMRIPrep's documentation ("Outputs of fMRIPrep") and of the data sets that share its
output: BOLD5000 (2018), NOD (20.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from bids_recon.dataset.inheritance import entities_of, same_value, suffix_of
from bids_recon.dataset.layout import CONFOUNDS, BoldRun
from bids_recon.errors import DataError, UsageError

NATIVE = "func"
"""Name of the run's own space, as `--output-spaces` of fMRIPrep takes it."""

_NATIVE_NAMES = frozenset({"", NATIVE, "bold", "boldref", "native", "run", "sbref"})
_ANATOMY_NAMES = frozenset({"T1w", "T2w", "anat"})
_OTHER_ENTITIES = ("acq", "ce", "rec", "dir")
_IMAGES = frozenset({".nii.gz", ".nii"})


@dataclass(frozen=True)
class DerivedFile:
    """A file of one run.

    Attributes
    ----------
    path : Path
    entities : mapping of str to str
        By their short keys.
    suffix, extension : str
        Such as `bold` and `.nii.gz`.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str
    extension: str

    @property
    def space(self) -> str:
        """Space as `--output-spaces` takes it, such as `func`, `T1w` or `MNI152NLin2009cAsym:res-2`."""
        name = self.entities.get("space", "")
        if name in _NATIVE_NAMES:
            return NATIVE
        return space_label(name, self.entities)

    @property
    def is_series(self) -> bool:
        """Whether it is a preprocessed BOLD series, other than of a surface or denoised."""
        if self.extension not in _IMAGES or "hemi" in self.entities:
            return False
        if self.suffix == "bold":
            return self.entities.get("desc") == "preproc"
        return self.suffix == "preproc" and "_bold_" in self.path.name and "variant" not in self.entities

    @property
    def is_mask(self) -> bool:
        """Whether it is a brain mask."""
        named = self.suffix == "mask" and self.entities.get("desc") == "brain"
        return self.extension in _IMAGES and (named or self.suffix == "brainmask")

    @property
    def is_reference(self) -> bool:
        """Whether it is a BOLD reference volume."""
        return self.extension in _IMAGES and self.suffix == "boldref"

    @property
    def is_motion(self) -> bool:
        """Whether it holds the head's movement, one transform a volume."""
        return self._is_transform({"orig", "scanner"}, {"boldref", "run"})

    @property
    def is_to_anatomy(self) -> bool:
        """Whether it is the transform from the run's reference to the anatomy."""
        return self._is_transform({"boldref", "run", "scanner"}, _ANATOMY_NAMES)

    @property
    def field_map(self) -> str | None:
        """The field map to which it leads from the run's reference, when it does."""
        target = self.entities.get("to", "")
        known = {"session", "subject", "boldref", "run", "scanner", "orig"} | _ANATOMY_NAMES
        return target if target not in known and self._is_transform({"boldref", "run"}, {target}) else None

    def _is_transform(self, origins: Set[str], targets: Set[str]) -> bool:
        return (
            self.suffix == "xfm"
            and self.extension == ".txt"
            and self.entities.get("from", "") in origins
            and self.entities.get("to", "") in targets
        )


def _plain(value: str) -> str:
    """`02` and `2` are one resolution."""
    return str(int(value)) if value.isdecimal() else value


def space_label(name: str, details: Mapping[str, str]) -> str:
    """Name of a space with its cohort and resolution, as `--output-spaces` takes it."""
    return ":".join([name, *(f"{key}-{_plain(details[key])}" for key in ("cohort", "res") if key in details)])


def described_file(path: Path) -> DerivedFile:
    """Take a file's name apart."""
    extension = path.name[len(path.name.split(".", 1)[0]) :]
    return DerivedFile(path, entities_of(path), suffix_of(path), extension)


def run_files(root: Path, run: BoldRun) -> list[DerivedFile]:
    """Files of a run in the `func` folders of its session and of its participant, by name.

    Those whose content was not fetched count. `run-1` and `run-01` are the same; entities of the raw series
    that tell runs apart (acq, ce, rec, dir) must be those of the file, where the raw series is known.
    """
    wanted = {"sub": run.subject, "ses": run.session, "task": run.task, "run": run.run}
    if run.bold is not None:
        raw = entities_of(run.bold)
        wanted |= {key: raw.get(key, "") for key in _OTHER_ENTITIES}
    subject = root / f"sub-{run.subject}"
    folders = [subject / f"ses-{run.session}" / "func"] if run.session else []
    found = []
    for folder in [*folders, subject / "func"]:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            file = described_file(path)
            if path.name.startswith("sub-") and all(
                same_value(key, file.entities.get(key, ""), value) for key, value in wanted.items()
            ):
                found.append(file)
    return found


def bold_series(files: Sequence[DerivedFile], run: BoldRun) -> list[DerivedFile]:
    """The preprocessed series among the files of a run, in the order of preference of their spaces.

    The run's own space comes first, then the anatomy, then MNI templates, then others. Series of single
    echoes are left out, unless there are no others and one is of the echo of the raw series.
    """
    series = [file for file in files if file.is_series]
    combined = [file for file in series if "echo" not in file.entities]
    if not combined and run.bold is not None:
        echo = entities_of(run.bold).get("echo", "")
        combined = [file for file in series if same_value("echo", file.entities["echo"], echo)]
    return sorted(combined, key=lambda file: (_rank(file.space), file.space, file.path.name))


def _rank(space: str) -> int:
    if space == NATIVE:
        return 0
    if space in _ANATOMY_NAMES:
        return 1
    return 2 if space.startswith("MNI") else 3


def series_in(series: Sequence[DerivedFile], space: str | None) -> DerivedFile | None:
    """The series in a space, or in the best of the spaces there are.

    Raises
    ------
    DataError
        When several files would do.
    """
    if space is None:
        chosen = [file for file in series if _rank(file.space) == _rank(series[0].space)]
    else:
        # A name without resolution is that of a file without one, before it is that of any resolution.
        exact = [file for file in series if file.space == space_label(*parse_space(space))]
        chosen = exact or [file for file in series if is_space(file, space)]
    return only(chosen)


def is_space(file: DerivedFile, space: str) -> bool:
    """Whether a file is in a space, named as `--output-spaces` takes it; what it leaves open may be any.

    Raises
    ------
    UsageError
        When the name cannot be understood.
    """
    name, details = parse_space(space)
    if name == NATIVE:
        return file.space == NATIVE
    # fMRIPrep names no resolution in files that keep that of the recording.
    same = (_plain(file.entities.get(key, "native")) == value for key, value in details.items())
    return file.entities.get("space") == name and all(same)


def parse_space(space: str) -> tuple[str, dict[str, str]]:
    """Take `MNI152NLin2009cAsym:res-2` apart, into a name and its `res` and `cohort`.

    Raises
    ------
    UsageError
        When the name cannot be understood.
    """
    name, *details = space.split(":")
    if not re.fullmatch(r"[A-Za-z0-9+]*", name) or not all(
        re.fullmatch(r"(res|cohort)-[A-Za-z0-9]+", detail) for detail in details
    ):
        raise UsageError(
            f"the space '{space}' cannot be understood",
            remedy="Name it as in fMRIPrep's --output-spaces: func, T1w or MNI152NLin2009cAsym:res-2.",
        )
    pairs = {key: _plain(value) for key, value in (detail.split("-", 1) for detail in details)}
    if name in _NATIVE_NAMES:
        return NATIVE, pairs
    return ("T1w" if name == "anat" else name), pairs


def only(files: Sequence[DerivedFile]) -> DerivedFile | None:
    """The one file of a choice; None of none.

    Raises
    ------
    DataError
        When there are several, which are named.
    """
    if len(files) > 1:
        names = ", ".join(file.path.name for file in files)
        spaces = list(dict.fromkeys(file.space for file in files))
        choose = (
            f"Choose with --space one of: {', '.join(spaces)}."
            if len(spaces) > 1
            else "They describe the same run; take away all but one."
        )
        raise DataError(f"{len(files)} files would do: {names}", file=files[0].path.parent, remedy=choose)
    return files[0] if files else None


def references_in(files: Sequence[DerivedFile], space: str) -> list[DerivedFile]:
    """Reference volumes of a space; in the run's own, rather that which was aligned to the anatomy."""
    here = [file for file in files if file.is_reference and "echo" not in file.entities]
    same = [file for file in here if file.space == space]
    for description in ("coreg", None, "hmc"):
        if found := [file for file in same if file.entities.get("desc") == description]:
            return found
    return []


def confounds_tables(files: Sequence[DerivedFile]) -> list[DerivedFile]:
    """Confounds tables of the newest of the names that occur."""
    for ending in CONFOUNDS:
        if found := [file for file in files if file.path.name.endswith(f"_{ending}.tsv")]:
            return found
    return []
