"""Captions: from a table or COCO to the picture they belong to, and to no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bids_recon.dataset.captions import (
    MAX_CAPTIONS,
    MAX_LENGTH,
    Captions,
    find_captions,
    plain_text,
    read_all,
    read_captions,
)
from bids_recon.errors import DataError, InputOutputError, MissingInputError


def table(folder: Path, *rows: str, header: str = "stim_file|caption", name: str = "captions.tsv") -> Path:
    """Write a table whose cells are divided by bars."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(("\n".join((header, *rows)) + "\n").replace("|", "\t").encode())
    return file


def coco(folder: Path, annotations: object, name: str = "captions_val2014.json") -> Path:
    """Write an annotation file of COCO's structure."""
    file = folder / name
    whole = {
        "info": {"year": 2014},
        "images": [{"id": 9, "file_name": "COCO_val2014_000000000009.jpg"}],
        "licenses": [{"id": 1, "url": "u"}],
        "annotations": annotations,
    }
    file.write_text(json.dumps(whole))
    return file


def annotation(image_id: object, caption: object) -> dict[str, object]:
    return {"id": 1, "image_id": image_id, "caption": caption}


# tables


def test_captions_of_a_table_stay_in_order(tmp_path: Path) -> None:
    file = table(
        tmp_path,
        "a.png|a cat|me",
        "stimuli/faces/b.jpg|a face|me",
        "a.png|a cat sits|you",
        header="stim_file|caption|author",
    )
    captions = read_captions(file)
    assert captions.of("a", "a.png") == ("a cat", "a cat sits")
    assert captions.of("faces/b", "faces/b.jpg") == ("a face",)
    assert captions.of("faces/b", "stimuli/faces/b.jpg") == ("a face",)
    assert captions.of("c", "c.png") == ()
    assert (len(captions), captions.files) == (2, (file,))


def test_stimulus_ids_may_name_the_picture(tmp_path: Path) -> None:
    captions = read_captions(table(tmp_path, "3079230.008270|a clock", header="stimulus_id|caption"))
    assert captions.of("3079230.008270") == ("a clock",)
    assert captions.of("3079230.008271") == captions.of("3079230") == ()


def test_either_name_will_do_where_a_table_has_both(tmp_path: Path) -> None:
    rows = ("one|a.png|a cat", "n/a|b.png|a dog", "three||a bird")
    captions = read_captions(table(tmp_path, *rows, header="stimulus_id|stim_file|caption"))
    assert captions.of("one") == captions.of("other", "a.png") == ("a cat",)
    assert captions.of("b", "b.png") == ("a dog",)
    assert captions.of("three") == ("a bird",)
    assert "n/a" not in captions.by_id


def test_empty_captions_and_repetitions_are_left_out(tmp_path: Path) -> None:
    rows = ["a.png|n/a", "a.png|", "a.png| N/A ", "a.png|\u200b", "a.png|a cat", "a.png|a  cat", "n/a|n/a"]
    captions = read_captions(table(tmp_path, *rows, "b.png|n/a"))
    assert captions.by_file == {"a.png": ("a cat",)}


def test_only_the_first_five_are_kept(tmp_path: Path) -> None:
    assert MAX_CAPTIONS == 5
    captions = read_captions(table(tmp_path, *(f"a.png|caption {n}" for n in range(7))))
    assert captions.of("a", "a.png") == tuple(f"caption {n}" for n in range(5))


def test_captions_are_plain_text_of_limited_length(tmp_path: Path) -> None:
    captions = read_captions(table(tmp_path, "a.png|a\x1b[31mred\x00 cat\u202e", f"b.png|{'long ' * 50_000}"))
    assert captions.of("a", "a.png") == ("a [31mred cat",)
    (long,) = captions.of("b", "b.png")
    assert (MAX_LENGTH, len(long)) == (1000, 999) and long.endswith("long")


