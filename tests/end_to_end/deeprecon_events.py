"""Events as OpenNeuro's ds001506 (Deep Image Reconstruction) writes them: few pictures, the same cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

PERCEPTION = "onset duration event_type stimulus_id stimulus_name category_index image_index response_time"
IMAGERY = (
    "onset duration trial_no event_type category_id category_name category_index response_time evaluation"
)
COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan", "white", "black")
SHAPES = ("square", "smallring", "largering", "+", "X")
# The numbers are those of the characters in the set that the letters were taken from.
LETTERS = {"A": 11, "C": 13, "E": 15, "I": 19, "N": 24, "O": 25, "R": 28, "S": 29, "T": 30, "U": 31}
NA = "n/a"


@dataclass(frozen=True)
class LayoutSize:
    """Pictures and runs; the real data set has 1200, 50, 40, 10 and 26, in 120, 24, 20, 12 and 20 runs.

    Attributes
    ----------
    train, natural, shapes, letters : int
        Pictures of each set; shapes at most 40, letters at most 10.
    imagined, imagined_shapes : int
        How many of the natural test pictures and of the shapes are imagined.
    runs : dict of str to int
        Runs of each session; those of the training session share out the pictures, others show all.
    """

    train: int = 60
    natural: int = 10
    shapes: int = 10
    letters: int = 6
    imagined: int = 8
    imagined_shapes: int = 0
    runs: dict[str, int] = field(
        default_factory=lambda: {"train": 2, "natural": 2, "shapes": 2, "letters": 2, "imagery": 2}
    )


SESSIONS = {
    "train": "perceptionNaturalImageTraining01",
    "natural": "perceptionNaturalImageTest01",
    "shapes": "perceptionArtificialImage01",
    "letters": "perceptionLetterImage01",
    "imagery": "imagery01",
}


def natural_name(category: int, image: int) -> str:
    """Name of a natural picture: WordNet number of its category, number of the image."""
    return f"n{category:08d}_{image}"


def shape_name(number: int) -> str:
    """Name of the coloured shape of a number from 1 to 40."""
    colour, shape = COLOURS[(number - 1) // len(SHAPES)], SHAPES[(number - 1) % len(SHAPES)]
    return f"colorExpStim{number:02d}_{colour}_{shape}"


def letter_name(letter: str) -> str:
    """Name of the picture of a letter."""
    return f"letter_black_img{LETTERS[letter]:03d}_{letter}"


def generated_events(size: LayoutSize, rng: np.random.Generator) -> Iterator[tuple[str, str, str, str]]:
    """Session, task, run and content of each events.tsv.

    Training pictures come in pairs of one category, test pictures have categories of their own, as in the
    real data set. Every run has a one-back repeat, and the first run of letters the corrupt cell `on/a`.
    """
    training = [natural_name(1639765 + 5077 * (k // 2), 100 + 37 * k) for k in range(size.train)]
    natural = [natural_name(1443537 + 70313 * k, 22563 - 313 * k) for k in range(size.natural)]
    # All shapes of a colour, then those of the next but one: ten differ in colour alone and in shape alone.
    numbers = [1 + 5 * colour + shape for colour in (0, 2, 4, 6, 1, 3, 5, 7) for shape in range(5)]
    shapes = [shape_name(number) for number in numbers[: size.shapes]]
    letters = [letter_name(letter) for letter in list(LETTERS)[: size.letters]]
    parts = np.array_split(rng.permutation(size.train), size.runs["train"])
    for number, part in enumerate(parts, 1):
        yield (
            SESSIONS["train"],
            "perception",
            f"{number:02d}",
            _perception([training[k] for k in part], 8, 0, rng),
        )
    for name, shown, on, off in (
        ("natural", natural, 8, 0),
        ("shapes", shapes, 8, 0),
        ("letters", letters, 12, 12),
    ):
        for number in range(1, size.runs[name] + 1):
            order = [shown[k] for k in rng.permutation(len(shown))]
            text = _perception(order, on, off, rng)
            if name == "letters" and number == 1:
                text = text.replace(f"\t-3\t{NA}", "\t-3\ton/a", 1)
            yield SESSIONS[name], "perception", f"{number:02d}", text
    meant = [name.split("_")[0] for name in natural[: size.imagined]] + shapes[: size.imagined_shapes]
    for number in range(1, size.runs["imagery"] + 1):
        order = [meant[k] for k in rng.permutation(len(meant))]
        yield SESSIONS["imagery"], "imagery", f"{number:02d}", _imagery(order, rng)


def _perception(shown: Sequence[str], on: int, off: int, rng: np.random.Generator) -> str:
    rows: list[list[object]] = [[0, 32, -1, NA, NA, NA, NA, NA]]
    onset = 32
    repeated = int(rng.integers(len(shown)))
    for place, name in enumerate(shown):
        for kind in (1, 2)[: 1 + (place == repeated)]:
            pressed = f"{onset + rng.uniform(0.5, 2):.6f}" if kind == 2 else NA
            rows.append([onset, on, kind, _stimulus_id(name), name, place + 1, place + 1, pressed])
            onset += on
            if off:
                rows.append([onset, off, -3, NA, NA, NA, NA, NA])
                onset += off
    return _text(PERCEPTION, [*rows, [onset, 6, -2, NA, NA, NA, NA, NA]])


def _imagery(meant: Sequence[str], rng: np.random.Generator) -> str:
    """Cue, imagery, evaluation and rest of each trial; all four rows name what was to be imagined."""
    rows: list[list[object]] = [[0.0, 32.0, 1.0, -1, *[NA] * 5]]
    onset = 32.0
    for place, name in enumerate(meant):
        pressed = f"{onset + rng.uniform(12.1, 14.9):.6f}"
        tail = [_stimulus_id(name), name, place + 1, pressed, float(rng.integers(1, 6))]
        for kind, duration in ((1, 4.0), (2, 8.0), (3, 3.0), (4, 1.0)):
            rows.append([onset, duration, place + 2.0, kind, *tail])
            onset += duration
    return _text(IMAGERY, [*rows, [onset, 6.0, len(meant) + 2.0, -2, *[NA] * 5]])


def _stimulus_id(name: str) -> str:
    """Number that the data set makes of a name: 1639765.047681, 1639765, 19 or 11."""
    first, *rest = name.removeprefix("colorExpStim").removeprefix("letter_black_img").split("_")
    if not first.startswith("n"):
        return str(int(first))
    return str(int(first[1:])) + (f".{int(rest[0]):06d}" if rest else "")


def _text(header: str, rows: Sequence[Sequence[object]]) -> str:
    return "\n".join("\t".join(map(str, row)) for row in (header.split(), *rows)) + "\n"
