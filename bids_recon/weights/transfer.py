"""Resumable transfer of a file over HTTP (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from tqdm import tqdm

import bids_recon
from bids_recon.errors import DataError, MissingInputError, TemporaryError
from bids_recon.outputs.atomic import write_json
from bids_recon.outputs.reading import read_json
from bids_recon.weights.manifest import bytes_text

ATTEMPTS = 3
PAUSE = 2.0
"""Seconds before a broken transfer is taken up again."""
TIMEOUT = 30.0
"""Seconds without an answer or data after which a connection counts as broken."""

_BLOCK = 1 << 20
_NO_RANGE_LEFT = 416
# Of the refusals (4xx), those that may be lifted later.
_PASSING = {408, 425, 429}
_TRY_AGAIN = "Run the same command again; it goes on from what is here."


class _BrokenError(Exception):
    """The transfer broke while it was under way."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from an encrypted connection to an open one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request to the new address."""
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise URLError(f"it leads on to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, part: Path, *, title: str, size: int | None = None, by_hand: str) -> None:
    """Bring a file to its full length, from what an earlier call left of it.

    What the file was begun from is noted beside it. It is only continued if the server says that it still has
    the same file (`If-Range`), and begun anew otherwise.

    Parameters
    ----------
    url : str
        An address that begins with https or http.
    part : Path
        Where the file grows; it stays when the transfer fails.
    title : str
        Stands before the progress bar.
    size : int, optional
        Number of bytes it must have; another file is refused before it is read.
    by_hand : str
        What else the user can do, for messages.

    Raises
    ------
    MissingInputError
        When the server does not give out the file.
    TemporaryError
        When the server cannot be reached or fails, or the connection breaks and breaks again.
    DataError
        When the server has a file of another size.
    OSError
        When the file cannot be written.
    """
    if urlsplit(url).scheme not in ("https", "http"):
        raise ValueError(f"{url}: weights come by https or http")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        try:
            return _fetch_rest(url, part, title, size, by_hand)
        except _BrokenError as error:
            broken = error
    here = bytes_text(part.stat().st_size) if part.exists() else "nothing"
    raise TemporaryError(
        f"the transfer broke {ATTEMPTS} times ({broken}); {here} is here", file=url, remedy=_TRY_AGAIN
    )


def discard(part: Path) -> None:
    """Remove a file that was fetched, and the note on its origin."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _fetch_rest(url: str, part: Path, title: str, size: int | None, by_hand: str) -> None:
    offset, validator = _begun(url, part)
    headers = {"User-Agent": f"bids-recon/{bids_recon.__version__}"}
    if validator is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    # Without the handlers of files and FTP that urllib has by default.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler, _Redirects,
        urllib.request.HTTPErrorProcessor,
    ):  # fmt: skip
        opener.add_handler(handler())
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == _NO_RANGE_LEFT and validator is not None:
            if error.headers.get("Content-Range") == f"bytes */{offset}":
                return
            discard(part)
            raise _BrokenError("the server has another file now") from error
        _refused(url, error, by_hand)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise TemporaryError(
            f"cannot be reached ({reason})",
            file=url,
            remedy=f"Check the network and its proxy, and run the same command again. {by_hand}",
        ) from error
    with closing(answer):
        if answer.status != http.client.PARTIAL_CONTENT:
            offset = 0
        elif _first_byte(answer.headers.get("Content-Range")) != offset:
            discard(part)
            raise _BrokenError("the server sent another part than was asked for")
        length = answer.headers.get("Content-Length")
        total = offset + int(length) if length is not None and length.isdecimal() else None
        if size is not None and total is not None and total != size:
            discard(part)
            raise DataError(
                f"the file there has {total} bytes, the published one {size}", file=url, remedy=by_hand
            )
        if offset == 0:
            _note_origin(url, part, answer.headers)
        _receive(answer, part, title, offset, total)


def _receive(answer: Any, part: Path, title: str, offset: int, total: int | None) -> None:
    bar = tqdm(desc=title, total=total, initial=offset, unit="B", unit_scale=True, disable=None)
    received = offset
    with bar, part.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        while True:
            try:
                block = answer.read1(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenError(str(error) or type(error).__name__) from error
            if not block:
                break
            file.write(block)
            received += len(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and received < total:
        raise _BrokenError(f"after {bytes_text(received)} of {bytes_text(total)}")


def _refused(url: str, error: HTTPError, by_hand: str) -> NoReturn:
    said = f"the server answers {error.code} {error.reason}".rstrip()
    if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code in _PASSING:
        raise TemporaryError(said, file=url, remedy=f"Run the same command later. {by_hand}") from error
    raise MissingInputError(said, file=url, remedy=by_hand) from error


def _first_byte(content_range: str | None) -> int | None:
    found = re.match(r"bytes (\d+)-", content_range or "")
    return int(found[1]) if found else None


def _begun(url: str, part: Path) -> tuple[int, str | None]:
    """Length of a file that can be continued, and what identifies it to the server; else (0, None)."""
    if not (part.is_file() and _note(part).is_file()):
        return 0, None
    try:
        origin = read_json(_note(part))
    except DataError:
        return 0, None
    offset = part.stat().st_size
    if offset == 0 or origin.get("url") != url or not isinstance(origin.get("validator"), str):
        return 0, None
    return offset, origin["validator"]


def _note_origin(url: str, part: Path, headers: Any) -> None:
    # What is here no longer counts once the note says where the new file is from.
    discard(part)
    tag = headers.get("ETag", "")
    # A weak tag does not promise equal bytes and must not be used with ranges.
    validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    write_json(_note(part), {"url": url, "validator": validator})


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
