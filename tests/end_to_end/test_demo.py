"""The demonstration, as the README calls it."""

from __future__ import annotations

import dataclasses
import re
import time

import numpy as np
import pandas as pd
import pytest
from group_tables import metric, read_metrics
from PIL import Image

from bids_recon.cli.demo import FIRST_LINE, main
from bids_recon.methods.deep_recon import DeepRecon
from bids_recon.simulate import design
from bids_recon.workflow import group

PEOPLE = ("01", "02")


def test_demo_refuses_a_folder_with_other_content(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert main([str(tmp_path)]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_killed_demo_left_is_no_other_content(tmp_path, capsys):
    (tmp_path / ".tmp-abc" / "bids").mkdir(parents=True)
    (tmp_path / "bids").write_text("in the way, so that nothing is simulated")
    assert main([str(tmp_path)]) == 73
    assert "is not empty" not in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--seed", "-1"), ("--nprocs", "0")])
def test_demo_refuses_numbers_it_cannot_use(tmp_path, capsys, options):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), *options])
    assert stopped.value.code == 2
    assert "is not a whole number" in capsys.readouterr().err


@pytest.mark.slow
def test_demo_reconstructs_recognisable_pictures(tmp_path, capsys, scoring_network, monkeypatch):
    # Two of its three people, and pictures of one shuffle of two: half of what the demo draws.
    monkeypatch.setattr(design, "DEMO", dataclasses.replace(design.DEMO, n_subjects=len(PEOPLE)))
    monkeypatch.setattr(DeepRecon, "picture_shuffles", 1)
    started = time.monotonic()
    assert main([str(tmp_path)]) == 0
    # The whole takes six minutes on two idle cores; this is no benchmark, so it only notices another order.
    assert time.monotonic() - started < 1500
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == FIRST_LINE and "simulated" in FIRST_LINE
    assert re.search(r"100%", printed.err), "the progress bar reaches its end"
    output = tmp_path / "derivatives"
    table = read_metrics(output)
    for person in PEOPLE:
        for test_set in ("natural", "shapes", "letters"):
            where = {"method": "eigenimage", "subject": person, "test_set": test_set}
            assert metric(table, "two-way-a", "pixels-1", **where) >= 0.90, where
            low = metric(table, "two-way-a", "pixels-1", "floor_low", **where)
            high = metric(table, "two-way-a", "pixels-1", "floor_high", **where)
            assert low < 0.5 < high, where
    # Features of a network: their pictures are nearer to the truth for another network than eigenimages are.
    for person in PEOPLE:
        where = {"method": "deep-recon", "subject": person, "test_set": "natural"}
        assert metric(table, "two-way-a", "pixels-1", **where) >= 0.90, where
    if "mobilenetv2-1" in set(table["protocol"]):
        ours, theirs = (
            np.mean(
                [
                    metric(table, "two-way-a", "mobilenetv2-1", method=name, subject=who, test_set="natural")
                    for who in PEOPLE
                ]
            )
            for name in ("deep-recon", "eigenimage")
        )
        assert ours > theirs
    # Layout, not only mean colour: light and dark parts lie where they lay.
    images = pd.read_csv(output / "group" / "images.tsv", sep="\t", dtype={"subject": str})
    chosen = images[(images["subject"] == "average") & (images["test_set"] == "natural")]
    assert set(chosen["method"]) == {"eigenimage", "deep-recon"}
    chosen = chosen[chosen["method"] == "eigenimage"]
    agreement = [
        np.corrcoef(_layout(output / "group" / row.file), _layout(tmp_path / "bids" / row.seen_file))[0, 1]
        for row in chosen.itertuples()
    ]
    assert np.median(agreement) > 0.6
    page = (output / "group.html").read_text(encoding="utf-8")
    assert "imulated brain" in page
    # A second call finds everything done, but for the scores of pictures.
    monkeypatch.setattr(group, "available_scorers", lambda weights: [])
    again = time.monotonic()
    assert main([str(tmp_path)]) == 0
    assert time.monotonic() - again < 200


def _layout(file) -> np.ndarray:
    """Grey levels of an 8 x 8 version."""
    with Image.open(file) as picture:
        return np.asarray(picture.convert("L").resize((8, 8), Image.Resampling.BOX), dtype=float).ravel()
