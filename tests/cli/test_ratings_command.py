"""`bids-recon-ratings`: from files to a table, with messages and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from bids_recon.cli.ratings import CATCH_THRESHOLD, main
from bids_recon.errors import ExitCode
from bids_recon.report import GalleryItem
from bids_recon.report.rating_page import RatingPage, read_rating_page, write_rating_page
from bids_recon.report.rating_trials import draw_trials
from bids_recon.workflow import rating_scores
from bids_recon.workflow.column_notes import METRIC_COLUMNS


@pytest.fixture
def output(tmp_path):
    """An output folder with a page of four pictures, and beside it a rater's file without a mistake."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(256, size=(8, 8, 8, 3), dtype=np.uint8)
    items = [GalleryItem("01", "m", "test", f"p{k}", pictures[k], pictures[k + 4]) for k in range(4)]
    group = tmp_path / "out" / "group"
    page = read_rating_page(write_rating_page(group / "rating.html", RatingPage(items)))
    (group / "metrics.tsv").write_text("\t".join(METRIC_COLUMNS) + "\n")
    trials = [
        {**trial.record(), "answer": trial.target + 1, "reaction_ms": 500}
        for trial in draw_trials(page, "r1")
    ]
    time = "2026-01-01T00:00:00Z"
    content = {"format": "bids-recon-ratings", "version": 1, "page": page["page"], "rater": "r1"}
    content |= {"started": time, "ended": time, "trials": trials}
    (tmp_path / "r1.json").write_text(json.dumps(content))
    return tmp_path


def test_scores_are_written_and_printed(output, capsys):
    assert main([str(output / "out"), str(output / "r1.json")]) == ExitCode.OK
    printed = capsys.readouterr()
    assert printed.out.startswith("raters: r1\n")
    assert "01 m test: human-two-way 1.00 (1.00 to 1.00); chance 0.5; raters: 1" in printed.out
    assert printed.err == ""
    table = (output / "out" / "group" / "metrics.tsv").read_text()
    assert "01\tm\tall\ttest\thuman-two-way\tratings-1\t1.0\t1.0\t1.0\tn/a\tn/a\t4\t" in table
    # The kept file is scored again without being named.
    assert main([str(output / "out")]) == ExitCode.OK
    assert (output / "out" / "group" / "metrics.tsv").read_text() == table


def test_errors_have_a_message_and_a_code(output, capsys):
    bad = output / "bad.json"
    bad.write_text("{}")
    assert main([str(output / "out"), str(bad)]) == ExitCode.DATA_ERROR
    assert capsys.readouterr().err.startswith(f"bids-recon-ratings: {bad}: holds no ratings")
    assert main([str(output / "nowhere"), str(output / "r1.json")]) == ExitCode.NO_INPUT
    assert "there is no page for raters" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["1.1", "-0.1", "nan", "most"])
def test_a_threshold_is_a_share(share, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["out", f"--catch-threshold={share}"])
    assert caught.value.code == ExitCode.USAGE
    assert f"'{share}' is not a number from 0 to 1" in capsys.readouterr().err


def test_the_program_shows_the_default_that_is_used():
    assert CATCH_THRESHOLD == rating_scores.CATCH_THRESHOLD


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from bids_recon.cli.ratings import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: assert not {'numpy', 'pandas', 'torch', 'jinja2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--catch-threshold" in done.stdout
