"""Before any fit: does something of the test set reach the training?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from bids_recon.dataset.splits import Split, rows_of
from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.errors import DataError

NEAR_DUPLICATE_R = 0.99
SHOWN = 50


@dataclass(frozen=True)
class Check:
    """One question of the audit.

    Attributes
    ----------
    name : str
    severity : {"error", "warning", "info"}
        What it means when the check does not pass: only an error stops the run.
    passed : bool
    detail : str
        The finding, in a sentence.
    items : list of str
        What was found, up to 50 entries.
    """

    name: str
    severity: Literal["error", "warning", "info"]
    passed: bool
    detail: str
    items: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LeakAudit:
    """Findings for one participant."""

    split: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no error was found."""
        return all(check.passed or check.severity != "error" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Content for JSON."""
        return {
            "split": self.split,
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
        }

    def stop_on_leak(self, subject: str) -> None:
        """Raise when training and test share what they must not.

        Raises
        ------
        DataError
            Naming the first findings and the options that go on regardless.
        """
        failed = [check for check in self.checks if not check.passed and check.severity == "error"]
        if failed:
            first = failed[0]
            listed = ", ".join(first.items[:3]) + (" ..." if len(first.items) > 3 else "")
            raise DataError(
                f"sub-{subject}: the leak audit found a problem: {first.detail} ({listed})",
                remedy="Leave these pictures out with --session-label, --task-id or --split, or go on with"
                " --on-leak allow. The audit is in logs/leak-audit.json."
                if "earlier training" in first.name
                else "Change --split, drop shared pictures from training with --on-leak drop, or go on with"
                " --on-leak allow. The audit is in logs/leak-audit.json.",
            )


def audit_leaks(
    trials: pd.DataFrame,
    split: Split,
    stimuli: StimulusSet,
    *,
    extra_hashes: Mapping[str, str] | None = None,
    legacy_test_statistics: bool = False,
    trained_before: Mapping[str, str] | None = None,
) -> LeakAudit:
    """Look for everything by which test pictures could reach a fit.

    Parameters
    ----------
    trials : DataFrame
        With the column `set` of `make_split`.
    split : Split
    stimuli : StimulusSet
        Pictures that are missing are left out of the checks of content, which say so.
    extra_hashes : mapping, optional
        `picture_hash` of each extra picture, by file name.
    legacy_test_statistics : bool
        Recorded as a finding, since it uses the test set by intention.
    trained_before : mapping, optional
        `picture_hash` by stimulus id ("" where it is not known) of what decoders of an earlier run were
        trained on.
    """
    checks = [_shared_ids(split)]
    if trained_before is not None:
        checks.append(_trained_before(split, stimuli, trained_before))
    available = [name for name in split.stimuli if stimuli.stimuli[name].available]
    absent = len(split.stimuli) - len(available)
    checks += _shared_content(split, stimuli, set(available), absent)
    checks.append(_near_duplicates(split, stimuli, set(available)))
    if extra_hashes is not None:
        checks.append(_extra_pictures(split, stimuli, set(available), extra_hashes))
    checks.append(_shared_categories(split, stimuli))
    checks.append(_shared_runs(trials, split))
    checks.append(
        Check(
            "test statistics",
            "warning",
            not legacy_test_statistics,
            "Test-set statistics are used, as published (--legacy-test-statistics)"
            if legacy_test_statistics
            else "Every statistic comes from training trials",
        )
    )
    return LeakAudit(split.rule, tuple(checks))


def _tested(split: Split) -> dict[str, set[str]]:
    return {fold.name: {name for ids in fold.test.values() for name in ids} for fold in split.folds}


def _shared_ids(split: Split) -> Check:
    tested = _tested(split)
    shared = sorted({name for fold in split.folds for name in fold.train if name in tested[fold.name]})
    detail = (
        f"{len(shared)} stimuli are in training and in test"
        if shared
        else "No stimulus is in training and in test"
    )
    return Check("shared stimulus", "error", not shared, detail, shared[:SHOWN])


def _shared_content(split: Split, stimuli: StimulusSet, available: set[str], absent: int) -> list[Check]:
    tested = _tested(split)
    found: dict[tuple[str, str], None] = {}
    for fold in split.folds:
        owners: dict[str, str] = {}
        for name in fold.train:
            if name in available:
                owners.setdefault(stimuli.content_hash(name), name)
        for name in sorted(tested[fold.name] & available):
            owner = owners.get(stimuli.content_hash(name))
            if owner is not None and owner != name:
                found[owner, name] = None
    items = [f"{train} = {test}" for train, test in found]
    detail = (
        f"{len(items)} pictures are in training and in test under different names"
        if items
        else "No picture is in training and in test under different names"
    )
    checks = [Check("same picture, other name", "error", not items, detail, items[:SHOWN])]
    if absent:
        missing = f"{absent} pictures are missing and were not compared"
        checks.append(Check("pictures compared", "warning", False, missing))
    return checks


def _near_duplicates(split: Split, stimuli: StimulusSet, available: set[str]) -> Check:
    """Correlate small grey versions, which finds crops, re-encodings and slight changes."""
    small = {name: _thumbnail(stimuli.image(name)) for name in split.stimuli if name in available}
    tested = _tested(split)
    found: dict[str, float] = {}
    nearest: dict[str, float] = {}
    for fold in split.folds:
        train = [name for name in fold.train if name in small]
        test = sorted(tested[fold.name] & set(small))
        if not train or not test:
            continue
        r = np.stack([small[name] for name in test]) @ np.stack([small[name] for name in train]).T
        for row, name in enumerate(test):
            best = int(np.argmax(r[row]))
            nearest[name] = float(r[row, best])
            if r[row, best] > NEAR_DUPLICATE_R and train[best] != name:
                found[f"{name} ~ {train[best]} (r = {r[row, best]:.3f})"] = float(r[row, best])
    detail = f"{len(found)} test pictures nearly equal a training picture" if found else "No near-duplicates"
    if nearest:
        typical = np.median(list(nearest.values()))
        detail += f"; the median test picture's nearest training picture has r = {typical:.2f}"
    return Check("near-duplicate pictures", "warning", not found, detail, sorted(found)[:SHOWN])


def _thumbnail(picture: NDArray[np.uint8], size: int = 32) -> NDArray[np.float32]:
    resized = Image.fromarray(picture).convert("L").resize((size, size), Image.Resampling.BOX)
    grey = np.asarray(resized, dtype=np.float32).ravel()
    centred = grey - grey.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 0 else centred


def _extra_pictures(
    split: Split, stimuli: StimulusSet, available: set[str], extra_hashes: Mapping[str, str]
) -> Check:
    test = {name for ids in split.test_sets.values() for name in ids} & available
    hashes = {stimuli.content_hash(name): name for name in test}
    found = sorted(f"{file} = {hashes[value]}" for file, value in extra_hashes.items() if value in hashes)
    detail = (
        f"{len(found)} extra pictures are test pictures" if found else "No extra picture is a test picture"
    )
    return Check("extra pictures", "error", not found, detail, found[:SHOWN])


def _trained_before(split: Split, stimuli: StimulusSet, trained_before: Mapping[str, str]) -> Check:
    known = {value for value in trained_before.values() if value}

    def was_seen(name: str) -> bool:
        content = stimuli.content_hash(name) if stimuli.stimuli[name].available else ""
        # Two data sets may number different pictures alike: pixels decide where both are known.
        same_id = name in trained_before and not (content and trained_before[name])
        return same_id or content in known

    found = sorted(filter(was_seen, {name for ids in split.test_sets.values() for name in ids}))
    detail = (
        f"{len(found)} pictures are among those that the decoders were trained on"
        if found
        else "The decoders were trained on none of the pictures"
    )
    return Check("pictures of the earlier training", "error", not found, detail, found[:SHOWN])


def _shared_categories(split: Split, stimuli: StimulusSet) -> Check:
    tested = _tested(split)
    shared: set[str] = set()
    for fold in split.folds:
        train = {stimuli.category(name) for name in fold.train}
        shared |= ({stimuli.category(name) for name in tested[fold.name]} & train) - {""}
    detail = (
        f"{len(shared)} categories are in training and in test" if shared else "No known category is in both"
    )
    return Check("shared category", "info", not shared, detail, sorted(shared)[:SHOWN])


def _shared_runs(trials: pd.DataFrame, split: Split) -> Check:
    run = trials["session"].astype(str) + "/" + trials["task"].astype(str) + "/" + trials["run"].astype(str)
    shared: set[str] = set()
    for fold in split.folds:
        training = set(run[rows_of(trials, "train", fold.train)])
        for name, ids in fold.test.items():
            shared |= training & set(run[rows_of(trials, name, ids)])
    detail = (
        f"{len(shared)} runs hold training and test trials: drifts and overlapping responses may be shared"
        if shared
        else "No run holds training and test trials"
    )
    return Check("shared run", "info", not shared, detail, sorted(shared)[:SHOWN])
