"""What pictures show, in words: a table of the data set, or the annotations of COCO.

Brain-Diffuser (Ozcelik & VanRullen 2023, Methods) averages the latents of up to five captions a picture. They
are plain text from files that anybody may have written: nothing here follows what they say.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from bids_recon.dataset.annex import is_fetched, not_fetched
from bids_recon.dataset.stimuli import locate
from bids_recon.dataset.stimulus_rows import EXTENSION, stimulus_path
from bids_recon.errors import DataError, InputOutputError, MissingInputError

CAPTIONS_FILE = "captions.tsv"
MAX_CAPTIONS = 5
MAX_LENGTH = 1000
NOT_AVAILABLE = "n/a"

TABLE_REMEDY = "Write a table with the columns stim_file and caption, separated by tabs, one caption a row."
COCO_REMEDY = (
    'COCO\'s caption annotations are wanted, such as captions_train2017.json: {"annotations":'
    ' [{"image_id": 9, "caption": "..."}]}.'
)
# COCO's own names: COCO_val2014_000000124419.jpg, 000000124419.jpg. Shorter numbers are other data sets'.
_COCO_NAME = re.compile(r"(?:COCO_[A-Za-z]+\d*_)?(\d{12})", re.ASCII)
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)

Key = TypeVar("Key", str, int)


@dataclass(frozen=True)
class Captions:
    """Captions of pictures, in the order of their files, at most `MAX_CAPTIONS` each.

    Attributes
    ----------
    by_id : dict of str to tuple of str
        By stimulus id.
    by_file : dict of str to tuple of str
        By path below the stimulus folder.
    by_image : dict of int to tuple of str
        By COCO's number of the picture.
    files : tuple of Path
        Where they were read.
    """

    by_id: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_file: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_image: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    _stems: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        stems: dict[str, str] = {}
        for path in self.by_file:
            stem = _stem(path)
            # Two pictures that differ by their extension only: the stem tells neither.
            stems[stem] = path if stem not in stems else ""
        object.__setattr__(self, "_stems", stems)

    def __len__(self) -> int:
        """Pictures with captions."""
        return len(self.by_id) + len(self.by_file) + len(self.by_image)

    def of(self, stimulus_id: str, file: str = "", image_id: str = "") -> tuple[str, ...]:
        """Captions of a picture; empty where none are known.

        A table counts before COCO: first the stimulus id, then the file, then the file without its extension.

        Parameters
        ----------
        stimulus_id : str
        file : str
            The picture's path, as events name it or in full.
        image_id : str
            COCO's number of the picture; "" where it is to be taken from the name of the file (of the id,
            where there is no file), if that is one of COCO's, with twelve digits.
        """
        if stimulus_id in self.by_id:
            return self.by_id[stimulus_id]
        named = _ends(file, stimulus_id) if file else [stimulus_id]
        for path in named:
            if path in self.by_file:
                return self.by_file[path]
        for stem in map(_stem, named) if file else named:
            if self._stems.get(stem):
                return self.by_file[self._stems[stem]]
        number = _image_number(image_id, file or stimulus_id)
        return () if number is None else self.by_image.get(number, ())


def _ends(file: str, stimulus_id: str) -> list[str]:
    """Ends of a path, longest first, but for those too short to hold the whole id.

    The folders above the stimulus folder are not known here. An id `houses/a` must not take the captions of
    another folder's `a.png`.
    """
    parts = [part for part in file.replace("\\", "/").split("/") if part not in {"", "."}]
    last = len(parts) - stimulus_id.strip("/").count("/")
    return ["/".join(parts[first:]) for first in range(max(last, 1))]


def _stem(path: str) -> str:
    return EXTENSION.sub("", path) or path


def _image_number(image_id: str, name: str) -> int | None:
    if image_id and image_id != NOT_AVAILABLE:
        return int(image_id) if _NUMBER.fullmatch(image_id) else None
    found = _COCO_NAME.fullmatch(_stem(PurePosixPath(name.replace("\\", "/")).name))
    return int(found[1]) if found else None


def find_captions(bids_dir: Path, roots: Sequence[Path]) -> Path | None:
    """First `captions.tsv` in one of the folders of pictures.

    Raises
    ------
    DataError
        When it is a link from the data set to somewhere else.
    """
    try:
        return locate([CAPTIONS_FILE], roots, bids_dir)
    except DataError as error:
        raise DataError(error.problem, file=error.file, remedy="Put the file itself in its place.") from error


def read_captions(file: Path) -> Captions:
    """Read captions from a table (`.tsv`) or from caption annotations of COCO (`.json`).

    A table has the columns `caption` and `stim_file` (as in events, with or without `stimuli/`) or
    `stimulus_id`, and one caption a row; other columns are left alone. Empty captions, n/a and repetitions
    are left out, and so is what cannot be printed. Captions end after `MAX_LENGTH` characters.

    Raises
    ------
    MissingInputError
        When the file is not there or its content was not fetched.
    DataError
        When it is of another kind or damaged; with the line or annotation.
    """
    return read_all([file])


def read_all(files: Iterable[Path]) -> Captions:
    """Read several files, such as both halves of COCO, into one (see `read_captions`).

    A picture in several of them has the captions of all, in the order of the files.
    """
    by_id: dict[str, list[str]] = {}
    by_file: dict[str, list[str]] = {}
    by_image: dict[int, list[str]] = {}
    read: list[Path] = []
    for file in map(Path, files):
        read.append(file)
        content = _content(file)
        if file.suffix.lower() == ".json":
            for image, caption in _annotations(content, file):
                _add(by_image, image, caption)
            continue
        for row in _rows(content, file):
            if row.stimulus_id:
                _add(by_id, row.stimulus_id, row.caption)
            if row.stim_file:
                _add(by_file, row.stim_file, row.caption)
    return Captions(_fixed(by_id), _fixed(by_file), _fixed(by_image), tuple(read))


def _add(known: dict[Key, list[str]], key: Key, caption: str) -> None:
    text = plain_text(caption)
    if not text or text.lower() == NOT_AVAILABLE:
        return
    captions = known.setdefault(key, [])
    if text not in captions and len(captions) < MAX_CAPTIONS:
        captions.append(text)


def _fixed(known: dict[Key, list[str]]) -> dict[Key, tuple[str, ...]]:
    return {key: tuple(captions) for key, captions in known.items()}


def plain_text(text: str) -> str:
    """Printable characters of a text, single spaces between words, at most `MAX_LENGTH` characters."""
    text = text[: 10 * MAX_LENGTH]
    if not text.isprintable():
        # Line ends and tabs divide words; marks of direction and halves of characters do not.
        kinds = {character: unicodedata.category(character) for character in set(text)}
        shown = (" " if kinds[c] in {"Cc", "Zl", "Zp"} else "" if kinds[c][0] == "C" else c for c in text)
        text = "".join(shown)
    return " ".join(text.split())[:MAX_LENGTH].rstrip()


def _content(file: Path) -> bytes:
    if file.suffix.lower() not in {".tsv", ".json"}:
        raise DataError("captions are read from .tsv and .json files only", file=file, remedy=TABLE_REMEDY)
    try:
        if not is_fetched(file):
            if file.is_symlink() or file.exists():
                raise not_fetched([file])
            raise MissingInputError("there is no such file of captions", file=file)
        return file.read_bytes()
    except OSError as error:
        raise InputOutputError(f"the captions cannot be read ({error.strerror})", file=file) from error


class _Row(NamedTuple):
    stimulus_id: str
    stim_file: str
    caption: str


def _rows(content: bytes, file: Path) -> Iterator[_Row]:
    """Rows of a table that have a caption; `stim_file` is the path below the stimulus folder."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", file=file, remedy="Save it as UTF-8.") from error
    lines = [(number, line) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1) if line.strip()]
    header = [cell.strip() for cell in _cells(lines[0][1])] if lines else []
    places = {name: header.index(name) for name in ("stimulus_id", "stim_file", "caption") if name in header}
    if "caption" not in places or len(places) < 2:
        listed = ", ".join(f"'{plain_text(name)[:40]}'" for name in header[:10]) or "none"
        raise DataError(
            f"there is no column 'caption' beside 'stim_file' or 'stimulus_id'; there are {listed}",
            file=file,
            remedy=TABLE_REMEDY,
        )
    if twice := next((name for name in places if header.count(name) > 1), None):
        raise DataError(f"column '{twice}' is there twice", file=file, remedy="Rename one of them.")
    for number, line in lines[1:]:
        cells = [cell.strip() for cell in _cells(line)]
        if len(cells) <= max(places.values()) or any(cells[len(header) :]):
            raise DataError(
                f"line {number}: there are {len(cells)} cells, and {len(header)} columns",
                file=file,
                remedy=TABLE_REMEDY,
            )
        found = {name: cells[place] for name, place in places.items() if cells[place] != NOT_AVAILABLE}
        stimulus_id, path = found.get("stimulus_id", ""), found.get("stim_file", "")
        if not found.get("caption"):
            continue
        if not (stimulus_id or path):
            raise DataError(
                f"line {number}: the caption belongs to no picture", file=file, remedy=TABLE_REMEDY
            )
        below = stimulus_path(path, file=file, line=number) if path else ""
        yield _Row(stimulus_id, below, found["caption"])


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        # Quotes that do not enclose a cell are part of what was said.
        return line.split("\t")


def _annotations(content: bytes, file: Path) -> Iterator[tuple[int, str]]:
    """Number of the picture and caption of each annotation, in their order."""
    try:
        whole = json.loads(content, object_hook=_kept)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not valid JSON ({error})", file=file, remedy=COCO_REMEDY) from error
    annotations = whole.get("annotations") if isinstance(whole, dict) else None
    if not isinstance(annotations, list):
        raise DataError("there is no list 'annotations'", file=file, remedy=COCO_REMEDY)
    for place, annotation in enumerate(annotations):
        image, caption = annotation if isinstance(annotation, tuple) else (None, None)
        numbered = isinstance(image, (int, str)) and _NUMBER.fullmatch(str(image))
        if not numbered or not isinstance(caption, str):
            raise DataError(f"annotation {place} has no image_id and caption", file=file, remedy=COCO_REMEDY)
        yield int(image), caption


def _kept(found: dict[str, Any]) -> Any:
    """Of an object of the file, what is wanted: the rest is let go while the file is read."""
    if "annotations" in found:
        return {"annotations": found["annotations"]}
    return (found["image_id"], found["caption"]) if "image_id" in found and "caption" in found else None
