"""How pages name a method that saw the voxels of one region only."""

from __future__ import annotations

import re

ALL = "all"
"""Region of what was decoded from all voxels together."""


def shown_method(method: str, region: str) -> str:
    """Name of a method on pages, with the region when it is not all voxels: `deep-recon (V1)`."""
    return method if region == ALL else f"{method} ({region})"


def method_and_region(shown: str) -> tuple[str, str]:
    """Method and region of a name that `shown_method` gave."""
    found = re.fullmatch(r"(.+) \((.+)\)", shown)
    return (found[1], found[2]) if found else (shown, ALL)
