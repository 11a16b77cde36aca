"""What the page for raters holds: each picture once, a hash of all, and nothing when nothing can be asked."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bids_recon.errors import MissingInputError, NothingSelectedError
from bids_recon.report import GalleryItem
from bids_recon.report.rating_page import RatingPage, page_data, read_rating_page, write_rating_page


def gallery(n=6, methods=("a", "b"), test_set="test", seed=0) -> list[GalleryItem]:
    rng = np.random.default_rng(seed)
    seen = rng.integers(256, size=(n, 8, 8, 3), dtype=np.uint8)
    return [
        GalleryItem("01", m, test_set, f"p{k}", seen[k], rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
        for m in methods
        for k in range(n)
    ]


def test_every_picture_is_stored_once_and_read_back(tmp_path):
    page = RatingPage(gallery())
    file = write_rating_page(tmp_path / "group" / "rating.html", page)
    assert read_rating_page(file) == page_data(page)
    uris = re.findall(r"data:image/png;base64,[\w+/=\\]+", file.read_text())
    assert len(uris) == len(set(uris)) == 6 + 2 * 6


@pytest.mark.parametrize("task", ["forced-choice", "which-better"])
def test_the_hash_is_of_pictures_and_questions_alone(task):
    def identity(items, **changes) -> str:
        return page_data(RatingPage(items, **{"task": task, **changes}))["page"]

    first = identity(gallery())
    assert identity(gallery(), version="2", simulated=True) == first
    others = [identity(gallery(), seed=1), identity(gallery(), max_trials=5), identity(gallery(n=5))]
    one_pixel = gallery()
    one_pixel[3].reconstructed[0, 0, 0] ^= 1
    others.append(identity(one_pixel))
    assert len({first, *others}) == 5


def test_test_sets_are_asked_apart_and_too_small_ones_are_left_out():
    items = [*gallery(4, test_set="x"), *gallery(3, test_set="y", seed=1), *gallery(1, test_set="z", seed=2)]
    assert {group["test_set"] for group in page_data(RatingPage(items))["groups"]} == {"x", "y"}
    four = page_data(RatingPage(items, alternatives=4))
    assert {group["test_set"] for group in four["groups"]} == {"x"}
    stimuli = {shown["picture"] for group in four["groups"] for shown in group["stimuli"]}
    assert len(stimuli) == 4 and len(four["pictures"]) == 4 + 2 * 4


def test_a_large_test_set_is_represented_by_the_same_pictures_for_all():
    data = page_data(RatingPage(gallery(30), max_stimuli=12))
    names = [sorted(one["stimulus_id"] for one in group["stimuli"]) for group in data["groups"]]
    assert len(names) == 2 and names[0] == names[1] and len(names[0]) == 12
    assert len(data["units"]) == 24 and len(data["pictures"]) == 12 + 24
    other = page_data(RatingPage(gallery(30), max_stimuli=12, seed=1))
    assert sorted(one["stimulus_id"] for one in other["groups"][0]["stimuli"]) != names[0]


def test_equal_pictures_under_two_ids_are_one_stimulus():
    items = gallery(5, ("a",))
    items[4] = GalleryItem("01", "a", "test", "p4", items[0].seen.copy(), items[4].reconstructed)
    data = page_data(RatingPage(items))
    assert len(data["groups"][0]["stimuli"]) == 4
    assert len({unit["stimulus"] for unit in data["units"] if unit["stimulus_id"] in ("p0", "p4")}) == 1
    assert len(data["units"]) == 5


@pytest.mark.parametrize(
    ("items", "changes", "message"),
    [
        (gallery(1), {}, "no test set has the 2 different pictures"),
        (gallery(4), {"alternatives": 5}, "no test set has the 5 different pictures"),
        ([], {}, "no test set has"),
        (gallery(4, ("a",)), {"task": "which-better"}, "differ in method alone"),
        (gallery(4), {"task": "which-better", "compare": "subject"}, "differ in subject alone"),
    ],
)
def test_nothing_to_choose_between_is_said(items, changes, message, tmp_path):
    with pytest.raises(NothingSelectedError, match=message):
        write_rating_page(tmp_path / "rating.html", RatingPage(items, **changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changes", [{"alternatives": 1}, {"alternatives": 11}, {"max_trials": 0}])
def test_impossible_questions_are_errors_of_the_program(changes):
    with pytest.raises(ValueError, match="alternatives"):
        page_data(RatingPage(gallery(), **changes))


def test_a_missing_page_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"rating\.html: there is no page for raters"):
        read_rating_page(tmp_path / "rating.html")


def test_a_simulated_brain_is_told_first_and_methods_never(tmp_path):
    for task in ("forced-choice", "which-better"):
        page = RatingPage(gallery(methods=("secret-a", "secret-b")), task=task, simulated=True)
        text = write_rating_page(tmp_path / "rating.html", page).read_text()
        shown = text.split('<script type="application/json"')[0]
        assert shown.index("Simulated brain:</strong>") < shown.index("<main")
        assert "secret" not in shown and "secret-a" in text
