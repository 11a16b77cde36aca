"""Pages for raters are there as long as there is something to ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bids_recon.report.content import GalleryItem
from bids_recon.report.rating_page import read_rating_page
from bids_recon.workflow.rating_pages import write_rating_pages
from bids_recon.workflow.region_names import ALL, method_and_region, shown_method


def gallery(methods: Sequence[str], n: int = 4) -> list[GalleryItem]:
    rng = np.random.default_rng(0)
    seen = rng.integers(256, size=(n, 8, 8, 3), dtype=np.uint8)
    return [
        GalleryItem("01", name, "test", f"p{k}", seen[k], rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
        for name in methods
        for k in range(n)
    ]


def pages(folder: Path) -> dict[str, str]:
    """Task of each page in a folder."""
    return {file.name: read_rating_page(file)["task"] for file in sorted(folder.glob("*.html"))}


def test_two_methods_are_compared_and_one_is_not(tmp_path: Path) -> None:
    def write(names: list[str], n: int = 4) -> list[str]:
        return write_rating_pages(tmp_path, gallery(names, n), seed=7, simulated=True)

    assert write(["a", "b"]) == []
    assert pages(tmp_path) == {"rating.html": "forced-choice", "rating-methods.html": "which-better"}
    for name in pages(tmp_path):
        assert read_rating_page(tmp_path / name)["seed"] == 7
        assert "imulated" in (tmp_path / name).read_text()
    (tmp_path / "notes.txt").write_text("kept")
    # With one method there is nothing to compare any more, and nothing to be warned of.
    assert write(["a"]) == []
    assert pages(tmp_path) == {"rating.html": "forced-choice"}
    (warning,) = write(["a"], n=1)
    assert warning.startswith("There is no page for raters: ") and warning.endswith(".")
    assert pages(tmp_path) == {} and (tmp_path / "notes.txt").is_file()


def test_regions_are_methods_of_their_own(tmp_path: Path) -> None:
    items = gallery([shown_method("deep-recon", region) for region in (ALL, "V1")])
    assert write_rating_pages(tmp_path, items, seed=0, simulated=False) == []
    text = (tmp_path / "rating-methods.html").read_text()
    assert "deep-recon (V1)" in text


@pytest.mark.parametrize(
    ("method", "region", "shown"),
    [
        ("deep-recon", ALL, "deep-recon"),
        ("deep-recon", "V1", "deep-recon (V1)"),
        ("my (own) method", ALL, "my (own) method"),
        ("my (own) method", "V1", "my (own) method (V1)"),
    ],
)
def test_names_of_methods_and_regions_come_back(method: str, region: str, shown: str) -> None:
    assert shown_method(method, region) == shown
    assert method_and_region(shown) == (method, region)
