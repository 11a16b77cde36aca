"""Download of weights: fetched, checked, and only then under the final name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from bids_recon.errors import DataError, from_os_error
from bids_recon.outputs.atomic import atomic_path
from bids_recon.outputs.lock import exclusive
from bids_recon.weights.archive import extract_member
from bids_recon.weights.checksums import compare, file_state, recorded_hash, remember
from bids_recon.weights.manifest import Weight
from bids_recon.weights.transfer import discard, fetch


def download_weight(weight: Weight, folder: Path) -> Path:
    """Fetch a file of weights into a folder, unless it is there.

    What has come lies in `X.part` until it is complete, and the next call goes on from it. Two processes do
    not fetch the same file at a time.

    Parameters
    ----------
    weight : Weight
        One that has a URL.
    folder : Path
        Made where it does not exist.

    Returns
    -------
    Path
        The complete file, whose hash is recorded beside it.

    Raises
    ------
    MissingInputError
        When the server does not give out the file.
    TemporaryError
        When the server cannot be reached, the connection breaks, or another process is at work for long.
    DataError
        When what came is not the published file, or not the one that was recorded.
    CannotCreateError, InputOutputError
        When the folder cannot be written to or is full.
    ValueError
        When the row has no URL.
    """
    if weight.url is None:
        raise ValueError(f"'{weight.name}' has no address to download from")
    final = folder / weight.file
    arriving = final.name if weight.archive_member is None else Path(urlsplit(weight.url).path).name
    part = final.with_name(f"{arriving}.part")
    size = weight.size if weight.archive_member is None else None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(final.with_name(f"{part.name}.lock")):
            # Another process may have been faster.
            if not final.exists():
                by_hand = f"The file can also be copied to {final} by hand."
                fetch(weight.url, part, title=weight.name, size=size, by_hand=by_hand)
                _take(weight, part, final)
    except OSError as error:
        raise from_os_error(error, final) from error
    return final


def _take(weight: Weight, part: Path, final: Path) -> None:
    """Check what came, and give it its name."""
    try:
        expected = weight.sha256 or recorded_hash(final)
        if weight.archive_member is None:
            sha256 = compare(part, weight.size, expected)
            part.replace(final)
        else:
            with atomic_path(final) as temporary:
                extract_member(part, weight.archive_member, temporary)
                sha256 = compare(temporary, weight.size, expected)
    except DataError as error:
        # It would never become right; the next call begins anew.
        discard(part)
        remedy = (
            "It was not kept. Run the same command again; if it fails again, the publisher has changed it."
        )
        if weight.sha256 is None:
            remedy += f" To accept another file than before, delete {weight.file}.sha256."
        raise DataError(f"what came from {weight.url} {error.problem}", file=final, remedy=remedy) from error
    discard(part)
    remember(final, file_state(final), sha256)
