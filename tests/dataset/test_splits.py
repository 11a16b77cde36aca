from collections import Counter

import numpy as np
import pandas as pd
import pytest

from bids_recon.dataset.splits import (
    Fold,
    Split,
    default_rule,
    describe,
    make_split,
    parse_split,
    rows_of,
)
from bids_recon.dataset.stimulus_rules import SplitRule
from bids_recon.errors import DataError, NothingSelectedError, UsageError

IDS = tuple(f"n{number:02d}" for number in range(23))


def trials_of(ids: list[str] | tuple[str, ...], **columns: object) -> pd.DataFrame:
    defaults = {"session": "", "task": "view", "run": "1", "kind": "perception", "set": ""}
    return pd.DataFrame({"stimulus_id": list(ids), **defaults, **columns})


def sessions() -> pd.DataFrame:
    """Training in two sessions, tests and imagery in others; a rest row; one picture in both."""
    rows = [
        ("a", "train01", "perception"),
        ("b", "train02", "perception"),
        ("a", "train02", "perception"),
        ("", "train02", "perception"),
        ("c", "test01", "perception"),
        ("b", "test01", "perception"),
        ("c", "imagery01", "imagery"),
        ("d", "other", "perception"),
    ]
    ids, names, kinds = zip(*rows, strict=True)
    return trials_of(ids, session=names, kind=kinds)


# the grammar


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("kfold:5", SplitRule("kfold", k=5)),
        ("repeats:2", SplitRule("repeats", count=2)),
        ("leave-one-stimulus-out", SplitRule("leave-one-stimulus-out")),
        (r"session:train=tr\d+,test=te.*", SplitRule("session", r"tr\d+", {"test": "te.*"}, "")),
        ("task:train=a,one=b,two=c", SplitRule("task", "a", {"one": "b", "two": "c"}, "")),
        ("column:trial_type:train=exp,test=test", SplitRule("column", "exp", {"test": "test"}, "trial_type")),
        ("session:test=b,train=a", SplitRule("session", "a", {"test": "b"}, "")),
        (r"session:train=a{1,3},test=(b|c,d)", SplitRule("session", "a{1,3}", {"test": "(b|c,d)"}, "")),
        ("session:train=a:b,test=c=d", SplitRule("session", "a:b", {"test": "c=d"}, "")),
    ],
)
def test_grammar(text: str, rule: SplitRule) -> None:
    assert parse_split(text) == rule
    assert parse_split(describe(rule)) == rule


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not understood"),
        ("random", "not understood"),
        ("session", "not understood"),
        ("session:", "not understood"),
        ("column:", "not understood"),
        ("column:x", "not understood"),
        ("column::train=a,test=b", "not understood"),
        ("leave-one-stimulus-out:3", "not understood"),
        ("kfold", "'' is not a whole number above one"),
        ("kfold:1", "'1' is not a whole number above one"),
        ("kfold:2.5", "'2.5' is not a whole number above one"),
        ("kfold:²", "'²' is not a whole number above one"),
        ("repeats:-2", "'-2' is not a whole number above one"),
        ("session:train=a", "needs train= and at least one test set"),
        ("session:one=a,two=b", "needs train= and at least one test set"),
        ("session:train=a,train=b,test=c", "'train=b' is not NAME=REGEX with a new name"),
        ("session:a", "'a' is not NAME=REGEX with a new name"),
        ("session:train=a,test_1=b", "needs train= and at least one test set"),
        ("session:te-st=b,train=a", "'te-st=b' is not NAME=REGEX with a new name"),
        ("session:train=(,test=b", "'(' is not a regular expression"),
    ],
)
def test_text_that_is_not_of_the_grammar(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_split(text)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"--split {text}: ")
    assert problem in str(caught.value)


# rules by pattern


