"""The group page of a method with 19 layers, in a browser."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_recon.report import (
    GroupReport,
    RunContext,
    SubjectReport,
    write_group_report,
    write_subject_report,
)

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.browser

BLOCKS = (2, 2, 4, 4, 4)
LAYERS = (*(f"conv{b}_{k + 1}" for b, n in enumerate(BLOCKS, 1) for k in range(n)), "fc6", "fc7", "fc8")
SUBJECTS, SETS, REGIONS = ("01", "02", "03"), ("natural", "shapes", "letters"), ("all", "V1", "V4", "FFA")
LATENTS = ("latent-correlation", "two-way-a", "two-way-b", "two-way-c")


@pytest.fixture(scope="module")
def report_of_layers(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = []
    for subject in (*SUBJECTS, "average"):
        for test_set in SETS:
            scored = [("pixels-1", "pixcorr"), ("pixels-1", "two-way-a"), ("mobilenetv2-1", "two-way-a")]
            for layer in LAYERS:
                scored += [(f"latents-1/{layer}", metric) for metric in LATENTS]
                scored.append((f"profiles-1/{layer}", "profile-correlation"))
            for protocol, metric in scored:
                base = 0.5 if metric.startswith("two") else 0.0
                value = base + rng.uniform(0.1, 0.4)
                rows.append(
                    {
                        **{"subject": subject, "method": "deep-recon", "test_set": test_set},
                        **{"metric": metric, "protocol": protocol, "value": value, "ceiling": 1.0},
                        **{"ci_low": value - 0.05, "ci_high": value + 0.05, "n_items": 50},
                        **{"floor": base, "floor_low": base - 0.03, "floor_high": base + 0.03},
                    }
                )
    metrics = pd.DataFrame(rows)
    of_people = metrics[metrics["protocol"].str.contains("/") & (metrics["subject"] != "average")]
    rois = pd.concat([of_people.assign(roi=roi, n_voxels=100) for roi in REGIONS])
    context = RunContext("Group", "bids-recon", "0.1.0", "2026-01-01")
    report = GroupReport(context, pd.DataFrame({"subject": SUBJECTS}), metrics=metrics, rois=rois)
    return write_group_report(tmp_path_factory.mktemp("layers") / "group.html", report)


@pytest.fixture
def page(browser, report_of_layers):
    browser.get(report_of_layers.as_uri())
    return browser


def unfold(page, name: str) -> None:
    page.find_element(By.CSS_SELECTOR, f"#{name} > summary").click()


def test_nineteen_layers_leave_the_page_readable(page, report_of_layers):
    # 1176 scores, and 3420 by region.
    assert report_of_layers.stat().st_size < 700_000
    assert page.execute_script("return document.getElementsByTagName('*').length") < 12_000
    measures = [one.text for one in page.find_elements(By.CSS_SELECTOR, "#scores > .scores-frame .group th")]
    assert [text.split()[-1] for text in measures] == ["pixels-1", "pixels-1", "mobilenetv2-1"]
    first = page.find_element(By.CSS_SELECTOR, "#layers table")
    assert not first.is_displayed()
    unfold(page, "layers")
    assert first.is_displayed()
    assert [one.text for one in first.find_elements(By.CSS_SELECTOR, "tbody th")] == list(LAYERS)
    titles = [one.text for one in page.find_elements(By.CSS_SELECTOR, "#layers details > summary")]
    assert titles == [
        f"deep-recon · {test_set} · {who}"
        for who in ("participants", "average")
        for test_set in SETS
    ]  # fmt: skip
    # All layers of one test set are seen together.
    assert first.rect["height"] < 600
    # Charts of one measure stand under one another.
    for place in (2, 4, 6):
        selector = f"#layers tbody tr:first-child > :nth-child({place})"
        places = {
            (round(one.rect["x"]), round(one.rect["width"]))
            for one in page.find_elements(By.CSS_SELECTOR, selector)
        }
        assert len(places) == 1 and next(iter(places))[1] > 100


def test_stronger_decoding_is_a_deeper_tint(page):
    unfold(page, "layers-by-region")
    cells = page.execute_script(
        "return [...document.querySelectorAll('#layers-by-region table:first-of-type td[style]')].map(cell =>"
        " [Number(cell.style.getPropertyValue('--strength')), getComputedStyle(cell).backgroundColor])"
    )
    colours = {}
    for strength, colour in cells:
        colours.setdefault(strength, set()).add(colour)
    assert len(colours) > 20 and all(len(same) == 1 for same in colours.values())
    assert len({next(iter(same)) for same in colours.values()}) == len(colours)


@pytest.mark.parametrize("width", [400, 1280])
def test_unfolded_layers_fit_the_window(page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        unfold(page, "layers")
        unfold(page, "layers-by-region")
        root = page.find_element(By.TAG_NAME, "html")
        assert int(root.get_property("scrollWidth")) <= int(root.get_property("clientWidth")) <= width
        # Numbers stay within their cells.
        assert page.execute_script(
            "return [...document.querySelectorAll('.layers td.num')]"
            ".every(cell => cell.scrollWidth <= cell.clientWidth)"
        )
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_marks_of_layers_near_the_floor_stay_in_their_cells(browser, tmp_path):
    rows = [
        {
            **{"method": "deep-recon", "test_set": "natural", "metric": metric, "n_items": 50},
            **{"protocol": f"latents-1/{layer}", "value": -0.123, "ci_low": -0.2, "ci_high": 0.1},
            **{"floor": -0.012, "floor_low": -0.1, "floor_high": 0.1, "ceiling": 1.0},
        }
        for layer in LAYERS
        for metric in ("latent-correlation", "profile-correlation", "two-way-a")
    ]
    context = RunContext("sub-01", "bids-recon", "0.1.0", "2026-01-01")
    report = SubjectReport(context, "01", metrics=pd.DataFrame(rows))
    browser.get(write_subject_report(tmp_path / "sub-01.html", report).as_uri())
    marks = browser.execute_script(
        "return [...document.querySelectorAll('.layers .badge')].map(mark => ["
        "mark.getBoundingClientRect().right, mark.closest('td').getBoundingClientRect().right])"
    )
    assert {mark.accessible_name for mark in browser.find_elements(By.CSS_SELECTOR, ".layers .badge")} == {
        "near floor"
    }
    assert len(marks) == 57 and all(mark <= cell for mark, cell in marks)
    numbers = browser.execute_script(
        "return [...document.querySelectorAll('.layers td.num')].map(cell => ["
        "cell.querySelector('strong').getBoundingClientRect().left, cell.getBoundingClientRect().left])"
    )
    assert all(number >= cell for number, cell in numbers)
