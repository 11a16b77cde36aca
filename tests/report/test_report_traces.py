"""Traces, carpets and histograms: what is drawn where."""

from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bids_recon.report import PreprocessingQuality, RunQuality
from bids_recon.report.carpet import BUDGET, FEWEST_ROWS, MOST_ROWS, condense, draw_carpets, to_greys
from bids_recon.report.histograms import histograms
from bids_recon.report.quality_sections import mean_displacement, motion_table, quality_view
from bids_recon.report.traces import panels, path
from bids_recon.report.tracks import Axis

NAN = math.nan


def points(drawn: str) -> list[tuple[str, float, float]]:
    """Command and coordinates of every point of a path."""
    return [(c, float(x), float(y)) for c, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", drawn)]


def run(name: str = "r", n: int = 100, **content) -> RunQuality:
    return RunQuality(name, 2.0, **{"displacement": np.full(n, 0.1), **content})


def test_a_spike_is_drawn_at_its_volume_and_marked():
    steps = np.full(100, 0.1)
    steps[0], steps[57], steps[80] = NAN, 1.3, 0.5
    (panel,) = panels([run(displacement=steps)])[0]
    drawn = points(panel.lines[0][1])
    # Volume 0 has no displacement; volume 57 fills the column from 57 to 58.
    assert [x for _, x, _ in drawn] == [k + 0.5 for k in range(1, 100)]
    _, x, y = min(drawn, key=lambda point: point[2])
    scale = {float(label): height for height, label in panel.ticks}
    assert x == 57.5
    assert y == pytest.approx(scale[0] + (scale[1] - scale[0]) * 1.3, abs=0.02)
    assert panel.threshold == pytest.approx(scale[0] + (scale[1] - scale[0]) * 0.5, abs=0.02)
    # 0.5 mm is not above 0.5 mm.
    assert panel.marked == "M57 0h1v100h-1z"


def test_a_missing_volume_leaves_a_gap():
    drawn = points(path(np.array([0.0, 1.0, NAN, 1.0, 0.0]), Axis(0.0, 1.0)))
    assert drawn == [("M", 0.5, 100), ("L", 1.5, 0), ("M", 3.5, 0), ("L", 4.5, 100)]
    assert path(np.array([NAN, 0.5, NAN]), Axis(0.0, 1.0)) == "M1.5 50h.01"
    assert path(np.array([NAN]), Axis(0.0, 1.0)) == ""


def test_motion_is_drawn_in_mm_and_degrees_on_one_scale_for_all_runs():
    still, moved = np.zeros((100, 6)), np.zeros((100, 6))
    moved[:, 1], moved[:, 5] = 4.0, np.radians(2.0)
    first, second = panels([run(motion=still), run(motion=moved)])
    assert [panel.name for panel in first] == ["Translation", "Rotation", "Displacement"]
    for one, other in zip(first, second, strict=True):
        assert one.ticks == other.ticks
    for panel, curve, value in ((second[0], 1, 4.0), (second[1], 2, 2.0)):
        scale = {float(label): height for height, label in panel.ticks}
        for k in range(3):
            expected = scale[value if k == curve else 0]
            assert [y for _, _, y in points(panel.lines[k][1])] == pytest.approx([expected] * 100, abs=0.02)
    assert second[1].label == "Rotation of r: 0 to 2.00 °"


def test_a_run_shows_what_it_has():
    shown = panels([run(dvars=np.arange(100.0)), run(), RunQuality("none", 2.0)])
    assert [[panel.name for panel in one] for one in shown] == [
        ["Displacement", "DVARS"],
        ["Displacement"],
        [],
    ]
    assert panels([RunQuality("nan", 2.0, displacement=np.full(3, NAN))]) == [[]]


def test_time_goes_from_the_first_volume_kept_to_the_end_of_the_last():
    (chart,) = quality_view(PreprocessingQuality([run(n=150)]), None).charts
    assert (chart.time.low, chart.time.high) == (0, 300)
    assert chart.panels[0].n_volumes == 150


def test_the_first_runs_are_open():
    charts = quality_view(PreprocessingQuality([run(str(k)) for k in range(4)]), None).charts
    assert [chart.open for chart in charts] == [True, True, False, False]


def test_the_table_sums_up_each_run():
    steps = np.array([NAN, 0.1, 0.2, 0.9, 0.6])
    quality = PreprocessingQuality(
        [
            RunQuality("a", 1.5, displacement=steps, dropped=3, tsnr_median=61.24),
            RunQuality("b", 1.5, displacement=np.array([NAN, 0.2])),
            RunQuality("c", 1.5),
        ]
    )
    table = motion_table(quality)
    assert table.iloc[0].to_dict() == {
        **{"run": "a", "TR, s": 1.5, "volumes": 5, "dropped": 3, "median tSNR": 61.24},
        **{"mean displacement, mm": pytest.approx(0.45), "largest, mm": 0.9, "volumes above 0.5 mm": 2},
    }
    assert pd.isna(table.iloc[2][["volumes", "mean displacement, mm", "volumes above 0.5 mm"]]).all()
    # Every volume counts alike, whichever run it is of.
    assert mean_displacement(quality) == pytest.approx((0.1 + 0.2 + 0.9 + 0.6 + 0.2) / 5)
    assert math.isnan(mean_displacement(PreprocessingQuality()))


def test_traces_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"different lengths: \[3, 4\]"):
        RunQuality("a", 2.0, displacement=np.zeros(3), dvars=np.zeros(4))
    with pytest.raises(ValueError, match="six parameters"):
        RunQuality("a", 2.0, motion=np.zeros((3, 5)))
    with pytest.raises(ValueError, match="do not add up"):
        RunQuality("a", 2.0, carpet=np.zeros((5, 3)), carpet_groups=[("x", 4)])


