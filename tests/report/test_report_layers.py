"""Scores of many layers: what is drawn of them, and where."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from bids_recon.report import GroupReport, SubjectReport, write_group_report, write_subject_report
from bids_recon.report.gallery import gallery_data
from bids_recon.report.layers import group_layers, region_grids, split_layers, subject_layers
from bids_recon.report.sections import subject_scores

LAYERS = ("stem", "block10", "block2")
LATENT, PROFILE = "latent-correlation", "profile-correlation"


def plain(label: str) -> str:
    return label


def row(value: float, metric: str, protocol: str, **changes) -> dict:
    return {
        **{"subject": "01", "method": "deep", "test_set": "natural", "metric": metric, "protocol": protocol},
        **{"value": value, "ci_low": value - 0.05, "ci_high": value + 0.05, "n_items": 50, "note": ""},
        **{"floor": 0.0, "floor_low": -0.03, "floor_high": 0.03, "ceiling": 1.0},
        **changes,
    }


def layer_rows(base: float = 0.2, layers: tuple[str, ...] = LAYERS, **changes) -> list[dict]:
    rows = []
    for k, layer in enumerate(layers):
        value = base + 0.1 * k
        rows += [
            row(value, LATENT, f"latents-1/{layer}", **changes),
            row(value + 0.5, "two-way-a", f"latents-1/{layer}", **{"floor": 0.5, **changes}),
            row(value + 0.4, "two-way-b", f"latents-1/{layer}", **{"floor": 0.5, **changes}),
            row(value + 0.1, PROFILE, f"profiles-1/{layer}", **changes),
        ]
    return rows


def test_layers_are_taken_out_only_where_they_are_many():
    pictures = [row(0.5, "pixcorr", "pixels-1"), row(0.5, LATENT, "latents-1")]
    many = pd.DataFrame([*layer_rows(), *pictures])
    layers, others = split_layers(many)
    assert len(layers) == 12 and others["protocol"].tolist() == ["pixels-1", "latents-1"]
    few = pd.DataFrame([*layer_rows(layers=LAYERS[:2]), *pictures])
    assert few["protocol"].str.contains("/").sum() == 8
    layers, others = split_layers(few)
    assert len(layers) == 0 and others.equals(few)
    for table in (pd.DataFrame(), pd.DataFrame({"value": [1.0]})):
        layers, others = split_layers(table)
        assert len(layers) == 0 and others is table


def test_a_table_of_layers_keeps_their_order_and_has_a_column_for_each_measure():
    table = pd.DataFrame([*layer_rows(), *layer_rows(base=-0.1, test_set="letters")])
    scores = subject_layers(table, {})
    assert [column.measure.name for column in scores.columns] == [
        "Latent correlation",
        "Profile correlation",
        "Two-way identification (A)",
    ]
    assert [one.labels for one in scores.tables] == [("deep", "natural"), ("deep", "letters")]
    natural, letters = scores.tables
    assert [layer for layer, _ in natural.rows] == list(LAYERS)
    assert [[cell.value for cell in cells] for _, cells in natural.rows] == [
        ["0.200", "0.300", "0.700"],
        ["0.300", "0.400", "0.800"],
        ["0.400", "0.500", "0.900"],
    ]
    assert [cell.floor for cell in natural.rows[0][1]] == ["0.000", "0.000", "0.500"]
    # 0.0 with an interval over its floor, 0.3 far above it.
    assert letters.rows[1][1][0].verdict == "near" and natural.rows[1][1][0].verdict == "above"
    # One scale for both test sets, and not stretched to the ceiling.
    axis = scores.columns[0].axis
    assert letters.rows[0][1][0].track.dots[0].x == axis.at(-0.1)
    assert natural.rows[2][1][0].track.dots[0].x == axis.at(0.4) > 80
    assert natural.rows[0][1][0].track.ceiling is None
    assert natural.rows[0][1][2].track.chance == scores.columns[2].axis.at(0.5)


def test_the_group_has_a_dot_for_each_participant_and_averages_apart():
    table = pd.DataFrame(
        [*layer_rows(0.1), *layer_rows(0.3, subject="02"), *layer_rows(0.6, subject="average")]
    )
    scores = group_layers(table, ["01", "02"], lambda label: f"sub-{label}", {})
    assert [one.labels for one in scores.tables] == [
        ("deep", "natural", "participants"),
        ("deep", "natural", "sub-average"),
    ]
    (layer, cells), *_ = scores.tables[0].rows
    assert (layer, cells[0].value) == ("stem", "0.200")
    assert [dot.colour for dot in cells[0].track.dots] == [0, 1]
    assert cells[0].track.dots[1].title == "sub-02 0.300 [0.250, 0.350]"
    assert cells[0].track.mean == scores.columns[0].axis.at(0.2)
    assert scores.tables[1].rows[0][1][0].value == "0.600"


def test_what_a_layer_lacks_is_left_open():
    table = pd.DataFrame([*layer_rows(), row(math.nan, LATENT, "latents-1/head", note="undefined")])
    (only,) = subject_layers(table, {}).tables
    layer, cells = only.rows[-1]
    assert layer == "head"
    assert (cells[0].value, cells[0].note, cells[1:]) == ("n/a", "undefined", (None, None))
    nothing = subject_layers(pd.DataFrame(), {})
    assert nothing.tables == () and nothing.columns == ()


def test_regions_by_layers_are_averaged_over_people_and_tinted_from_the_floor():
    rows = [
        {**one, "subject": subject, "roi": roi, "n_voxels": size, "value": one["value"] + shift}
        for subject, shift in (("01", -0.02), ("02", 0.02))
        for roi, size in (("V1", 100 + len(subject) * int(subject)), ("FFA", 50))
        for one in layer_rows(0.1 if roi == "V1" else 0.0)
        if not (roi == "FFA" and one["protocol"] == "latents-1/block2")
    ]
    grids = region_grids(pd.DataFrame(rows), {})
    assert [grid.measure.name for grid in grids] == [
        "Latent correlation",
        "Profile correlation",
        "Two-way identification (A)",
    ]
    grid = grids[0]
    assert grid.labels == ("deep", "natural")
    assert grid.regions == (("V1", "102–104"), ("FFA", "50"))
    assert [[cell and cell.value for cell in cells] for _, cells in grid.rows] == [
        ["0.100", "0.000"],
        ["0.200", "0.100"],
        ["0.300", None],
    ]
    assert [[cell and cell.strength for cell in cells] for _, cells in grid.rows] == [
        [33, 0],
        [67, 33],
        [100, None],
    ]
    assert grids[2].rows[0][1][0].floor == "0.500"


def test_scores_of_pictures_come_before_those_of_latents(reports):
    table = pd.DataFrame(
        [
            row(0.3, "two-way-a", "latents-1"),
            row(0.4, PROFILE, "profiles-1"),
            row(0.6, "two-way-a", "pixels-1"),
            row(0.7, "human-two-way", "ratings-1"),
            row(0.8, "two-way-a", "mobilenetv2-1"),
        ]
    )
    groups = subject_scores(table, {})
    assert [group.qualifier for group in groups] == [
        *("pixels-1", "ratings-1", "mobilenetv2-1"),
        *("latents-1", "profiles-1"),
    ]
    # What stands beside the score of a picture is the score of pictures, too.
    item = reports.item("01", "deep", "a", 0.5, 0)
    item = type(item)(**{**vars(item), "test_set": "natural", "scores": {"two-way-a": 0.5}})
    assert gallery_data([item], table, plain)["references"] == {"0,0,0,0": ["0.600", "0", "1.00"]}


@pytest.fixture
def pictures() -> list[dict]:
    return [row(0.55, "pixcorr", "pixels-1", subject=subject) for subject in ("01", "02")]


def text_of(source: str) -> str:
    without_charts = re.sub(r"<svg.*?</svg>", " ", source, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", without_charts))


def section(path, name: str) -> str:
    return re.search(rf'<section id="{name}".*?</section>', path.read_text(), re.DOTALL)[0]


def test_layers_are_folded_away_beneath_the_scores_of_pictures(reports, pictures, tmp_path):
    rows = [*layer_rows(), *layer_rows(0.3, subject="02"), *pictures]
    rois = [{**one, "roi": "V1", "n_voxels": 100} for one in layer_rows()]
    context = reports.context()
    pages = (
        write_group_report(
            tmp_path / "group.html",
            GroupReport(
                context,
                subjects=pd.DataFrame({"subject": ["01", "02"]}),
                metrics=pd.DataFrame(rows),
                rois=pd.DataFrame(rois),
            ),
        ),
        write_subject_report(
            tmp_path / "sub-01.html",
            SubjectReport(
                context,
                "01",
                metrics=pd.DataFrame([one for one in rows if one["subject"] == "01"]),
                rois=pd.DataFrame(rois),
            ),
        ),
    )
    for page, value in zip(pages, ("0.250", "0.200"), strict=True):
        scores, regions = section(page, "scores"), section(page, "regions")
        assert '<details id="layers">' in scores
        main, _, folded = scores.partition('<details id="layers">')
        assert "pixels-1" in main and "latents-1" not in scores and "stem" not in main
        assert f"stem {value} 0.000" in text_of(folded)
        # The measures of layers are explained with the others.
        assert "<dt>Profile correlation</dt>" in scores
        assert '<details id="layers-by-region">' in regions and "No region was decoded" not in regions
        assert "stem 0.200 0.000" in text_of(regions)


def test_without_pictures_the_layers_are_open(reports, tmp_path):
    report = SubjectReport(reports.context(), "01", metrics=pd.DataFrame(layer_rows()))
    page = write_subject_report(tmp_path / "sub-01.html", report)
    scores = section(page, "scores")
    assert '<details id="layers" open>' in scores and "No scores" not in scores
    assert "No region was decoded" in section(page, "regions")


def test_many_tables_are_folded_each(reports, tmp_path):
    for n_sets, n_open in ((9, 9), (10, 0)):
        rows = [one for k in range(n_sets) for one in layer_rows(test_set=f"set-{k}")]
        report = SubjectReport(reports.context(), "01", metrics=pd.DataFrame(rows))
        scores = section(write_subject_report(tmp_path / "sub-01.html", report), "scores")
        assert len(re.findall(r"<summary>deep · set-\d</summary>", scores)) == n_sets
        assert scores.count("<details open>") == n_open


def test_hostile_layers_are_text(reports, hostile, tmp_path):
    rows = layer_rows(layers=hostile)
    report = SubjectReport(
        reports.context(),
        "01",
        metrics=pd.DataFrame(rows),
        rois=pd.DataFrame([{**one, "roi": hostile[1], "n_voxels": np.nan} for one in rows]),
    )
    source = write_subject_report(tmp_path / "sub-01.html", report).read_text()
    assert "<script>window.hacked" not in source and "<img src=x" not in source
    assert source.count("&lt;script&gt;window.hacked=1&lt;/script&gt;") > 2
