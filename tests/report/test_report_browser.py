"""The pages in a browser, as a reader uses them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from bids_recon.report import GroupReport, RunContext, write_group_report

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

pytestmark = pytest.mark.browser

SUBJECTS, METHODS = ("01", "02", "03"), ("eigenimage", "linear")


@pytest.fixture
def page(browser, reports, hostile, tmp_path):
    """A group page with 2 methods x 3 participants x 20 pictures, six of which have hostile names."""
    names = [*hostile, *(f"stimulus-{k}" for k in range(14))]
    items = [
        reports.item(subject, method, name, (37 * (20 * (2 * s + m) + k) % 120) / 120, k)
        for s, subject in enumerate(SUBJECTS)
        for m, method in enumerate(METHODS)
        for k, name in enumerate(names)
    ]
    metrics = [
        reports.metrics(subject, method=method, test_set="test", metric="pixcorr", note="")
        for subject in SUBJECTS
        for method in METHODS
    ]
    report = GroupReport(
        RunContext(hostile[0], hostile[1], "0.1.0", hostile[2], simulated=True, warnings=list(hostile)),
        subjects=pd.DataFrame({"subject": SUBJECTS}),
        rois=pd.concat([reports.rois(subject) for subject in SUBJECTS]),
        metrics=pd.concat(metrics),
        gallery=items,
    )
    browser.get(write_group_report(tmp_path / "group.html", report).as_uri())
    return browser


def choose(page, selector: str, text: str) -> None:
    Select(page.find_element(By.CSS_SELECTOR, selector)).select_by_visible_text(text)


def texts(page, selector: str) -> list[str]:
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
    )


def scores(page) -> list[float]:
    return [float(text) for text in texts(page, "#gallery-cards .score")]


def test_hostile_names_do_nothing_and_nothing_is_requested(page):
    page.find_element(By.CSS_SELECTOR, ".card").click()
    for _ in range(30):
        page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    with pytest.raises(NoAlertPresentException):
        _ = page.switch_to.alert.text
    assert page.execute_script("return window.hacked") is None
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # The browser's own start page asks for chrome:// addresses.
    of_page = {r["request"]["url"] for r in requests if r["documentURL"].startswith("file://")}
    assert len([url for url in of_page if url.startswith("file://")]) == 1
    assert not [url for url in of_page if not url.startswith(("file://", "data:"))]


def test_filters_sorting_search_and_paging(page):
    assert texts(page, "#gallery-count") == ["120 pictures"]
    assert len(scores(page)) == 24
    assert scores(page) == sorted(scores(page), reverse=True)
    page.find_element(By.ID, "gallery-more").click()
    assert len(scores(page)) == 84

    choose(page, "#gallery-filters [data-key=subject]", "sub-02")
    assert texts(page, "#gallery-count") == ["40 of 120 pictures"]
    choose(page, "#gallery-filters [data-key=method]", "linear")
    assert len(scores(page)) == 20
    assert set(texts(page, "#gallery-cards .source")) == {"sub-02 · linear · test"}
    best, median, worst = (float(text) for text in texts(page, "#gallery-highlights .score"))
    assert best == max(scores(page)) and worst == min(scores(page)) and best > median > worst
    assert not page.find_element(By.ID, "gallery-more").is_displayed()

    choose(page, "#gallery-order", "worst first")
    assert scores(page) == sorted(scores(page))
    choose(page, "#gallery-order", "by stimulus")
    names = [name for name in texts(page, "#gallery-cards .name") if name.startswith("stimulus")]
    assert names == [f"stimulus-{k}" for k in range(14)]
    page.find_element(By.ID, "gallery-search").send_keys("LUS-13")
    assert texts(page, "#gallery-cards .name") == ["stimulus-13"]


def test_a_picture_is_enlarged_and_left_by_keyboard(page, hostile):
    cards = page.find_elements(By.CSS_SELECTOR, "#gallery-cards .card")
    names = texts(page, "#gallery-cards .name")
    dialog = page.find_element(By.ID, "enlarged")
    assert not dialog.is_displayed()
    cards[1].send_keys(Keys.ENTER)
    assert dialog.is_displayed()
    assert texts(page, "#enlarged-title") == [names[1]]
    assert texts(page, "#enlarged-place") == ["2 / 120"]
    assert len(page.find_elements(By.CSS_SELECTOR, "#enlarged-pictures img")) == 3
    # Value of the picture, then of its whole set, floor and ceiling.
    assert texts(page, "#enlarged-scores tbody tr:first-child td")[2:] == ["0.800", "0.500", "0.950"]
    assert texts(page, "#enlarged-scores tbody tr:nth-child(2) td") == ["SSIM", *["n/a"] * 4]
    assert len(page.find_elements(By.CSS_SELECTOR, "#enlarged-others .card")) == 6

    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert texts(page, "#enlarged-title") == [names[2]]
    for _ in range(5):
        page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert texts(page, "#enlarged-place") == ["1 / 120"]
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert page.switch_to.active_element.get_attribute("data-item") == "0"
    page.find_element(By.CSS_SELECTOR, "#gallery-highlights div:last-child .card").click()
    assert dialog.is_displayed() and texts(page, "#enlarged-place") == ["120 / 120"]


def test_the_table_of_every_participant_can_be_filtered(page):
    page.find_element(By.CSS_SELECTOR, "#all-scores summary").click()
    rows = page.find_elements(By.CSS_SELECTOR, "#all-scores tbody tr:not(.group)")
    assert [row.is_displayed() for row in rows] == [True] * 6
    choose(page, "#all-scores [data-key=subject]", "sub-03")
    choose(page, "#all-scores [data-key=method]", "linear")
    assert [row.text.split()[:2] for row in rows if row.is_displayed()] == [["sub-03", "linear"]]


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_the_window(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        root = page.find_element(By.TAG_NAME, "html")
        assert int(root.get_property("scrollWidth")) <= int(root.get_property("clientWidth")) <= width
        page.find_element(By.CSS_SELECTOR, "#gallery-cards .card").click()
        dialog = page.find_element(By.ID, "enlarged").rect
        assert dialog["x"] >= 0 and dialog["x"] + dialog["width"] <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
