"""Files appear under their final name only when they are complete."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from bids_recon.errors import from_os_error

TEMPORARY_PREFIX = ".tmp-"


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """Give a path to write to; rename it to `final` when the block ends well, remove it otherwise.

    The temporary file lies in the folder of `final`, so that the rename cannot cross file systems, and
    has the same suffixes, so that writers which look at the extension behave.

    Raises
    ------
    ReconError
        In place of the operating system's error, with exit code 73 (may not write) or 74 (disk full).
    """
    final = Path(final)
    temporary: Path | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{''.join(final.suffixes)[-20:]}")
        # Made here, not by `tempfile`, whose files are private: outputs follow the user's umask.
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        # Some writers (safetensors) put a private file of their own in its place.
        if temporary.stat().st_mode != mode:
            temporary.chmod(mode)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(final)
    except OSError as error:
        raise from_os_error(error, final) from error
    finally:
        if temporary is not None:
            # A disk that fails while it is tidied must not hide why the block failed.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | Path, content: Any) -> Path:
    """Write JSON; numpy scalars and arrays are turned into numbers and lists, NaN into null."""
    return write_text(path, json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (set, frozenset)):
        return _plain(sorted(value, key=str))
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_tsv(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a tab-separated table as BIDS wants it: a header, no index, `n/a` for missing values."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="n/a", lineterminator="\n", compression=None)
    return Path(path)


def write_nifti(path: str | Path, image: SpatialImage) -> Path:
    """Write a NIfTI image."""
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
    return Path(path)


def write_png(path: str | Path, picture: NDArray[np.uint8]) -> Path:
    """Write a picture (height, width, 3) or (height, width), uint8."""
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
    return Path(path)


def write_safetensors(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write named arrays; nothing in the file can be executed when it is read."""
    with atomic_path(path) as temporary:
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, temporary, metadata=dict(metadata) if metadata else None)
    return Path(path)
