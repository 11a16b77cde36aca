"""What lies in the HTML files, without a browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bids_recon.errors import DataError, MissingInputError, ReconError
from bids_recon.report import GroupReport, SubjectReport, write_group_report, write_subject_report
from bids_recon.report.pictures import PicturePool

BENIGN = ("one", "two", "three", "four", "five", "six")


class Page(HTMLParser):
    """Tags with their attributes, texts, and the content of scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_data(self, data):
        if self._inside in self.raw:
            self.raw[self._inside][-1] += data
        else:
            self.texts.append(data)

    def handle_endtag(self, tag):
        self._inside = ""

    @property
    def gallery(self) -> dict:
        return json.loads(self.raw["script"][0])

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(params=["subject", "group"])
def write(request, reports, tmp_path):
    """Write a page in which every text comes from the given ones."""

    def page(texts: tuple[str, ...]) -> Page:
        if request.param == "subject":
            return Page(write_subject_report(tmp_path / "sub-01.html", reports.subject_report(texts)))
        return Page(write_group_report(tmp_path / "group.html", reports.group_report(texts)))

    return page


def test_hostile_texts_change_no_element_of_the_page(write, hostile):
    benign, attacked = write(BENIGN), write(hostile)
    # Options of the filters and rows of tables are as many, so every element must be where it was.
    assert [tag for tag, _ in attacked.tags] == [tag for tag, _ in benign.tags]
    assert [sorted(attributes) for _, attributes in attacked.tags] == [
        sorted(attributes) for _, attributes in benign.tags
    ]
    seen = {text.strip() for text in attacked.texts}
    assert set(hostile) <= seen


def test_hostile_ids_come_through_the_data_unchanged(write, hostile):
    page = write(hostile)
    assert {item["id"] for item in page.gallery["items"]} == set(hostile)
    assert not set("<>&\u2028") & set(page.raw["script"][0])


def test_nothing_is_loaded_from_elsewhere(write):
    page = write(BENIGN)
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            address = attributes.get(name) or "#"
            assert address.startswith("#") or address == "data:,", (tag, attributes)
    assert not re.search(r"url\(|@import", page.raw["style"][0])
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?:", page.raw["script"][1])
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    links = {(attributes.get("href") or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= ids


def test_the_policy_allows_this_script_only(write):
    page = write(BENIGN)
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.raw["script"][1].encode()).digest()).decode()
    for directive in ("default-src 'none'", "img-src data:", f"script-src 'sha256-{digest}'"):
        assert directive in policy


def test_a_simulated_brain_is_named_first(reports, tmp_path):
    report = reports.subject_report(BENIGN, context=reports.context(simulated=True))
    page = Page(write_subject_report(tmp_path / "sub-01.html", report))
    body = page.text[page.text.index("Simulated brain: a") + len("Simulated brain: a") :]
    assert body.strip().startswith("Simulated brain:")
    real = reports.subject_report(BENIGN)
    assert "Simulated" not in Page(write_subject_report(tmp_path / "sub-01.html", real)).text


def test_numbers_stand_beside_floor_and_ceiling(reports, tmp_path):
    text = Page(write_subject_report(tmp_path / "sub-01.html", reports.subject_report(BENIGN))).text
    assert "0.800 [0.700, 0.900]" in text
    assert "0.500 [0.450, 0.550] 0.950 50" in text
    assert "Realism is not accuracy." in text
    assert "Test data may have entered a fit" in text


def test_items_are_sorted_by_score_with_missing_scores_last(reports, tmp_path):
    scores = [0.2, float("nan"), 0.9, 0.5]
    items = [reports.item("01", "m", f"s{k}", score, 10 * k) for k, score in enumerate(scores)]
    report = SubjectReport(reports.context(), "01", gallery=items)
    gallery = Page(write_subject_report(tmp_path / "sub-01.html", report)).gallery
    assert [item["id"] for item in gallery["items"]] == ["s2", "s3", "s0", "s1"]
    assert [item["score"] for item in gallery["items"]] == [0.9, 0.5, 0.2, None]
    assert gallery["items"][0]["scores"] == [0.9, None]
    assert (gallery["metrics"], gallery["score_name"]) == (["PixCorr", "SSIM"], "PixCorr")


def test_scores_of_a_picture_are_given_those_of_its_set(reports, tmp_path):
    metrics = reports.metrics("01", method="m", test_set="test", metric="pixcorr", ceiling=float("nan"))
    items = [reports.item("01", "m", "s", 0.5, 0)]
    report = SubjectReport(reports.context(), "01", metrics=metrics.drop(columns="subject"), gallery=items)
    gallery = Page(write_subject_report(tmp_path / "sub-01.html", report)).gallery
    assert gallery["references"] == {"0,0,0,0": ["0.800", "0.500", "n/a"]}


