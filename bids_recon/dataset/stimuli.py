"""The pictures that were shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bids_recon.dataset.annex import is_fetched
from bids_recon.errors import DataError, MissingInputError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
GREY = (127, 127, 127)


@dataclass(frozen=True)
class Stimulus:
    """One picture.

    Attributes
    ----------
    stimulus_id : str
    path : Path or None
        Its file; None when it was not found, or when `pattern` is the picture.
    pattern : ndarray (height, width) uint8 or None
        A picture that the events table itself holds (0 or 255).
    wanted : str
        Where it was looked for, for messages.
    brick : tuple of Path, str and int, or None
        A picture that is one row of a data set in an HDF5 file: file, data set, row.
    category : str
        "" when not known.
    image_id : str
        Number of the picture in COCO, where it is one of its pictures; "" otherwise.
    captions : tuple of str
        What was written of it.
    attributes : dict of str to str
        What varies between pictures made for a test, by name: {"colour": "red", "shape": "square"}.
    """

    stimulus_id: str
    path: Path | None = None
    pattern: NDArray[np.uint8] | None = None
    wanted: str = ""
    brick: tuple[Path, str, int] | None = None
    category: str = ""
    image_id: str = ""
    captions: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        """Whether the picture can be read here and now."""
        file = self.brick[0] if self.brick else self.path
        return self.pattern is not None or (file is not None and is_fetched(file))


@dataclass(frozen=True)
class StimulusSet:
    """Pictures in order, by stimulus id; read when asked for."""

    stimuli: Mapping[str, Stimulus]
    _hashes: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """Stimulus ids, in order."""
        return tuple(self.stimuli)

    def path(self, stimulus_id: str) -> Path | None:
        """File of a picture."""
        return self.stimuli[stimulus_id].path

    def captions(self, ids: Sequence[str]) -> list[tuple[str, ...]] | None:
        """Captions of some pictures; None where no picture of the set has any."""
        if not any(stimulus.captions for stimulus in self.stimuli.values()):
            return None
        return [self.stimuli[name].captions for name in ids]

    def file(self, stimulus_id: str) -> Path | None:
        """File that holds a picture, alone or among others."""
        stimulus = self.stimuli[stimulus_id]
        return stimulus.brick[0] if stimulus.brick else stimulus.path

    def category(self, stimulus_id: str) -> str:
        """Category of a picture."""
        return self.stimuli[stimulus_id].category

    def attributes(self, stimulus_id: str) -> dict[str, str]:
        """Attributes of a picture, such as its colour, by name; empty where none are known."""
        return dict(self.stimuli[stimulus_id].attributes)

    def missing(self, ids: Iterable[str] | None = None) -> list[Stimulus]:
        """Pictures (among `ids`) that cannot be read: not found, or not fetched."""
        chosen = self.stimuli if ids is None else list(ids)
        return [self.stimuli[name] for name in chosen if not self.stimuli[name].available]

    def image(self, stimulus_id: str) -> NDArray[np.uint8]:
        """Read a picture as (height, width, 3) uint8.

        Raises
        ------
        MissingInputError
            When the file is not there.
        DataError
            When it is not a picture.
        """
        stimulus = self.stimuli[stimulus_id]
        if stimulus.pattern is not None:
            return np.repeat(stimulus.pattern[:, :, None], 3, axis=2)
        if stimulus.brick is not None:
            from bids_recon.dataset.hdf5_pictures import read_brick_picture

            return read_brick_picture(*stimulus.brick)
        if stimulus.path is None or not stimulus.available:
            raise MissingInputError(
                f"the picture of stimulus '{stimulus_id}' is missing", file=stimulus.path or stimulus.wanted
            )
        return read_picture(stimulus.path)

    def images(self, ids: Sequence[str]) -> PictureSequence:
        """Several pictures, each read when it is asked for."""
        return PictureSequence(ids, self.image)

    def content_hash(self, stimulus_id: str) -> str:
        """SHA-256 of a picture's pixels: equal for copies under other names or in other lossless formats."""
        if stimulus_id not in self._hashes:
            self._hashes[stimulus_id] = picture_hash(self.image(stimulus_id))
        return self._hashes[stimulus_id]


