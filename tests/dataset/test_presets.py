import re
from pathlib import Path

import pandas as pd
import pytest

from bids_recon.dataset.events import read_events, trials_of_run
from bids_recon.dataset.splits import make_split
from bids_recon.dataset.stimulus_spec import load_stimulus_spec, preset_names
from bids_recon.dataset.trials import concatenate_trials, presentations, trials_from_table

PRESETS = {
    "bids",
    "ds000255",
    "ds001246",
    "ds001499",
    "ds001506",
    "ds003430",
    "ds003993",
    "ds004192",
    "ds004496",
    "nsd37",
    "nsd40",
}
X = "010" * 48
SQUARE = "000011110000" * 12

# Task, session, columns, rows; then (stimulus id, onset) of the trials, and rows left out as
# other, repeats, catch, missing. Made up, in the shape that each data set has.
TABLES = [
    pytest.param(
        "bids",
        ("view", ""),
        "onset duration trial_type stim_file",
        ["0 2 rest n/a", "2 1 face stimuli/faces/f01.png", "4 1 face faces/f01.png"],
        [("faces/f01", 2), ("faces/f01", 4)],
        (1, 0, 0, 0),
        id="bids",
    ),
    pytest.param(
        "ds001246",
        ("perception", "perceptionTraining03"),
        "onset duration trial_no event_type stimulus_id stimulus_name category_index",
        [
            "0 33 1 rest n/a n/a n/a",
            "33 9 2 stimulus 3079230.008270 n03079230_8270 5",
            "42 9 3 stimulus 3079230.008270 n03079230_8270 5",
            "51 9 4 stimulus 1970164.028566 n01970164_28566 2",
            "60 6 5 rest n/a n/a n/a",
        ],
        [("n03079230_8270", 33), ("n01970164_28566", 51)],
        (2, 1, 0, 0),
        id="ds001246 perception",
    ),
    pytest.param(
        "ds001246",
        ("imagery", "imageryTest01"),
        "onset duration trial_no event_type category_id category_name evaluation",
        [
            "33 3 2 cue 2690373 n02690373 4.0",
            "36 15 2 imagery 2690373 n02690373 4.0",
            "51 3 2 evaluation 2690373 n02690373 4.0",
            "54 3 2 inter_rest 2690373 n02690373 4.0",
            "60 15 3 imagery 2690373 n02690373 4.0",
        ],
        [("n02690373", 36), ("n02690373", 60)],
        (3, 0, 0, 0),
        id="ds001246 imagery",
    ),
    pytest.param(
        "ds001506",
        ("perception", "perceptionLetterImage01"),
        "onset duration event_type stimulus_id stimulus_name category_index",
        [
            "0 32 -1 n/a n/a n/a",
            "32 12 1 7 letter_black_img028_R 7",
            "44 12 -3 on/a n/a n/a",
            "56 12 2 7 letter_black_img028_R 7",
            "68 12 -3 n/a n/a n/a",
            "80 12 1 on/a on/a n/a",
            "92 12 1 19 colorExpStim19_yellow_+ 19",
        ],
        [("letter_black_img028_R", 32), ("colorExpStim19_yellow_+", 92)],
        (3, 1, 0, 1),
        id="ds001506 perception",
    ),
    pytest.param(
        "ds001506",
        ("imagery", "imagery01"),
        "onset duration trial_no event_type category_id category_name",
        [
            "0.0 32.0 1.0 -1 n/a n/a",
            "32.0 4.0 2.0 1 1976957 n01976957",
            "36.0 8.0 2.0 2 1976957 n01976957",
            "44.0 3.0 2.0 3 1976957 n01976957",
            "47.0 1.0 2.0 4 1976957 n01976957",
        ],
        [("n01976957", 36)],
        (4, 0, 0, 0),
        id="ds001506 imagery",
    ),
    pytest.param(
        "ds001499",
        ("5000scenes", "01"),
        "onset duration ImgName ImgType stim_file",
        [
            "6 1 n01930112_19568.JPEG imagenet n01930112_19568.JPEG",
            "16 1 COCO_train2014_000000312003.jpg rep_coco COCO_train2014_000000312003.jpg",
            "26 1 chickenCoop3.jpeg scenes chickenCoop3.jpeg",
        ],
        [("n01930112_19568", 6), ("COCO_train2014_000000312003", 16), ("chickenCoop3", 26)],
        (0, 0, 0, 0),
        id="ds001499",
    ),
    pytest.param(
        "ds001499",
        ("localizer", "04"),
        "onset duration cond image",
        ["12 0.7 Scrambled scambled_farm.jpg"],
        [],
        (1, 0, 0, 0),
        id="ds001499 localizer",
    ),
    pytest.param(
        "ds004496",
        ("imagenet", "imagenet01"),
        "onset duration trial_type response_time stim_file",
        ["0.01 1.0 679.0 1.3 imagenet/n03814639/n03814639_14991.JPEG"],
        [("n03814639_14991", 0.01)],
        (0, 0, 0, 0),
        id="ds004496 imagenet",
    ),
    pytest.param(
        "ds004496",
        ("coco", "coco"),
        "onset duration trial_type response response_time condition",
        [
            "0 0.5 90.0 0.0 0.0 coco/000000426445.jpg",
            "3 0.5 1000.0 0.0 0.0 n/a",
            "6 0.5 2000.0 1.0 0.49 n/a",
            "9 0.5 4.0 0.0 0.0 coco/000000014103.jpg",
        ],
        [("000000426445", 0), ("000000014103", 9)],
        (0, 0, 2, 0),
        id="ds004496 coco",
    ),
    pytest.param(
        "ds004496",
        ("coco", "coco"),
        "onset duration trial_type stim_file",
        ["0 0.5 29.0 coco/000000124419.jpg"],
        [("000000124419", 0)],
        (0, 0, 0, 0),
        id="ds004496 coco of an older version",
    ),
    pytest.param(
        "ds004192",
        ("things", "things01"),
        "onset duration trial_type test_image_nr response_time file_path",
        [
            "3.0 0.5 exp n/a n/a bird/bird_06s.jpg",
            "7.5 0.5 catch n/a 0.65 catch057.jpg",
            "12.0 0.5 test 60.0 n/a sim/sim_card_13s.jpg",
        ],
        [("bird_06s", 3), ("sim_card_13s", 12)],
        (0, 0, 1, 0),
        id="ds004192",
    ),
    pytest.param(
        "ds000255",
        ("viewRandom", "02"),
        "onset duration trial_type stimulus_pattern",
        ["0 28 rest null", f"28 6 stimulus_random {X}", "34 6 rest null", f"40 6 stimulus_random {X}0"],
        [(X, 28)],
        (2, 0, 0, 0),
        id="ds000255 random",
    ),
    pytest.param(
        "ds000255",
        ("viewFigure", "02"),
        "onset duration trial_type stimulus_pattern",
        ["0 28 rest null", f"28 12 stimulus_shape {SQUARE}", f"52 12 stimulus_alphabet {X}"],
        [(SQUARE, 28), (X, 52)],
        (1, 0, 0, 0),
        id="ds000255 figures",
    ),
    pytest.param(
        "ds003430",
        ("GODtrain", "perceptionNaturalImageTraining04"),
        "onset duration trial_type stimulus_name category_index image_index response_time",
        [
            "0 32 -1 n/a n/a n/a 0.000000",
            "32 8 1 n02439033_9911 33 264 0.000000",
            "40 8 2 n02439033_9911 33 264 41.02",
            "472 6 -2 n/a n/a n/a 0.000000",
        ],
        [("n02439033_9911", 32)],
        (2, 1, 0, 0),
        id="ds003430 training",
    ),
    pytest.param(
        "ds003430",
        ("attentionNaturalTestImage", "attention01"),
        "onset duration trial_type attended_stimulus_name unattended_stimulus_name",
        [
            "32 2 -3 n/a n/a",
            "34 6 1 n01443537_22563 n02190790_15121",
            "40 2 -3 n/a n/a",
            "42 6 2 n02139199_10398 n03710193_22225",
        ],
        [("n01443537_22563", 34), ("n02139199_10398", 42)],
        (2, 0, 0, 0),
        id="ds003430 attention",
    ),
    pytest.param(
        "ds003993",
        ("perception", "perceptionNaturalImageTest01"),
        "onset duration trial_type stimulus_name category_index",
        ["0 32 -1 n/a n/a", "32 8 1 n01443537_22563 8.0", "40 8 2 n01443537_22563 8.0"],
        [("n01443537_22563", 32)],
        (1, 1, 0, 0),
        id="ds003993",
    ),
]


