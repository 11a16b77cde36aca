"""Pages for human raters, from the pictures of the group level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import bids_recon
from bids_recon.errors import NothingSelectedError
from bids_recon.report.content import GalleryItem
from bids_recon.report.rating_page import RatingPage, write_rating_page

# File and task of each page.
PAGES: tuple[tuple[str, Literal["forced-choice", "which-better"]], ...] = (
    ("rating.html", "forced-choice"),
    ("rating-methods.html", "which-better"),
)


def write_rating_pages(
    group_dir: Path, items: Sequence[GalleryItem], *, seed: int, simulated: bool
) -> list[str]:
    """Write `rating.html`, and `rating-methods.html` where two methods drew the same pictures.

    Pages of an earlier call that nothing can be asked on any more are removed.

    Returns
    -------
    list of str
        Warnings.
    """
    warnings = []
    for name, task in PAGES:
        file = group_dir / name
        page = RatingPage(
            items=items,
            task=task,
            seed=seed,
            simulated=simulated,
            version=bids_recon.__version__,
        )
        try:
            write_rating_page(file, page)
        except NothingSelectedError as error:
            file.unlink(missing_ok=True)
            if task == "forced-choice":
                warnings.append(f"There is no page for raters: {error.problem}.")
    return warnings
