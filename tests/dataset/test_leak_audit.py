import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bids_recon.dataset.leak_audit import Check, LeakAudit, audit_leaks
from bids_recon.dataset.splits import Fold, Split, make_split, parse_split
from bids_recon.dataset.stimuli import Stimulus, StimulusSet, picture_hash
from bids_recon.errors import DataError

RNG = np.random.default_rng(0)


def photo() -> np.ndarray:
    """A random picture (48, 48) that is smooth, as photographs are."""
    coarse = Image.fromarray(RNG.integers(0, 256, (6, 6), dtype=np.uint8))
    return np.asarray(coarse.resize((48, 48), Image.Resampling.BICUBIC))


PICTURES = {name: photo() for name in "abcd"}
SPLIT = Split("mine", (Fold("0", ("a", "b"), {"test": ("c", "d")}),))


def trials_of(split: Split, runs: str = "1122") -> pd.DataFrame:
    ids = split.stimuli
    sets = ["train" if name in split.folds[0].train else "test" for name in ids]
    table = {"session": "", "task": "x", "run": list(runs[: len(ids)]), "stimulus_id": ids, "set": sets}
    return pd.DataFrame(table)


def stimuli_of(**changed: Stimulus | np.ndarray) -> StimulusSet:
    pictures = {**PICTURES, **changed}
    return StimulusSet(
        {
            name: given if isinstance(given, Stimulus) else Stimulus(name, pattern=given)
            for name, given in pictures.items()
        }
    )


def audit(split: Split = SPLIT, runs: str = "1122", **options: object) -> LeakAudit:
    stimuli = options.pop("stimuli", stimuli_of())
    return audit_leaks(trials_of(split, runs), split, stimuli, **options)  # type: ignore[arg-type]


def check(found: LeakAudit, name: str) -> Check:
    return next(one for one in found.checks if one.name == name)


def failed(found: LeakAudit) -> list[tuple[str, str]]:
    return [(one.name, one.severity) for one in found.checks if not one.passed]


def test_independent_split_passes() -> None:
    found = audit(extra_hashes={"z.png": picture_hash(np.zeros((2, 2, 3), dtype=np.uint8))})
    assert failed(found) == []
    assert found.passed
    found.stop_on_leak("01")
    assert [one.name for one in found.checks] == [
        "shared stimulus",
        "same picture, other name",
        "near-duplicate pictures",
        "extra pictures",
        "shared category",
        "shared run",
        "test statistics",
    ]
    assert check(found, "test statistics").detail == "Every statistic comes from training trials"


def test_shared_stimulus_stops_the_run() -> None:
    split = Split("mine", (Fold("0", ("a", "b", "c"), {"test": ("c",), "other": ("b", "d")}),))
    found = audit(split)
    assert check(found, "shared stimulus").items == ["b", "c"]
    assert not found.passed
    with pytest.raises(DataError) as caught:
        found.stop_on_leak("01")
    assert caught.value.exit_code == 65
    assert str(caught.value) == (
        "sub-01: the leak audit found a problem: 2 stimuli are in training and in test (b, c)."
        " Change --split, drop shared pictures from training with --on-leak drop, or go on with"
        " --on-leak allow. The audit is in logs/leak-audit.json."
    )


def test_message_names_three_findings() -> None:
    split = Split("mine", (Fold("0", tuple("abcd"), {"test": tuple("abcd")}),))
    with pytest.raises(DataError, match=r"4 stimuli are in training and in test \(a, b, c \.\.\.\)"):
        audit(split).stop_on_leak("01")


def test_a_stimulus_may_train_and_test_in_different_folds() -> None:
    _, split = make_split(
        pd.DataFrame({"stimulus_id": list("abcd"), "kind": "perception"}), parse_split("kfold:2")
    )
    trials = trials_of(split, "1111").assign(set="")
    found = audit_leaks(trials, split, stimuli_of())
    assert found.passed
    assert failed(found) == [("shared run", "info")]


def test_same_picture_under_two_names() -> None:
    found = audit(stimuli=stimuli_of(d=PICTURES["a"].copy()))
    assert ("same picture, other name", "error") in failed(found)
    assert check(found, "same picture, other name").items == ["a = d"]
    with pytest.raises(DataError, match="1 pictures are in training and in test under different names"):
        found.stop_on_leak("01")


def test_same_picture_within_training_is_no_leak() -> None:
    assert failed(audit(stimuli=stimuli_of(b=PICTURES["a"].copy()))) == []


