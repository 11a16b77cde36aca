"""Films in a browser, as a reader plays them."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest

from bids_recon.report import GroupReport, write_group_report

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.browser

ITERATIONS = (0, 5, 20, 100)

PIXELS = """
const canvas = document.querySelector("#enlarged-pictures canvas");
const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
return [...pixels].filter((_, place) => place % 4 < 3);
"""
RECORD = """
window.seen = [];
const place = document.getElementById("film-place");
new MutationObserver(() => window.seen.push([place.textContent, performance.now()]))
  .observe(place, { childList: true });
"""


@pytest.fixture
def steps(reports):
    return [(iteration, reports.picture(40 * k + 7)) for k, iteration in enumerate(ITERATIONS)]


@pytest.fixture
def page(browser, reports, steps, hostile, tmp_path):
    """Three pictures with steps, best first, and one without, the worst."""
    items = [
        dataclasses.replace(reports.item("01", "deep-recon", name, score, 3 * k), steps=steps)
        for k, (name, score) in enumerate([("a", 0.9), (hostile[1], 0.8), ("c", 0.7)])
    ]
    items.append(reports.item("01", "eigenimage", "d", 0.1, 90))
    report = GroupReport(reports.context(), gallery=items)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get(write_group_report(tmp_path / "group.html", report).as_uri())
    # What other tests left, of reading the canvas among others, is not asked about.
    browser.get_log("browser")
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def enlarge(page, place: int = 0) -> None:
    page.find_elements(By.CSS_SELECTOR, "#gallery-cards .card")[place].send_keys(Keys.ENTER)


def shown(page) -> str:
    return page.find_element(By.ID, "film-place").text


def wait_for(page, text: str) -> None:
    WebDriverWait(page, 10, poll_frequency=0.05).until(lambda _: shown(page) == text)


def drawn(page) -> np.ndarray:
    return np.array(page.execute_script(PIXELS)).reshape(16, 16, 3)


def wait_until_drawn(page, picture: np.ndarray) -> None:
    WebDriverWait(page, 10, poll_frequency=0.05).until(lambda _: np.array_equal(drawn(page), picture))


def button(page):
    return page.find_element(By.ID, "film-play")


def test_nothing_plays_by_itself(page, steps):
    assert not page.find_element(By.ID, "film").is_displayed()
    enlarge(page)
    assert shown(page) == "iteration 0 of 100"
    assert button(page).get_attribute("aria-label") == "Play the steps"
    time.sleep(0.8)
    assert shown(page) == "iteration 0 of 100"
    wait_until_drawn(page, steps[0][1])


def test_the_button_plays_to_the_end_by_keyboard_and_again_from_the_start(page, steps):
    enlarge(page)
    page.execute_script(RECORD)
    button(page).send_keys(Keys.SPACE)
    assert button(page).get_attribute("aria-label") == "Pause"
    wait_for(page, "iteration 100 of 100")
    assert button(page).get_attribute("aria-label") == "Play the steps"
    np.testing.assert_array_equal(drawn(page), steps[-1][1])
    time.sleep(0.7)
    assert shown(page) == "iteration 100 of 100"
    texts, times = zip(*page.execute_script("return window.seen"), strict=True)
    assert texts == tuple(f"iteration {k} of 100" for k in ITERATIONS)
    # About three steps a second; a busy machine may be late, but steps do not pile up.
    assert np.mean(np.diff(times)) == pytest.approx(333, abs=150)

    button(page).send_keys(Keys.ENTER)
    assert shown(page) in ("iteration 0 of 100", "iteration 5 of 100")
    button(page).send_keys(Keys.ENTER)
    stopped = shown(page)
    time.sleep(0.7)
    assert shown(page) == stopped != "iteration 100 of 100"


def test_the_slider_shows_each_step_and_does_not_leave_the_picture(page, steps):
    enlarge(page)
    slider = page.find_element(By.ID, "film-step")
    assert slider.accessible_name == "Step"
    for iteration, picture in steps:
        said = f"iteration {iteration} of 100"
        assert (shown(page), slider.get_attribute("aria-valuetext")) == (said, said)
        wait_until_drawn(page, picture)
        slider.send_keys(Keys.ARROW_RIGHT)
    slider.send_keys(Keys.HOME)
    assert shown(page) == "iteration 0 of 100"
    np.testing.assert_array_equal(drawn(page), steps[0][1])
    assert page.find_element(By.ID, "enlarged-place").text == "1 / 4"
    # Elsewhere the arrows still go from picture to picture.
    page.find_element(By.ID, "enlarged-next").send_keys(Keys.ARROW_RIGHT)
    assert page.find_element(By.ID, "enlarged-place").text == "2 / 4"


def test_a_hand_on_the_slider_and_leaving_stop_the_film(page):
    enlarge(page)
    button(page).click()
    page.find_element(By.ID, "film-step").send_keys(Keys.END, Keys.ARROW_LEFT)
    assert button(page).get_attribute("aria-label") == "Play the steps"
    time.sleep(0.7)
    assert shown(page) == "iteration 20 of 100"

    button(page).click()
    page.find_element(By.ID, "enlarged-next").click()
    assert (shown(page), button(page).get_attribute("aria-label")) == ("iteration 0 of 100", "Play the steps")
    button(page).click()
    button(page).send_keys(Keys.ESCAPE)
    enlarge(page, 2)
    time.sleep(0.7)
    assert shown(page) == "iteration 0 of 100"


def test_where_nothing_may_move_the_slider_alone_works(page, steps):
    reduced = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", reduced)
    enlarge(page)
    assert not button(page).is_displayed()
    page.execute_script("document.getElementById('film-play').click()")
    time.sleep(0.7)
    assert shown(page) == "iteration 0 of 100"
    page.find_element(By.ID, "film-step").send_keys(Keys.ARROW_RIGHT)
    assert shown(page) == "iteration 5 of 100"
    wait_until_drawn(page, steps[1][1])


def test_a_picture_without_steps_looks_as_before(page):
    enlarge(page, 3)
    assert not page.find_element(By.ID, "film").is_displayed()
    assert len(page.find_elements(By.CSS_SELECTOR, "#enlarged-pictures img")) == 3
    assert not page.find_elements(By.CSS_SELECTOR, "#enlarged-pictures canvas")
    labels = [
        element.text for element in page.find_elements(By.CSS_SELECTOR, "#enlarged-pictures .picture small")
    ]
    assert labels == ["seen", "reconstructed", "ceiling"]
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert page.find_element(By.ID, "film").is_displayed()
    assert len(page.find_elements(By.CSS_SELECTOR, "#enlarged-pictures canvas")) == 1


def test_the_film_fits_a_narrow_window_and_asks_for_nothing(page):
    size = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        enlarge(page, 1)
        dialog = page.find_element(By.ID, "enlarged")
        assert dialog.get_property("scrollWidth") <= dialog.get_property("clientWidth") <= 400
        canvas = page.find_element(By.CSS_SELECTOR, "#enlarged-pictures canvas").rect
        assert canvas["width"] == pytest.approx(canvas["height"], abs=1) and canvas["width"] > 100
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    of_page = [r["request"]["url"] for r in requests if r["documentURL"].startswith("file://")]
    assert of_page and all(url.startswith(("file://", "data:")) for url in of_page)
