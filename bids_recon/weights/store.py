"""Where weights lie on this machine: a folder of downloads, or installed Python packages."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bids_recon.errors import DataError, MissingInputError, from_os_error
from bids_recon.weights.checksums import check_file, recorded_hash
from bids_recon.weights.manifest import MANIFEST, Weight, total_text, weight_named, weights_of

VARIABLE = "BIDS_RECON_WEIGHTS"
# What a clone of a repository has in place of large files until Git LFS brings them.
_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Found:
    """A file that has the name of weights, unchecked.

    Attributes
    ----------
    path : Path
    in_package : bool
        Whether it belongs to an installed Python package.
    alternative : bool
        Whether it is another format or release than that of the manifest.
    """

    path: Path
    in_package: bool = False
    alternative: bool = False


def weights_folder(given: Path | None = None) -> Path:
    """The given folder, else that of `BIDS_RECON_WEIGHTS`, else `bids_recon/weights` in the user's cache."""
    if given is not None:
        return given
    if named := os.environ.get(VARIABLE):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "bids_recon" / "weights"


def find_weight(name: str, folder: Path | None = None, *, manifest: Iterable[Weight] = MANIFEST) -> Path:
    """Path of a file of weights, after checking it against the manifest or against its recorded hash.

    A file that was checked and has not changed since is not read again, where its folder can be written to.

    Parameters
    ----------
    name : str
        As in the manifest.
    folder : Path, optional
        See `weights_folder`. It is looked into before installed packages are.
    manifest : iterable of Weight

    Raises
    ------
    MissingInputError
        When it is not on this machine. The message says the command that fetches it.
    DataError
        When it is damaged.
    ValueError
        When the manifest has no such name.
    """
    manifest = tuple(manifest)
    weight, folder = weight_named(name, manifest), weights_folder(folder)
    found = locate(weight, folder)
    if found is None:
        raise missing(weight, folder, manifest)
    check(weight, found, folder)
    return found.path


def locate(weight: Weight, folder: Path) -> Found | None:
    """The file that would be used, unchecked: of the folder, in the order of its names, or of a package."""
    for name in (weight.file, *weight.alternatives):
        if (path := folder / name).is_file():
            return Found(path, alternative=name != weight.file)
    path_in_package = _in_package(weight)
    return None if path_in_package is None else Found(path_in_package, in_package=True)


def check(
    weight: Weight, found: Found, folder: Path, *, full: bool = False, record: bool = True
) -> str | None:
    """Compare a found file with the manifest or its recorded hash, and give its hash; see `check_file`.

    Raises
    ------
    DataError
        When it is damaged, with a remedy.
    """
    published = weight.sha256 is not None and not found.alternative
    try:
        if _is_pointer(found.path):
            raise DataError(
                "is only the pointer of Git LFS to the file",
                file=found.path,
                remedy="Run `git lfs pull` in its folder, or delete it and put the file itself there.",
            )
        return check_file(
            found.path,
            # Without a published hash, people may use weights of their own under this name.
            size=weight.size if published else None,
            sha256=weight.sha256 if published else None,
            full=full,
            record=record,
            writable=not found.in_package,
        )
    except DataError as error:
        raise DataError(
            error.problem, file=error.file, remedy=error.remedy or _repair(weight, found, folder)
        ) from error
    except OSError as error:
        raise from_os_error(error, found.path) from error


def _repair(weight: Weight, found: Found, folder: Path) -> str:
    if found.in_package:
        return "Reinstall the Python package it belongs to."
    if weight.url is None or found.alternative:
        return "Put an undamaged copy in its place, or delete it."
    remedy = f"Delete it, and run `{download_command(weight, folder)}`."
    if weight.sha256 is None and recorded_hash(found.path) is not None:
        remedy += f" If you replaced it on purpose, delete only {found.path.relative_to(folder)}.sha256."
    return remedy


def missing(weight: Weight, folder: Path, manifest: Iterable[Weight] = MANIFEST) -> MissingInputError:
    """The error for weights that are not on this machine; it says how to get all that their method lacks."""
    ways = []
    if weight.url:
        lacking = downloadable(weights_of(weight.methods[:1], manifest), folder)
        all_of_them = f", which fetches {total_text(lacking)}" if len(lacking) > 1 else ""
        ways.append(f"Run `{download_command(weight, folder)}`{all_of_them}")
    if weight.install:
        ways.append(f"{'run' if ways else 'Run'} `{weight.install}`")
    return MissingInputError(
        f"is missing: weights '{weight.name}', {weight.description} ({weight.size_text})",
        file=folder / weight.file,
        remedy=f"{', or '.join(ways)}.",
    )


def downloadable(weights: Iterable[Weight], folder: Path) -> tuple[Weight, ...]:
    """Those of some weights that are not on this machine and have an address."""
    return tuple(weight for weight in weights if weight.url and locate(weight, folder) is None)


def download_command(weight: Weight, folder: Path) -> str:
    """The command line that fetches weights, and all others of the same method."""
    return f"bids-recon-weights download --method {weight.methods[0]} --to {shlex.quote(str(folder))}"


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _in_package(weight: Weight) -> Path | None:
    if weight.package is None:
        return None
    module, _, inside = weight.package.partition(":")
    # Of a top-level module, this reads its place without running its code.
    spec = importlib.util.find_spec(module)
    for place in (spec and spec.submodule_search_locations) or ():
        if (path := Path(place) / inside).is_file():
            return path
    return None