def test_quotes_enclose_a_cell_or_are_part_of_it(tmp_path: Path) -> None:
    rows = [
        'a.png|"a ""stop"" sign"|x',
        'a.png|"Stop" says a sign|x',
        'a.png|"to be|x',
        'a.png|12" wide|"x|"',
    ]
    captions = read_captions(table(tmp_path, *rows, header="stim_file|caption|author"))
    wanted = ('a "stop" sign', '"Stop" says a sign', '"to be', '12" wide')
    assert captions.of("a", "a.png") == wanted


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (" a\tcat \r\n sits\u2028there ", "a cat sits there"),
        ("half \ud800 a pair", "half a pair"),
        ("Katze: süß, 猫, 🐈", "Katze: süß, 猫, 🐈"),
        ("\x07", ""),
    ],
)
def test_what_cannot_be_printed_goes(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_tables_of_other_programs_are_read(tmp_path: Path, ends: str) -> None:
    file = tmp_path / "captions.tsv"
    lines = ["stim_file\tcaption\t", "a.png\tsüß\t", "", "b.png\ta dog"]
    file.write_bytes(b"\xef\xbb\xbf" + ends.join(lines).encode())
    captions = read_captions(file)
    assert captions.by_file == {"a.png": ("süß",), "b.png": ("a dog",)}


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a.png|a|b"], "stim_file|caption", "line 2: there are 3 cells, and 2 columns"),
        (["a.png|a", "a.png a dog"], "stim_file|caption", "line 3: there are 1 cells, and 2 columns"),
        (['a.png|"a', 'dog"'], "stim_file|caption", "line 3: there are 1 cells, and 2 columns"),
        (["|a dog"], "stim_file|caption", "line 2: the caption belongs to no picture"),
        (["a.png|a", "n/a|a dog"], "stim_file|caption", "line 3: the caption belongs to no picture"),
        (["../a.png|a"], "stim_file|caption", "line 2: '../a.png' is a picture outside the data set"),
        (["/etc/passwd|a"], "stim_file|caption", "line 2: '/etc/passwd' is a picture outside"),
        ([r"faces\a.png|a"], "stim_file|caption", r"line 2: .*\(it has back-slashes\)"),
        (["a|b"], "stim_file|text", "no column 'caption' .* there are 'stim_file', 'text'.*Write a table"),
        (["a|b"], "picture|caption", "no column 'caption' beside 'stim_file' or 'stimulus_id'"),
        (["a|b"], "", "there are 'a', 'b'"),
        (["a|b|c"], "stim_file|caption|caption", "column 'caption' is there twice"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, rows: list[str], header: str, message: str) -> None:
    file = table(tmp_path, *rows, header=header)
    with pytest.raises(DataError, match=f"^{re.escape(str(file))}: .*{message}"):
        read_captions(file)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "captions.tsv"
    file.write_bytes("stim_file\tcaption\na.png\tsüß\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"captions\.tsv: is not UTF-8 text\. Save it as UTF-8"):
        read_captions(file)
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"no column 'caption' .* there are none"):
        read_captions(file)


# which picture


@pytest.fixture
def by_path(tmp_path: Path) -> Captions:
    return read_captions(table(tmp_path, "a.png|root", "faces/a.png|face", "faces/b.png|other face"))


@pytest.mark.parametrize(
    ("stimulus_id", "file", "caption"),
    [
        ("faces/a", "", "face"),
        ("a", "", "root"),
        ("faces/a", "faces/a.jpg", "face"),
        ("faces/a", "/data/set/stimuli/faces/a.png", "face"),
        ("faces/b", "C:\\mine\\faces\\b.bmp", "other face"),
        ("72921", "/elsewhere/faces/b.png", "other face"),
        ("a", "/data/set/stimuli/a.png", "root"),
    ],
)
def test_a_picture_is_found_by_its_path(by_path: Captions, stimulus_id: str, file: str, caption: str) -> None:
    assert by_path.of(stimulus_id, file) == (caption,)


@pytest.mark.parametrize(
    ("stimulus_id", "file"),
    [
        ("houses/a", "houses/a.png"),
        ("houses/a", "/data/set/stimuli/houses/a.png"),
        ("houses/b", ""),
        ("b", "houses/b.png"),
        ("aces/b", "/data/faces/b2.png"),
        ("", ""),
    ],
)
def test_no_picture_takes_the_captions_of_another(by_path: Captions, stimulus_id: str, file: str) -> None:
    assert by_path.of(stimulus_id, file) == ()


def test_a_stem_of_two_pictures_tells_neither(tmp_path: Path) -> None:
    captions = read_captions(table(tmp_path, "a.png|one", "a.jpg|two", "a.bmp|three"))
    assert captions.of("a") == captions.of("a", "a.tif") == ()
    assert captions.of("a", "a.jpg") == ("two",)


# COCO


def test_coco_captions_by_number_and_by_name(tmp_path: Path) -> None:
    rows = [annotation(124419, "a man "), annotation(9, "a meal\n"), annotation(124419, "a man surfs")]
    captions = read_captions(coco(tmp_path, rows))
    for given in (
        ("x", "", "124419"),
        ("x", "anything.png", "000000124419"),
        ("x", "COCO/000000124419.jpg"),
        ("x", "/data/COCO_val2014_000000124419.jpg"),
        ("COCO_train2014_000000124419",),
        ("x", "000000124419.png", "n/a"),
    ):
        assert captions.of(*given) == ("a man", "a man surfs")
    assert captions.of("x", "", "9") == ("a meal",)


@pytest.mark.parametrize(
    "given",
    [
        ("photo-coffee-009",),
        ("n01440764_9",),
        ("9",),
        ("x", "9.jpg"),
        ("9.008270", "9.008270"),
        ("x", "000000000009.jpg", "10"),
        ("x", "000000000009.jpg", "nine"),
        ("x", "000000000010.jpg"),
    ],
)
def test_other_numbers_are_no_coco_pictures(tmp_path: Path, given: tuple[str, ...]) -> None:
    assert read_captions(coco(tmp_path, [annotation(9, "a meal")])).of(*given) == ()


def test_both_halves_of_coco_and_a_table_are_merged(tmp_path: Path) -> None:
    files = [
        coco(tmp_path, [annotation(1, "train"), annotation(3, "first")], "captions_train2014.json"),
        coco(tmp_path, [annotation(2, "val"), annotation(3, "first"), annotation(3, "second")]),
        table(tmp_path, "000000000002.jpg|by hand"),
    ]
    captions = read_all(files)
    assert captions.by_image == {1: ("train",), 2: ("val",), 3: ("first", "second")}
    assert captions.of("x", "000000000002.jpg") == ("by hand",)
    assert captions.of("x", "000000000001.jpg") == ("train",)
    assert captions.files == tuple(files)
    assert len(read_all([])) == 0 and read_all([]).of("x", "000000000001.jpg") == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": []}', r"there is no list 'annotations'\. COCO's caption annotations are wanted"),
        ('[{"image_id": 1, "caption": "a"}]', "there is no list 'annotations'"),
        ('{"annotations": {"image_id": 1, "caption": "a"}}', "there is no list 'annotations'"),
        ('{"annotations": [', "is not valid JSON"),
        ("[" * 200_000, "is not valid JSON"),
        ('{"annotations": [{"image_id": ' + "9" * 5000 + "}]}", "is not valid JSON"),
        ('{"annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}', "annotation 0 has no image_id"),
        ('{"annotations": [{"image_id": 1, "caption": "a"}, 7]}', "annotation 1 has no image_id and caption"),
        ('{"annotations": [{"image_id": 1, "caption": 2}]}', "annotation 0 has no image_id and caption"),
        ('{"annotations": [{"image_id": true, "caption": "a"}]}', "annotation 0 has no image_id"),
        ('{"annotations": [{"image_id": -1, "caption": "a"}]}', "annotation 0 has no image_id"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "instances.json"
    file.write_text(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(file))}: {message}"):
        read_captions(file)


# files


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"captions\.tsv: there is no such file"):
        read_captions(tmp_path / "captions.tsv")
    with pytest.raises(DataError, match=r"captions\.xlsx: captions are read from \.tsv and \.json"):
        read_captions(tmp_path / "captions.xlsx")
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(InputOutputError, match=r"folder\.tsv: the captions cannot be read"):
        read_captions(tmp_path / "folder.tsv")


