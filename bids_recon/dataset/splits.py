"""Which stimuli train, which test. Splits are by stimulus, never by trial."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.stimulus_rules import SplitRule
from bids_recon.errors import DataError, NothingSelectedError, UsageError

TRAIN = "train"
HELD_OUT = "heldout"
BY_PATTERN = frozenset({"session", "task", "column"})
NOTHING_FITTED = "none: every picture is decoded"
ELSEWHERE = "Choose runs that train too (--session-label, --task-id), or give earlier decoders (--decoders)."
GRAMMAR = (
    "Write session:train=REGEX,NAME=REGEX or task:... or column:COLUMN:train=REGEX,NAME=REGEX"
    " or repeats:N or kfold:K or leave-one-stimulus-out."
)


@dataclass(frozen=True)
class Fold:
    """One division of the stimuli.

    Attributes
    ----------
    name : str
        Alphanumeric; "0" when there is one fold only.
    train : tuple of str
        Stimulus ids to learn from.
    test : dict of str to tuple of str
        Stimulus ids of each test set.
    """

    name: str
    train: tuple[str, ...]
    test: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Split:
    """A rule and the folds it made; in several folds, each stimulus is tested once."""

    rule: str
    folds: tuple[Fold, ...]

    @property
    def test_sets(self) -> dict[str, tuple[str, ...]]:
        """Stimulus ids of each test set, over all folds."""
        pooled: dict[str, list[str]] = {}
        for fold in self.folds:
            for name, ids in fold.test.items():
                pooled.setdefault(name, []).extend(ids)
        return {name: tuple(dict.fromkeys(ids)) for name, ids in pooled.items()}

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Every stimulus id that trains or tests."""
        train = (name for fold in self.folds for name in fold.train)
        test = (name for ids in self.test_sets.values() for name in ids)
        return tuple(dict.fromkeys([*train, *test]))

    @property
    def fits(self) -> bool:
        """Whether anything trains."""
        return any(fold.train for fold in self.folds)

    def without_shared(self, key: Callable[[str], str] = str) -> Split:
        """Drop from training what is also tested.

        `key` gives what identifies a stimulus: its id, or the content of its picture.
        """
        folds = []
        for fold in self.folds:
            tested = {key(name) for ids in fold.test.values() for name in ids}
            kept = tuple(name for name in fold.train if key(name) not in tested)
            if not kept:
                raise DataError(
                    "every training stimulus is also a test stimulus", remedy="Choose another --split."
                )
            folds.append(replace(fold, train=kept))
        return Split(self.rule, tuple(folds))


def rows_of(trials: pd.DataFrame, set_name: str, stimulus_ids: Iterable[str]) -> NDArray[np.bool_]:
    """Trials (n_trials,) of a set: of one of its stimuli, and not given to another set by the rule."""
    of_set = trials["set"].isin([set_name, ""])
    return (of_set & trials["stimulus_id"].isin(list(stimulus_ids))).to_numpy()


def test_only(trials: pd.DataFrame, rule: SplitRule | None = None) -> tuple[pd.DataFrame, Split]:
    """Make every picture a test picture: for decoders that were fitted before.

    Without a rule, what was seen and what was imagined are test sets of their own.

    Parameters
    ----------
    trials : DataFrame
    rule : SplitRule, optional
        By session, task or column: its test sets; what it would train on is left out.

    Returns
    -------
    trials : DataFrame
        A copy with the column `set`: the kind of each trial, "none" for rows without a stimulus id.
    split : Split
        One fold without training stimuli.

    Raises
    ------
    UsageError
        When the rule is of another kind.
    NothingSelectedError
        When nothing is left to decode.
    """
    if rule is not None and rule.kind not in BY_PATTERN:
        raise UsageError(
            f"--split {describe(rule)} makes no sense with --decoders: nothing is held out",
            remedy="Leave it out, or name test sets by session, task or column.",
        )
    sets = trials["kind"] if rule is None else _sets_by_pattern(trials, rule).replace(TRAIN, "none")
    trials = trials.assign(set=sets.where(trials["stimulus_id"] != "", "none"))
    test = {
        str(name): tuple(dict.fromkeys(own["stimulus_id"]))
        for name, own in trials[trials["set"] != "none"].groupby("set", sort=False)
    }
    if not test:
        raise NothingSelectedError("there are no trials with pictures to decode")
    rule_text = NOTHING_FITTED if rule is None else f"{describe(rule)}, of which nothing is fitted"
    return trials, Split(rule_text, (Fold("0", (), test),))