class PictureSequence(Sequence[NDArray[np.uint8]]):
    """Pictures that are read one at a time, when they are asked for: thousands need not fit in memory.

    Parameters
    ----------
    names : sequence
        What `read` takes: stimulus ids, paths.
    read : callable
        Gives the picture (height, width, 3) uint8 of a name.
    """

    def __init__(self, names: Sequence[Any], read: Callable[[Any], NDArray[np.uint8]]) -> None:
        self._names, self._read = tuple(names), read

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> PictureSequence: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | PictureSequence:
        if isinstance(index, slice):
            return PictureSequence(self._names[index], self._read)
        return self._read(self._names[index])


def picture_hash(picture: NDArray[np.uint8]) -> str:
    """SHA-256 of the pixels of a picture."""
    return hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).hexdigest()


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file as (height, width, 3) uint8 sRGB; what is transparent becomes mid-grey.

    Raises
    ------
    DataError
        When the file cannot be decoded.
    """
    try:
        with Image.open(path) as opened:
            if opened.mode in {"RGBA", "LA", "PA"} or "transparency" in opened.info:
                layer = opened.convert("RGBA")
                ground = Image.new("RGBA", layer.size, (*GREY, 255))
                return np.asarray(Image.alpha_composite(ground, layer).convert("RGB"))
            if opened.mode.startswith("I;16") or opened.mode in {"I", "F"}:
                # Pillow clips deep greyscale instead of scaling it.
                deep = np.asarray(opened, dtype=np.float64)
                top = 65535.0 if opened.mode != "F" else max(float(deep.max()), 1e-12)
                grey = np.clip(deep / top * 255.0, 0, 255).round().astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"the picture cannot be read ({error})", file=path) from error


def find_pictures(folder: Path) -> list[Path]:
    """Picture files in a folder and below it whose content is here, sorted."""
    return sorted(file for file in folder.rglob("*") if _is_picture(file) and is_fetched(file))


def _is_picture(file: Path) -> bool:
    # macOS leaves a hidden file beside each file that it copies to a foreign disk.
    return file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")


def locate(candidates: Sequence[str], roots: Sequence[Path], data_set: Path) -> Path | None:
    """First of the relative paths `candidates` that exists under one of the roots.

    A candidate with `*` is a glob pattern and has to match exactly one picture.

    Raises
    ------
    DataError
        When a candidate leads out of its root by `..`, or through a link from the data set to somewhere else,
        or when a pattern with `*` matches several files. Links in folders that the user named lead anywhere.
    """
    for root in roots:
        for candidate in candidates:
            relative = PurePosixPath(candidate.replace("\\", "/"))
            if relative.is_absolute() or ".." in relative.parts:
                raise DataError(f"the picture '{candidate}' lies outside the data set", file=root)
            found = _match(root, relative)
            if found is None:
                continue
            own = root.absolute().is_relative_to(data_set.absolute())
            if own and found.exists() and not _inside(found, (root, data_set)):
                raise DataError(
                    "is a link that leads out of the data set",
                    file=found,
                    remedy="Name the folder that holds the pictures with --stimuli.",
                )
            return found
    return None


def _match(root: Path, relative: PurePosixPath) -> Path | None:
    if "*" not in relative.name:
        path = root / relative
        try:
            return path if path.is_symlink() or path.is_file() else None
        except OSError:
            # No file can have a name that the system refuses, such as a very long one.
            return None
    found = sorted(file for file in root.glob(str(relative)) if _is_picture(file))
    if len(found) > 1:
        raise DataError(
            f"'{relative}' matches {len(found)} pictures, such as {found[0].name} and {found[1].name}",
            file=root,
            remedy="Keep the one that was shown.",
        )
    return found[0] if found else None


def _inside(path: Path, folders: Iterable[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(folder.resolve()) for folder in folders)
