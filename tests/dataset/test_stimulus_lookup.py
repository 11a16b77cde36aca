from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_recon.dataset.stimulus_lookup import find_stimuli, look_up
from bids_recon.dataset.stimulus_rules import StimulusFiles, StimulusSpec, TrialRule
from bids_recon.dataset.stimulus_spec import load_stimulus_spec
from bids_recon.errors import DataError

BIDS = load_stimulus_spec("bids")


def put(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(file.name)
    return file


def trials(*ids: str, files: list[str] | None = None, task: str = "x", session: str = "") -> pd.DataFrame:
    table = pd.DataFrame({"stimulus_id": ids, "task": task, "session": session})
    return table if files is None else table.assign(stim_file=files)


@pytest.mark.parametrize("named", ["faces/a.png", "stimuli/faces/a.png", "stimuli\\faces\\a.png"])
def test_file_that_events_name_with_and_without_the_folder(tmp_path: Path, named: str) -> None:
    file = put(tmp_path / "stimuli" / "faces" / "a.png")
    stimuli = find_stimuli(trials("any name", files=[named]), BIDS, tmp_path)
    assert stimuli.path("any name") == file


def test_folder_of_the_user_wins(tmp_path: Path) -> None:
    put(tmp_path / "ds/stimuli/a.png")
    b = put(tmp_path / "ds/stimuli/b.png")
    mine = put(tmp_path / "mine" / "a.png")
    shown = trials("a", "b", files=["stimuli/a.png", "b.png"])
    stimuli = find_stimuli(shown, BIDS, tmp_path / "ds", [tmp_path / "none", tmp_path / "mine"])
    assert (stimuli.path("a"), stimuli.path("b")) == (mine, b)


def test_folder_of_the_user_may_hold_the_stimuli_folder(tmp_path: Path) -> None:
    file = put(tmp_path / "mine" / "stimuli" / "a.png")
    stimuli = find_stimuli(trials("a", files=["stimuli/a.png"]), BIDS, tmp_path / "ds", [tmp_path / "mine"])
    assert stimuli.path("a") == file


@pytest.mark.parametrize("files", [None, [""], ["n/a"]])
def test_without_a_named_file_the_id_is_looked_for(tmp_path: Path, files: list[str] | None) -> None:
    file = put(tmp_path / "stimuli" / "deep" / "a.b.jpg")
    assert find_stimuli(trials("deep/a.b", files=files), BIDS, tmp_path).path("deep/a.b") == file


def test_set_is_in_the_order_of_first_presentation(tmp_path: Path) -> None:
    stimuli = find_stimuli(trials("b", "", "a", "b", "c", "a"), BIDS, tmp_path)
    assert stimuli.ids == ("b", "a", "c")
    assert [stimulus.stimulus_id for stimulus in stimuli.missing()] == ["b", "a", "c"]
    assert stimuli.missing()[0].wanted == str(tmp_path / "stimuli" / "b.*")


def test_category_in_the_template(tmp_path: Path) -> None:
    files = ("{stimulus_id}.png", "{category}/{stimulus_id}.*")
    spec = StimulusSpec("mine", "mine.toml", stimuli=StimulusFiles(files=files, category=r"(\w+?)_\d+"))
    dog, flat = put(tmp_path / "stimuli" / "dog" / "dog_1.jpg"), put(tmp_path / "stimuli" / "cat_2.png")
    stimuli = find_stimuli(trials("dog_1", "cat_2", "none"), spec, tmp_path)
    assert (stimuli.path("dog_1"), stimuli.path("cat_2"), stimuli.path("none")) == (dog, flat, None)
    assert [stimuli.category(name) for name in stimuli.ids] == ["dog", "cat", ""]


def test_id_with_special_characters_is_no_pattern(tmp_path: Path) -> None:
    put(tmp_path / "stimuli" / "ab.png")
    file = put(tmp_path / "stimuli" / "[ab]?.png")
    stimuli = find_stimuli(trials("[ab]?", "a[b]"), BIDS, tmp_path)
    assert (stimuli.path("[ab]?"), stimuli.path("a[b]")) == (file, None)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_id_that_leads_out_of_the_data_set(tmp_path: Path, name: str) -> None:
    put(tmp_path / "secret.png")
    for shown in (trials(name), trials("a", files=[f"{name}.png"])):
        with pytest.raises(DataError, match="lies outside the data set") as caught:
            find_stimuli(shown, BIDS, tmp_path / "ds")
        assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("roots", "files"), [((), ("{stimulus_id}.*",)), (("stimuli",), ("{category}/{stimulus_id}.*",))]
)
def test_nothing_to_look_for_is_a_missing_picture(
    tmp_path: Path, roots: tuple[str, ...], files: tuple[str, ...]
) -> None:
    spec = StimulusSpec("mine", "mine.toml", stimuli=StimulusFiles(roots, files, category=r"(n\d+)_\d+"))
    (missing,) = find_stimuli(trials("a"), spec, tmp_path).missing()
    assert (missing.path, missing.wanted) == (None, "a")


