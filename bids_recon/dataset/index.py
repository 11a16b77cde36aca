"""The index of a BIDS data set's files, made and asked through pybids."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids import BIDSLayout, BIDSLayoutIndexer
from bids.layout import Query

from bids_recon.errors import DataError, from_os_error
from bids_recon.outputs.atomic import TEMPORARY_PREFIX

NOT_INDEXED = ("stimuli", "sourcedata", "derivatives", "code", "models")
# The file that pybids keeps in its database folder.
DATABASE = "layout_index.sqlite"
NOT_ENTITIES = frozenset({"suffix", "extension", "return_type"})


def open_index(bids_dir: Path, participants: Sequence[str], database_dir: Path | None = None) -> BIDSLayout:
    """Index a data set, or open the index that was kept.

    Parameters
    ----------
    bids_dir : Path
    participants : sequence of str
        Labels. Others are left out of an index that is not kept.
    database_dir : Path, optional
        Folder in which the index is kept; a new one is made when it holds none, or one of another data set,
        of another version, or without some of the participants.

    Raises
    ------
    CannotCreateError, InputOutputError
        When the index cannot be kept there.
    """
    ignore: list[Any] = list(NOT_INDEXED)
    if database_dir is None and participants:
        # A private index needs nobody else; one that is kept must serve later calls too.
        wanted = "|".join(map(re.escape, participants))
        ignore.append(re.compile(rf"^/sub-(?!(?:{wanted})(?:/|_|$))"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Reading every sidecar takes over a minute in large data sets; the few that count are read later.
        indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
        if database_dir is None:
            return BIDSLayout(bids_dir, validate=False, indexer=indexer)
        if (kept := _kept_index(bids_dir, participants, database_dir)) is not None:
            return kept
        try:
            database_dir.mkdir(parents=True, exist_ok=True)
            # Several participants may index at a time, and each may be killed: none reads half an index.
            with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=database_dir) as folder:
                made = BIDSLayout(bids_dir, validate=False, indexer=indexer, database_path=folder)
                made.session.close()
                (Path(folder) / DATABASE).replace(database_dir / DATABASE)
        except OSError as error:
            raise from_os_error(error, database_dir) from error
        return BIDSLayout(bids_dir, validate=False, database_path=database_dir)


def _kept_index(bids_dir: Path, participants: Sequence[str], database_dir: Path) -> BIDSLayout | None:
    if not (database_dir / DATABASE).is_file():
        return None
    try:
        layout = BIDSLayout(bids_dir, validate=False, database_path=database_dir)
        if Path(layout.root).resolve() != bids_dir.resolve():
            return None
        known = [layout.get(subject=label, suffix=["bold", "events"]) for label in participants]
    except Exception:
        # An index of another version or another data set fails in many ways; it is only a cache.
        return None
    return layout if all(known) else None


def files_in(layout: BIDSLayout, bids_dir: Path, query: Mapping[str, Any]) -> list[Path]:
    """Files of a query, sorted, below `bids_dir` as it is given here: a kept index may know another path."""
    files = layout.get(**query, return_type="filename")
    return sorted(bids_dir.absolute() / Path(file).relative_to(layout.root) for file in files)


def bold_query(filters: Mapping[str, Any], layout: BIDSLayout) -> dict[str, Any]:
    """Turn the `bold` query of a BIDS filter file into one of pybids.

    Raises
    ------
    DataError
        When a key is no entity, or its value neither a text, a number, null nor a list of these.
    """
    special = {None: Query.NONE, "*": Query.ANY}
    query: dict[str, Any] = {}
    entities = set(layout.get_entities())
    for key, value in filters.items():
        if key in NOT_ENTITIES:
            continue
        values = value if isinstance(value, list) else [value]
        if key not in entities or not all(isinstance(one, str | int | None) for one in values):
            raise DataError(
                f"the BIDS filter {json.dumps({key: value})} of bold cannot be used",
                remedy='Filters are entities such as "session", "task", "run", "acquisition" or "echo", with'
                " a value or a list of values.",
            )
        translated = [special.get(one, one) for one in values]
        query[key] = translated if isinstance(value, list) else translated[0]
    return query
