"""Films of pictures that were found step by step."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from bids_recon.errors import MissingInputError
from bids_recon.report import GroupReport, SubjectReport, write_group_report, write_subject_report
from bids_recon.report.films import MOST_STEPS, film_of


def frames_of(film) -> list[np.ndarray]:
    strip = Image.open(io.BytesIO(base64.b64decode(film.uri.partition(",")[2])))
    assert strip.format == "WEBP" and strip.size == (film.width * len(film.iterations), film.height)
    pixels = np.asarray(strip.convert("RGB"))
    return np.split(pixels, len(film.iterations), axis=1)


def textured(n: int, edge: int = 224, seed: int = 0) -> list[tuple[int, np.ndarray]]:
    """A picture with edges and fine noise, coming out of grey."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (7, 7, 3)), np.ones((edge // 7, edge // 7, 1)))
    steps = []
    for k in range(n):
        noise = gaussian_filter(rng.normal(0, 60, blocks.shape), (1, 1, 0))
        share = 1 - np.exp(-k / 2)
        steps.append((25 * k, np.clip(128 * (1 - share) + share * (blocks + noise), 0, 255).astype(np.uint8)))
    return steps


def test_small_steps_lie_side_by_side_in_order_with_their_values(reports):
    steps = [(10 * k, reports.picture(60 * k)) for k in range(4)]
    film = film_of(steps)
    assert (film.width, film.height, film.iterations) == (16, 16, (0, 10, 20, 30))
    for frame, (_, picture) in zip(frames_of(film), steps, strict=True):
        np.testing.assert_array_equal(frame, picture)


def test_nine_steps_of_a_textured_picture_stay_below_20_kilobytes():
    steps = textured(9)
    film = film_of(steps)
    assert (film.width, film.height) == (96, 96)
    assert len(film.uri) < 20_000
    for frame, (_, picture) in zip(frames_of(film), steps, strict=True):
        small = np.asarray(Image.fromarray(picture).resize((96, 96), Image.Resampling.LANCZOS))
        if small.std() > 1:
            assert np.corrcoef(frame.ravel(), small.ravel())[0, 1] > 0.95
        # Neighbours do not run into one another: each has its own brightness.
        assert abs(frame.mean() - small.mean()) < 2


def test_wide_grey_and_transparent_steps(tmp_path):
    wide = np.zeros((50, 200), np.uint8)
    film = film_of([(0, wide), (5, np.full((50, 200, 4), 0, np.uint8))])
    assert (film.width, film.height) == (96, 24)
    dark, white = frames_of(film)
    assert dark[:, :-2].max() < 20 and white[:, 2:].min() > 235
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert film_of([(0, tmp_path / "a.png")]).width == 96
    with pytest.raises(MissingInputError, match=r"none\.png"):
        film_of([(0, tmp_path / "none.png")])


def test_of_many_steps_some_are_kept_first_and_last_among_them(reports):
    film = film_of([(k, reports.picture(k)) for k in range(200)])
    assert len(film.iterations) == MOST_STEPS
    assert (film.iterations[0], film.iterations[-1]) == (0, 199)
    assert set(np.diff(film.iterations)) <= {5, 6}
    for frame, iteration in zip(frames_of(film), film.iterations, strict=True):
        np.testing.assert_array_equal(frame, reports.picture(iteration))


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([(5, (4, 4, 3)), (5, (4, 4, 3))], "must rise"),
        ([(5, (4, 4, 3)), (3, (4, 4, 3))], "must rise"),
        ([(0, (4, 4, 3)), (3, (4, 5, 3))], "have one size"),
        ([(0, (4, 4, 2))], "uint8"),
    ],
)
def test_steps_that_make_no_film_are_refused(steps, problem):
    with pytest.raises(ValueError, match=problem):
        film_of([(iteration, np.zeros(shape, np.uint8)) for iteration, shape in steps])


def gallery_of(path) -> dict:
    source = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="gallery-data">(.*?)</script>', source, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_each_film_is_in_the_page_once_and_found_by_its_item(reports, tmp_path):
    plain = reports.item("01", "eigenimage", "a", 0.9, 0)
    items = [
        plain,
        *(
            dataclasses.replace(
                reports.item(subject, "deep-recon", "a", score, 50),
                steps=[(k, reports.picture(shade + k)) for k in range(3)],
            )
            for subject, score, shade in (("01", 0.2, 100), ("02", 0.5, 200))
        ),
    ]
    path = write_group_report(tmp_path / "group.html", GroupReport(reports.context(), gallery=items))
    gallery = gallery_of(path)
    # Best first.
    assert [item["film"] for item in gallery["items"]] == [None, 0, 1]
    uri, width, height, iterations = gallery["films"][gallery["items"][2]["film"]]
    assert (uri, width, height, iterations) == (film_of(items[1].steps).uri, 16, 16, [0, 1, 2])
    assert path.read_text().count("data:image/webp") == 2
    assert 'id="film-play"' in path.read_text() and "▸" in path.read_text().partition("<script")[0]


def test_a_page_without_steps_has_no_controls(reports, tmp_path):
    report = SubjectReport(reports.context(), "01", gallery=[reports.item("01", "m", "a", 0.5, 0)])
    path = write_subject_report(tmp_path / "sub-01.html", report)
    gallery = gallery_of(path)
    assert gallery["films"] == [] and gallery["items"][0]["film"] is None
    assert 'id="film' not in path.read_text() and "▸" not in path.read_text().partition("<script")[0]


def test_films_of_a_group_page_stay_small(reports, tmp_path):
    steps = textured(9)
    items = [
        dataclasses.replace(reports.item("01", "m", str(k), 0.5, k), steps=[*steps[:-1], (200 + k, last)])
        for k, (_, last) in enumerate(textured(20, seed=1))
    ]
    bare = [dataclasses.replace(item, steps=()) for item in items]
    sizes = [
        write_group_report(tmp_path / "group.html", GroupReport(reports.context(), gallery=some))
        .stat()
        .st_size
        for some in (items, bare)
    ]
    assert sizes[0] - sizes[1] < 20_000 * len(items)