def test_missing_values_read_na(reports, tmp_path):
    missing = dict.fromkeys(
        ("value", "ci_low", "ci_high", "floor", "floor_low", "floor_high", "ceiling"), np.nan
    )
    metrics = reports.metrics("01", **missing, n_items=np.nan)
    report = SubjectReport(reports.context(), "01", metrics=metrics)
    page = Page(write_subject_report(tmp_path / "sub-01.html", report))
    cells = "n/a f n/a n/a n/a"  # value with its note, floor, ceiling, number of pictures
    assert cells in page.text
    assert not re.search(r"\bnan\b", page.source, re.IGNORECASE)


def test_a_run_that_ends_with_responses_has_a_page(reports, tmp_path):
    report = SubjectReport(reports.context(), "01", runs=pd.DataFrame({"run": ["01"], "volumes": [100]}))
    page = Page(write_subject_report(tmp_path / "sub-01.html", report))
    assert "No picture was reconstructed" in page.text
    assert "The audit was not run." in page.text
    assert page.gallery["items"] == []
    empty = Page(write_group_report(tmp_path / "group.html", GroupReport(reports.context())))
    assert "No picture was reconstructed" in empty.text


def test_undecodable_file_names_can_be_written(reports, tmp_path):
    context = reports.context(warnings=["caf\udce9.nii.gz is cut short"])
    items = [reports.item("01", "m", "caf\udce9.png", 0.5, 0)]
    page = Page(write_subject_report(tmp_path / "a.html", SubjectReport(context, "01", gallery=items)))
    assert "caf\\udce9.nii.gz is cut short" in page.text
    assert page.gallery["items"][0]["id"] == "caf\udce9.png"


def test_a_folder_that_cannot_be_written_to_is_named(reports, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReconError, match=r"sub-01\.html"):
        write_subject_report(tmp_path / "file" / "sub-01.html", SubjectReport(reports.context(), "01"))


def test_the_page_of_a_large_group_stays_small(reports, tmp_path):
    n_pictures, subjects = 40, [f"{k:02d}" for k in range(11)]
    y, x = np.mgrid[:160, :160]

    def smooth(a: int, b: int) -> np.ndarray:
        waves = [np.sin(x / (5 + a) + c) + np.cos(y / (3 + b) + c) for c in range(3)]
        return (63 * (np.stack(waves, axis=2) + 2)).astype(np.uint8)

    seen = [smooth(k, 0) for k in range(n_pictures)]
    items = [
        dataclasses.replace(
            reports.item(subject, "m", str(k), 0.5, 0),
            seen=seen[k].copy(),
            reconstructed=smooth(k, 1 + s),
            ceiling=seen[0],
        )
        for s, subject in enumerate(subjects)
        for k in range(n_pictures)
    ]
    path = write_group_report(tmp_path / "group.html", GroupReport(reports.context(), gallery=items))
    gallery = Page(path).gallery
    # Each picture seen is there once, and so is the ceiling that all share with it.
    assert len(gallery["pictures"]) == n_pictures * (1 + len(subjects))
    assert {max(width, height) for _, width, height in gallery["pictures"]} == {128}
    assert path.stat().st_size < 440 * 10_000


def test_small_pictures_are_kept_exactly_and_large_ones_closely():
    rng = np.random.default_rng(0)
    patch = rng.integers(0, 256, (10, 10), dtype=np.uint8)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    large = np.stack([ramp, ramp.T, 255 - ramp], axis=2)
    pool = PicturePool()
    assert [pool.add(patch), pool.add(large), pool.add(patch.copy()), pool.add(patch[..., None])] == [
        0,
        1,
        0,
        2,
    ]
    small, other, _ = (decoded(picture.uri) for picture in pool.encode())
    assert np.array_equal(np.asarray(small), patch)
    assert np.abs(np.asarray(other).astype(int) - large).mean() < 3


def test_a_transparent_picture_lies_on_white():
    clear = np.zeros((8, 8, 4), dtype=np.uint8)
    pool = PicturePool()
    pool.add(clear)
    assert np.array_equal(np.asarray(decoded(pool.encode()[0].uri)), np.full((8, 8, 3), 255))


def test_pictures_may_be_files(tmp_path):
    Image.fromarray(np.full((5, 7, 3), 9, np.uint8)).save(tmp_path / "a.png")
    pool = PicturePool()
    assert [pool.add(tmp_path / "a.png"), pool.add(tmp_path / "a.png")] == [0, 0]
    (picture,) = pool.encode()
    assert (picture.width, picture.height) == (7, 5)
    pool.add(tmp_path / "none.png")
    with pytest.raises(MissingInputError, match=r"none\.png"):
        pool.encode()
    (tmp_path / "bad.png").write_text("no picture")
    pool = PicturePool()
    pool.add(tmp_path / "bad.png")
    with pytest.raises(DataError, match=r"bad\.png"):
        pool.encode()


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)])
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(ValueError, match="uint8"):
        PicturePool().add(wrong)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
