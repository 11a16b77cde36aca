"""Files of DataLad data sets whose content may not be on this machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from bids_recon.errors import MissingInputError

# Beginning of what stands in place of the content: a pointer, or a link where links are stored as text.
_POINTER = re.compile(rb"/annex/objects/|(\.\./)*\.git/annex/")
_LONGEST_POINTER = 1000
_FEW = 3


def is_fetched(path: Path) -> bool:
    """Tell whether a file has its content here, and is not a link or pointer to it."""
    if not path.exists():
        return False
    if path.stat().st_size > _LONGEST_POINTER:
        return True
    with path.open("rb") as opened:
        return _POINTER.match(opened.read(200)) is None


def datalad_get(paths: Sequence[str | Path], data_set: Path | None = None) -> str:
    """The command that fetches files: by name when they are few, by folder when they are many.

    With `data_set`, files inside it are named relative to it.
    """
    files = [Path(path) for path in paths]
    if data_set is not None:
        root = data_set.absolute()
        whole = [file.absolute() for file in files]
        files = [file.relative_to(root) if file.is_relative_to(root) else file for file in whole]
    if len(files) > _FEW:
        files = sorted({file.parent for file in files})
    where = [] if data_set is None else ["-d", str(data_set)]
    return shlex.join(["datalad", "get", *where, *map(str, files)])


def not_fetched(paths: Iterable[Path]) -> MissingInputError:
    """Say that the content of files has to be fetched, and how."""
    files = list(dict.fromkeys(paths))
    others = f" (and of {len(files) - 1} more)" if len(files) > 1 else ""
    return MissingInputError(
        f"the content of this file{others} is not on this machine",
        file=files[0],
        remedy=f"Fetch it with: {datalad_get(files)}",
    )
