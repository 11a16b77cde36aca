from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_recon.dataset.events import read_events, trials_of_run
from bids_recon.dataset.stimulus_spec import StimulusSpec, load_stimulus_spec
from bids_recon.dataset.trials import (
    TRIAL_COLUMNS,
    concatenate_trials,
    empty_trials,
    normalise_run_label,
    presentations,
    trials_from_table,
)
from bids_recon.errors import DataError

SPEC = """
na = ["on/a"]
[[trials]]
select = { event_type = ["stimulus"] }
id = ["name"]
repeats = "drop-consecutive"
catch = { event_type = ["catch"] }
"""


@pytest.fixture
def spec(tmp_path: Path) -> StimulusSpec:
    (tmp_path / "mine.toml").write_text(SPEC)
    return load_stimulus_spec(str(tmp_path / "mine.toml"))


# trials of several runs


def run_table(**values: object) -> pd.DataFrame:
    row = {
        "subject": "01",
        "session": "",
        "task": "view",
        "run": "1",
        "onset": [0.0, 2.0],
        "duration": 1.0,
        "stimulus_id": ["a", "b"],
        "trial_index": [0, 1],
        "kind": "perception",
        "set": "",
        **values,
    }
    return pd.DataFrame(row)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1", "01", True),
        ("run-01", "1", True),
        ("run-1", "001", True),
        (1, "run-01", True),
        ("0", "00", True),
        (None, "", True),
        ("1", "2", False),
        ("1", "10", False),
        ("01a", "1a", False),
        ("", "0", False),
    ],
)
def test_run_labels(one, other, same):
    assert (normalise_run_label(one) == normalise_run_label(other)) is same


def test_trials_are_numbered_within_a_person():
    trials = concatenate_trials(
        [
            run_table(run="2"),
            run_table(run="1", extra="x"),
            run_table(subject="02"),
            run_table(run="1", session="b"),
        ]
    )
    assert trials["trial_index"].tolist() == [0, 1, 2, 3, 0, 1, 4, 5]
    assert trials["trial_index"].dtype == np.int64
    assert trials["run"].tolist() == ["2", "2", "1", "1", "1", "1", "1", "1"]
    assert trials["extra"].tolist() == ["n/a", "n/a", "x", "x", "n/a", "n/a", "n/a", "n/a"]
    assert trials.index.equals(pd.RangeIndex(8))


def test_a_run_given_twice_is_refused():
    with pytest.raises(DataError, match=r"run '01' of sub-01, .* is there twice .as '1' and '01'"):
        concatenate_trials([run_table(run="1"), run_table(run="01")])
    assert len(concatenate_trials([run_table(run="1"), run_table(run="01", task="other")])) == 4


def test_no_trials_at_all():
    trials = concatenate_trials([empty_trials(), empty_trials()])
    assert len(trials) == 0
    assert set(TRIAL_COLUMNS) <= set(trials.columns)
    assert len(concatenate_trials([])) == 0
    both = concatenate_trials([empty_trials(), run_table()])
    assert (both["onset"].dtype, both["trial_index"].dtype) == (np.float64, np.int64)


def test_tables_that_are_no_trials_are_refused():
    with pytest.raises(ValueError, match="kind"):
        concatenate_trials([run_table().drop(columns="kind")])


def test_one_id_for_two_files_is_refused():
    with pytest.raises(DataError, match=r"'a' stands for several pictures: x/a.png, y/a.png"):
        concatenate_trials(
            [
                run_table(run="1", stim_file=["x/a.png", "x/b.png"]),
                run_table(run="2", stim_file=["y/a.png", "x/b.png"]),
            ]
        )
    trials = concatenate_trials([run_table(run="1", stim_file=["x/a.png", ""]), run_table(run="2")])
    assert trials["stim_file"].tolist() == ["x/a.png", "", "", ""]


def test_presentations_are_counted_in_order():
    trials = concatenate_trials(
        [run_table(run=str(k), stimulus_id=["b", name]) for k, name in enumerate("aca")]
    )
    trials.loc[len(trials)] = trials.iloc[0]
    trials.loc[len(trials) - 1, "stimulus_id"] = ""
    counted = presentations(trials)
    assert counted.to_dict() == {"b": 3, "a": 2, "c": 1}
    assert counted.index.tolist() == ["b", "a", "c"]


