"""A file that several processes write, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLock, Timeout

from bids_recon.errors import TemporaryError

PATIENCE = 60.0


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock file while the block runs.

    The lock is a file that exists, not a lock of the system, which network file systems may lack. One that a
    killed process of this machine left is taken over.

    Raises
    ------
    TemporaryError
        When another process holds it for over a minute.
    """
    try:
        with SoftFileLock(lock, timeout=PATIENCE):
            yield
    except Timeout as error:
        raise TemporaryError(
            "is held by another process",
            file=lock,
            remedy="Delete it when no other bids-recon is running, and run again.",
        ) from error
