"""The page for raters in a browser, as a rater uses it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from bids_recon.report import GalleryItem
from bids_recon.report.rating_page import RatingPage, page_data, write_rating_page
from bids_recon.report.rating_trials import draw_trials

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = pytest.mark.browser

SOONEST = 0.22
"""Seconds after which the page takes an answer, with a margin."""


def gallery(names=("p0", "p1", "p2"), methods=("a",)) -> list[GalleryItem]:
    rng = np.random.default_rng(0)
    seen = rng.integers(256, size=(len(names), 8, 8, 3), dtype=np.uint8)
    return [
        GalleryItem("01", method, "test", name, shown, rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
        for method in methods
        for name, shown in zip(names, seen, strict=True)
    ]


class Rater:
    """Opens a page, answers, saves."""

    def __init__(self, browser, folder: Path, page: RatingPage) -> None:
        self.browser, self.folder = browser, folder
        self.data = page_data(page)
        self.file = write_rating_page(folder / "rating.html", page)
        browser.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
        )
        self.open()

    def open(self) -> None:
        self.browser.get(self.file.as_uri())

    def find(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def begin(self, rater: str, key: str = Keys.ENTER) -> None:
        field = self.find("#rater")
        field.clear()
        field.send_keys(rater)
        if key == Keys.SPACE:
            field.send_keys(Keys.TAB)
        self.browser.switch_to.active_element.send_keys(key)

    @property
    def place(self) -> str:
        return self.find("#place").text

    def shown(self) -> list[int]:
        """Pictures on the screen: the one to compare with, then the candidates."""
        uris = self.browser.execute_script(
            "return [document.getElementById('compared'), ...document.querySelectorAll('#candidates img')]"
            ".map(image => image.src)"
        )
        known = [picture[0] for picture in self.data["pictures"]]
        return [known.index(uri) for uri in uris]

    def press(self, key: str) -> None:
        time.sleep(SOONEST)
        self.browser.switch_to.active_element.send_keys(key)

    def touch(self, place: int) -> None:
        time.sleep(SOONEST)
        box = self.find(f"#candidates button:nth-child({place})").rect
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        touch = self.browser.execute_cdp_cmd
        touch("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
        touch("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def save(self, button: str) -> dict:
        self.find(button).click()
        wait = WebDriverWait(self.browser, 5, poll_frequency=0.05)
        (file,) = wait.until(lambda _: list(self.folder.glob("*.json")))
        self.saved_as = file.name
        content = json.loads(file.read_text())
        file.unlink()
        return content


@pytest.fixture
def rater(browser, tmp_path):
    def make(page: RatingPage) -> Rater:
        return Rater(browser, tmp_path, page)

    return make


def expected(one: Rater, name: str) -> list[list[int]]:
    return [
        [trial.question, *(shown["picture"] for shown in trial.candidates)]
        for trial in draw_trials(one.data, name)
    ]


def test_a_rater_answers_by_keyboard_and_saves_what_was_pressed(rater):
    one = rater(RatingPage(gallery()))
    asked = expected(one, "r1")
    one.begin(" R1 ", Keys.SPACE)
    keys = ["1", "2", Keys.ARROW_LEFT, Keys.ARROW_RIGHT, "2", "1", "2"]
    meant = [1, 2, 1, 2, 2, 1, 2]
    assert len(asked) == len(keys)
    for number, key in enumerate(keys, 1):
        assert one.place == f"{number} of 7"
        assert one.shown() == asked[number - 1]
        one.press(key)
    assert one.find("#end").is_displayed() and not one.find("#trial").is_displayed()
    one.press("1")  # there is nothing left to answer
    saved = one.save("#save")
    assert [trial["answer"] for trial in saved["trials"]] == meant
    assert all(200 <= trial["reaction_ms"] < 10000 for trial in saved["trials"])
    records = [trial.record() for trial in draw_trials(one.data, "r1")]
    given = [
        {k: v for k, v in trial.items() if k not in ("answer", "reaction_ms")} for trial in saved["trials"]
    ]
    assert given == records
    assert (saved["rater"], saved["page"], saved["complete"]) == ("r1", one.data["page"], True)
    assert set(saved) == {
        *("format", "version", "page", "task", "rater", "seed", "started", "ended", "complete", "trials")
    }
    assert one.saved_as == f"rating-{one.data['page']}-r1.json"


def test_touch_and_clicks_answer_and_a_double_tap_answers_once(rater):
    one = rater(RatingPage(gallery(methods=("a", "b")), task="which-better"))
    one.begin("r2")
    one.touch(2)
    assert one.place == "2 of 4"
    # The second tap of a double tap falls on the next trial.
    one.browser.execute_script("document.querySelector('#candidates button').click()")
    assert one.place == "2 of 4"
    time.sleep(SOONEST)
    one.find("#candidates button:first-child").click()
    one.touch(1)
    one.touch(2)
    saved = one.save("#save")
    assert [trial["answer"] for trial in saved["trials"]] == [2, 1, 1, 2]
    assert saved["task"] == "which-better"


def test_a_closed_page_goes_on_where_it_was_and_may_be_saved_half_way(rater):
    one = rater(RatingPage(gallery()))
    one.begin("r3")
    assert not one.find("#halfway").is_displayed()
    one.press("3")  # there is no third candidate
    one.press("2")
    one.press("1")
    half = one.save("#halfway")
    assert [trial["answer"] for trial in half["trials"]] == [2, 1] and half["complete"] is False
    one.open()
    assert one.find("#rater").get_property("value") == "r3"
    one.begin("r3")
    assert one.place == "3 of 7" and one.shown() == expected(one, "r3")[2]
    one.press("2")
    one.open()
    one.begin("r4")
    assert one.place == "1 of 7"
    one.open()
    one.begin("r3")
    assert one.place == "4 of 7"
    later = one.save("#halfway")
    assert [trial["answer"] for trial in later["trials"]] == [2, 1, 2]
    assert later["started"] == half["started"] and later["ended"] > half["ended"]


@pytest.mark.parametrize(
    ("changes", "methods", "n"),
    [
        ({"max_trials": 50}, ("a",), 14),
        ({"max_trials": 500}, ("a", "b"), 9),
        ({"alternatives": 4, "max_trials": 30, "seed": 5}, ("a", "b"), 12),
        ({"task": "which-better", "max_trials": 41}, ("a", "b", "c"), 20),
    ],
)
def test_browser_and_python_draw_the_same_trials(rater, changes, methods, n):
    one = rater(RatingPage(gallery([f"p{k}" for k in range(n)], methods), **changes))
    drawn = {}
    for name in ("r1", "r2", "some-longer-id-7"):
        data = "JSON.parse(document.getElementById('rating-data').textContent)"
        drawn[name] = one.browser.execute_script(f"return ratingTrials.draw({data}, arguments[0])", name)
        trials = draw_trials(one.data, name)
        assert [[t["question"], *t["candidates"]] for t in drawn[name]] == [
            [t.question, *t.candidates] for t in trials
        ]
        assert [t["catch"] for t in drawn[name]] == [t.catch for t in trials]
    assert drawn["r1"] != drawn["r2"]


def test_arrow_keys_move_between_many_candidates(rater):
    one = rater(RatingPage(gallery([f"p{k}" for k in range(11)]), alternatives=10))
    one.begin("r1")
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        one.press(key)
    assert one.place.startswith("1 of ")
    one.press(Keys.ENTER)
    one.press(Keys.ARROW_LEFT)
    one.press(Keys.SPACE)
    one.press("0")
    assert [trial["answer"] for trial in one.save("#halfway")["trials"]] == [2, 10, 10]


def test_hostile_names_do_nothing_and_nothing_is_requested_or_given_away(rater, hostile):
    one = rater(RatingPage(gallery(hostile), version=hostile[0]))
    one.browser.get_log("performance")
    one.open()
    one.begin("r1")
    one.press("1")
    page = one.browser.page_source.split('id="rating-data"')[0]
    visible = one.find("main").text
    for name in hostile:
        assert name not in page and name not in visible
    images = one.browser.find_elements(By.CSS_SELECTOR, "#candidates img")
    assert [image.get_attribute("alt") for image in images] == ["Candidate 1", "Candidate 2"]
    assert len({(image.rect["width"], image.rect["height"]) for image in images}) == 1
    saved = one.save("#halfway")
    assert saved["trials"][0]["stimulus_id"] in hostile
    assert one.browser.execute_script("return window.hacked") is None
    assert one.browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in one.browser.get_log("performance")]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    urls = {r["request"]["url"] for r in requests if r["documentURL"].startswith("file://")}
    own = f"blob:{one.file.as_uri()}".partition("/")[0]
    assert [url for url in urls if url.startswith("file://")] == [one.file.as_uri()]
    assert not [url for url in urls if not url.startswith(("file://", "data:", own))]


def test_ids_that_no_file_name_takes_are_refused(rater):
    one = rater(RatingPage(gallery()))
    for bad in ("", "a b", "-x", "é", "<b>"):
        one.begin(bad)
        assert one.find("#start").is_displayed() and not one.find("#trial").is_displayed(), bad
    one.begin(40 * "a")
    one.press("1")
    assert one.save("#halfway")["rater"] == 32 * "a"


def test_without_storage_the_rater_is_warned(rater):
    one = rater(RatingPage(gallery()))
    one.browser.execute_script("Storage.prototype.setItem = () => { throw new Error('full'); }")
    one.begin("r9")
    assert one.place == "1 of 7"
    assert "cannot keep your answers" in one.find("#trouble").text and one.find("#trouble").is_displayed()


@pytest.mark.parametrize(("width", "height"), [(360, 640), (1280, 720)])
@pytest.mark.parametrize("changes", [{}, {"alternatives": 10}, {"task": "which-better"}])
def test_all_pictures_of_a_trial_fit_the_window(rater, width, height, changes):
    one = rater(RatingPage(gallery([f"p{k}" for k in range(10)], ("a", "b")), **changes))
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    one.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        one.begin("r1")
        root = one.find("html")
        assert int(root.get_property("scrollWidth")) <= width
        for image in one.browser.find_elements(By.CSS_SELECTOR, "#trial img"):
            box = image.rect
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            assert box["y"] >= 0 and box["y"] + box["height"] <= height
        targets = [b.rect for b in one.browser.find_elements(By.CSS_SELECTOR, "#candidates button")]
        assert min(min(box["width"], box["height"]) for box in targets) >= 44
    finally:
        one.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
