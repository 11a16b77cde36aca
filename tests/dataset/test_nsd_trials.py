"""Who saw which picture of NSD when, and what trains and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

from bids_recon.dataset.nsd_layout import NsdRelease, open_release
from bids_recon.dataset.nsd_trials import (
    choose_sessions,
    nsd_stimuli,
    nsd_trials,
    read_coco_ids,
    read_design,
    stimulus_id,
)
from bids_recon.dataset.splits import make_split, rows_of
from bids_recon.dataset.stimulus_spec import load_stimulus_spec
from bids_recon.dataset.trials import TRIAL_COLUMNS, concatenate_trials
from bids_recon.errors import DataError, MissingInputError, NothingSelectedError
from bids_recon.simulate.nsd import SimulatedNsd, write_nsd


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> SimulatedNsd:
    return write_nsd(tmp_path_factory.mktemp("nsd"), subjects=("01", "04"), size=8, trials_per_session=6)


# Two sessions of two runs of four slots; each person has three pictures, of which the first is shared.
ORDER = [2, 1, 3, 1, 2, 3, 1, 2]
SLOTS = [[[0, 1, 1, 0], [1, 0, 1, 0]], [[0, 0, 1, 1], [1, 1, 0, 0]]]
PICTURES = [[9, 3, 5], [9, 7, 1]]
COCO = {9: 900, 3: 300, 5: 500, 7: 700, 1: 100}
# For the second person, written by hand: run, onset, picture, repeat.
BY_HAND = [
    ("nsd01", "01", 4.0, "nsd00007", "700", "false", "1", "train"),
    ("nsd01", "01", 8.0, "nsd00009", "900", "true", "1", "shared"),
    ("nsd01", "02", 0.0, "nsd00001", "100", "false", "1", "train"),
    ("nsd01", "02", 8.0, "nsd00009", "900", "true", "2", "shared"),
    ("nsd02", "01", 8.0, "nsd00007", "700", "false", "2", "train"),
    ("nsd02", "01", 12.0, "nsd00001", "100", "false", "2", "train"),
    ("nsd02", "02", 0.0, "nsd00009", "900", "true", "3", "shared"),
    ("nsd02", "02", 4.0, "nsd00007", "700", "false", "3", "train"),
]


def _write_by_hand(folder: Path, **changed: object) -> NsdRelease:
    release = NsdRelease(folder)
    release.design.parent.mkdir(parents=True, exist_ok=True)
    content = {"masterordering": [ORDER], "subjectim": PICTURES, "sharedix": [[9]], "stimpattern": SLOTS}
    arrays = {
        name: np.asarray(values, dtype=float)
        for name, values in (content | changed).items()
        if values is not None
    }
    scipy.io.savemat(release.design, arrays)
    lines = [f",{coco},train2017,{number - 1},{number == 9}" for number, coco in COCO.items()]
    release.picture_table.write_text("\n".join([",cocoId,cocoSplit,nsdId,shared1000", *lines]) + "\n")
    return release


def test_table_equals_one_made_by_hand(tmp_path):
    release = _write_by_hand(tmp_path)
    design = read_design(release.design)
    trials = nsd_trials(design, read_coco_ids(release, design), "02", [1, 2])
    columns = ["session", "run", "onset", "stimulus_id", "coco_id", "shared1000", "repeat", "nsd_set"]
    expected = pd.DataFrame(BY_HAND, columns=columns)
    pd.testing.assert_frame_equal(trials[columns], expected, check_dtype=False)
    assert list(trials.columns[: len(TRIAL_COLUMNS)]) == list(TRIAL_COLUMNS)
    assert trials["trial_index"].tolist() == list(range(8))
    assert set(trials["subject"]) == {"02"}
    assert set(trials["task"]) == {"nsdcore"}
    assert set(trials["kind"]) == {"perception"}
    assert set(trials["duration"]) == {3.0}
    assert set(trials["stim_file"]) == set(trials["set"]) == {""}
    assert len(concatenate_trials([trials])) == 8
    # Presentations are counted over the experiment, also where some sessions are read only.
    second = nsd_trials(design, read_coco_ids(release, design), "02", [2])
    pd.testing.assert_frame_equal(second[columns], expected[4:].reset_index(drop=True), check_dtype=False)
    assert second["trial_index"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("subject", ["01", "04"])
@pytest.mark.parametrize(("preset", "last"), [("nsd37", 37), ("nsd40", 40)])
def test_miniature_agrees_with_its_table_of_pictures(miniature, subject, preset, last):
    """The table of pictures says once more, in its own way, in which trials each picture was shown."""
    release = miniature.release
    table = pd.read_csv(release.picture_table)
    person = int(subject)
    rows = []
    for record in table.to_dict("records"):
        for repeat in range(3):
            trial = record[f"subject{person}_rep{repeat}"]
            if trial:
                first = record[f"subject{person}_rep0"]
                late = "late" if (first - 1) // 6 + 1 > 37 else "shared"
                rows.append(
                    {
                        "trial": trial,
                        "session": f"nsd{(trial - 1) // 6 + 1:02d}",
                        "run": f"{(trial - 1) % 6 // 3 + 1:02d}",
                        "stimulus_id": f"nsd{record['nsdId'] + 1:05d}",
                        "coco_id": str(record["cocoId"]),
                        "repeat": str(repeat + 1),
                        "nsd_set": late if record["shared1000"] else "train",
                    }
                )
    expected = pd.DataFrame(rows).sort_values("trial", ignore_index=True)
    last = min(last, {"01": 40, "04": 30}[subject])
    expected = expected[expected["trial"] <= 6 * last].drop(columns="trial")
    spec, design = load_stimulus_spec(preset), read_design(release.design)
    sessions = choose_sessions(release, design, subject, spec)
    assert sessions == list(range(1, last + 1))
    trials = nsd_trials(design, read_coco_ids(release, design), subject, sessions)
    pd.testing.assert_frame_equal(trials[list(expected.columns)], expected, check_dtype=False)


def test_presets_test_the_same_pictures(miniature):
    release, splits = miniature.release, {}
    design = read_design(release.design)
    for preset in ("nsd37", "nsd40"):
        spec = load_stimulus_spec(preset)
        sessions = choose_sessions(release, design, "01", spec)
        trials = nsd_trials(design, read_coco_ids(release, design), "01", sessions)
        trials, split = make_split(trials, spec.split)
        splits[preset] = split
        fold = split.folds[0]
        n_trials = sum(int(rows_of(trials, name, ids).sum()) for name, ids in split.test_sets.items())
        assert n_trials + int(rows_of(trials, "train", fold.train).sum()) == len(trials)
    # 240 trials of 80 pictures, 8 of them shared; of these two, and one of the others, come after session 37.
    shorter, longer = splits["nsd37"].folds[0], splits["nsd40"].folds[0]
    assert {name: len(ids) for name, ids in shorter.test.items()} == {"shared": 6}
    assert {name: len(ids) for name, ids in longer.test.items()} == {"shared": 6, "late": 2}
    assert set(shorter.test["shared"]) == set(longer.test["shared"])
    assert len(shorter.train) == 71
    assert set(longer.train) > set(shorter.train)
    assert len(longer.train) == 72
    shared = {stimulus_id(number) for number in design.shared}
    assert shared == set(longer.test["shared"]) | set(longer.test["late"])
    assert not shared & set(longer.train)


def test_sessions_that_are_not_here_are_listed(tmp_path):
    release = write_nsd(tmp_path, subjects=("01",), size=8, trials_per_session=3).release
    design, spec = read_design(release.design), load_stimulus_spec("nsd37")
    for session in (3, 5, 6, 7, 38):
        release.beta_file("01", session).unlink()
    with pytest.raises(MissingInputError) as caught:
        choose_sessions(release, design, "01", spec)
    message = str(caught.value)
    assert "4 of 37 sessions" in message
    assert "nsd03, nsd05 to nsd07" in message
    assert "--session-label: nsd01 to nsd02, nsd04, nsd08 to nsd37" in message
    assert "betas_fithrf_GLMdenoise_RR" in message
    assert choose_sessions(release, design, "01", spec, ("nsd08", "nsd04")) == [4, 8]
    with pytest.raises(MissingInputError, match="nsd38"):
        choose_sessions(release, design, "01", load_stimulus_spec("nsd40"), ("nsd38", "nsd39"))
    with pytest.raises(NothingSelectedError, match=r"no session nsd39.*nsd37 speaks of.*nsd01 to nsd37"):
        choose_sessions(release, design, "01", spec, ("nsd39",))
    with pytest.raises(MissingInputError, match="40 of 40"):
        choose_sessions(release, design, "02", load_stimulus_spec("nsd40"))


def test_release_tells_its_people_and_prefers_hdf5(tmp_path):
    release = open_release(
        write_nsd(
            tmp_path, subjects=("01", "08"), size=8, trials_per_session=3, formats=(".nii.gz", ".hdf5")
        ).release.root
    )
    assert release.subjects() == ["01", "08"]
    assert release.beta_file("08", 30).name == "betas_session30.hdf5"
    assert release.beta_file("08", 31) is None
    release.beta_file("08", 30).unlink()
    assert release.beta_file("08", 30).name == "betas_session30.nii.gz"
    with pytest.raises(MissingInputError, match=r"nsd_expdesign\.mat: there is no such file.*Fetch"):
        open_release(tmp_path / "nsddata")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"masterordering": [ORDER[:-1]]}, "orders 7 trials, and its sessions have 8"),
        ({"masterordering": [[*ORDER[:-1], 4]]}, "more pictures than the 3"),
        ({"sharedix": None}, "lacks 'sharedix'"),
        ({"stimpattern": [[1, 0]]}, "'stimpattern', or it is no array of 3"),
    ],
)
def test_damaged_design_is_refused(tmp_path, changed, problem):
    release = _write_by_hand(tmp_path, **changed)
    with pytest.raises(DataError, match=problem) as caught:
        read_design(release.design)
    assert str(release.design) in str(caught.value)


def test_design_that_is_no_matlab_file(tmp_path):
    file = tmp_path / "nsd_expdesign.mat"
    file.write_bytes(b"not of MATLAB at all" * 20)
    with pytest.raises(DataError, match="version 5"):
        read_design(file)
    with pytest.raises(MissingInputError):
        read_design(tmp_path / "absent.mat")


def test_table_of_pictures_must_fit(tmp_path):
    release = _write_by_hand(tmp_path)
    design = read_design(release.design)
    assert read_coco_ids(release, design)["nsd00005"] == "500"
    text = release.picture_table.read_text()
    release.picture_table.write_text(text.replace(",6,False", ",6,True"))
    with pytest.raises(DataError, match="other shared pictures"):
        read_coco_ids(release, design)
    release.picture_table.write_text(text.replace(",700,train2017,6,False\n", ""))
    with pytest.raises(DataError, match="lacks nsd00007"):
        nsd_trials(design, read_coco_ids(release, design), "02", [1])
    release.picture_table.write_text("nsdId\n1\n")
    with pytest.raises(DataError, match="cannot be read as the table of pictures"):
        read_coco_ids(release, design)
    release.picture_table.unlink()
    with pytest.raises(MissingInputError, match="nsd_stim_info_merged"):
        read_coco_ids(release, design)


def test_pictures_are_read_from_their_rows(miniature):
    ids = read_coco_ids(miniature.release, read_design(miniature.release.design))
    stimuli = nsd_stimuli(miniature.release, ["nsd00003", "nsd00001", "nsd00003"], ids)
    assert stimuli.ids == ("nsd00003", "nsd00001")
    assert not stimuli.missing()
    # The made-up ids of the miniature: 1000 + 7 x (number - 1).
    assert stimuli.stimuli["nsd00003"].image_id == "1014"
    np.testing.assert_array_equal(stimuli.image("nsd00003"), miniature.pictures[2])
    np.testing.assert_array_equal(stimuli.image("nsd00001"), miniature.pictures[0])
    absent = nsd_stimuli(NsdRelease(miniature.release.root / "nowhere"), ["nsd00003"], ids)
    assert [one.stimulus_id for one in absent.missing()] == ["nsd00003"]
    with pytest.raises(MissingInputError, match=r"nsd_stimuli\.hdf5"):
        absent.image("nsd00003")