# trials of responses estimated elsewhere


def text(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=str)


def test_table_of_betas_in_the_bids_way():
    trials = trials_from_table(
        text(trial_index=["0", "1", "2"], run=["21", "21", "02"], stim_file=["f1.png", "n/a", "f1.png"]),
        load_stimulus_spec(),
        subject="03",
        task="figures",
    )
    assert trials["stimulus_id"].tolist() == ["f1", "", "f1"]
    assert trials["run"].tolist() == ["21", "21", "02"]
    assert set(trials["subject"]) == {"03"}
    assert set(trials["task"]) == {"figures"}
    assert trials[["onset", "duration"]].isna().all(axis=None)
    assert trials["trial_index"].tolist() == [0, 1, 2]
    assert trials.columns[: len(TRIAL_COLUMNS)].tolist() == list(TRIAL_COLUMNS)


def test_table_of_betas_keeps_every_row(spec):
    names = ["a", "a", "x", "b", "n/a"]
    kinds = ["stimulus", "stimulus", "catch", "rest", "stimulus"]
    trials = trials_from_table(text(name=names, event_type=kinds), spec, subject="01")
    assert trials["stimulus_id"].tolist() == ["a", "a", "", "", ""]
    # Without the column that sorts out rows, each row is a stimulus.
    trials = trials_from_table(text(name=names), spec, subject="01")
    assert trials["stimulus_id"].tolist() == ["a", "a", "x", "b", ""]


def test_table_of_betas_with_labels_chooses_the_rule_by_them():
    spec = load_stimulus_spec("ds001246")
    trials = trials_from_table(
        text(
            session=["perceptionTest01", "imageryTest01"],
            task=["perception", "imagery"],
            stimulus_name=["n01_2", "n/a"],
            category_name=["n/a", "n02"],
        ),
        spec,
        subject="01",
    )
    assert trials["stimulus_id"].tolist() == ["n01_2", "n02"]
    assert trials["kind"].tolist() == ["perception", "imagery"]


def test_table_of_betas_that_names_stimuli_itself():
    trials = trials_from_table(
        text(stimulus_id=["3.10", "n/a", "b"], onset=["1.5", "n/a", "3"]),
        load_stimulus_spec(),
        subject="01",
    )
    assert trials["stimulus_id"].tolist() == ["3.10", "", "b"]
    np.testing.assert_array_equal(trials["onset"], [1.5, np.nan, 3.0])


def test_own_trials_come_back_as_they_were(tmp_path, spec):
    path = tmp_path / "events.tsv"
    path.write_text(
        "onset\tduration\tevent_type\tname\tstimulus_id\n0\t1\tstimulus\ta\t17.50\n2\t1\tstimulus\tb\t18.0\n"
    )
    trials, _ = trials_of_run(
        read_events(path), spec, subject="01", session=None, task="view", run=None, file=path
    )
    trials["set"] = "train"
    trials.to_csv(path, sep="\t", index=False, na_rep="n/a")
    read = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    again = trials_from_table(read, spec, subject="01")
    assert trials["events_stimulus_id"].tolist() == ["17.50", "18.0"]
    pd.testing.assert_frame_equal(again, trials, check_dtype=False)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"run": ["1"]}, "no column 'stim_file'"),
        ({"stim_file": ["../../etc/passwd"]}, "line 2: .*outside the data set"),
        ({"stimulus_id": ["../../etc/passwd"]}, "line 2: .*outside the data set"),
        ({"stim_file": ["a", "b"], "trial_index": ["1", "0"]}, "does not number the rows"),
        ({"stim_file": ["a", "b"], "trial_index": ["0", "n/a"]}, "does not number the rows"),
    ],
)
def test_unusable_table_of_betas_is_named(columns, problem):
    with pytest.raises(DataError, match=f"x_trials.tsv: .*{problem}"):
        trials_from_table(text(**columns), load_stimulus_spec(), subject="01", file="x_trials.tsv")
