"""One member of a zip or tar archive, without unpacking the rest."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bids_recon.errors import DataError

_BLOCK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def extract_member(archive: Path, member: str, target: Path) -> None:
    """Copy a member of an archive into a file, as a stream; names inside the archive never become paths.

    Parameters
    ----------
    archive : Path
        A zip file, or a tar file of any compression.
    member : str
        Name of a file inside the archive.
    target : Path
        File to write.

    Raises
    ------
    DataError
        When this is no such archive, it is damaged, or it has no such file.
    """
    try:
        with _opened(archive, member) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, _BLOCK)
    except KeyError as error:
        raise DataError(f"holds no file '{member}'", file=archive) from error
    except _DAMAGE as error:
        raise DataError(f"is a damaged archive ({error})", file=archive) from error


@contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened, opened.open(member) as file:
            yield file
        return
    with tarfile.open(archive) as opened_tar:
        entry = opened_tar.getmember(member)
        # Links and devices are not followed.
        content = opened_tar.extractfile(entry) if entry.isreg() else None
        if content is None:
            raise KeyError(member)
        with content:
            yield content