def test_files_that_were_not_fetched(tmp_path: Path) -> None:
    link, pointer = tmp_path / "captions.tsv", tmp_path / "captions.json"
    link.symlink_to("../.git/annex/objects/xx/MD5E-s9--0/MD5E-s9--0.tsv")
    pointer.write_text("/annex/objects/MD5E-s9--0.json\n")
    for file in (link, pointer):
        with pytest.raises(MissingInputError, match=f"{file.name}: the content .* datalad get .*{file.name}"):
            read_captions(file)


def test_captions_lie_beside_the_pictures(tmp_path: Path) -> None:
    bids, mine = tmp_path / "bids", tmp_path / "mine"
    stimuli = bids / "stimuli"
    assert find_captions(bids, [mine, stimuli]) is None
    own = table(stimuli, "a.png|a")
    assert find_captions(bids, [mine, stimuli]) == own
    named = table(mine, "a.png|b")
    assert find_captions(bids, [mine, stimuli]) == named


def test_links_do_not_lead_out_of_the_data_set(tmp_path: Path) -> None:
    bids, mine = tmp_path / "bids", tmp_path / "mine"
    secret = table(tmp_path, "a.png|secret", name="secret.tsv")
    for folder in (bids / "stimuli", mine):
        folder.mkdir(parents=True)
        (folder / "captions.tsv").symlink_to(secret)
    with pytest.raises(DataError, match=r"captions\.tsv: is a link that leads out of the data set\. Put"):
        find_captions(bids, [bids / "stimuli"])
    # A folder that the user named may hold what it likes.
    assert find_captions(bids, [mine]) == mine / "captions.tsv"
    inside = table(bids / "sourcedata", "a.png|a")
    (bids / "stimuli" / "captions.tsv").unlink()
    (bids / "stimuli" / "captions.tsv").symlink_to(inside)
    assert find_captions(bids, [bids / "stimuli"]) == bids / "stimuli" / "captions.tsv"
