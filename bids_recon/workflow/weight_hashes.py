"""What tells the weights that a method uses from others of the same name."""

from __future__ import annotations

from collections.abc import Iterable

from bids_recon.methods.base import Method
from bids_recon.weights.checksums import content_hash
from bids_recon.weights.store import find_weight


def weight_hashes(method: Method, names: Iterable[str] | None = None) -> dict[str, str]:
    """SHA-256 of the file of each of a method's weights (or of some of them), by name.

    Raises
    ------
    MissingInputError, DataError
        When a file is missing or damaged.
    """
    files = {
        name: find_weight(name, method.options.weights)
        for name in (method.weights if names is None else names)
    }
    return {name: content_hash(file) for name, file in files.items()}
