import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bids_recon.dataset.stimuli import (
    PictureSequence,
    Stimulus,
    StimulusSet,
    find_pictures,
    locate,
    picture_hash,
    read_picture,
)
from bids_recon.errors import DataError, MissingInputError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8)


def save(file: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, **options)  # type: ignore[arg-type]
    return file


# reading


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "gif"])
def test_lossless_formats_give_the_same_pixels_and_hash(tmp_path: Path, suffix: str) -> None:
    pixels = COLOURS if suffix != "gif" else np.where(COLOURS > 127, 255, 0).astype(np.uint8)
    file = save(tmp_path / f"a.{suffix}", pixels, **({"lossless": True} if suffix == "webp" else {}))
    read = read_picture(file)
    np.testing.assert_array_equal(read, pixels)
    assert (read.shape, read.dtype) == ((6, 4, 3), np.uint8)
    assert picture_hash(read) == picture_hash(pixels)


def test_hash_is_of_pixels_and_shape() -> None:
    assert picture_hash(COLOURS) == picture_hash(np.asfortranarray(COLOURS))
    assert picture_hash(COLOURS) != picture_hash(COLOURS.reshape(4, 6, 3))
    assert len(picture_hash(COLOURS)) == len(hashlib.sha256().hexdigest())
    changed = COLOURS.copy()
    changed[0, 0, 0] ^= 1
    assert picture_hash(changed) != picture_hash(COLOURS)


def test_transparency_is_laid_over_grey(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 0] = 255
    pixels[0, :, 3] = (255, 0, 128)
    read = read_picture(save(tmp_path / "a.png", pixels))
    assert read[0, 0].tolist() == [255, 0, 0]
    assert read[0, 1].tolist() == [127, 127, 127]
    np.testing.assert_allclose(read[0, 2], [191, 63, 63], atol=1)