def parse_split(text: str) -> SplitRule:
    """Read the `--split` option.

    Raises
    ------
    UsageError
        When the text is not of the grammar.
    """
    kind, _, rest = text.partition(":")
    if kind == "leave-one-stimulus-out" and not rest:
        return SplitRule(kind=kind)
    if kind in {"kfold", "repeats"}:
        if not rest.isdecimal() or int(rest) < 2:
            raise UsageError(f"--split {text}: '{rest}' is not a whole number above one", remedy=GRAMMAR)
        return SplitRule(kind=kind, k=int(rest)) if kind == "kfold" else SplitRule(kind=kind, count=int(rest))
    column = ""
    if kind == "column":
        column, _, rest = rest.partition(":")
    if kind not in {"session", "task", "column"} or (kind == "column" and not column) or not rest:
        raise UsageError(f"--split {text}: not understood", remedy=GRAMMAR)
    patterns: dict[str, str] = {}
    for item in re.split(r",(?=[A-Za-z0-9]+=)", rest):
        name, equals, pattern = item.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9]+", name) or name in patterns:
            raise UsageError(f"--split {text}: '{item}' is not NAME=REGEX with a new name", remedy=GRAMMAR)
        _compile(pattern, text)
        patterns[name] = pattern
    train = patterns.pop(TRAIN, None)
    if train is None or not patterns:
        raise UsageError(f"--split {text}: needs train= and at least one test set", remedy=GRAMMAR)
    return SplitRule(kind=kind, train=train, test=patterns, column=column)


