"""The sections on preprocessing and responses in the page of a participant."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from bids_recon.report import (
    MapFigure,
    Overlay,
    PreprocessingQuality,
    ResponseQuality,
    SubjectReport,
    write_subject_report,
)

BENIGN = ("one", "two", "three", "four", "five", "six")
SECTIONS = {
    "motion": "Head motion",
    "alignment": "Alignment",
    "signal": "Signal quality",
    "responses": "Responses",
}


@pytest.fixture
def write(reports, tmp_path):
    """Source of a page with the given content and nothing else."""

    def source(**content) -> str:
        report = SubjectReport(reports.context(), "01", **content)
        return write_subject_report(tmp_path / "sub-01.html", report).read_text(encoding="utf-8")

    return source


def sections(source: str) -> list[str]:
    return [name for name in re.findall(r'<section id="([\w-]+)"', source) if name in SECTIONS]


def links(source: str) -> list[str]:
    nav = source[source.index("<nav") : source.index("</nav>")]
    return [name for name in re.findall(r'href="#([\w-]+)"', nav) if name in SECTIONS]


class Tags(HTMLParser):
    """Elements of a page with the names of their attributes, and its texts."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[str]]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_sections_without_content_are_left_out(write, reports):
    quality = reports.quality()
    for content, expected in (
        ({}, []),
        ({"quality": PreprocessingQuality(), "responses": ResponseQuality()}, []),
        ({"quality": PreprocessingQuality(runs=quality.runs)}, ["motion"]),
        ({"quality": PreprocessingQuality(overlays=quality.overlays)}, ["alignment"]),
        ({"quality": PreprocessingQuality(rois=quality.rois)}, ["alignment"]),
        ({"quality": PreprocessingQuality(tsnr=quality.tsnr)}, ["signal"]),
        ({"responses": ResponseQuality(times_to_peak=np.array([5.0]))}, ["responses"]),
        ({"quality": quality, "responses": reports.responses()}, list(SECTIONS)),
    ):
        source = write(**content)
        assert sections(source) == links(source) == expected
        for name, title in SECTIONS.items():
            assert (f">{title}</h2>" in source) == (name in expected)


def test_hostile_names_change_no_element(write, reports, hostile):
    benign, attacked = (
        write(quality=reports.quality(texts), responses=reports.responses(texts))
        for texts in (BENIGN, hostile)
    )
    assert Tags(attacked).tags == Tags(benign).tags
    assert set(hostile) <= set(Tags(attacked).texts)


def test_pictures_are_within_the_page_and_named(write, reports):
    source = write(quality=reports.quality(BENIGN), responses=reports.responses(BENIGN))
    images = re.findall(r"<img [^>]*>", source)
    assert len(images) >= 6 + 3 + 2
    for image in images:
        assert re.search(r'src="data:image/png;base64,[\w+/=]+"', image)
        assert re.search(r'alt="[^"]+"', image)
    for figure in re.findall(r"<figure.*?</figure>", source, flags=re.DOTALL):
        assert re.search(r"<figcaption>\s*\S", figure)
    for drawing in re.findall(r"<svg [^>]*>", source):
        assert "aria-hidden" in drawing or re.search(r'role="img" aria-label="[^"]+"', drawing)
    ids = re.findall(r'\bid="([^"]+)"', source)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<label for="([^"]+)"', source)) <= set(ids)


def test_what_was_measured_is_told_in_words(write, reports):
    steps = np.full(20, 0.1)
    steps[0], steps[7] = np.nan, 0.8
    runs = [reports.run_quality("ses-01 run-02", displacement=steps)]
    quality = PreprocessingQuality(runs=runs, notes=["Slice times were corrected."])
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", write(quality=quality)))
    assert "0.137 mm Mean displacement" in text
    assert "ses-01 run-02 2 20 2 0.137 0.800 1 55" in text
    assert "20 volumes, displacement 0.137 mm on average, 0.800 mm at most 1 moved" in text
    assert text.count("Slice times were corrected.") == 1
    assert "cortex white matter" in text


def test_the_noise_ceiling_says_which_trials_it_is_from(write):
    ceilings = {"V1": np.array([10.0, 20.0, 30.0])}
    training = write(responses=ResponseQuality(noise_ceiling=ceilings))
    assert "repeats of training pictures" in training and "for reporting only" not in training
    test = write(responses=ResponseQuality(noise_ceiling=ceilings, noise_ceiling_trials="test"))
    assert "for reporting only" in test and "repeats of training pictures" not in test
    assert "median 20.0 %, 3 voxels" in test


def test_the_page_of_many_runs_stays_below_10_mb(reports, tmp_path):
    rng = np.random.default_rng(0)
    shape, affine = (72, 84, 60), np.diag([2.5, 2.5, 2.5, 1])
    noise = rng.uniform(0, 100, shape)
    carpet = rng.normal(0, 1, (1000, 400)).astype(np.float32)
    runs = [reports.run_quality(f"{k}", n=400, seed=k, carpet=carpet, carpet_groups=()) for k in range(24)]
    figure = MapFigure("m", noise, affine, values=noise, outlines={str(k): noise > 90 for k in range(10)})
    quality = PreprocessingQuality(
        runs, [Overlay(str(k), noise, noise, affine) for k in range(3)], tsnr=figure, rois=figure
    )
    report = SubjectReport(
        reports.context(), "01", quality=quality, responses=ResponseQuality(hrf_index=figure)
    )
    path = write_subject_report(tmp_path / "sub-01.html", report)
    # Noise cannot be compressed: a real page is smaller.
    assert 3e6 < path.stat().st_size < 10e6