def test_all_presets_are_there_and_explain_themselves():
    assert set(preset_names()) == PRESETS
    for name in PRESETS:
        spec = load_stimulus_spec(name)
        assert spec.name == name
        assert spec.title
        assert spec.reference.startswith("https://")
        # A data set whose pictures are elsewhere says where; ds000255 holds them in its tables.
        assert spec.stimuli.missing or any(rule.parse == "bits" for rule in spec.trials)


def test_shift_of_the_block_average():
    assert {name: load_stimulus_spec(name).glm.shift for name in PRESETS} == {
        **dict.fromkeys(PRESETS),
        "ds001246": 3.0,
        "ds001506": 4.0,
        "ds003430": 4.0,
        "ds003993": 4.0,
    }


def read(text: str, tmp_path: Path) -> pd.DataFrame:
    path = tmp_path / "events.tsv"
    path.write_text(text)
    return read_events(path)


@pytest.mark.parametrize(("preset", "labels", "header", "rows", "trials", "left_out"), TABLES)
def test_rows_that_become_trials(tmp_path, preset, labels, header, rows, trials, left_out):
    events = read("\n".join([header, *rows]).replace(" ", "\t"), tmp_path)
    found, report = trials_of_run(
        events,
        load_stimulus_spec(preset),
        subject="01",
        session=labels[1],
        task=labels[0],
        run="01",
        file="events.tsv",
    )
    assert list(zip(found["stimulus_id"], found["onset"], strict=True)) == trials
    assert (report.n_other, report.n_repeats_dropped, report.n_catch, report.n_missing) == left_out
    kind = "imagery" if labels[0] == "imagery" else "perception"
    assert set(found["kind"]) <= {kind}