def brighter(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture.astype(int) // 2 + 40, 0, 255).astype(np.uint8)


def noisy(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture.astype(int) + RNG.integers(-3, 4, picture.shape), 0, 255).astype(np.uint8)


def larger(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((97, 97), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("change", [brighter, noisy, larger])
def test_changed_copy_is_a_near_duplicate(change: Callable[[np.ndarray], np.ndarray]) -> None:
    found = audit(stimuli=stimuli_of(d=change(PICTURES["a"])))
    assert failed(found) == [("near-duplicate pictures", "warning")]
    (item,) = check(found, "near-duplicate pictures").items
    assert item.startswith("d ~ a (r = ")
    assert 0.99 < float(item.split("= ")[1].rstrip(")")) <= 1.0
    assert check(found, "near-duplicate pictures").detail.startswith(
        "1 test pictures nearly equal a training"
    )
    assert found.passed
    found.stop_on_leak("01")


def test_typical_nearest_picture_is_told() -> None:
    small = [Image.fromarray(PICTURES[name]).resize((32, 32), Image.Resampling.BOX) for name in "abcd"]
    r = np.corrcoef([np.asarray(one, dtype=float).ravel() for one in small])[2:, :2]
    expected = f"nearest training picture has r = {np.median(r.max(axis=1)):.2f}"
    assert check(audit(), "near-duplicate pictures").detail.endswith(expected)


def test_uniform_pictures_are_no_duplicates() -> None:
    flat = {"a": np.zeros((8, 8), dtype=np.uint8), "d": np.full((8, 8), 200, dtype=np.uint8)}
    assert failed(audit(stimuli=stimuli_of(**flat))) == []


def test_extra_picture_that_is_a_test_picture() -> None:
    pictures = stimuli_of()
    hashes = {f"{name}.png": pictures.content_hash(name) for name in ("a", "d")}
    found = audit(extra_hashes=hashes)
    assert failed(found) == [("extra pictures", "error")]
    assert check(found, "extra pictures").items == ["d.png = d"]
    with pytest.raises(DataError, match=r"1 extra pictures are test pictures \(d\.png = d\)"):
        found.stop_on_leak("01")
    assert "extra pictures" not in [one.name for one in audit().checks]


def test_shared_category_is_told() -> None:
    def of(name: str, category: str) -> Stimulus:
        return Stimulus(name, pattern=PICTURES[name], category=category)

    found = audit(stimuli=stimuli_of(a=of("a", "dog"), b=of("b", "cat"), c=of("c", "dog"), d=of("d", "owl")))
    assert failed(found) == [("shared category", "info")]
    assert check(found, "shared category").items == ["dog"]
    assert found.passed


def test_shared_run_is_told() -> None:
    found = audit(runs="1213")
    assert failed(found) == [("shared run", "info")]
    assert check(found, "shared run").items == ["/x/1"]
    assert "1 runs hold training and test trials" in check(found, "shared run").detail
    assert found.passed


def test_legacy_test_statistics_are_a_warning() -> None:
    found = audit(legacy_test_statistics=True)
    assert failed(found) == [("test statistics", "warning")]
    assert "--legacy-test-statistics" in check(found, "test statistics").detail
    assert found.passed


def test_missing_pictures_are_told_and_the_others_compared() -> None:
    missing = Stimulus("b", wanted="stimuli/b.png")
    found = audit(stimuli=stimuli_of(b=missing, d=PICTURES["a"].copy()))
    assert check(found, "pictures compared").detail == "1 pictures are missing and were not compared"
    assert check(found, "pictures compared").severity == "warning"
    assert check(found, "same picture, other name").items == ["a = d"]


def test_no_pictures_at_all() -> None:
    found = audit(stimuli=StimulusSet({name: Stimulus(name) for name in "abcd"}))
    assert failed(found) == [("pictures compared", "warning")]
    assert check(found, "near-duplicate pictures").detail == "No near-duplicates"


def test_findings_are_cut_off_and_written_as_json() -> None:
    ids = tuple(f"n{number:03d}" for number in range(80))
    split = Split("mine", (Fold("0", ids, {"test": ids}),))
    table = {"session": "", "task": "x", "run": "1", "stimulus_id": ids, "set": "none"}
    found = audit_leaks(pd.DataFrame(table), split, StimulusSet({name: Stimulus(name) for name in ids}))
    content = json.loads(json.dumps(found.to_dict()))
    assert (content["split"], content["passed"]) == ("mine", False)
    assert content["checks"][0] == {
        "name": "shared stimulus",
        "severity": "error",
        "passed": False,
        "detail": "80 stimuli are in training and in test",
        "items": list(ids[:50]),
    }
