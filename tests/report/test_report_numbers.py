"""Numbers as text and as positions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bids_recon.report.audits import audit_of
from bids_recon.report.measures import display_name, measure_of
from bids_recon.report.pictures import PicturePool, thumbnail
from bids_recon.report.sections import (
    group_rois,
    group_scores,
    subject_rois,
    subject_scores,
    verdict,
)
from bids_recon.report.tables import interval, number, text_table
from bids_recon.report.tracks import Axis

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.83119, "0.831"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (7, "7"),
        (np.int64(1200), "1200"),
        (0.0, "0"),
        (-0.0312, "−0.031"),
        (0.00042, "4.20e−04"),
        (NAN, "n/a"),
        (None, "n/a"),
        (pd.NA, "n/a"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers_have_three_digits_and_missing_ones_are_na(value, text):
    assert number(value) == text


def test_an_interval_with_a_missing_end_is_left_out():
    assert interval(0.1, 0.2) == "[0.100, 0.200]"
    assert interval(NAN, 0.2) == ""


def test_a_table_keeps_labels_shows_counts_as_integers_and_drops_empty_columns():
    frame = pd.DataFrame(
        {
            "session": ["", ""],
            "run": ["01", "02"],
            "bad_volumes": [3.0, NAN],
            "noise": [0.5, 1.0],
            "ok": [True, False],
        }
    )
    table = text_table(frame)
    assert table.columns == ("run", "bad volumes", "noise", "ok")
    assert table.numeric == (False, True, True, False)
    assert table.rows == (("01", "3", "0.500", "yes"), ("02", "n/a", "1.00", "no"))


def test_an_axis_covers_all_finite_values_and_has_round_ticks():
    axis = Axis.around([0.5, NAN, 0.98, 0.83])
    assert 0 < axis.at(0.5) < axis.at(0.83) < axis.at(0.98) < 100
    assert axis.at(NAN) is None
    assert [label for _, label in axis.ticks] == ["0.6", "0.8", "1"]
    assert axis.ticks[1][0] == axis.at(0.8)


@pytest.mark.parametrize("values", [[], [NAN], [0.0], [5.0, 5.0], [-1e-9, 1e-9], [0, 1e6]])
def test_an_axis_exists_for_degenerate_values(values):
    axis = Axis.around(values)
    assert axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 6
    assert all(0 <= x <= 100 for x, _ in axis.ticks)


def row(value, low, high, floor, floor_low, floor_high):
    return {
        **{"value": value, "ci_low": low, "ci_high": high},
        **{"floor": floor, "floor_low": floor_low, "floor_high": floor_high},
    }


@pytest.mark.parametrize(
    ("numbers", "lower_is_better", "expected"),
    [
        ((0.8, 0.7, 0.9, 0.5, 0.4, 0.6), False, "above"),
        ((0.8, 0.55, 0.9, 0.5, 0.4, 0.6), False, "near"),
        ((0.2, 0.1, 0.3, 0.5, 0.4, 0.6), False, "below"),
        ((0.2, 0.1, 0.3, 0.5, 0.4, 0.6), True, "above"),
        ((0.8, 0.7, 0.9, 0.5, 0.4, 0.6), True, "below"),
        ((0.8, NAN, NAN, 0.5, NAN, NAN), False, "above"),
        ((NAN, NAN, NAN, 0.5, 0.4, 0.6), False, ""),
        ((0.8, 0.7, 0.9, NAN, NAN, NAN), False, ""),
    ],
)
def test_the_verdict_tells_whether_intervals_overlap(numbers, lower_is_better, expected):
    assert verdict(row(*numbers), lower_is_better) == expected


def test_direction_comes_from_the_catalogue_or_from_floor_and_ceiling(reports):
    known = subject_scores(reports.metrics("01", metric="ssim", ceiling=0.1), {})[0].measure
    assert (known.name, known.lower_is_better) == ("SSIM", False)
    assert "similarity" in known.definition
    unknown = subject_scores(
        reports.metrics("01", metric="mse", floor=0.9, ceiling=0.1), {"mse": "Squares."}
    )[0]
    assert unknown.measure.lower_is_better
    assert unknown.measure.definition == "Squares."
    told = subject_scores(reports.metrics("01", metric="mse", higher_is_better=False), {})[0]
    assert told.measure.lower_is_better


@pytest.mark.parametrize(
    ("metric", "name", "chance"),
    [
        ("two-way-a/colour", "Two-way identification (A) of colour", 0.5),
        ("human-two-way", "Human two-way choice", 0.5),
        ("human-n-way", "Human n-way choice", NAN),
        ("rater-agreement-n-way", "Rater agreement (n-way)", 0.0),
        ("of-its-own", "of-its-own", NAN),
        ("", "score", NAN),
    ],
)
def test_measures_of_attributes_and_raters_are_shown_in_words(reports, metric, name, chance):
    measure = measure_of(metric, reports.metrics("01", metric=metric), {})
    assert (measure.name, display_name(metric)) == (name, name)
    assert measure.chance == pytest.approx(chance, nan_ok=True)
    assert bool(measure.definition) == (metric not in ("of-its-own", ""))
    assert not measure.lower_is_better


def test_chance_is_drawn_where_theory_fixes_it(reports):
    group = subject_scores(reports.metrics("01", metric="two-way-a"), {})[0]
    assert group.rows[0].track.chance == group.axis.at(0.5)
    assert subject_scores(reports.metrics("01", metric="ssim"), {})[0].rows[0].track.chance is None


def test_the_group_mean_leaves_out_averaged_latents(reports):
    table = pd.concat(
        [
            reports.metrics(subject, value=value)
            for subject, value in (("01", 0.6), ("02", 0.8), ("average", 0.99))
        ]
    )
    (group,) = group_scores(table, ["01", "02"], lambda label: f"sub-{label}", {})
    of_participants, of_average = group.rows
    assert (of_participants.value, of_participants.interval, of_participants.n) == (
        "0.700",
        "[0.600, 0.800]",
        "2",
    )
    assert [dot.colour for dot in of_participants.track.dots] == [0, 1]
    assert of_participants.track.dots[1].title == "sub-02 0.800 [0.700, 0.900]"
    assert (of_average.value, of_average.track.mean) == ("0.990", None)


def test_the_audit_tells_errors_from_warnings():
    content = {
        "passed": True,
        "checks": [
            {"name": "a", "passed": True, "severity": "error", "detail": "", "items": []},
            {"name": "b", "passed": False, "severity": "warning", "detail": "x", "items": ["i"] * 70},
            {"name": "c", "passed": False, "severity": "info", "items": [{"k": 1}]},
            {"name": "d", "passed": False},
            {"name": "e", "passed": None},
        ],
    }
    audit = audit_of(content)
    assert (audit.state, audit.n_open) == ("passed", 1)
    assert [check.state for check in audit.checks] == ["passed", "warning", "note", "failed", "unknown"]
    assert (len(audit.checks[1].items), audit.checks[1].n_hidden) == (50, 20)
    assert audit.checks[2].items == ('{"k": 1}',)
    assert audit_of({}).state == "unknown"


def test_regions_of_two_test_sets_are_kept_apart_and_share_an_axis(reports):
    sets = {"easy": 0.8, "imagery": 0.2}
    table = pd.concat(
        [
            reports.rois(subject).assign(test_set=name, value=value, n_voxels=size)
            for name, value in sets.items()
            for subject, size in (("01", 90), ("02", 110))
        ]
    )
    groups = group_rois(table, ["01", "02"], lambda label: label, {})
    assert [group.qualifier for group in groups] == ["a · easy", "a · imagery"]
    assert [(group.rows[0].value, group.rows[0].n) for group in groups] == [("0.800", "2"), ("0.200", "2")]
    assert groups[0].rows[0].labels == ("b", "90–110")
    assert groups[0].axis == groups[1].axis
    alone = subject_rois(table[table["subject"] == "01"], {})
    assert [group.rows[0].labels for group in alone] == [("b", "90"), ("b", "90")]


def test_thumbnail_keeps_what_a_page_shows():
    ramp = np.tile(np.arange(500, dtype=np.uint8)[None, :, None], (375, 1, 3))
    small = thumbnail(ramp)
    assert small.shape == (192, 256, 3) and small.dtype == np.uint8
    pool = PicturePool()
    pool.add(ramp)
    pool.add(small)
    large, again = pool.encode()
    assert large == again
    assert thumbnail(small) is small
    assert thumbnail(ramp, 96).shape == (72, 96, 3)
