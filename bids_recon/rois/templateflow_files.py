"""Files of TemplateFlow: which there are, which are on this machine, and how to get the others.

TemplateFlow (Ciric et al., Nature Methods 19, 2022, 1568-1571) keeps a folder, `TEMPLATEFLOW_HOME`, in which
every file of the archive has its name and, until it is downloaded, no content. What is known here is read
from those names; its client is only imported to make that folder or to download a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_recon.dataset.annex import is_fetched
from bids_recon.dataset.inheritance import entities_of, suffix_of
from bids_recon.errors import CannotCreateError, MissingInputError

PREFERRED_RESOLUTION = 2
"""Index of the 2 mm grid of both MNI templates that atlases come in."""

_HOME = "TEMPLATEFLOW_HOME"


@dataclass(frozen=True)
class TemplateFile:
    """A file of a template.

    Attributes
    ----------
    path : Path
    template : str
        As `MNI152NLin2009cAsym`.
    entities : dict of str to str
        The other entities of its name, by their short keys (`res`, `atlas`, `desc`, ...).
    suffix : str
        `T1w`, `mask`, `dseg`, `probseg`.
    extension : str
        `.nii.gz` or `.tsv`.
    """

    path: Path
    template: str
    entities: dict[str, str]
    suffix: str
    extension: str

    @property
    def resolution(self) -> int | None:
        """Index of its grid."""
        text = self.entities.get("res", "")
        return int(text) if text.isdecimal() else None

    @property
    def atlas(self) -> str:
        """Atlas and, where it has one, its description, as `HOCPA-th25`; "" for files of no atlas."""
        return "-".join(self.entities[key] for key in ("atlas", "desc") if key in self.entities)

    @property
    def cached(self) -> bool:
        """Whether its content is on this machine."""
        return self.path.is_file() and self.path.stat().st_size > 0 and is_fetched(self.path)


def templateflow_home() -> Path:
    """Folder of TemplateFlow: `TEMPLATEFLOW_HOME`, or `templateflow` in the user's cache."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get(_HOME) or user_cache_dir("templateflow")).absolute()


def list_files(template: str | None = None, *, offline: bool = False) -> list[TemplateFile]:
    """NIfTI files and tables of one template or of all, in order of their path.

    Parameters
    ----------
    template : str, optional
        As `MNI152NLin2009cAsym`.
    offline : bool
        Do not make TemplateFlow's folder where there is none.

    Raises
    ------
    CannotCreateError
        If the folder is to be made and cannot be written.
    """
    home = templateflow_home()
    if not offline and not (home.is_dir() and any(home.iterdir())):
        _client(home)
    files = []
    for folder in sorted(home.glob(f"tpl-{template or '*'}")):
        for path in sorted(folder.iterdir()):
            extension = next((end for end in (".nii.gz", ".tsv") if path.name.endswith(end)), None)
            entities = entities_of(path)
            if extension and (name := entities.pop("tpl", None)):
                files.append(TemplateFile(path, name, entities, suffix_of(path), extension))
    return files


def nearest_resolution(files: list[TemplateFile], *, offline: bool) -> TemplateFile:
    """Of files that differ in their grid, the one of `PREFERRED_RESOLUTION` or the next finer or coarser.

    Offline, those that are cached come first.
    """
    return min(
        files,
        key=lambda file: (
            offline and not file.cached,
            abs((file.resolution or PREFERRED_RESOLUTION) - PREFERRED_RESOLUTION),
            file.path,
        ),
    )


def fetch(file: TemplateFile, *, offline: bool = False) -> Path:
    """Path of a file whose content is here, after downloading it if that is needed and allowed.

    Raises
    ------
    MissingInputError
        If it is not cached and `offline` is set, or it cannot be downloaded.
    CannotCreateError
        If TemplateFlow's folder cannot be written.
    """
    if file.cached:
        return file.path
    by_hand = (
        f"Fetch {file.path.name} with TemplateFlow on a connected machine, and set {_HOME} to its folder."
    )
    if offline:
        raise MissingInputError("is not cached, and --offline was given", file=file.path, remedy=by_hand)
    client = _client(templateflow_home())
    try:
        client.get(file.template, **_query(file))
    except PermissionError as error:
        raise _not_writable(file.path, error) from error
    except Exception as error:
        # The client raises what its libraries do: connection, HTTP and git-annex errors have no common class.
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise MissingInputError(
            f"could not be fetched from TemplateFlow ({problem})", file=file.path, remedy=by_hand
        ) from error
    if not file.cached:
        # The client returns an empty list, and no error, for what it does not find.
        raise MissingInputError("TemplateFlow did not deliver this file", file=file.path, remedy=by_hand)
    return file.path


def _query(file: TemplateFile) -> dict[str, Any]:
    """What singles out a file for TemplateFlow's client."""
    names = {"atlas": "atlas", "desc": "desc", "seg": "segmentation", "label": "label", "hemi": "hemi"}
    query: dict[str, Any] = {name: file.entities.get(key) for key, name in names.items()}
    return {**query, "resolution": file.resolution, "suffix": file.suffix, "extension": file.extension}


def _client(home: Path) -> Any:
    """TemplateFlow's client for a folder, which is filled with the names of all files if it is empty."""
    # Read when the package is imported: without it, the names are updated over the network.
    os.environ.setdefault("TEMPLATEFLOW_AUTOUPDATE", "0")
    try:
        import templateflow

        client = templateflow.TemplateFlowClient(root=home, autoupdate=False)
        client.cache.ensure()
    except OSError as error:
        raise _not_writable(home, error) from error
    return client


def _not_writable(path: Path, error: OSError) -> CannotCreateError:
    return CannotCreateError(
        f"TemplateFlow's folder cannot be written ({error.strerror or error})",
        file=path,
        remedy=f"Set {_HOME} to a folder that you may write to, or that holds the files.",
    )
