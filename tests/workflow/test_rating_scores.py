"""Planted raters get the scores that they were planted with; files that lie are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import DataError, MissingInputError, ReconError
from bids_recon.report import GalleryItem
from bids_recon.report.rating_page import RatingPage, read_rating_page, write_rating_page
from bids_recon.report.rating_trials import Trial, draw_trials
from bids_recon.workflow.column_notes import METRIC_COLUMNS
from bids_recon.workflow.rating_scores import AGREEMENT, PROTOCOL, score_ratings

Choice = Callable[[Trial, np.random.Generator], int]


def gallery(methods=("a", "b"), n=8, seed=0) -> list[GalleryItem]:
    rng = np.random.default_rng(seed)
    seen = rng.integers(256, size=(n, 8, 8, 3), dtype=np.uint8)
    return [
        GalleryItem("007", m, test_set, f"p{k}", seen[k], rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
        for m in methods
        for test_set in ("natural", "shapes")
        for k in range(n)
    ]


def right(trial: Trial, rng: np.random.Generator) -> int:
    return trial.target


def by_chance(trial: Trial, rng: np.random.Generator) -> int:
    return trial.target if trial.catch else int(rng.integers(len(trial.candidates)))


def leftmost(trial: Trial, rng: np.random.Generator) -> int:
    return trial.target if trial.catch else 0


def wrong_on_shapes(trial: Trial, rng: np.random.Generator) -> int:
    wrong = not trial.catch and trial.about["test_set"] == "shapes"
    return (trial.target + wrong) % len(trial.candidates)


class Study:
    """An output folder with a page and a table of scores, and files of raters beside it."""

    def __init__(self, folder: Path, page: RatingPage | None = None) -> None:
        self.folder, self.out = folder, folder / "out"
        (self.out / "group").mkdir(parents=True)
        self.table = self.out / "group" / "metrics.tsv"
        self.header = "\t".join(METRIC_COLUMNS)
        known = {"subject": "007", "method": "a", "test_set": "natural", "metric": "two-way-a"}
        known |= {"protocol": "pixels-1", "value": "0.80", "n_items": "8"}
        self.old = "\t".join(known.get(column, "n/a") for column in METRIC_COLUMNS)
        self.table.write_text(f"{self.header}\n{self.old}\n")
        self.page = self.add_page("rating.html", page or RatingPage(gallery()))

    def add_page(self, name: str, page: RatingPage) -> dict[str, Any]:
        return read_rating_page(write_rating_page(self.out / "group" / name, page))

    def content(self, rater: str, choose: Choice, page=None, n: int | None = None, seed: int = 0) -> dict:
        page, rng = page or self.page, np.random.default_rng(seed)
        trials = draw_trials(page, rater)
        answers = [trial.record() | {"answer": choose(trial, rng) + 1} for trial in trials]
        return {
            **{"format": "bids-recon-ratings", "version": 1, "page": page["page"], "task": page["task"]},
            **{"rater": rater, "seed": page["seed"], "started": "2026-01-01T10:00:00.000Z"},
            **{"ended": "2026-01-01T10:10:00.000Z", "complete": n is None},
            "trials": [{**answer, "reaction_ms": 900} for answer in answers[:n]],
        }

    def file(self, name: str, content: Any) -> Path:
        file = self.folder / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def rated(self, rater: str, choose: Choice, **details) -> Path:
        return self.file(f"{rater}-{details.get('n')}.json", self.content(rater, choose, **details))

    def scores(self, metric: str) -> pd.DataFrame:
        table = pd.read_csv(self.table, sep="\t", dtype={"subject": str})
        return table[table["metric"] == metric].set_index(["subject", "method", "test_set"])


@pytest.fixture
def study(tmp_path) -> Study:
    return Study(tmp_path)


def test_planted_raters_are_recovered_for_each_method_and_test_set(study):
    outcome = score_ratings(study.out, [study.rated("r1", right), study.rated("r2", wrong_on_shapes)])
    assert outcome.raters == ["r1", "r2"] and outcome.left_out == []
    scores = study.scores("human-two-way")
    assert list(scores.index) == list(dict.fromkeys(scores.index)) and len(scores) == 4
    for method in ("a", "b"):
        natural, shapes = (scores.loc[("007", method, name)] for name in ("natural", "shapes"))
        assert tuple(natural[["value", "ci_low", "ci_high", "n_items"]]) == (1, 1, 1, 8)
        assert tuple(shapes[["value", "ci_low", "ci_high", "n_items"]]) == (0.5, 0.5, 0.5, 8)
        assert natural[["floor", "ceiling", "p_shuffle", "p_permutation"]].isna().all()
        assert "chance 0.5; raters: 2, 0.00 to 1.00; answers: " in shapes["note"]
    agreement = study.scores("rater-agreement")
    assert agreement.loc[("007", "a", "natural"), "value"] == 1
    # Raters who always differ: 1 - (n - 1) / (n / 2) of 2 x 2 x trials codes, a little under 1 - 2.
    assert agreement.loc[("007", "a", "shapes"), "value"] < -0.9


def test_raters_by_chance_and_of_one_side_score_at_chance(tmp_path):
    study = Study(tmp_path, RatingPage(gallery(("a",), n=20), max_trials=2000))
    score_ratings(study.out, [study.rated(f"r{k}", by_chance, seed=k) for k in range(3)])
    scores = study.scores("human-two-way")
    assert abs(scores["value"] - 0.5).max() < 0.05
    assert ((scores["ci_low"] < 0.5) & (scores["ci_high"] > 0.5)).all()
    assert abs(study.scores("rater-agreement")["value"]).max() < 0.1
    score_ratings(study.out, [study.rated("left", leftmost)])
    # Sides are balanced over all trials, and nearly so in each test set.
    alone = [study.out / "group" / "ratings" / f"rating-{study.page['page']}-r{k}.json" for k in range(3)]
    for file in alone:
        file.unlink()
    score_ratings(study.out, [])
    scores = study.scores("human-two-way")
    assert scores["value"].mean() == 0.5 and abs(scores["value"] - 0.5).max() < 0.06
    assert (study.scores("rater-agreement")["note"] == "needs trials that two raters answered").all()


def test_more_alternatives_are_another_metric_with_another_chance(tmp_path):
    study = Study(tmp_path, RatingPage(gallery(n=13), alternatives=4))
    study.add_page("rating-two.html", RatingPage(gallery()))
    score_ratings(study.out, [study.rated(f"r{k}", by_chance, seed=k) for k in range(4)])
    scores = study.scores("human-n-way")
    assert abs(scores["value"] - 0.25).max() < 0.15 and scores["value"].mean() == pytest.approx(
        0.25, abs=0.06
    )
    assert scores["note"].str.startswith("chance 0.25;").all()
    assert len(study.scores("human-two-way")) == 0


def test_a_preference_is_the_share_of_comparisons_won(tmp_path):
    study = Study(tmp_path, RatingPage(gallery(("a", "b", "c")), task="which-better"))

    def prefers(trial: Trial, rng: np.random.Generator) -> int:
        """Original before a, a before b, and c or the other at random by picture."""
        if trial.catch:
            return trial.target
        names = [shown["method"] for shown in trial.candidates]
        if "c" in names:
            wins = int(trial.about["stimulus_id"][1:]) < 2  # in two of eight pictures
            return names.index("c") if wins else 1 - names.index("c")
        return names.index("a")

    score_ratings(study.out, [study.rated("r1", prefers), study.rated("r2", prefers)])
    scores = study.scores("human-preference")["value"].unstack("method")
    assert dict(scores.loc[("007", "natural")]) == {"a": (1 + 0.75) / 2, "b": 0.75 / 2, "c": 0.25}
    notes = study.scores("human-preference")["note"].unstack("method")
    assert notes.loc[("007", "shapes"), "c"].endswith("; against a, b")
    assert (study.scores("rater-agreement-preference")["value"] == 1).all()
    assert (study.scores("rater-agreement-preference")["n_items"] == 16).all()


def test_people_are_compared_by_name(tmp_path):
    items = gallery(("a",))
    rng = np.random.default_rng(5)
    other = [
        GalleryItem("02", "a", one.test_set, one.stimulus_id, one.seen, rng.permutation(one.reconstructed))
        for one in items
    ]
    study = Study(tmp_path, RatingPage([*items, *other], task="which-better", compare="subject"))
    score_ratings(study.out, [study.rated("r1", lambda trial, rng: trial.target)])
    scores = study.scores("human-preference")
    assert (
        scores.loc[("007", "a", "natural"), "value"] == 1 and scores.loc[("02", "a", "shapes"), "value"] == 0
    )
    assert scores.loc[("02", "a", "shapes"), "note"].endswith("; against sub-007")


def test_raters_who_fail_catch_trials_are_left_out_and_named(study):
    def careless(trial: Trial, rng: np.random.Generator) -> int:
        return 1 - trial.target

    good, bad = study.rated("r1", right), study.rated("r2", careless)
    outcome = score_ratings(study.out, [good, bad])
    assert outcome.raters == ["r1"]
    (reason,) = outcome.left_out
    assert "rater r2 answered 0 of 12 catch trials" in reason and "80%" in reason
    assert (study.scores("human-two-way")["value"] == 1).all()
    assert score_ratings(study.out, [], catch_threshold=0).raters == ["r1", "r2"]
    with pytest.raises(DataError, match=r"no ratings to score: .*r2 answered 0 of 12"):
        score_ratings(Study(study.folder / "other").out, [bad])
    first_catch = next(k for k, trial in enumerate(draw_trials(study.page, "r3")) if trial.catch)
    outcome = score_ratings(study.out, [study.rated("r3", right, n=first_catch)])
    assert any("r3 answered 0 of 0 catch trials" in reason for reason in outcome.left_out)


def test_other_rows_stay_letter_by_letter_and_older_ratings_are_replaced(study):
    score_ratings(study.out, [study.rated("r1", right)])
    lines = study.table.read_text().splitlines()
    assert lines[:2] == [study.header, study.old] and len(lines) == 2 + 8
    place = list(METRIC_COLUMNS).index("protocol")
    assert all(line.split("\t")[place] == PROTOCOL for line in lines[2:])
    score_ratings(study.out, [study.rated("r2", wrong_on_shapes)])
    assert study.table.read_text().splitlines()[:2] == [study.header, study.old]
    assert len(study.table.read_text().splitlines()) == 2 + 8
    assert study.scores("human-two-way").loc[("007", "a", "shapes"), "value"] == 0.5
    kept = sorted(file.name for file in (study.out / "group" / "ratings").iterdir())
    assert kept == [f"rating-{study.page['page']}-{rater}.json" for rater in ("r1", "r2")]


def test_a_half_way_file_is_followed_by_the_full_one(study):
    half, full = study.rated("r1", right, n=40), study.rated("r1", right)
    score_ratings(study.out, [half])
    (kept,) = (study.out / "group" / "ratings").iterdir()
    assert kept.read_bytes() == half.read_bytes()
    score_ratings(study.out, [full, half])
    assert kept.read_bytes() == full.read_bytes()
    score_ratings(study.out, [half])
    assert kept.read_bytes() == full.read_bytes()


def test_two_people_under_one_id_are_refused(study):
    content = study.content("r1", right)
    content["trials"][3]["answer"] = 3 - content["trials"][3]["answer"]
    other = study.file("other.json", content)
    before = study.table.read_text()
    with pytest.raises(DataError, match=r"other\.json: has other answers of r1 than .*r1-None\.json"):
        score_ratings(study.out, [study.rated("r1", right), other])
    assert study.table.read_text() == before and not (study.out / "group" / "ratings").exists()


def changed(path: str, value: Any) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        *keys, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
        for key in keys:
            content = content[key]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("format", "something"), "holds no ratings that this version can read"),
        (changed("version", 2), "holds no ratings that this version can read"),
        (changed("page", "0" * 16), "answers another page than that of this output folder"),
        (changed("page", [1]), "does not say which page it answers"),
        (changed("rater", "../../etc"), "has no valid id of a rater"),
        (changed("rater", 7), "has no valid id of a rater"),
        (changed("rater", "r2"), "trial 1 is not what the page asks this rater there"),
        (changed("trials", []), "has no answers"),
        (changed("trials", {"0": 1}), "has no answers"),
        (changed("trials.2", "x"), "trial 3 is not an object"),
        (changed("trials.2.candidates", []), "trial 3 is not what the page asks"),
        (changed("trials.2.stimulus_id", "p99"), "trial 3 is not what the page asks"),
        (changed("trials.2.more", 1), "trial 3 is not what the page asks"),
        (changed("trials.0.answer", 3), "answer of trial 1 is not a whole number from 1 to 2"),
        (changed("trials.0.answer", 0), "answer of trial 1 is not a whole number"),
        (changed("trials.0.answer", True), "answer of trial 1 is not a whole number"),
        (changed("trials.0.answer", 1.0), "answer of trial 1 is not a whole number"),
        (changed("trials.0.reaction_ms", -1), "reaction time of trial 1 is not a number"),
        (changed("trials.0.reaction_ms", float("nan")), "reaction time of trial 1 is not a number"),
        (changed("trials.0.reaction_ms", 10**400), "reaction time of trial 1 is not a number"),
        (changed("trials.0.reaction_ms", None), "reaction time of trial 1 is not a number"),
        (changed("ended", None), "'ended' is not a time"),
        (changed("started", "yesterday"), "'started' is not a time"),
    ],
)
def test_files_that_the_page_did_not_save_are_refused(study, change, message):
    content = copy.deepcopy(study.content("r1", right))
    change(content)
    file = study.file("bad.json", content)
    before = study.table.read_text()
    with pytest.raises(DataError, match=message) as caught:
        score_ratings(study.out, [study.rated("r0", right), file])
    assert str(caught.value).startswith(f"{file}: ")
    assert study.table.read_text() == before and not (study.out / "group" / "ratings").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "should hold a JSON object"),
        (100000 * "[", "is not valid JSON"),
        ('{"version": ' + 5000 * "9" + "}", "is not valid JSON"),
    ],
)
def test_text_that_is_no_object_is_refused(study, text, message):
    with pytest.raises(DataError, match=message):
        score_ratings(study.out, [study.file("bad.json", text)])


def test_too_many_answers_and_too_many_bytes_are_refused(study, monkeypatch):
    content = study.content("r1", right)
    content["trials"].append(content["trials"][0])
    file = study.file("bad.json", content)
    with pytest.raises(DataError, match="answers, but the page asks r1"):
        score_ratings(study.out, [file])
    monkeypatch.setattr("bids_recon.workflow.rating_files.MAX_BYTES", 2**10)
    with pytest.raises(DataError, match="is larger than"):
        score_ratings(study.out, [file])


def test_kept_files_of_an_earlier_page_are_left_out_and_named(study):
    score_ratings(study.out, [study.rated("r1", right)])
    study.page = study.add_page("rating.html", RatingPage(gallery(seed=1)))
    outcome = score_ratings(study.out, [study.rated("r2", right)])
    assert outcome.raters == ["r2"]
    (reason,) = outcome.left_out
    assert "-r1.json: answers an earlier page" in reason


def test_several_pages_are_scored_together_unless_they_ask_the_same(study):
    better = study.add_page("rating-better.html", RatingPage(gallery(), task="which-better"))
    files = [study.rated("r1", right), study.file("better.json", study.content("r1", right, page=better))]
    rows = score_ratings(study.out, files).rows
    assert set(rows["metric"]) == {
        *("human-two-way", "human-preference", "rater-agreement", "rater-agreement-preference")
    }
    assert not rows.duplicated(["subject", "method", "test_set", "metric", "protocol"]).any()
    assert len(set(AGREEMENT.values())) == len(AGREEMENT)
    study.add_page("rating-again.html", RatingPage(gallery(), seed=3))
    with pytest.raises(DataError, match=r"asks the same kind of question as .*rating-again\.html"):
        score_ratings(study.out, files)


def test_what_is_missing_is_named(study):
    with pytest.raises(MissingInputError, match=r"nobody\.json: is no file of ratings"):
        score_ratings(study.out, [study.folder / "nobody.json"])
    with pytest.raises(DataError, match="no ratings to score: there are none in"):
        score_ratings(study.out, [])
    file = study.rated("r1", right)
    study.table.unlink()
    with pytest.raises(MissingInputError, match="there is no table of scores"):
        score_ratings(study.out, [file])
    (study.out / "group" / "rating.html").unlink()
    with pytest.raises(MissingInputError, match=r"rating\.html: there is no page for raters"):
        score_ratings(study.out, [file])


def test_a_changed_page_is_refused(study):
    page = study.out / "group" / "rating.html"
    text = page.read_text()
    for old, new, message in (
        ('"max_trials":300', '"max_trials":299', "was changed after it was written"),
        ('"version":1', '"version":2', "is no page for raters that this version can read"),
        ('id="rating-data"', 'id="other"', "is no page for raters"),
        ('"groups":[', '"groups":[,', "is damaged"),
    ):
        assert text.count(old) == 1
        page.write_text(text.replace(old, new))
        with pytest.raises(ReconError, match=message):
            score_ratings(study.out, [])
