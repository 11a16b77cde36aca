"""A killed run resumes: a stage that finished with the same inputs is not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import bids_recon
from bids_recon.outputs.atomic import TEMPORARY_PREFIX, write_json
from bids_recon.rois.selection import VoxelSelection


def fingerprint(path: Path) -> list[Any]:
    """What tells that a file is unchanged: path, size and time of change."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def region_hashes(voxels: VoxelSelection) -> dict[str, str]:
    """What tells that regions are unchanged: a hash of the voxels of each, by name."""
    return {
        name: hashlib.sha256(voxels.indices[member].tobytes()).hexdigest()
        for name, member in voxels.rois.items()
    }


def stage_key(inputs: Mapping[str, Any]) -> str:
    """Hash of everything a stage's result depends on, and of the program's version."""
    text = json.dumps({"version": bids_recon.__version__, **inputs}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class StageCache:
    """Stamps of finished stages of one participant, in the work folder."""

    def __init__(self, work_dir: Path, subject: str) -> None:
        self.folder = work_dir / f"sub-{subject}"

    def outputs(self, stage: str, key: str) -> list[Path] | None:
        """Files a finished stage wrote; None when it has to be done (again)."""
        stamp = self.folder / f"{stage}.json"
        try:
            content = json.loads(stamp.read_text(encoding="utf-8"))
            known = [(Path(entry[0]), entry) for entry in content["outputs"]]
            if content["key"] == key and all(path.is_file() and fingerprint(path) == e for path, e in known):
                return [path for path, _ in known]
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            # A stamp that cannot be read is as good as none.
            return None
        return None

    def finish(self, stage: str, key: str, outputs: Iterable[Path]) -> None:
        """Stamp a stage as done."""
        write_json(self.folder / f"{stage}.json", {"key": key, "outputs": [fingerprint(p) for p in outputs]})


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed run left behind in a folder that is now ours alone."""
    if folder.is_dir():
        for file in folder.rglob(f"{TEMPORARY_PREFIX}*"):
            file.unlink(missing_ok=True)