def test_greys_are_symmetric_about_no_change():
    rows = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0, 7.0, NAN]])
    assert to_greys(rows, 2.0).tolist() == [[0, 64, 128, 191, 255, 255, 128]]


def test_rows_become_means_of_their_neighbours_within_their_group():
    carpet = np.arange(12.0)[:, None] * np.ones((1, 3))
    carpet[0, 1], carpet[8:, 2] = NAN, NAN
    rows, groups = condense(carpet, [("a", 8), ("none", 0), ("b", 4)], 3)
    assert groups == [("a", 2), ("b", 1)]
    expected = [[1.5, 2.0, 1.5], [5.5, 5.5, 5.5], [9.5, 9.5, NAN]]
    np.testing.assert_allclose(rows, expected)
    untouched, _ = condense(carpet, [("", 12)], 500)
    np.testing.assert_array_equal(untouched, carpet.astype(np.float32))


def test_carpets_of_all_runs_share_their_scale():
    quiet, loud = np.full((4, 10), 0.5), np.full((4, 10), -4.0)
    first, second = draw_carpets([run(n=10, carpet=quiet), run(n=10, carpet=loud)])
    assert first.limit == second.limit == 4
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one.uri.partition(",")[2]))))
        for one in (first, second)
    ]
    assert (pictures[0].shape, pictures[0].dtype) == ((4, 10), np.uint8)
    assert set(pictures[0].ravel()) == {round(127.5 + 127.5 / 8)}
    assert set(pictures[1].ravel()) == {0}
    assert draw_carpets([run(), run(carpet=np.zeros((2, 100)))])[0] is None
    assert draw_carpets([run(carpet=np.zeros((2, 100)))])[0].limit == 1


@pytest.mark.parametrize(("n_runs", "n_volumes"), [(1, 300), (24, 240), (24, 1500), (40, 3000)])
def test_carpets_of_many_runs_have_fewer_rows(n_runs, n_volumes):
    carpet = np.zeros((400, n_volumes), np.float32)
    drawn = draw_carpets([run(n=n_volumes, carpet=carpet)] * n_runs)
    assert {one.width for one in drawn} == {n_volumes}
    assert FEWEST_ROWS <= drawn[0].height <= MOST_ROWS
    pixels = sum(one.width * one.height for one in drawn)
    assert pixels <= BUDGET or drawn[0].height == FEWEST_ROWS
    assert drawn[0].height == MOST_ROWS or pixels > 0.9 * BUDGET


def test_histograms_share_their_scale_and_mark_the_median():
    low, high = np.repeat([10.0, 20.0, 30.0], [1, 2, 1]), np.append(np.full(9, 30.0), NAN)
    one, other = histograms({"V1": low, "V2": high}, "%")
    # A bar for each value, halfway to its neighbours.
    assert one.bars == "M0 100V50H33.33zM33.33 100V0H66.67zM66.67 100V50H100z".replace("z", "V100z")
    assert other.bars == "M66.67 100V0H100V100z"
    assert one.axis == other.axis == Axis(5.0, 35.0)
    assert (one.median, other.median) == (50, pytest.approx(83.33))
    assert (other.median_text, other.n) == ("30.0 %", "9")
    assert one.label == "V1: median 20.0 % of 4 voxels"


def test_many_values_are_binned_and_none_are_nothing():
    values = np.random.default_rng(0).normal(0, 1, 5000)
    (one,) = histograms({"": values}, "s")
    assert one.bars.count("M") == pytest.approx(40, abs=8)
    assert one.axis == Axis(values.min(), values.max())
    assert histograms({"V1": np.array([NAN])}, "%") == []
    full, empty = histograms({"V1": np.ones(3), "V2": np.zeros(0)}, "%")
    assert (full.bars, empty.bars, empty.median, empty.n) == ("M0 100V0H100V100z", "", None, "0")