@pytest.mark.parametrize(
    ("preset", "column", "labels"),
    [
        ("ds001246", "session", {"perceptionTraining05": "train", "perceptionTest01": "test"}),
        (
            "ds001506",
            "session",
            {
                "perceptionNaturalImageTraining15": "train",
                "perceptionNaturalImageTest03": "natural",
                "perceptionArtificialImage02": "shapes",
                "perceptionLetterImage01": "letters",
                "imagery04": "imagery",
            },
        ),
        ("ds001499", "ImgType", {"coco": "train", "scenes": "train", "rep_scenes": "repeated"}),
        ("ds004496", "task", {"imagenet": "train", "coco": "coco", "floc": "none"}),
        ("nsd37", "nsd_set", {"train": "train", "shared": "shared"}),
        ("nsd40", "nsd_set", {"train": "train", "shared": "shared", "late": "late"}),
        ("ds004192", "trial_type", {"exp": "train", "test": "test"}),
        ("ds000255", "task", {"viewRandom": "train", "viewFigure": "figures"}),
        ("ds003430", "session", {"perceptionNaturalImageTraining01": "train", "attention02": "attention"}),
        (
            "ds003993",
            "session",
            {"perceptionNaturalImageTraining01": "train", "perceptionArtificialImage01": "shapes"},
        ),
    ],
)
def test_split_of_a_preset(preset, column, labels):
    trials = pd.DataFrame({"stimulus_id": [f"s{k}" for k in range(len(labels))], column: list(labels)})
    trials["kind"] = "perception"
    divided, _ = make_split(trials, load_stimulus_spec(preset).split)
    assert divided["set"].tolist() == list(labels.values())