def test_transparent_grey_and_palette(tmp_path: Path) -> None:
    grey = np.array([[[200, 255], [200, 0]]], dtype=np.uint8)
    assert read_picture(save(tmp_path / "la.png", grey))[0].tolist() == [[200] * 3, [127] * 3]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png")
    assert read_picture(tmp_path / "p.png")[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    palette.save(tmp_path / "t.png", transparency=1)
    assert read_picture(tmp_path / "t.png")[0].tolist() == [[10, 20, 30], [127, 127, 127]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_greyscale_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    read = read_picture(save(tmp_path / f"a.{suffix}", deep))
    assert read.dtype == np.uint8
    assert read[0].tolist() == [[value] * 3 for value in (0, 1, 128, 255)]


def test_floating_point_greyscale_is_scaled_to_its_maximum(tmp_path: Path) -> None:
    read = read_picture(save(tmp_path / "a.tif", np.array([[0.0, 0.25, 0.5]], dtype=np.float32)))
    assert read[0, :, 0].tolist() == [0, 128, 255]


def test_grey_and_bilevel(tmp_path: Path) -> None:
    grey = np.array([[0, 100, 255]], dtype=np.uint8)
    assert read_picture(save(tmp_path / "l.png", grey))[0].tolist() == [
        [value] * 3 for value in grey[0].tolist()
    ]
    assert read_picture(save(tmp_path / "1.png", grey, "1"))[0, [0, 2], 0].tolist() == [0, 255]


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "zeros"])
def test_corrupt_picture(tmp_path: Path, damage: str) -> None:
    file = save(tmp_path / "a.png", RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    whole = file.read_bytes()
    file.write_bytes(
        {"text": b"no picture", "empty": b"", "cut": whole[:1000], "zeros": whole[:50] + bytes(900)}[damage]
    )
    with pytest.raises(DataError, match="the picture cannot be read") as caught:
        read_picture(file)
    assert caught.value.exit_code == 65
    assert str(caught.value).startswith(f"{file}: ")


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPEG", "a.txt", "._b.png", "a/d.tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = [file.relative_to(tmp_path).as_posix() for file in find_pictures(tmp_path)]
    assert found == ["a/c.JPEG", "a/d.tiff", "b.png"]


# where pictures are


def put(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    return file


def test_first_root_and_first_candidate_win(tmp_path: Path) -> None:
    mine, stimuli = tmp_path / "mine", tmp_path / "ds" / "stimuli"
    b, c = put(stimuli / "b.png"), put(stimuli / "sub" / "c.png")
    assert locate(["a.png", "b.png", "sub/c.png"], [mine, stimuli], tmp_path / "ds") == b
    assert locate(["sub\\c.png"], [mine, stimuli], tmp_path / "ds") == c
    assert locate(["a.png"], [mine, stimuli], tmp_path / "ds") is None
    own = put(mine / "sub" / "c.png")
    assert locate(["b.png", "sub/c.png"], [mine, stimuli], tmp_path / "ds") == own


@pytest.mark.parametrize(
    "candidate", ["../a.png", "/etc/passwd", "a/../../b.png", "..\\a.png", "\\etc\\passwd", "*/../../a.*"]
)
def test_path_that_leads_out(tmp_path: Path, candidate: str) -> None:
    put(tmp_path / "a.png")
    with pytest.raises(DataError, match="lies outside the data set") as caught:
        locate([candidate], [tmp_path / "stimuli"], tmp_path)
    assert caught.value.exit_code == 65
    assert candidate in str(caught.value)


def test_link_that_leads_out_of_the_data_set(tmp_path: Path) -> None:
    secret, root = put(tmp_path / "secret.png"), tmp_path / "ds" / "stimuli"
    root.mkdir(parents=True)
    (root / "a.png").symlink_to(secret)
    for candidate in ("a.png", "a.*"):
        with pytest.raises(
            DataError, match=r"is a link that leads out of the data set\. .*--stimuli"
        ) as caught:
            locate([candidate], [root], tmp_path / "ds")
        assert caught.value.exit_code == 65
        assert str(root / "a.png") in str(caught.value)


def test_links_inside_the_data_set_and_in_folders_of_the_user(tmp_path: Path) -> None:
    picture, stimuli, mine = put(tmp_path / "ds/.git/annex/x"), tmp_path / "ds" / "stimuli", tmp_path / "mine"
    for root in (stimuli, mine):
        root.mkdir()
        (root / "a.png").symlink_to(picture)
    assert locate(["a.png"], [stimuli], tmp_path / "ds") == stimuli / "a.png"
    (mine / "b.png").symlink_to(put(tmp_path / "imagenet" / "b.png"))
    assert locate(["b.png"], [mine, stimuli], tmp_path / "ds") == mine / "b.png"


def test_pattern_has_to_match_one_picture(tmp_path: Path) -> None:
    only = put(tmp_path / "n01_1.JPEG")
    for name in ("n01_1.txt", "._n01_1.JPEG", "n02_1.png"):
        put(tmp_path / name)
    assert locate(["n01_*"], [tmp_path], tmp_path) == only
    assert locate(["n03_*"], [tmp_path], tmp_path) is None
    put(tmp_path / "n01_2.png")
    with pytest.raises(
        DataError, match=r"'n01_\*' matches 2 pictures, such as n01_1.JPEG and n01_2.png"
    ) as caught:
        locate(["n01_*"], [tmp_path], tmp_path)
    assert caught.value.exit_code == 65


def test_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert locate(["a" * 300 + ".png", "a" * 300 + ".*"], [tmp_path], tmp_path) is None


# the set


def test_set_is_ordered_and_reads_by_id(tmp_path: Path) -> None:
    file = save(tmp_path / "b.png", COLOURS)
    pattern = np.array([[0, 255]], dtype=np.uint8)
    stimuli = StimulusSet(
        {
            "b": Stimulus("b", path=file, category="dog", captions=("A dog.",)),
            "a": Stimulus("a", pattern=pattern),
            "c": Stimulus("c", wanted="stimuli/c.png"),
        }
    )
    assert stimuli.ids == ("b", "a", "c")
    assert (stimuli.path("b"), stimuli.path("a")) == (file, None)
    assert (stimuli.category("b"), stimuli.category("a")) == ("dog", "")
    assert stimuli.captions(["a", "b"]) == [(), ("A dog.",)]
    a, b = stimuli.images(["a", "b"])
    assert a.tolist() == [[[0, 0, 0], [255, 255, 255]]]
    np.testing.assert_array_equal(b, COLOURS)
    assert stimuli.content_hash("b") == picture_hash(COLOURS)
    assert [stimulus.stimulus_id for stimulus in stimuli.missing()] == ["c"]
    assert stimuli.missing(["a", "b"]) == []


def test_hash_is_computed_once(tmp_path: Path) -> None:
    file = save(tmp_path / "b.png", COLOURS)
    stimuli = StimulusSet({"b": Stimulus("b", path=file)})
    first = stimuli.content_hash("b")
    file.unlink()
    assert stimuli.content_hash("b") == first


@pytest.mark.parametrize("state", ["not found", "link", "pointer"])
def test_missing_picture(tmp_path: Path, state: str) -> None:
    file = tmp_path / "a.png"
    if state == "link":
        file.symlink_to(".git/annex/objects/gone")
    elif state == "pointer":
        file.write_bytes(b"/annex/objects/MD5E-s1.png\n")
    path = None if state == "not found" else file
    stimuli = StimulusSet({"a": Stimulus("a", path=path, wanted=str(file))})
    assert [stimulus.stimulus_id for stimulus in stimuli.missing()] == ["a"]
    with pytest.raises(MissingInputError, match="the picture of stimulus 'a' is missing") as caught:
        stimuli.image("a")
    assert caught.value.exit_code == 66
    assert str(file) in str(caught.value)


# a sequence that reads late


def test_pictures_are_read_one_at_a_time_when_asked_for() -> None:
    asked: list[str] = []

    def read(name: str) -> np.ndarray:
        asked.append(name)
        return np.full((1, 1, 3), ord(name), dtype=np.uint8)

    pictures = PictureSequence(["a", "b", "c", "d"], read)
    part = pictures[1:3]
    assert (len(pictures), len(part), asked) == (4, 2, [])
    assert part[0][0, 0, 0] == ord("b")
    assert pictures[-1][0, 0, 0] == ord("d")
    assert asked == ["b", "d"]
    assert [picture[0, 0, 0] for picture in pictures] == [ord(name) for name in "abcd"]
    assert asked == ["b", "d", "a", "b", "c", "d"]
    with pytest.raises(IndexError):
        pictures[4]
