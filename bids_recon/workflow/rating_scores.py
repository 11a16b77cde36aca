"""From the files of raters to rows of `group/metrics.tsv`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_recon.errors import DataError, MissingInputError
from bids_recon.metrics.rater_agreement import agreement_of_choices
from bids_recon.metrics.ratings import score_answers
from bids_recon.outputs.atomic import atomic_path, write_tsv
from bids_recon.outputs.reading import read_tsv
from bids_recon.report.rating_page import read_rating_page
from bids_recon.workflow.column_notes import METRIC_COLUMNS
from bids_recon.workflow.rating_files import RaterFile, longest_of_each, read_rater_file
from bids_recon.workflow.region_names import method_and_region

PROTOCOL = "ratings-1"
CATCH_THRESHOLD = 0.8
"""Share of catch trials that a rater has to get right, to be counted."""

AGREEMENT = {
    "human-two-way": "rater-agreement",
    "human-n-way": "rater-agreement-n-way",
    "human-preference": "rater-agreement-preference",
}
"""Name of the agreement, by the metric on whose trials it rests."""

DECIMALS = 6
_AGAIN = "Run the group level again."


@dataclass(frozen=True)
class RatingOutcome:
    """What became of the files.

    Attributes
    ----------
    rows : DataFrame
        Columns `METRIC_COLUMNS`: what was put into `group/metrics.tsv`.
    raters : list of str
        Who was counted.
    left_out : list of str
        Files that were not counted, each with the reason.
    """

    rows: pd.DataFrame
    raters: list[str]
    left_out: list[str]


def score_ratings(
    output_dir: Path, files: Sequence[Path], catch_threshold: float = CATCH_THRESHOLD
) -> RatingOutcome:
    """Score files of raters, together with those that were handed in before, into `group/metrics.tsv`.

    Rows of other protocols stay as they are, those of `ratings-1` are replaced. The files are kept in
    `group/ratings`. Nothing is written unless every file is in order.

    Parameters
    ----------
    output_dir : Path
        Output folder of a finished group level.
    files : sequence of Path
        New files; may be empty, which scores the kept ones again.
    catch_threshold : float
        Share of catch trials a rater has to get right, 0 to 1.

    Raises
    ------
    MissingInputError
        When there is no page for raters, no table of scores, or no file.
    DataError
        When a file is damaged, answers another page, contradicts another of the same rater, or when no rater
        is left.
    """
    group_dir = output_dir / "group"
    table_file, kept_dir = group_dir / "metrics.tsv", group_dir / "ratings"
    pages = _pages(group_dir)
    table = _table(table_file)
    found, left_out = _read(files, sorted(kept_dir.glob("*.json")), pages)
    handed_in = longest_of_each(found)
    counted = []
    for one in handed_in:
        right, n_catch = one.caught()
        if n_catch and right / n_catch >= catch_threshold:
            counted.append(one)
        else:
            left_out.append(
                f"{one.file}: rater {one.rater} answered {right} of {n_catch} catch trials rightly "
                f"(at least {catch_threshold:.0%} of one or more are asked for)"
            )
    if not counted:
        reasons = "; ".join(left_out) or f"there are none in {kept_dir}"
        raise DataError(f"no ratings to score: {reasons}", remedy="Name files that raters saved.")
    answers = [row for one in counted for row in _answers(one, pages[one.page])]
    if not answers:
        raise DataError("answers catch trials only", file=counted[0].file, remedy="Let the rater go on.")
    rows = _rows(pd.DataFrame(answers))
    for one in handed_in:
        kept = kept_dir / f"rating-{one.page}-{one.rater}.json"
        if one.file != kept:
            with atomic_path(kept) as temporary:
                temporary.write_bytes(one.file.read_bytes())
    old = table[table["protocol"] != PROTOCOL]
    write_tsv(table_file, pd.concat([old, rows.astype(object)], ignore_index=True))
    return RatingOutcome(rows, sorted({one.rater for one in counted}), left_out)


def _pages(group_dir: Path) -> dict[str, dict[str, Any]]:
    files = sorted(group_dir.glob("rating*.html"))
    if not files:
        raise MissingInputError("there is no page for raters", file=group_dir / "rating.html", remedy=_AGAIN)
    pages: dict[str, dict[str, Any]] = {}
    asked: dict[str, Path] = {}
    for file in files:
        page = read_rating_page(file)
        other = asked.setdefault(_metric(page), file)
        if other != file:
            remedy = "Keep one of them."
            raise DataError(f"asks the same kind of question as {other}", file=file, remedy=remedy)
        pages[page["page"]] = page
    return pages


def _table(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise MissingInputError("there is no table of scores", file=file, remedy="Run the group level first.")
    # All as text, so that what stays is written as it was.
    table = read_tsv(file, METRIC_COLUMNS, remedy=_AGAIN)
    if list(table.columns) != list(METRIC_COLUMNS):
        raise DataError("has not the columns of this version", file=file, remedy=_AGAIN)
    return table


def _read(
    files: Sequence[Path], kept: Sequence[Path], pages: Mapping[str, Mapping[str, Any]]
) -> tuple[list[RaterFile], list[str]]:
    found, left_out = [], []
    for file in kept:
        one = read_rater_file(file, pages)
        if one is None:
            left_out.append(f"{file}: answers an earlier page; pictures or questions have changed since")
        else:
            found.append(one)
    for file in files:
        one = read_rater_file(file, pages)
        if one is None:
            raise DataError(
                "answers another page than that of this output folder",
                file=file,
                remedy="Pictures or questions have changed since: score it with the page it was made with.",
            )
        found.append(one)
    return found, left_out


def _metric(page: Mapping[str, Any]) -> str:
    if page["task"] == "which-better":
        return "human-preference"
    return "human-two-way" if page["alternatives"] == 2 else "human-n-way"


def _answers(one: RaterFile, page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each answer, catch trials left out; for a preference one for each of the two sources."""
    common = {"metric": _metric(page), "rater": one.rater, "alternatives": page["alternatives"]}
    for trial, answer in zip(one.trials, one.answers, strict=True):
        if trial.catch:
            continue
        # The same order for every rater, whatever the sides were.
        number = sorted(json.dumps(shown, sort_keys=True) for shown in trial.candidates).index(
            json.dumps(trial.candidates[answer], sort_keys=True)
        )
        row = {**common, "trial": (trial.unit, trial.variant), "choice": number, **trial.about}
        right = trial.candidates[trial.target]
        if "subject" in trial.about:
            yield {
                **row,
                "item": trial.about["stimulus_id"],
                "picture": right["picture"],
                "in_favour": answer == trial.target,
            }
            continue
        row |= {"item": trial.about["stimulus_id"], "picture": trial.question}
        for source, rival in (trial.candidates, trial.candidates[::-1]):
            yield {
                **row,
                **{name: source[name] for name in ("subject", "method")},
                "rival": _name_of(rival, source),
                "in_favour": trial.candidates[answer] is source,
            }


