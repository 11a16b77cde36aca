"""Whether a file of weights is what it should be: sizes, SHA-256, and what is remembered of earlier checks.

Beside a file `X` lie `X.sha256`, in the format of the program sha256sum, and `X.checked.json`, which says
which state of the file had this hash, so that hundreds of megabytes are not read again at every start.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from bids_recon.errors import CannotCreateError, DataError, InputOutputError

SHORT = 12
"""Digits of a hash that messages show."""


def content_hash(path: Path) -> str:
    """SHA-256 of a file, computed once for each of its states: methods, folds and people share weights.

    A state whose hash was noted beside the file (see `remember`) is not read again, in no process.
    """
    return _hash_of_state(path, file_state(path))


@lru_cache
def _hash_of_state(path: Path, state: tuple[int, int]) -> str:
    stamp = _stamped(path)
    if stamp is not None and stamp[:2] == state and re.fullmatch("[0-9a-f]{64}", str(stamp[2])):
        return str(stamp[2])
    return hash_file(path)


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recorded_hash(path: Path) -> str | None:
    """The hash that was recorded beside a file, or None.

    Raises
    ------
    DataError
        When the record is there and holds no hash.
    """
    record = _record(path)
    if not record.is_file():
        return None
    found = re.match(r"\\?([0-9a-fA-F]{64})\s", record.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise DataError("holds no SHA-256", file=record, remedy="Delete it.")
    return found[1].lower()


def remember(path: Path, state: tuple[int, int], sha256: str) -> None:
    """Note the hash of a file in a state (size, time of change in ns); in a read-only folder, do nothing."""
    from bids_recon.outputs.atomic import write_json, write_text

    with suppress(CannotCreateError, InputOutputError):
        if not _record(path).exists():
            write_text(_record(path), f"{sha256}  {path.name}\n")
        size, mtime_ns = state
        write_json(_stamp(path), {"size": size, "mtime_ns": mtime_ns, "sha256": sha256})


def file_state(path: Path) -> tuple[int, int]:
    """Size and time of the last change (ns) of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def compare(path: Path, size: int | None, sha256: str | None) -> str:
    """Read a file and give its hash, if its size and hash are the expected ones (None: any).

    Raises
    ------
    DataError
        When they are not.
    """
    _compare_size(path, size)
    found = hash_file(path)
    if sha256 is not None and found != sha256:
        raise DataError(
            f"is damaged or another file (SHA-256 {found[:SHORT]}..., expected {sha256[:SHORT]}...)",
            file=path,
        )
    return found


def check_file(
    path: Path,
    *,
    size: int | None,
    sha256: str | None,
    full: bool = False,
    record: bool = True,
    writable: bool = True,
) -> str | None:
    """Compare a file with what it must be.

    Parameters
    ----------
    path : Path
        An existing file.
    size : int, optional
        Number of bytes it must have.
    sha256 : str, optional
        Hash it must have; else the one recorded beside it counts, and without one the hash is recorded.
    full : bool
        Read the file even if it was checked before and has not changed since.
    record : bool
        Record the hash of a file of which none is known.
    writable : bool
        Whether anything may be written beside the file.

    Returns
    -------
    str or None
        The hash; None where none is known and none was to be recorded.

    Raises
    ------
    DataError
        When size or hash differ.
    """
    expected = sha256 or recorded_hash(path)
    if expected is None and not record:
        _compare_size(path, size)
        return None
    state = file_state(path)
    if not full and expected is not None and _stamped(path) == (*state, expected):
        return expected
    _compare_size(path, size)
    # Where nothing can be noted beside a file, a process reads it once.
    found = None if full else _hash_of_state(path, state)
    if found is None or expected not in (None, found):
        found = compare(path, size, expected)
    if writable:
        remember(path, state, found)
    return found


def _compare_size(path: Path, size: int | None) -> None:
    if size is not None and (found := path.stat().st_size) != size:
        raise DataError(f"has {found} bytes in place of {size}", file=path)


def _stamped(path: Path) -> tuple[Any, Any, Any] | None:
    from bids_recon.outputs.reading import read_json

    if not _stamp(path).is_file():
        return None
    try:
        content = read_json(_stamp(path))
    except DataError:
        return None
    return content.get("size"), content.get("mtime_ns"), content.get("sha256")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _stamp(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked.json")