def _compile(pattern: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--split {where}: '{pattern}' is not a regular expression ({error})") from error


def describe(rule: SplitRule) -> str:
    """Write a rule as the option that would make it."""
    if rule.kind == "kfold":
        return f"kfold:{rule.k}"
    if rule.kind == "repeats":
        return f"repeats:{rule.count}"
    if rule.kind in BY_PATTERN:
        sets = ",".join(f"{name}={pattern}" for name, pattern in {TRAIN: rule.train, **rule.test}.items())
        return f"column:{rule.column}:{sets}" if rule.kind == "column" else f"{rule.kind}:{sets}"
    return rule.kind


def default_rule(trials: pd.DataFrame) -> SplitRule:
    """Without any rule: folds over stimuli, which can always be made and never leak."""
    n_stimuli = trials.loc[trials["stimulus_id"] != "", "stimulus_id"].nunique()
    return SplitRule(kind="kfold", k=5) if n_stimuli >= 10 else SplitRule(kind="leave-one-stimulus-out")


def make_split(trials: pd.DataFrame, rule: SplitRule, *, seed: int = 0) -> tuple[pd.DataFrame, Split]:
    """Apply a rule to the trials of one participant.

    Parameters
    ----------
    trials : DataFrame
        See `bids_recon.dataset.trials`. Rows without a stimulus id belong to no set.
    rule : SplitRule
    seed : int
        Seed of the folds, which depend on it and on the ids only, so that people who saw the same pictures
        get the same folds.

    Returns
    -------
    trials : DataFrame
        A copy with the column `set`: the set a rule by session, task or column gave each trial, "none" for
        trials that it leaves out, and "" throughout for rules by stimulus.
    split : Split

    Raises
    ------
    DataError, NothingSelectedError
        When the rule leaves no training or no test stimuli, or names a column that is not there.
    """
    trials = trials.copy()
    seen = trials["stimulus_id"] != ""
    if rule.kind in BY_PATTERN:
        trials["set"] = _sets_by_pattern(trials, rule).where(seen, "none")
        by_set = {
            name: tuple(dict.fromkeys(trials.loc[trials["set"] == name, "stimulus_id"]))
            for name in (TRAIN, *rule.test)
        }
        train = by_set.pop(TRAIN)
        test = {name: ids for name, ids in by_set.items() if ids}
        return trials, _checked(Split(describe(rule), (Fold("0", train, test),)))
    # Imagery is of pictures that were seen: it is tested with a decoder of perception, in no fold of its own.
    trials["set"] = np.where(seen & (trials["kind"] == "perception"), "", "none")
    perceived = trials.loc[trials["set"] == "", "stimulus_id"]
    ids = tuple(dict.fromkeys(perceived))
    if not ids and seen.any():
        raise NothingSelectedError(
            f"there is imagery only, and the split {describe(rule)} divides pictures that were seen",
            remedy=ELSEWHERE,
        )
    if rule.kind == "repeats":
        counts = perceived.value_counts()
        test_ids = tuple(name for name in ids if counts[name] >= (rule.count or 2))
        train = tuple(name for name in ids if counts[name] < (rule.count or 2))
        fold = Fold("0", train, {"test": test_ids} if test_ids else {})
        return trials, _checked(Split(describe(rule), (fold,)))
    return trials, _checked(Split(describe(rule), _folds(ids, rule, seed)))


def _folds(ids: tuple[str, ...], rule: SplitRule, seed: int) -> tuple[Fold, ...]:
    if len(ids) < 2:
        raise DataError(
            f"{len(ids)} stimuli cannot be split", remedy="At least two different pictures are needed."
        )
    k = len(ids) if rule.kind == "leave-one-stimulus-out" else (rule.k or 5)
    if k > len(ids):
        raise DataError(
            f"{len(ids)} stimuli cannot make {k} folds", remedy=f"Use --split kfold:{len(ids)} or less."
        )
    order = [str(name) for name in np.random.default_rng(seed).permutation(sorted(ids))]
    if rule.kind == "leave-one-stimulus-out":
        order = sorted(ids)
    held_out = [set(order[start::k]) for start in range(k)]
    width = len(str(k - 1))
    return tuple(
        Fold(
            f"{number:0{width}d}",
            tuple(name for name in ids if name not in tested),
            {HELD_OUT: tuple(name for name in ids if name in tested)},
        )
        for number, tested in enumerate(held_out)
    )


def _sets_by_pattern(trials: pd.DataFrame, rule: SplitRule) -> pd.Series[str]:
    column = rule.column if rule.kind == "column" else rule.kind
    if column not in trials.columns:
        raise DataError(
            f"--split by column '{column}': the events have no such column",
            remedy=f"Columns: {', '.join(map(str, trials.columns))}.",
        )
    values = trials[column].astype(str)
    sets = pd.Series("none", index=trials.index, dtype=object)
    for name, pattern in {TRAIN: rule.train or "", **rule.test}.items():
        whole = _compile(pattern, describe(rule)).fullmatch
        matched = values.map(lambda value, whole=whole: whole(value) is not None).astype(bool)
        if twice := sorted(set(sets[matched]) - {"none"}):
            raise UsageError(f"--split {describe(rule)}: a trial falls into both '{twice[0]}' and '{name}'")
        sets[matched] = name
    return sets


def _checked(split: Split) -> Split:
    if any(not fold.train for fold in split.folds):
        raise NothingSelectedError(
            f"the split {split.rule} leaves no training stimuli",
            remedy=f"Check its patterns against the plan. {ELSEWHERE}",
        )
    if not split.test_sets:
        raise NothingSelectedError(
            f"the split {split.rule} leaves no test stimuli",
            remedy="Check its patterns, --session-label and --task-id against the plan.",
        )
    return split
