"""What the option `--roi` asks for beside regions by name: atlases, and the most reliable voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bids_recon.errors import UsageError

ATLAS = "atlas:"
RELIABLE = "reliable:"


@dataclass(frozen=True)
class RegionRequests:
    """Requests by kind.

    Attributes
    ----------
    plain : tuple of str
        What `bids_recon.rois.requests.resolve_regions` takes.
    atlases : tuple of str
        Without the prefix: `NAME` or `NAME:REGION`.
    n_reliable : int or None
        How many of the voxels are kept.
    """

    plain: tuple[str, ...]
    atlases: tuple[str, ...]
    n_reliable: int | None

    @property
    def others(self) -> tuple[str, ...]:
        """What no mask of the data set stands for, as it was asked for."""
        reliable = () if self.n_reliable is None else (f"{RELIABLE}{self.n_reliable}",)
        return (*(f"{ATLAS}{name}" for name in self.atlases), *reliable)


def sort_requests(requested: Sequence[str]) -> RegionRequests:
    """Sort the values of `--roi`.

    Raises
    ------
    UsageError
        When N of `reliable:N` is no whole number above zero, or is given twice.
    """
    plain: list[str] = []
    atlases: list[str] = []
    numbers: list[int] = []
    for request in map(str.strip, requested):
        kind = request.casefold()
        if kind.startswith(ATLAS):
            atlases.append(request[len(ATLAS) :])
        elif kind.startswith(RELIABLE):
            text = request[len(RELIABLE) :]
            if not text.isdecimal() or int(text) < 1:
                raise UsageError(
                    f"--roi {request}: '{text}' is not a whole number above zero",
                    remedy="Write it as reliable:500, for the 500 most reliable voxels.",
                )
            numbers.append(int(text))
        else:
            plain.append(request)
    if len(numbers) > 1:
        raise UsageError("--roi asks for reliable voxels twice", remedy="Give one number.")
    return RegionRequests(tuple(plain), tuple(atlases), numbers[0] if numbers else None)
