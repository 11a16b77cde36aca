"""Requests of `--roi` by kind."""

from __future__ import annotations

import pytest

from bids_recon.errors import UsageError
from bids_recon.workflow.region_requests import RegionRequests, sort_requests


def test_requests_are_sorted() -> None:
    asked = ["V1", "atlas:Wang2015", " reliable:300 ", "mine=a.nii.gz", "Atlas:X:LOC"]
    assert sort_requests(asked) == RegionRequests(("V1", "mine=a.nii.gz"), ("Wang2015", "X:LOC"), 300)
    assert sort_requests([]) == RegionRequests((), (), None)


@pytest.mark.parametrize("text", ["reliable:", "reliable:0", "reliable:-3", "reliable:many", "reliable:2.5"])
def test_a_number_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a whole number above zero.*reliable:500"):
        sort_requests([text])


def test_two_numbers() -> None:
    with pytest.raises(UsageError, match="twice"):
        sort_requests(["reliable:3", "reliable:4"])