def test_split_by_session() -> None:
    given = sessions()
    trials, split = make_split(given, parse_split(r"session:train=train\d+,test=test\d+,imagery=imagery\d+"))
    assert split.rule == r"session:train=train\d+,test=test\d+,imagery=imagery\d+"
    (fold,) = split.folds
    assert fold == Fold("0", ("a", "b"), {"test": ("c", "b"), "imagery": ("c",)})
    assert trials["set"].tolist() == ["train", "train", "train", "none", "test", "test", "imagery", "none"]
    assert given["set"].tolist() == [""] * 8
    assert split.test_sets == {"test": ("c", "b"), "imagery": ("c",)}
    assert split.stimuli == ("a", "b", "c")


def test_patterns_match_in_full() -> None:
    trials, _ = make_split(sessions(), parse_split("session:train=train01,test=test01|imag"))
    assert trials["set"].tolist().count("test") == 2
    assert trials["set"].tolist().count("train") == 1


def test_split_by_task_and_by_column() -> None:
    table = trials_of("abcd", task=["x", "x", "y", "y"], code=["1", "2", "1", "n/a"])
    _, by_task = make_split(table, parse_split("task:train=x,test=y"))
    assert by_task.folds[0] == Fold("0", ("a", "b"), {"test": ("c", "d")})
    trials, by_column = make_split(table, parse_split("column:code:train=1,test=2"))
    assert by_column.folds[0] == Fold("0", ("a", "c"), {"test": ("b",)})
    assert trials["set"].tolist() == ["train", "test", "train", "none"]


def test_column_that_is_not_there() -> None:
    with pytest.raises(DataError, match="the events have no such column") as caught:
        make_split(sessions(), parse_split("column:code:train=1,test=2"))
    assert caught.value.exit_code == 65
    assert "Columns: stimulus_id, session, task, run, kind, set." in str(caught.value)


def test_trial_in_two_sets() -> None:
    with pytest.raises(UsageError, match="a trial falls into both 'train' and 'test'") as caught:
        make_split(sessions(), parse_split(r"session:train=train\d+,test=t.*"))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "side"), [("train=x,test=test01", "training"), ("train=train01,test=x", "test")]
)
def test_pattern_that_selects_nothing(text: str, side: str) -> None:
    with pytest.raises(NothingSelectedError, match=f"leaves no {side} stimuli") as caught:
        make_split(sessions(), parse_split(f"session:{text}"))
    assert caught.value.exit_code == 18
    assert text in str(caught.value)
    # Sessions that were not chosen are the usual reason.
    assert "--session-label" in str(caught.value)
    assert ("--decoders" in str(caught.value)) == (side == "training")


@pytest.mark.parametrize("text", ["kfold:2", "repeats:2", "leave-one-stimulus-out"])
def test_imagery_alone_is_not_divided_by_stimulus(text: str) -> None:
    with pytest.raises(NothingSelectedError, match="there is imagery only") as caught:
        make_split(trials_of("aabb", kind="imagery"), parse_split(text))
    assert caught.value.exit_code == 18
    assert text in str(caught.value) and "--decoders" in str(caught.value)


def test_empty_test_set_is_left_out() -> None:
    _, split = make_split(sessions(), parse_split("session:train=train01,test=test01,imagery=none"))
    assert list(split.test_sets) == ["test"]


# rules by stimulus


def test_repeats_are_counted_among_perceived_trials() -> None:
    table = trials_of(["a", "b", "a", "c", "c", "c", "", "", "", "b"], kind=["perception"] * 9 + ["imagery"])
    trials, split = make_split(table, parse_split("repeats:2"))
    assert split.folds == (Fold("0", ("b",), {"test": ("a", "c")}),)
    assert trials["set"].tolist() == [""] * 6 + ["none"] * 4
    assert make_split(table, parse_split("repeats:3"))[1].folds[0].test == {"test": ("c",)}


@pytest.mark.parametrize(("count", "side"), [(4, "test"), (2, "training")])
def test_repeats_that_leave_one_side_empty(count: int, side: str) -> None:
    with pytest.raises(NothingSelectedError, match=f"leaves no {side} stimuli"):
        make_split(trials_of("aaabb"), parse_split(f"repeats:{count}"))


