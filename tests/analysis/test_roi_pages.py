"""What pages show of the analyses."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from bids_recon.report.page_files import template_environment
from bids_recon.report.roi_optimal import SyntheticPicture, synthetic_grids
from bids_recon.report.roi_weights import weight_charts

COLUMNS = ["method", "roi", "space", "baseline", "n_people", "n_voxels"]
VALUES = ["percentile", "percentile_sem", "difference", "difference_sem"]
HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def table() -> pd.DataFrame:
    """Two regions and three spaces of one method, and one space of another."""
    rows = [
        ("bd", "V1", "vdvae", "vdvae", 2, 100.5, 60.0, 1.0, np.nan, np.nan),
        ("bd", "V1", "clip-text", "vdvae", 2, 100.5, 48.0, 2.0, -0.2, 0.05),
        ("bd", "V1", "clip-vision", "vdvae", 2, 100.5, 54.0, 2.0, -0.1, 0.0),
        ("bd", HOSTILE, "vdvae", "vdvae", 1, 30.0, 50.0, np.nan, np.nan, np.nan),
        ("bd", HOSTILE, "clip-text", "vdvae", 1, 30.0, 65.0, np.nan, 0.3, np.nan),
        ("bd", HOSTILE, "clip-vision", "vdvae", 1, 30.0, 60.0, np.nan, 0.2, np.nan),
        ("eigenimage", "V1", "eigenimage", "eigenimage", 2, 100.5, 55.0, 3.0, np.nan, np.nan),
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, *VALUES]).assign(note="")


def render(macro: str, *given: object) -> str:
    template = template_environment().get_template("roi_analyses.html.j2")
    return str(getattr(template.module, macro)(*given))


def test_charts(table):
    both, one = weight_charts(table)
    assert both.spaces == ("clip-text", "clip-vision") and both.baseline == "vdvae"
    first, second = both.rows
    assert (first.roi, first.n_voxels, second.n_voxels) == ("V1", "100", "30")
    # The axis goes from -0.25 to 0.3 and a twentieth beyond.
    low, high = -0.25 - 0.0275, 0.3 + 0.0275
    assert both.zero == pytest.approx(100 * -low / (high - low), abs=0.01)
    left, middle = first.dots
    assert left.x == pytest.approx(100 * (-0.2 - low) / (high - low), abs=0.01)
    assert left.low == pytest.approx(100 * (-0.25 - low) / (high - low), abs=0.01)
    assert (left.colour, middle.colour) == (0, 1)
    assert left.x < middle.x < both.zero < second.dots[1].x < second.dots[0].x
    assert second.dots[0].low is None, "one person has no standard error"
    assert first.label == "clip-text −0.200 [−0.250, −0.150]; clip-vision −0.100 [−0.100, −0.100]"
    assert one.rows == () and one.numbers.rows[0][0] == "V1"
    assert weight_charts(table.iloc[:0]) == []


def test_the_section_of_weights(table):
    page = render("weights", weight_charts(table))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<circle") == 4 + 2
    assert page.count('class="whisker"') == 2
    assert page.count("Numbers</summary>") == 2
    assert "not how well it predicts" in page
    assert render("weights", []).strip() == ""


def test_the_section_of_synthetic_patterns():
    def picture(shade: int) -> np.ndarray:
        return np.full((8, 8, 3), shade, dtype=np.uint8)

    pictures = [
        SyntheticPicture("01", "bd", "V1", picture(1)),
        SyntheticPicture("01", "bd", HOSTILE, picture(2)),
        SyntheticPicture("average", "bd", "V1", picture(3)),
        SyntheticPicture("01", "eigenimage", "V1", picture(1)),
    ]
    grids = synthetic_grids(pictures, lambda label: f"sub-{label}")
    assert [(grid.method, grid.regions) for grid in grids] == [
        ("bd", ("V1", HOSTILE)),
        ("eigenimage", ("V1",)),
    ]
    assert [row[0] for row in grids[0].rows] == ["sub-01", "sub-average"]
    assert grids[0].rows[1][1][1] == "" and grids[0].rows[0][1][0] == grids[1].rows[0][1][0]
    page = render("optimal", grids)
    assert "No one saw these pictures, and they have no score" in page
    assert "<script" not in page
    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == 4 and page.count("<td>n/a</td>") == 1
    assert render("optimal", []).strip() == ""
