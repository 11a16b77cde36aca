"""The mean over people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_recon.outputs import scratch
from bids_recon.workflow.averaging import average_over_people
from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold


def person(latents: dict[str, list[list[float]]], space: str = "s", offset: float = 0.0) -> Decoded:
    """Someone whose trials of each stimulus decode to the given latents."""
    rows, values = [], []
    for stimulus, trials in latents.items():
        for number, trial in enumerate(trials):
            index = number if len(trials) > 1 else -1
            rows.append(("0", "test", stimulus, f"{stimulus}.png", "", "view", index, 1))
            values.append(trial)
    array = np.array(values, dtype=np.float32) + np.float32(offset)
    items = pd.DataFrame(rows, columns=list(ITEM_COLUMNS))
    floor = {"z": np.stack([array + 10, array + 20])}
    return Decoded((DecodedFold("0", items, {"z": array}, floor, {"basis": np.array([offset])}, space),))


def test_mean_over_the_people_who_saw_a_picture():
    first = person({"a": [[1.0, 2.0]], "b": [[3.0, 4.0]]})
    second = person({"b": [[5.0, 8.0]], "c": [[0.0, 0.0]]})
    mean, warnings = average_over_people({"01": first, "02": second})
    assert mean is not None
    assert mean.decoded.items["stimulus_id"].tolist() == ["b"]
    assert mean.decoded.items["n_trials"].tolist() == [2]
    np.testing.assert_array_equal(mean.decoded.folds[0].predicted["z"], [[4.0, 6.0]])
    np.testing.assert_array_equal(mean.decoded.folds[0].floor["z"], [[[14.0, 16.0]], [[24.0, 26.0]]])
    assert warnings == []


def test_single_trials_are_averaged_within_people_first():
    first = person({"a": [[0.0], [0.0], [0.0]]})
    second = person({"a": [[6.0]]})
    mean, _ = average_over_people({"01": first, "02": second})
    assert mean is not None
    np.testing.assert_array_equal(mean.decoded.folds[0].predicted["z"], [[3.0]])
    assert mean.decoded.items["n_trials"].tolist() == [4]


def test_people_with_another_latent_space_are_left_out():
    people = {"01": person({"a": [[1.0]]}), "02": person({"a": [[3.0]]})}
    mean, warnings = average_over_people({**people, "03": person({"a": [[99.0]]}, "other")})
    assert mean is not None
    np.testing.assert_array_equal(mean.decoded.folds[0].predicted["z"], [[2.0]])
    assert warnings == [
        "1 pictures were averaged over fewer people than saw them: the others were decoded into other latent"
        " spaces (other training pictures, encoder or layers)."
    ]


def test_nothing_shared_and_one_person():
    assert average_over_people({"01": person({"a": [[1.0]]})}) == (None, [])
    mean, warnings = average_over_people({"01": person({"a": [[1.0]]}), "02": person({"b": [[1.0]]})})
    assert mean is None and "No picture is shared" in warnings[0]


def test_the_mean_is_rendered_in_the_space_it_lives_in():
    first, second = person({"a": [[1.0]]}, "s", 5.0), person({"a": [[1.0]]}, "s", 7.0)
    mean, _ = average_over_people({"01": first, "02": second})
    assert mean is not None
    (fold,) = mean.decoded.folds
    assert fold.identity == "s"
    np.testing.assert_array_equal(fold.state["basis"], [5.0])


def test_folds_with_spaces_of_different_size_stay_apart():
    def two_folds(offset: float) -> Decoded:
        small, large = person({"a": [[1.0]]}, "small", offset), person({"b": [[1.0, 2.0]]}, "large", offset)
        return Decoded((small.folds[0], large.folds[0]))

    mean, warnings = average_over_people({"01": two_folds(0.0), "02": two_folds(2.0)})
    assert mean is not None and warnings == []
    np.testing.assert_array_equal(mean.decoded.folds[0].predicted["z"], [[2.0]])
    np.testing.assert_array_equal(mean.decoded.folds[1].predicted["z"], [[2.0, 3.0]])
    assert mean.decoded.items["fold"].tolist() == ["0", "1"]


def test_the_space_of_most_people_counts_not_of_most_trials():
    people = {
        "01": person({"a": [[9.0]] * 5}, "other"),
        "02": person({"a": [[1.0]]}),
        "03": person({"a": [[3.0]]}),
    }
    mean, _ = average_over_people(people)
    assert mean is not None
    np.testing.assert_array_equal(mean.decoded.folds[0].predicted["z"], [[2.0]])


@pytest.mark.parametrize("n_people", [2, 3])
def test_means_on_disk_are_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_people: int
) -> None:
    rng = np.random.default_rng(0)
    people = {}
    for number in range(n_people):
        latents = {name: rng.standard_normal((number + 1, 5)).tolist() for name in "abcd"[number:]}
        people[f"0{number}"] = person(latents, offset=number)
    in_memory, warnings = average_over_people(people)
    monkeypatch.setattr(scratch, "LARGE", 1)
    # Latents that are read from disk are maps too, and cannot be written to.
    mapped = {}
    for name, one in people.items():
        (fold,) = one.folds
        maps = []
        for kind, array in (("predicted", fold.predicted["z"]), ("floor", fold.floor["z"])):
            np.save(tmp_path / f"{name}-{kind}.npy", array)
            maps.append({"z": np.load(tmp_path / f"{name}-{kind}.npy", mmap_mode="r")})
        mapped[name] = Decoded((replace(fold, predicted=maps[0], floor=maps[1]),))
    on_disk, again = average_over_people(mapped, tmp_path / "scratch")
    assert in_memory is not None and on_disk is not None and again == warnings
    pd.testing.assert_frame_equal(on_disk.decoded.items, in_memory.decoded.items)
    assert list((tmp_path / "scratch").iterdir()) == []
    for ours, theirs in zip(on_disk.decoded.folds, in_memory.decoded.folds, strict=True):
        assert isinstance(ours.predicted["z"], np.memmap) and isinstance(ours.floor["z"], np.memmap)
        np.testing.assert_array_equal(ours.predicted["z"], theirs.predicted["z"])
        np.testing.assert_array_equal(ours.floor["z"], theirs.floor["z"])
        assert ours.n_shuffles == 2 and ours.predicted["z"].dtype == np.float32


def in_two_folds(offset: float, first: str, norms: tuple[float, float], space: str = "layer") -> Decoded:
    """Someone with one pretrained space, and a norm for each fold; `first` is tested in the first fold."""
    folds = []
    for number, (name, norm) in enumerate(zip((first, "b" if first == "a" else "a"), norms, strict=True)):
        (fold,) = person({name: [[offset, number]]}, space).folds
        folds.append(replace(fold, name=str(number), state={"z": np.array([norm])}))
    return Decoded(tuple(folds))


def test_each_mean_is_drawn_by_a_fold_that_left_its_picture_out():
    # The folds of the second person are the other way round.
    people = {"01": in_two_folds(1.0, "a", (5.0, 6.0)), "02": in_two_folds(3.0, "b", (7.0, 8.0))}
    mean, warnings = average_over_people(people)
    assert mean is not None and warnings == []
    norms = {fold.items["stimulus_id"].tolist()[0]: float(fold.state["z"][0]) for fold in mean.decoded.folds}
    assert norms == {"a": 5.0, "b": 6.0}
    assert mean.leads == {"0": "01", "1": "01"}
    assert [fold.identity for fold in mean.decoded.folds] == ["layer", "layer"]
    values = {fold.items["stimulus_id"][0]: fold.predicted["z"].tolist() for fold in mean.decoded.folds}
    assert values == {"a": [[2.0, 0.5]], "b": [[2.0, 0.5]]}


def test_pictures_of_folds_with_the_same_norms_stay_together():
    people = {name: in_two_folds(1.0, "a", (5.0, 5.0)) for name in ("01", "02")}
    mean, _ = average_over_people(people)
    assert mean is not None
    (fold,) = mean.decoded.folds
    assert fold.items["stimulus_id"].tolist() == ["a", "b"]


def test_a_mean_is_led_by_someone_who_is_in_it():
    people = {
        "01": person({"a": [[9.0]]}, "vgg19"),
        "02": person({"a": [[1.0]], "b": [[2.0]]}, "lite"),
        "03": person({"a": [[3.0]], "b": [[4.0]]}, "lite"),
    }
    mean, warnings = average_over_people(people)
    assert mean is not None and len(warnings) == 1
    assert mean.leads == {"0": "02"}
    np.testing.assert_array_equal(mean.decoded.folds[0].predicted["z"], [[2.0], [3.0]])


def test_people_with_different_spaces_altogether_have_no_mean():
    mean, warnings = average_over_people(
        {"01": person({"a": [[1.0]]}, "x"), "02": person({"a": [[1.0]]}, "y")}
    )
    assert mean is None
    assert warnings[-1].startswith("No picture is shared by two people in one latent space")
