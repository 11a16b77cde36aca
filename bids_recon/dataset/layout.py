"""Which participants and runs a BIDS data set holds, and the files that belong to a run."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_recon.dataset.inheritance import entities_of, inherited_file, inherited_metadata, same_run
from bids_recon.errors import DataError, InvalidBidsError, NothingSelectedError

NOT_INDEXED = ("stimuli", "sourcedata", "derivatives", "code", "models")


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
    def name(self) -> str:
        """Name in messages."""
        parts = {"ses": self.session, "task": self.task, "run": self.run}
        return "_".join([f"sub-{self.subject}", *(f"{k}-{v}" for k, v in parts.items() if v)])


def is_fetched(path: Path) -> bool:
    """Tell whether a file of a DataLad data set has its content here, and is not a pointer to it."""
    if not path.exists():
        return False
    if path.stat().st_size > 1000:
        return True
    with path.open("rb") as opened:
        return not opened.read(200).startswith((b"/annex/objects/", b"../.git/annex/", b".git/annex/"))


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
    try:
        description = json.loads(file.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidBidsError(f"is not valid JSON ({error})", file=file) from error
    if not isinstance(description, dict):
        raise InvalidBidsError("should hold a JSON object", file=file)
    return description


def list_participants(bids_dir: Path, derivatives: Iterable[Path] = ()) -> list[str]:
    """Labels of the `sub-` folders of the data set and of derivatives that hold responses."""
    found = {
        folder.name.removeprefix("sub-")
        for root in (bids_dir, *derivatives)
        for folder in root.glob("sub-*")
        if folder.is_dir()
    }
    return sorted(found)


def select_participants(available: Sequence[str], requested: Sequence[str], bids_dir: Path) -> list[str]:
    """Participants to work on.

    Raises
    ------
    NothingSelectedError
        When there is none, or a requested one does not exist.
    """
    if not available:
        raise NothingSelectedError("there is no sub- folder", file=bids_dir, remedy="Is the volume mounted?")
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
        When two BOLD files make the same run (echoes, reconstructions), or a sidecar is not JSON.
    """
    layout = _index(bids_dir, participants, database_dir)
    from bids.layout import Query

    special = {None: Query.NONE, "*": Query.ANY}
    query = {
        key: special.get(value, value) if value is None or isinstance(value, str) else value
        for key, value in (filters or {}).items()
        if key not in {"suffix", "extension", "return_type"}
    }
    found: dict[str, list[BoldRun]] = {}
    for subject in participants:
        bold = layout.get(
            **{**query, "subject": subject, "suffix": "bold", "extension": [".nii.gz", ".nii"]},
            return_type="filename",
        )
        events = layout.get(subject=subject, suffix="events", extension=".tsv", return_type="filename")
        found[subject] = _assemble(
            bids_dir, [Path(p) for p in bold], [Path(p) for p in events], sessions, tasks
        )
    return found


def _index(bids_dir: Path, participants: Sequence[str], database_dir: Path | None) -> Any:
    from bids import BIDSLayout, BIDSLayoutIndexer

    ignore: list[Any] = list(NOT_INDEXED)
    if database_dir is None and participants:
        # A private index needs nobody else; one that is kept must serve later calls too.
        wanted = "|".join(map(re.escape, participants))
        ignore.append(re.compile(rf"^/sub-(?!(?:{wanted})(?:/|_|$))"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
        options: dict[str, Any] = {"validate": False, "indexer": indexer, "database_path": database_dir}
        if database_dir is None:
            return BIDSLayout(bids_dir, **options)
        try:
            layout = BIDSLayout(bids_dir, **options)
            if Path(str(layout.root)).resolve() == bids_dir.resolve():
                return layout
        except Exception:
            # A database of another version or another data set fails in many ways; it is only a cache.
            pass
        return BIDSLayout(bids_dir, reset_database=True, **options)


def _assemble(
    bids_dir: Path, bold: list[Path], events: list[Path], sessions: Sequence[str], tasks: Sequence[str]
) -> list[BoldRun]:
    by_key: dict[tuple[str, str, str], tuple[Path, bool]] = {}
    for path, is_bold in [*((p, True) for p in sorted(bold)), *((p, False) for p in sorted(events))]:
        entities = entities_of(path)
        if entities.get("part") == "phase":
            continue
        key = (entities.get("ses", ""), entities.get("task", ""), _run_number(entities.get("run", "")))
        if key in by_key and is_bold:
            raise DataError(
                f"is the same run as {by_key[key][0].name}",
                file=path,
                remedy='Choose one with --bids-filter-file, such as {"bold": {"echo": 2}}.',
            )
        by_key.setdefault(key, (path, is_bold))
    runs = []
    for key in sorted(by_key, key=lambda item: (item[0], item[1], item[2].zfill(6))):
        path, is_bold = by_key[key]
        entities = entities_of(path)
        if (sessions and key[0] not in sessions) or (tasks and key[1] not in tasks):
            continue
        table = inherited_file(bids_dir, path, "events", ".tsv") if is_bold else path
        if is_bold and table is None:
            table = next((file for file in sorted(events) if same_run(entities_of(file), entities)), None)
        named = path if is_bold else path.with_name(path.name.replace("_events.tsv", "_bold.nii.gz"))
        runs.append(
            BoldRun(
                subject=entities["sub"],
                session=key[0],
                task=key[1],
                run=entities.get("run", ""),
                bold=path if is_bold else None,
                events=table,
                metadata=inherited_metadata(bids_dir, named),
            )
        )
    return runs


def _run_number(label: str) -> str:
    """`1` and `01` are the same run."""
    return str(int(label)) if label.isdigit() else label


def find_confounds(derivatives: Iterable[Path], run: BoldRun) -> Path | None:
    """Confounds table of a run in a derivatives folder, by the names fMRIPrep has used."""
    wanted = {"sub": run.subject, "ses": run.session, "task": run.task, "run": run.run}
    for root in derivatives:
        for suffix in ("desc-confounds_timeseries", "desc-confounds_regressors"):
            for file in sorted((root / f"sub-{run.subject}").rglob(f"*_{suffix}.tsv")):
                if same_run(entities_of(file), {key: value for key, value in wanted.items() if value}):
                    return file
    return None
