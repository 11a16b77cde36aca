"""Which participants and runs a BIDS data set holds, and the files that belong to a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_recon.dataset.annex import is_fetched, not_fetched
from bids_recon.dataset.index import bold_query, files_in, open_index
from bids_recon.dataset.inheritance import (
    RUN_ENTITIES,
    applicable_files,
    entities_of,
    inherited_file,
    inherited_metadata,
    same_run,
)
from bids_recon.errors import DataError, InvalidBidsError, NothingSelectedError
from bids_recon.outputs.names import is_label
from bids_recon.outputs.reading import read_json

CONFOUNDS = ("desc-confounds_timeseries", "desc-confounds_regressors", "bold_confounds")


@dataclass(frozen=True)
class BoldRun:
    """One run of one participant.

    Attributes
    ----------
    subject, session, task, run : str
        Labels without prefix; session and run are "" where the file name has none.
    bold : Path or None
        The BOLD series; None when only events were found.
    events : Path or None
        The events table that applies, by the inheritance principle.
    metadata : dict
        Sidecar fields, inherited.
    """

    subject: str
    session: str
    task: str
    run: str
    bold: Path | None
    events: Path | None
    metadata: dict[str, Any]

    @property
    def fetched(self) -> bool:
        """Whether the content of the BOLD file is here."""
        return self.bold is not None and is_fetched(self.bold)

    @property
    def repetition_time(self) -> float | None:
        """RepetitionTime of the sidecar, in seconds."""
        value = self.metadata.get("RepetitionTime")
        return float(value) if isinstance(value, int | float) else None

    @property
    def start_time(self) -> float:
        """StartTime of the sidecar, in seconds; 0 where it states none."""
        value = self.metadata.get("StartTime")
        return float(value) if isinstance(value, int | float) else 0.0

    @property
    def name(self) -> str:
        """Name in messages."""
        parts = {"ses": self.session, "task": self.task, "run": self.run}
        return "_".join([f"sub-{self.subject}", *(f"{k}-{v}" for k, v in parts.items() if v)])


def read_description(bids_dir: Path) -> dict[str, Any]:
    """Read `dataset_description.json`.

    Raises
    ------
    InvalidBidsError
        When the folder holds no BIDS data set or the file is not JSON.
    """
    file = bids_dir / "dataset_description.json"
    if not any(bids_dir.iterdir()):
        raise InvalidBidsError("the BIDS folder is empty", file=bids_dir, remedy="Is the volume mounted?")
    if not file.is_file():
        raise InvalidBidsError(
            "is missing, so this is not a BIDS data set",
            file=file,
            remedy='The least it holds is {"Name": "...", "BIDSVersion": "1.10.0"}.',
        )
    return read_json(file, error=InvalidBidsError)


def list_participants(bids_dir: Path, derivatives: Iterable[Path] = ()) -> list[str]:
    """Labels of the `sub-` folders of the data set and of derivatives that hold responses.

    A folder such as `sub-01_old`, whose name is no label, is nobody's.
    """
    found = {
        folder.name.removeprefix("sub-")
        for root in (bids_dir, *derivatives)
        for folder in root.glob("sub-*")
        if folder.is_dir()
    }
    return sorted(filter(is_label, found))


def select_participants(available: Sequence[str], requested: Sequence[str], bids_dir: Path) -> list[str]:
    """Participants to work on.

    Raises
    ------
    NothingSelectedError
        When there is none, or a requested one does not exist.
    """
    if not available:
        raise NothingSelectedError(
            "there is no sub- folder",
            file=bids_dir,
            remedy="Is the volume mounted? Ready responses are given as --derivatives betas=PATH.",
        )
    if missing := sorted(set(requested) - set(available)):
        shown = ", ".join(available[:20]) + (" ..." if len(available) > 20 else "")
        raise NothingSelectedError(
            f"no such participant: {', '.join(missing)}",
            file=bids_dir,
            remedy=f"Available: {shown}. In a container, check that the data set is mounted.",
        )
    return [label for label in available if not requested or label in requested]


def find_runs(
    bids_dir: Path,
    participants: Sequence[str],
    *,
    sessions: Sequence[str] = (),
    tasks: Sequence[str] = (),
    filters: Mapping[str, Any] | None = None,
    database_dir: Path | None = None,
) -> dict[str, list[BoldRun]]:
    """Find the runs of some participants, in the order of session, task and run.

    A run is known by its BOLD file, or by its events file where the BOLD is absent altogether. Files of
    DataLad data sets whose content was not fetched count as present.

    Parameters
    ----------
    bids_dir : Path
    participants, sessions, tasks : sequence of str
        Labels; empty sessions and tasks mean all.
    filters : mapping, optional
        Entities for BOLD files, as in the `bold` query of a BIDS filter file: None stands for "absent",
        "*" for "any".
    database_dir : Path, optional
        Folder of the pybids database; made when absent, made anew when it cannot be used.

    Raises
    ------
    DataError
        When two BOLD files make the same run (echoes, reconstructions), a filter cannot be used, or a
        sidecar is not JSON.
    CannotCreateError, InputOutputError
        When the database cannot be written.
    """
    layout = open_index(bids_dir, participants, database_dir)
    query = bold_query(filters or {}, layout)
    of_events = {key: value for key, value in query.items() if key in {"session", "task", "run"}}
    found: dict[str, list[BoldRun]] = {}
    for subject in participants:
        bold = {"subject": subject, "suffix": "bold", "extension": [".nii.gz", ".nii"]}
        events = {"subject": subject, "suffix": "events", "extension": ".tsv"}
        files = _Files(
            every_bold=files_in(layout, bids_dir, bold),
            bold=files_in(layout, bids_dir, {**query, **bold}),
            every_events=files_in(layout, bids_dir, events),
            events=files_in(layout, bids_dir, {**of_events, **events}),
        )
        found[subject] = _assemble(bids_dir, subject, files, sessions, tasks)
    return found


@dataclass(frozen=True)
class _Files:
    """Files of a participant: all of them, and those that the filters leave."""

    every_bold: list[Path]
    bold: list[Path]
    every_events: list[Path]
    events: list[Path]


def _assemble(
    bids_dir: Path, subject: str, files: _Files, sessions: Sequence[str], tasks: Sequence[str]
) -> list[BoldRun]:
    def run(path: Path, bold: Path | None, events: Path | None) -> BoldRun:
        _, session, task, label = (entities_of(path).get(key, "") for key in RUN_ENTITIES)
        for key, value in (("ses", session), ("task", task), ("run", label)):
            if value and not is_label(value):
                raise DataError(
                    f"'{key}-{value}' is no BIDS label, which has letters and digits only",
                    file=path,
                    remedy="Rename the file.",
                )
        named = path.with_name(path.name.replace("_events.tsv", "_bold.nii.gz"))
        metadata = inherited_metadata(bids_dir, named)
        return BoldRun(subject, session, task, label, bold, events, metadata)

    def wanted(path: Path) -> bool:
        key = _run_key(path)
        return (not sessions or key[0] in sessions) and (not tasks or key[1] in tasks)

    runs: dict[tuple[str, str, str], BoldRun] = {}
    for path in filter(wanted, files.bold):
        if entities_of(path).get("part") == "phase":
            continue
        key = _run_key(path)
        if (other := runs.get(key)) is not None and other.bold is not None:
            raise DataError(
                f"is the same run as {other.bold.name}",
                file=path,
                remedy='Choose one with --bids-filter-file, such as {"bold": {"echo": 2}}.',
            )
        same = (file for file in files.every_events if same_run(entities_of(file), entities_of(path)))
        runs[key] = run(path, path, inherited_file(bids_dir, path, "events", ".tsv") or next(same, None))
    # Tables that describe BOLD files, also those left out by a filter, are no runs of their own.
    described = {_run_key(path) for path in files.every_bold}
    inherited = {
        file for path in files.every_bold for file in applicable_files(bids_dir, path, "events", ".tsv")
    }
    for path in filter(wanted, files.events):
        if _run_key(path) not in described and path not in inherited:
            runs.setdefault(_run_key(path), run(path, None, path))
    return [runs[key] for key in sorted(runs, key=lambda key: (*key[:2], key[2].zfill(6)))]


def _run_key(path: Path) -> tuple[str, str, str]:
    entities = entities_of(path)
    return entities.get("ses", ""), entities.get("task", ""), _run_number(entities.get("run", ""))


def _run_number(label: str) -> str:
    """`1` and `01` are the same run."""
    return str(int(label)) if label.isdecimal() else label


def find_confounds(derivatives: Iterable[Path], run: BoldRun) -> Path | None:
    """Confounds table of a run in a derivatives folder, by the names fMRIPrep has used.

    Raises
    ------
    MissingInputError
        When the content of the table was not fetched.
    """
    wanted = {"sub": run.subject, "ses": run.session, "task": run.task, "run": run.run}
    for root in derivatives:
        for suffix in CONFOUNDS:
            for file in sorted((root / f"sub-{run.subject}").rglob(f"*_{suffix}.tsv")):
                if not same_run(entities_of(file), wanted):
                    continue
                if not is_fetched(file):
                    raise not_fetched([file])
                return file
    return None
