"""The inheritance principle of BIDS: files nearer to the root describe files below them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bids_recon.dataset.annex import is_fetched, not_fetched
from bids_recon.outputs.reading import read_json

RUN_ENTITIES = ("sub", "ses", "task", "run")


def entities_of(path: Path | str) -> dict[str, str]:
    """Entities in a file name, by their short keys."""
    stem = Path(path).name.split(".", 1)[0]
    return dict(part.split("-", 1) for part in stem.split("_") if "-" in part)


def suffix_of(path: Path | str) -> str:
    """Suffix in a file name: the last part before the extension."""
    return Path(path).name.split(".", 1)[0].rsplit("_", 1)[-1]


def same_value(key: str, first: str, second: str) -> bool:
    """Compare two values of an entity; run numbers are equal whatever zeros they begin with."""
    if key in {"run", "echo"} and first.isdecimal() and second.isdecimal():
        return int(first) == int(second)
    return first == second


def same_run(first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    """Tell whether the entities of two files name the same run (`run-1` is `run-01`)."""
    return all(same_value(key, first.get(key, ""), second.get(key, "")) for key in RUN_ENTITIES)


def applicable_files(root: Path, path: Path, suffix: str, extension: str) -> list[Path]:
    """Files that apply to `path`, the one that wins last.

    A file applies when it lies in a folder between the data set's root and that of `path`, and each of its
    entities stands in the name of `path` with the same value.
    """
    entities = entities_of(path)
    found: list[Path] = []
    for folder in _folders(root, path):
        here = [
            file
            for file in _listing(folder, suffix, extension)
            if all(same_value(k, v, entities.get(k, "")) for k, v in entities_of(file).items())
        ]
        found += sorted(here, key=lambda file: (len(entities_of(file)), file.name))
    return found


def _folders(root: Path, path: Path) -> Iterator[Path]:
    root, folder = root.absolute(), path.absolute().parent
    inside = folder.relative_to(root).parts if folder.is_relative_to(root) else ()
    yield root
    for depth in range(len(inside)):
        yield root.joinpath(*inside[: depth + 1])


def _listing(folder: Path, suffix: str, extension: str) -> tuple[Path, ...]:
    return tuple(
        file
        for file in folder.glob(f"*{suffix}{extension}")
        # macOS leaves a hidden file beside each file that it copies to a foreign disk.
        if suffix_of(file) == suffix and not file.name.startswith(".")
    )


def inherited_file(root: Path, path: Path, suffix: str, extension: str) -> Path | None:
    """The one file that applies to `path`, for tables, of which only the nearest counts."""
    found = applicable_files(root, path, suffix, extension)
    return found[-1] if found else None


def inherited_metadata(root: Path, path: Path) -> dict[str, Any]:
    """Merge the sidecars that apply to `path`; nearer ones win.

    Raises
    ------
    DataError
        When a sidecar is not a JSON object.
    MissingInputError
        When its content was not fetched.
    """
    merged: dict[str, Any] = {}
    for file in applicable_files(root, path, suffix_of(path), ".json"):
        if not is_fetched(file):
            raise not_fetched([file])
        merged.update(read_json(file))
    return merged
