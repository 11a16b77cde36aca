import re

import pytest

from bids_recon.outputs.names import (
    bids_uri,
    derivative_name,
    is_label,
    label,
    stimulus_filename,
    unique_labels,
)


def test_entities_stand_in_the_order_of_bids() -> None:
    entities = {"desc": "SingletrialBetas", "stat": "effect", "space": "T1w", "task": "view", "run": "01"}
    name = derivative_name({**entities, "session": "a", "subject": "01"}, "statmap", ".nii.gz")
    assert name == "sub-01_ses-a_task-view_run-01_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"


def test_segmentation_and_resolution_stand_as_in_the_schema() -> None:
    entities = {
        "description": "x",
        "label": "V1",
        "resolution": "2",
        "segmentation": "GOD",
        "acquisition": "a",
    }
    name = derivative_name({**entities, "sub": "01"}, "mask", ".json")
    assert name == "sub-01_acq-a_seg-GOD_res-2_label-V1_desc-x_mask.json"


def test_empty_entities_are_left_out() -> None:
    assert derivative_name({"sub": "1", "ses": "", "task": None}, "trials", ".tsv") == "sub-1_trials.tsv"


def test_long_and_short_names_are_the_same_entity() -> None:
    assert derivative_name({"subject": "1", "session": "2"}, "x", ".y") == derivative_name(
        {"ses": "2", "sub": "1"}, "x", ".y"
    )


def test_plus_sign_is_allowed_in_labels() -> None:
    assert derivative_name({"sub": "a+b"}, "x", ".y") == "sub-a+b_x.y"


@pytest.mark.parametrize("value", ["a_b", "a-b", "a/b", "../a", "a b", "ä", "a\n"])
def test_invalid_label(value: str) -> None:
    with pytest.raises(ValueError, match="alphanumeric") as caught:
        derivative_name({"sub": "01", "desc": value}, "mask", ".json")
    assert str(caught.value).startswith(f"desc-{value}: ")


def test_unknown_entity() -> None:
    with pytest.raises(ValueError, match=r"unknown entities: \['colour'\]"):
        derivative_name({"sub": "01", "colour": "red"}, "mask", ".json")


@pytest.mark.parametrize(
    ("text", "expected"), [("LH_V1v", "LHV1v"), ("hV4", "hV4"), ("---", "x"), ("", "x"), ("ä1", "1")]
)
def test_label(text: str, expected: str) -> None:
    assert label(text) == expected


LEGAL = [
    "n01443537_22563",
    "colorExpStim19_yellow_+",
    "letter_black_img011_A",
    "3079230.008270",
    "a-b",
    "A" * 120,
]
HOSTILE = [
    "../../etc/passwd",
    "..",
    ".",
    "...",
    ".hidden",
    "hidden",
    "a/b",
    "a_b",
    "a\\b",
    "a b",
    "a\tb",
    "a\nb",
    "a\0b",
    "",
    "/",
    "~",
    "$HOME",
    "a" * 300,
    "a" * 299 + "b",
    "a" * 121,
    "café",
    "cafe\u0301",
    "猫",
    "犬",
    "C:\\x",
    "a:b",
    "*",
    "?",
]


@pytest.mark.parametrize("name", LEGAL)
def test_legal_stimulus_ids_are_kept(name: str) -> None:
    assert stimulus_filename(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_stimulus_ids_become_safe(name: str) -> None:
    stem = stimulus_filename(name)
    assert re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*", stem)
    assert 0 < len(stem) <= 130


def test_stimulus_file_names_are_unique_and_always_the_same() -> None:
    stems = [stimulus_filename(name) for name in [*LEGAL, *HOSTILE]]
    assert len(set(stems)) == len(stems)
    assert stems == [stimulus_filename(name) for name in [*LEGAL, *HOSTILE]]


def test_changed_id_is_still_readable() -> None:
    assert stimulus_filename("dog/dog_12s") == "dog_dog_12s-" + "26b6f966"
    assert stimulus_filename("") == "x-da39a3ee"


def test_uri_is_of_the_innermost_folder(tmp_path):
    roots = {"raw": tmp_path / "ds", "rois": tmp_path / "ds" / "derivatives" / "rois"}
    assert bids_uri(tmp_path / "ds" / "sub-01" / "a.nii", roots) == "bids:raw:sub-01/a.nii"
    assert bids_uri(roots["rois"] / "sub-01" / "V1.nii", roots) == "bids:rois:sub-01/V1.nii"
    assert bids_uri(tmp_path / "V1.nii", roots) == str(tmp_path / "V1.nii")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("01", True), ("CSI1", True), ("a+b", True), ("", False), ("01_old", False), ("a-b", False)],
)
def test_labels(text, allowed):
    assert is_label(text) is allowed


def test_labels_are_told_apart_also_where_case_does_not_count() -> None:
    assert unique_labels(["V1_d", "V1-d", "v1d", "V2", "V1dx2", "_"]) == {
        "V1_d": "V1d",
        "V1-d": "V1dx2",
        "v1d": "v1dx3",
        "V2": "V2",
        "V1dx2": "V1dx2x2",
        "_": "x",
    }