@pytest.mark.parametrize(
    ("preset", "stimulus_id", "category", "candidate"),
    [
        ("ds001246", "n02766534_15976", "n02766534", "n02766534_15976.JPEG"),
        ("ds001246", "n02766534", "n02766534", "n02766534_*"),
        ("ds001506", "letter_black_img011_A", None, "letter_black_img011_A.*"),
        ("ds001499", "COCO_train2014_000000312003", None, "COCO_train2014_000000312003.jpg"),
        ("ds004496", "n03814639_14991", "n03814639", "imagenet/n03814639/n03814639_14991.JPEG"),
        ("ds004496", "000000426445", None, "coco/000000426445.jpg"),
        ("ds004192", "sim_card_13s", "sim_card", "sim_card/sim_card_13s.jpg"),
        ("ds004192", "t-shirt_06s", "t-shirt", "t-shirt/t-shirt_06s.jpg"),
        ("bids", "faces/f01", None, "faces/f01.*"),
    ],
)
def test_where_pictures_are_looked_for(preset, stimulus_id, category, candidate):
    stimuli = load_stimulus_spec(preset).stimuli
    assert stimuli.category_of(stimulus_id) == category
    assert candidate in stimuli.candidates(stimulus_id)


@pytest.mark.parametrize("preset", ["ds001506", "ds003993"])
def test_shapes_and_colours_of_artificial_pictures(preset):
    stimuli = load_stimulus_spec(preset).stimuli
    assert stimuli.attributes_of("colorExpStim19_yellow_+") == {"colour": "yellow", "shape": "+"}
    assert stimuli.attributes_of("colorExpStim02_red_smallring") == {"colour": "red", "shape": "smallring"}
    for other in ("n01443537_22563", "letter_black_img011_A"):
        assert stimuli.attributes_of(other) == {}


# Real tables: counts made with other code, from the files alone.


def excerpt(shared: Path, name: str) -> list[tuple[Path, dict[str, str]]]:
    files = sorted((shared / "data" / name).rglob("*_events.tsv"))
    assert files
    return [(file, dict(re.findall(r"(sub|ses|task|run)-([A-Za-z0-9]+)", file.name))) for file in files]


def plain(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)


def through_the_preset(file: Path, labels: dict[str, str], preset: str | None):
    return trials_of_run(
        read_events(file),
        load_stimulus_spec(preset),
        subject=labels["sub"],
        session=labels.get("ses"),
        task=labels["task"],
        run=labels.get("run"),
        file=file,
    )


@pytest.mark.shared
def test_counts_of_ds001246(shared):
    per_session: dict[str, int] = {}
    for file, labels in excerpt(shared, "openneuro-excerpts/ds001246"):
        raw = plain(file)
        trials, report = through_the_preset(file, labels, "ds001246")
        if labels["task"] == "perception":
            shown = raw[raw["event_type"] == "stimulus"]
            kept = shown[shown["stimulus_name"] != shown["stimulus_name"].shift()]
            expected = kept["stimulus_name"].tolist()
            assert trials["events_stimulus_id"].tolist() == kept["stimulus_id"].tolist()
            # The paper: 55 blocks a run, 5 of them repeats.
            assert (len(shown), len(kept)) == (55, 50)
        else:
            shown = kept = raw[raw["event_type"] == "imagery"]
            expected = kept["category_name"].tolist()
            assert len(kept) == 25 == report.n_imagery
            assert set(trials["duration"]) == {15.0}
        assert trials["stimulus_id"].tolist() == expected
        assert trials["onset"].tolist() == kept["onset"].astype(float).tolist()
        assert report.n_repeats_dropped == len(shown) - len(kept)
        assert report.n_other == len(raw) - len(shown)
        assert report.messages == ()
        session = labels["ses"].rstrip("0123456789")
        per_session[session] = per_session.get(session, 0) + len(trials)
    assert per_session == {"perceptionTraining": 350, "perceptionTest": 350, "imageryTest": 100}