@pytest.mark.parametrize(
    ("text", "n_folds"), [("kfold:5", 5), ("kfold:23", 23), ("leave-one-stimulus-out", 23)]
)
def test_folds_test_each_stimulus_once(text: str, n_folds: int) -> None:
    trials, split = make_split(trials_of([*IDS, *IDS[:7]]), parse_split(text), seed=3)
    assert len(split.folds) == n_folds
    tested = Counter(name for fold in split.folds for name in fold.test["heldout"])
    assert tested == Counter(IDS)
    for fold in split.folds:
        assert set(fold.train) == set(IDS) - set(fold.test["heldout"])
        assert len(fold.test["heldout"]) in {23 // n_folds, -(-23 // n_folds)}
    assert len({fold.name for fold in split.folds}) == n_folds
    assert set(split.stimuli) == set(IDS)
    assert set(trials["set"]) == {""}


def folds_of(ids: list[str] | tuple[str, ...], seed: int = 0) -> list[tuple[str, frozenset[str]]]:
    _, split = make_split(trials_of(ids), parse_split("kfold:5"), seed=seed)
    return [(fold.name, frozenset(fold.test["heldout"])) for fold in split.folds]


def test_folds_depend_on_seed_and_ids_only() -> None:
    # The second person saw the same pictures in another order, some of them more often.
    other = [str(name) for name in np.random.default_rng(1).permutation([*IDS, *IDS[:9]])]
    assert folds_of(IDS) == folds_of(other)
    assert folds_of(IDS, seed=1) == folds_of(other, seed=1)
    assert folds_of(IDS) != folds_of(IDS, seed=1)
    assert folds_of(IDS) != folds_of(IDS[1:])


def test_imagery_is_in_no_fold() -> None:
    table = trials_of(["a", "b", "c", "d", "a", "e"], kind=["perception"] * 4 + ["imagery"] * 2)
    trials, split = make_split(table, parse_split("kfold:2"))
    assert set(split.stimuli) == set("abcd")
    assert trials["set"].tolist() == [""] * 4 + ["none"] * 2
    assert rows_of(trials, "train", "abcde").tolist() == [True] * 4 + [False] * 2


def test_too_few_stimuli() -> None:
    with pytest.raises(
        DataError, match=r"4 stimuli cannot make 5 folds\. Use --split kfold:4 or less"
    ) as caught:
        make_split(trials_of("abcd"), parse_split("kfold:5"))
    assert caught.value.exit_code == 65
    for ids in ("a", ""):
        with pytest.raises(DataError, match=f"{len(ids)} stimuli cannot be split"):
            make_split(trials_of(ids), parse_split("leave-one-stimulus-out"))


@pytest.mark.parametrize(
    ("n_stimuli", "rule"), [(9, "leave-one-stimulus-out"), (10, "kfold:5"), (23, "kfold:5")]
)
def test_default_rule(n_stimuli: int, rule: str) -> None:
    assert describe(default_rule(trials_of([*IDS[:n_stimuli], "", *IDS[:3]]))) == rule


# rows and shared stimuli


def test_rows_of_a_set() -> None:
    trials, split = make_split(sessions(), parse_split(r"session:train=train\d+,test=test\d+"))
    fold = split.folds[0]
    # b is in training and in test; each trial counts on its own side only.
    assert np.flatnonzero(rows_of(trials, "train", fold.train)).tolist() == [0, 1, 2]
    assert np.flatnonzero(rows_of(trials, "test", fold.test["test"])).tolist() == [4, 5]
    assert np.flatnonzero(rows_of(trials, "test", ["b"])).tolist() == [5]
    assert rows_of(trials, "test", []).dtype == np.bool_


def test_shared_stimuli_are_dropped_from_training() -> None:
    _, split = make_split(sessions(), parse_split(r"session:train=train\d+,test=test\d+"))
    kept = split.without_shared()
    assert kept.folds == (Fold("0", ("a",), {"test": ("c", "b")}),)
    assert kept.rule == split.rule
    assert split.folds[0].train == ("a", "b")


def test_nothing_left_to_train_on() -> None:
    split = Split("rule", (Fold("0", ("a",), {"test": ("a", "b")}),))
    with pytest.raises(DataError, match="every training stimulus is also a test stimulus") as caught:
        split.without_shared()
    assert caught.value.exit_code == 65