# attributes


def test_attributes_from_columns_of_events(tmp_path: Path) -> None:
    shown = trials("a", "b", "a", "photo", "").assign(
        colour=["red", "blue", "red", "n/a", "grey"], shape=["ring", "ring", "n/a", "n/a", "n/a"], size="1"
    )
    stimuli = find_stimuli(shown, BIDS, tmp_path)
    assert stimuli.attributes("a") == {"colour": "red", "shape": "ring"}
    assert stimuli.attributes("b") == {"colour": "blue", "shape": "ring"}
    assert stimuli.attributes("photo") == {}


def test_column_that_changes_between_trials_of_a_picture_is_no_attribute(tmp_path: Path) -> None:
    shown = trials("a", "b", "a").assign(color=["red", "blue", "green"], shape=["ring", "cross", "ring"])
    stimuli = find_stimuli(shown, BIDS, tmp_path)
    assert [stimuli.attributes(name) for name in "ab"] == [{"shape": "ring"}, {"shape": "cross"}]


def test_attributes_from_ids_yield_to_those_known_from_elsewhere(tmp_path: Path) -> None:
    spec = StimulusSpec(
        "mine", "mine.toml", stimuli=StimulusFiles(attributes=r"(?P<colour>\w+)-(?P<shape>\w+)")
    )
    stimuli = look_up(trials("red-ring", "x"), spec, tmp_path, (), {"red-ring": {"colour": "pink"}})
    assert stimuli.attributes("red-ring") == {"colour": "pink", "shape": "ring"}
    assert stimuli.attributes("x") == {}


# pictures that events hold themselves


def bits(shape: tuple[int, int]) -> StimulusSpec:
    rules = (
        TrialRule(task="figure", parse="bits", bits_shape=shape, id=("pattern",)),
        TrialRule(id=("stim_file",)),
    )
    return StimulusSpec("mine", "mine.toml", trials=rules)


def test_bits_are_row_by_row_from_the_top_left(tmp_path: Path) -> None:
    stimuli = find_stimuli(trials("0111", task="figure"), bits((2, 2)), tmp_path)
    assert stimuli.missing() == []
    grey = np.array([[0, 255], [255, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(stimuli.image("0111"), np.dstack([grey] * 3))
    wide = find_stimuli(trials("100001", task="figure"), bits((2, 3)), tmp_path).image("100001")
    assert wide[:, :, 0].tolist() == [[255, 0, 0], [0, 0, 255]]


def test_bits_only_where_the_rule_says_so(tmp_path: Path) -> None:
    file = put(tmp_path / "stimuli" / "0111.png")
    assert find_stimuli(trials("0111", task="photo"), bits((2, 2)), tmp_path).path("0111") == file


@pytest.mark.parametrize("name", ["011", "01111", "0121", "abcd"])
def test_bits_that_are_no_picture(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is not a picture of 2 x 2 zeros and ones") as caught:
        look_up(trials(name, task="figure"), bits((2, 2)), tmp_path)
    assert caught.value.exit_code == 65


# a public data set


def test_generic_object_decoding(tmp_path: Path) -> None:
    spec = load_stimulus_spec("ds001246")
    training = put(tmp_path / "mine/training/n01518878_10042.JPEG")
    test = put(tmp_path / "mine/test/n01443537_22563.JPEG")
    flat = put(tmp_path / "mine/n01621127_19020.png")
    shown = pd.concat(
        [
            trials("n01518878_10042", task="perception", session="perceptionTraining01"),
            trials("n01443537_22563", "n01621127_19020", task="perception", session="perceptionTest01"),
            trials("n01443537", "n01621127", task="imagery", session="imageryTest01"),
        ],
        ignore_index=True,
    )
    stimuli = find_stimuli(shown, spec, tmp_path / "ds", [tmp_path / "mine"])
    assert [stimuli.path(name) for name in stimuli.ids] == [training, test, flat, test, flat]
    assert stimuli.category("n01443537_22563") == stimuli.category("n01443537") == "n01443537"
    put(tmp_path / "mine/test/n01443537_1.JPEG")
    with pytest.raises(DataError, match=r"'test/n01443537_\*' matches 2 pictures"):
        find_stimuli(shown, spec, tmp_path / "ds", [tmp_path / "mine"])
