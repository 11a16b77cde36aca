"""The sections on preprocessing and responses in a browser."""

from __future__ import annotations

import time

import pytest

from bids_recon.report import write_subject_report

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser


def prefer(browser, motion: str) -> None:
    """Set what the reader's system says of things that move: reduce, or no-preference."""
    preference = {"name": "prefers-reduced-motion", "value": motion}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})


@pytest.fixture
def page(browser, reports, hostile, tmp_path):
    report = reports.subject_report(
        hostile, quality=reports.quality(hostile), responses=reports.responses(hostile)
    )
    browser.get(write_subject_report(tmp_path / "sub-01.html", report).as_uri())
    prefer(browser, "no-preference")
    # Below the bar of links, which would otherwise be clicked.
    browser.execute_script("document.querySelector('.overlay .stack').scrollIntoView({block: 'end'})")
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def opacity(page, which: str) -> float:
    script = "return getComputedStyle(document.querySelector(arguments[0])).opacity"
    return float(page.execute_script(script, f".overlay .{which}"))


def over_time(page, which: str, seconds: float = 2.0) -> set[float]:
    """The opacities that a picture has within a while, or until there are two."""
    seen: set[float] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(seen) < 2:
        seen.add(opacity(page, which))
        time.sleep(0.05)
    return seen


def choose(page, label: int) -> None:
    page.find_elements(By.CSS_SELECTOR, ".overlay > label")[label].click()


def test_the_pictures_alternate_until_one_is_chosen(page):
    assert over_time(page, "moving") == {0, 1}
    for label, moving, edges in ((1, 0, 0), (2, 1, 0), (3, 0, 1)):
        choose(page, label)
        assert over_time(page, "moving", 0.8) == {moving}
        assert opacity(page, "edges") == edges
    choose(page, 0)
    assert over_time(page, "moving") == {0, 1}
    # Arrow keys go from one picture to the next, which is to alternate by hand.
    page.find_element(By.CSS_SELECTOR, ".choose-both").send_keys(Keys.ARROW_RIGHT)
    assert page.find_element(By.CSS_SELECTOR, ".choose-fixed").is_selected()


def test_pointing_at_the_picture_holds_it(page):
    state = "return document.querySelector('.overlay .moving').getAnimations()[0].playState"
    assert page.execute_script(state) == "running"
    ActionChains(page).move_to_element(page.find_element(By.CSS_SELECTOR, ".overlay .stack")).perform()
    assert page.execute_script(state) == "paused"


def test_nothing_moves_for_those_who_asked_for_that(page):
    prefer(page, "reduce")
    assert over_time(page, "moving", 1.6) == {0}
    assert opacity(page, "edges") == 1
    choose(page, 1)
    assert opacity(page, "edges") == 0


def test_hostile_names_do_nothing_and_the_policy_is_kept(page):
    page.execute_script("for (const run of document.querySelectorAll('.run')) run.open = true")
    assert page.execute_script("return window.hacked") is None
    assert page.get_log("browser") == []
    broken = "return [...document.images].filter(i => i.src.startsWith('data:') && !i.naturalWidth).length"
    assert page.execute_script(broken) == 0


def test_a_volume_lies_in_one_line_from_the_traces_to_the_carpet(page):
    drawn = ".run[open] :is(svg.trace, img.carpet, svg.axis)"
    script = (
        "return [...document.querySelectorAll(arguments[0])]"
        ".map(e => { const r = e.getBoundingClientRect(); return [r.left, r.right]; })"
    )
    edges = page.execute_script(script, drawn)
    assert len(edges) == 2 * 6
    assert all(one == pytest.approx(edges[0], abs=0.5) for one in edges)
    assert edges[0][1] - edges[0][0] > 400


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_the_window(page, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        root = page.find_element(By.TAG_NAME, "html")
        assert int(root.get_property("scrollWidth")) <= int(root.get_property("clientWidth")) <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