def _name_of(rival: Mapping[str, Any], source: Mapping[str, Any]) -> str:
    return rival["method"] if rival["method"] != source["method"] else f"sub-{rival['subject']}"


def _rows(answers: pd.DataFrame) -> pd.DataFrame:
    rows = []
    names = ["metric", "subject", "method", "test_set"]
    for key, part in answers.groupby(names, sort=False):
        metric, *who = map(str, key)
        score = score_answers(part["in_favour"], part["rater"], part["item"], part["picture"])
        alternatives = int(part["alternatives"].iloc[0])
        shares = score.by_rater.values()
        note = (
            f"chance {1 / alternatives:.3g}; raters: {len(shares)}, {min(shares):.2f} to {max(shares):.2f}; "
            f"answers: {score.n_answers}"
        )
        if metric == "human-preference":
            note += f"; against {', '.join(sorted(part['rival'].unique()))}"
        subject, shown, test_set = who
        method, region = method_and_region(shown)
        identity = {"subject": subject, "method": method, "roi": region, "test_set": test_set}
        rows.append(
            {
                **identity,
                "metric": metric,
                "value": score.value,
                "ci_low": score.ci_low,
                "ci_high": score.ci_high,
                "n_items": score.n_items,
                "note": note,
            }
        )
        rows.append({**identity, "metric": AGREEMENT[metric], **_agreement(part, alternatives)})
    table = pd.DataFrame(rows).assign(protocol=PROTOCOL).reindex(columns=list(METRIC_COLUMNS))
    return table.round(DECIMALS)


def _agreement(part: pd.DataFrame, alternatives: int) -> dict[str, Any]:
    by_trial = part.pivot(index="rater", columns="trial", values="choice")
    pictures = part.drop_duplicates("trial").set_index("trial")["picture"].reindex(by_trial.columns)
    agreement = agreement_of_choices(
        by_trial.to_numpy(dtype=np.float64), alternatives, pictures.to_numpy(), seed=0
    )
    return {
        "value": agreement.value,
        "ci_low": agreement.ci_low,
        "ci_high": agreement.ci_high,
        "n_items": agreement.n_trials,
        "note": f"Krippendorff's alpha; raters: {len(by_trial)}"
        if agreement.n_trials
        else "needs trials that two raters answered",
    }