@pytest.mark.shared
def test_counts_of_ds001506(shared):
    per_session: dict[str, int] = {}
    for file, labels in excerpt(shared, "openneuro-excerpts/ds001506"):
        raw = plain(file)
        trials, report = through_the_preset(file, labels, "ds001506")
        imagery = labels["task"] == "imagery"
        kept = raw[raw["event_type"] == ("2" if imagery else "1")]
        assert (
            trials["stimulus_id"].tolist() == kept["category_name" if imagery else "stimulus_name"].tolist()
        )
        assert trials["onset"].tolist() == kept["onset"].astype(float).tolist()
        assert report.n_repeats_dropped == (0 if imagery else (raw["event_type"] == "2").sum())
        assert (report.n_missing, report.n_corrupt, report.messages) == (0, 0, ())
        # What the data set marks as a repeat is one, so the rule by code and the rule by succession agree.
        if not imagery:
            shown = raw.loc[raw["event_type"].isin(["1", "2"]), ["event_type", "stimulus_name"]]
            again = shown["stimulus_name"] == shown["stimulus_name"].shift()
            assert again.tolist() == (shown["event_type"] == "2").tolist()
        session = labels["ses"].rstrip("0123456789")
        per_session[session] = per_session.get(session, 0) + len(trials)
        if session == "perceptionArtificialImage":
            figures = [load_stimulus_spec("ds001506").stimuli.attributes_of(i) for i in trials["stimulus_id"]]
            assert len({(one["colour"], one["shape"]) for one in figures}) == 40
            assert [len({one[name] for one in figures}) for name in ("colour", "shape")] == [8, 5]
    assert per_session == {
        "perceptionNaturalImageTraining": 150,
        "perceptionNaturalImageTest": 150,
        "perceptionArtificialImage": 40,
        "perceptionLetterImage": 20,
        "imagery": 52,
    }


@pytest.mark.shared
def test_counts_of_ds001499(shared):
    runs, sets = [], {"train": 0, "repeated": 0}
    for file, labels in excerpt(shared, "openneuro-excerpts/ds001499"):
        raw = plain(file)
        trials, report = through_the_preset(file, labels, "ds001499")
        if labels["task"] == "localizer":
            assert (len(trials), report.n_other) == (0, len(raw))
            continue
        assert trials["stimulus_id"].tolist() == [name.rsplit(".", 1)[0] for name in raw["ImgName"]]
        assert trials["stim_file"].tolist() == raw["stim_file"].tolist()
        assert not raw["ImgName"].str.startswith("rep_").any()
        repeated = raw["ImgType"].str.startswith("rep_")
        assert (len(raw), repeated.sum()) == (37, 2)
        sets["repeated"] += int(repeated.sum())
        sets["train"] += int((~repeated).sum())
        runs.append(trials)
    assert sets == {"train": 140, "repeated": 8}
    # Which pictures are repeated differs between people, so the split is made for each.
    found = {"train": 0, "repeated": 0}
    for _, trials in concatenate_trials(runs).groupby("subject"):
        divided, split = make_split(trials, load_stimulus_spec("ds001499").split)
        assert not set(split.folds[0].train) & set(split.folds[0].test["repeated"])
        for name, count in divided["set"].value_counts().items():
            found[name] += count
    assert found == sets


@pytest.mark.shared
def test_counts_of_data_in_the_bids_way(shared):
    ((file, labels),) = excerpt(shared, "studyforrest")
    trials, _ = through_the_preset(file, labels, None)
    raw = plain(file)["stim_file"]
    assert trials["stimulus_id"].tolist() == [path[len("stimuli/") : -len(".png")] for path in raw]
    assert len(trials) == 192
    runs = [through_the_preset(*run, None)[0] for run in excerpt(shared, "glm-simulation")]
    counts = presentations(concatenate_trials(runs))
    assert (len(counts), set(counts)) == (100, {3})


@pytest.mark.shared
def test_trials_of_the_miyawaki_betas(shared):
    (file,) = (shared / "data" / "miyawaki-figures").rglob("*_trials.tsv")
    raw = plain(file)
    trials = trials_from_table(raw, load_stimulus_spec(), subject="01", task="figures", file=file)
    assert trials["stimulus_id"].tolist() == [name.removesuffix(".png") for name in raw["stim_file"]]
    assert trials["run"].tolist() == raw["run"].tolist()
    assert (len(trials), trials["run"].nunique(), len(presentations(trials))) == (118, 12, 20)
