"""Pictures of synthetic patterns: people by regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bids_recon.report.content import Picture
from bids_recon.report.pictures import PicturePool


@dataclass(frozen=True)
class SyntheticPicture:
    """What a method draws from a pattern that activates one region.

    Attributes
    ----------
    subject, method, roi : str
    picture : Picture
    """

    subject: str
    method: str
    roi: str
    picture: Picture


@dataclass(frozen=True)
class SyntheticGrid:
    """Pictures of one method, people by regions.

    Attributes
    ----------
    method : str
    regions : tuple of str
    rows : tuple of (str, tuple of str)
        Name of a person, and the address (data URI) of the picture of each region; empty where there is none.
    """

    method: str
    regions: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def synthetic_grids(
    pictures: Sequence[SyntheticPicture], name_of: Callable[[str], str]
) -> list[SyntheticGrid]:
    """One grid a method, in the order given.

    Parameters
    ----------
    pictures : sequence of SyntheticPicture
        Contrast is not stretched: a page shows what the files hold.
    name_of : callable
        Writes a subject label.
    """
    pool = PicturePool()
    places = {(one.method, one.subject, one.roi): pool.add(one.picture) for one in pictures}
    encoded = pool.encode()
    grids = []
    for method in dict.fromkeys(one.method for one in pictures):
        own = [one for one in pictures if one.method == method]
        regions = tuple(dict.fromkeys(one.roi for one in own))
        rows = []
        for subject in dict.fromkeys(one.subject for one in own):
            found = [places.get((method, subject, region)) for region in regions]
            rows.append(
                (name_of(subject), tuple("" if place is None else encoded[place].uri for place in found))
            )
        grids.append(SyntheticGrid(method, regions, tuple(rows)))
    return grids
