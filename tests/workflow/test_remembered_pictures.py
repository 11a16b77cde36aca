"""Pictures that were drawn are found again, as long as nothing that they depend on has changed."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.latents.base import Image, LatentSpace
from bids_recon.methods.base import Decoder, Method, MethodOptions
from bids_recon.methods.seeds import picture_seed
from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold
from bids_recon.workflow.remembered_pictures import RememberedPictures, steps_of_items

SIZE = 4
STEPS = (10, 2, 1)


class Space:
    """A latent space of three numbers: the mean of each colour."""

    name = "colours"
    shape = (3,)

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def encode(self, images: Sequence[Image], captions: Any = None, out: Any = None) -> NDArray[np.float32]:
        return np.stack([image.mean(axis=(0, 1)) for image in images]).astype(np.float32)


class Painter(Method):
    """Draws one colour, with the seed in the first pixel, and counts how often it does."""

    name = "painter"
    reference = ""

    def __init__(self, options: MethodOptions | None = None, identity: str = "a", norm: float = 1.0) -> None:
        super().__init__(options)
        self.identity, self.norm = identity, norm
        self.drawn: list[int] = []
        self.ceilings: list[int] = []
        self.fails_from: int | None = None

    def fit_latent_spaces(
        self, images: Sequence[Image], extra_images: Sequence[Image] = (), captions: Any = None
    ) -> None:
        self.norm = float(len(images))

    @property
    def latent_spaces(self) -> dict[str, LatentSpace]:
        return {"colours": Space(self.identity)}

    def make_decoder(self, space: str) -> Decoder:
        return RidgeDecoder()

    def render(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        return self.render_steps(latents, seeds)[0]

    def render_steps(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]:
        if self.fails_from is not None and len(self.drawn) >= self.fails_from:
            raise KeyboardInterrupt
        self.drawn.append(len(seeds))
        pictures = np.empty((len(seeds), SIZE, SIZE, 3), np.uint8)
        pictures[:] = latents["colours"][:, None, None]
        pictures[:, 0, 0, 0] = (seeds % np.uint64(251)).astype(np.uint8)
        return pictures, {number: pictures // np.uint8(number + 1) for number in STEPS}

    def ceiling(
        self, images: Sequence[Image], seeds: NDArray[np.uint64], captions: Any = None
    ) -> NDArray[np.uint8]:
        self.ceilings.append(len(seeds))
        return np.stack([image[:SIZE, :SIZE] for image in images])

    def state(self) -> dict[str, NDArray[Any]]:
        return {"norm": np.array([self.norm])}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.norm = float(state["norm"][0])


def options(batch_size: int = 2, seed: int = 0, **extra: Any) -> MethodOptions:
    return MethodOptions(seed=seed, extra={"iterations": 5, **extra, "batch_size": batch_size})


def colours(n: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    values = np.random.default_rng(seed).integers(0, 255, (n, 3))
    return {"colours": values.astype(np.float32)}


SEEDS = np.arange(100, 105, dtype=np.uint64)
LATENTS = colours(5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


def test_pictures_are_those_of_the_method_and_drawn_once(folder: Path) -> None:
    painter = Painter(options())
    remembered = RememberedPictures(painter, folder)
    wanted = Painter().render(LATENTS, SEEDS)
    np.testing.assert_array_equal(remembered.render(LATENTS, SEEDS), wanted)
    assert painter.drawn == [2, 2, 1]
    np.testing.assert_array_equal(remembered.render(LATENTS, SEEDS), wanted)
    # In another order, some of them, and in a program that starts later.
    later = Painter(options())
    again = RememberedPictures(later, folder)
    rows = [3, 1]
    some = again.render({"colours": LATENTS["colours"][rows]}, SEEDS[rows])
    np.testing.assert_array_equal(some, wanted[rows])
    assert painter.drawn == [2, 2, 1] and later.drawn == []


def test_only_what_is_new_is_drawn(folder: Path) -> None:
    RememberedPictures(Painter(options()), folder).render(LATENTS, SEEDS)
    changed = {"colours": LATENTS["colours"].copy()}
    changed["colours"][2] += 1
    painter = Painter(options())
    found = RememberedPictures(painter, folder).render(changed, SEEDS)
    assert painter.drawn == [1]
    np.testing.assert_array_equal(found, Painter().render(changed, SEEDS))


def test_steps_come_back_in_rising_order(folder: Path) -> None:
    _, wanted = Painter().render_steps(LATENTS, SEEDS)
    for _ in range(2):
        pictures, steps = RememberedPictures(Painter(options()), folder).render_steps(LATENTS, SEEDS)
        assert list(steps) == [1, 2, 10]
        for number in STEPS:
            np.testing.assert_array_equal(steps[number], wanted[number])
        np.testing.assert_array_equal(pictures, Painter().render(LATENTS, SEEDS))


def test_equal_latents_are_drawn_once(folder: Path) -> None:
    painter = Painter(options(batch_size=8))
    latents = {"colours": np.repeat(LATENTS["colours"][:2], 3, axis=0)}
    seeds = np.repeat(SEEDS[:2], 3)
    found = RememberedPictures(painter, folder).render(latents, seeds)
    assert painter.drawn == [2] and len(list(folder.iterdir())) == 2
    np.testing.assert_array_equal(found, Painter().render(latents, seeds))


def test_a_killed_run_goes_on_where_it_was(folder: Path) -> None:
    killed = Painter(options())
    killed.fails_from = 1
    with pytest.raises(KeyboardInterrupt):
        RememberedPictures(killed, folder).render(LATENTS, SEEDS)
    assert killed.drawn == [2] and len(list(folder.iterdir())) == 2
    painter = Painter(options())
    found = RememberedPictures(painter, folder).render(LATENTS, SEEDS)
    assert painter.drawn == [2, 1]
    np.testing.assert_array_equal(found, Painter().render(LATENTS, SEEDS))


@pytest.mark.parametrize(
    "painter",
    [
        Painter(options(iterations=6)),
        Painter(options(seed=1)),
        Painter(options(layers=("a",))),
        Painter(options(), identity="b"),
        Painter(options(), norm=2.0),
        type("Other", (Painter,), {})(options()),
    ],
    ids=["iterations", "seed of the run", "layers", "space", "state", "method"],
)
def test_what_pictures_depend_on_has_them_drawn_again(folder: Path, painter: Painter) -> None:
    image = [np.full((SIZE, SIZE, 3), 7, np.uint8)]
    before = RememberedPictures(Painter(options()), folder)
    before.render(LATENTS, SEEDS)
    before.ceiling(image, SEEDS[:1])
    after = RememberedPictures(painter, folder)
    after.render(LATENTS, SEEDS)
    after.ceiling(image, SEEDS[:1])
    assert (painter.drawn, painter.ceilings) == ([2, 2, 1], [1])


def test_other_seeds_and_other_spaces_are_drawn_again(folder: Path) -> None:
    RememberedPictures(Painter(options()), folder).render(LATENTS, SEEDS)
    painter = Painter(options(batch_size=8))
    again = RememberedPictures(painter, folder)
    np.testing.assert_array_equal(
        again.render(LATENTS, SEEDS + np.uint64(1)), Painter().render(LATENTS, SEEDS + np.uint64(1))
    )
    again.render({**LATENTS, "more": LATENTS["colours"]}, SEEDS)
    assert painter.drawn == [5, 5]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_change_nothing(folder: Path, batch_size: int) -> None:
    RememberedPictures(Painter(options()), folder).render(LATENTS, SEEDS)
    painter = Painter(options(batch_size=batch_size))
    remembered = RememberedPictures(painter, folder)
    remembered.render(LATENTS, SEEDS)
    assert painter.drawn == []
    other = colours(5, seed=1)
    np.testing.assert_array_equal(remembered.render(other, SEEDS), Painter().render(other, SEEDS))
    assert painter.drawn == {1: [1] * 5, 3: [3, 2], 100: [5]}[batch_size]


def test_ceilings_are_remembered_apart(folder: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (SIZE + 2, SIZE, 3), np.uint8) for _ in range(3)]
    painter = Painter(options())
    remembered = RememberedPictures(painter, folder)
    wanted = np.stack([image[:SIZE] for image in images])
    for _ in range(2):
        np.testing.assert_array_equal(remembered.ceiling(images, SEEDS[:3]), wanted)
    assert painter.ceilings == [2, 1] and painter.drawn == []
    images[1] = images[1] ^ np.uint8(1)
    np.testing.assert_array_equal(remembered.ceiling(images, SEEDS[:3])[1], images[1][:SIZE])
    assert painter.ceilings == [2, 1, 1]
    # Of another picture by the same seed: not what was drawn from latents.
    remembered.render(LATENTS, SEEDS)
    assert painter.drawn == [2, 2, 1]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other arrays"])
def test_a_damaged_file_is_drawn_again(folder: Path, damage: str) -> None:
    remembered = RememberedPictures(Painter(options()), folder)
    wanted = remembered.render(LATENTS, SEEDS)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    file = sorted(before)[2]
    if damage == "cut":
        file.write_bytes(before[file][:-1])
    elif damage == "other arrays":
        file.write_bytes(before[file].replace(b'"picture"', b'"rubbish"'))
    else:
        file.write_text("" if damage == "empty" else "no picture at all")
    painter = Painter(options())
    np.testing.assert_array_equal(RememberedPictures(painter, folder).render(LATENTS, SEEDS), wanted)
    assert painter.drawn == [1]
    assert {one: one.read_bytes() for one in folder.iterdir()} == before


def test_many_pictures_keep_few_files_open(folder: Path) -> None:
    latents, seeds = colours(60), np.arange(60, dtype=np.uint64)
    wanted = RememberedPictures(Painter(options(batch_size=60)), folder).render(latents, seeds)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Pictures and steps are 240 arrays.
    resource.setrlimit(resource.RLIMIT_NOFILE, (120, limits[1]))
    try:
        found, steps = RememberedPictures(Painter(options()), folder).render_steps(latents, seeds)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    np.testing.assert_array_equal(found, wanted)
    assert {number: len(frames) for number, frames in steps.items()} == {1: 60, 2: 60, 10: 60}


def test_all_else_is_the_method(folder: Path) -> None:
    painter = Painter(options())
    remembered = RememberedPictures(painter, folder)
    image = np.full((6, 6, 3), 9, np.uint8)
    remembered.fit_latent_spaces([image] * 3)
    assert painter.norm == 3 and remembered.state()["norm"] == 3
    remembered.load_state({"norm": np.array([4.0])})
    assert painter.norm == 4
    assert remembered.latent_spaces["colours"].identity == "a"
    np.testing.assert_array_equal(remembered.encode([image], ["colours"])["colours"], [[9, 9, 9]])
    assert isinstance(remembered.make_decoder("colours"), RidgeDecoder)
    assert remembered.options is painter.options


def decoded_fold(name: str, ids: Sequence[str]) -> DecodedFold:
    rows = [(name, "test", stimulus, "", "", "view", -1, 1) for stimulus in ids]
    predicted = colours(len(ids), seed=len(name) + len(ids))
    floor = {"colours": predicted["colours"][None]}
    return DecodedFold(name, pd.DataFrame(rows, columns=list(ITEM_COLUMNS)), predicted, floor, {}, "a")


def test_steps_of_items_are_read_fold_by_fold(folder: Path) -> None:
    decoded = Decoded((decoded_fold("0", ["p1", "p2"]), decoded_fold("1", ["p3"])))
    painters = {name: Painter(options()) for name in "01"}
    methods: dict[str, Method] = {name: RememberedPictures(one, folder) for name, one in painters.items()}
    steps = steps_of_items(decoded, methods, 0)
    assert [list(one) for one in steps] == [[1, 2, 10]] * 3
    seeds = np.array([picture_seed(0, "p3")], dtype=np.uint64)
    _, wanted = Painter().render_steps(decoded.folds[1].predicted, seeds)
    for number in STEPS:
        np.testing.assert_array_equal(steps[2][number], wanted[number][0])
    # What the group level drew before is only read.
    drawn = [one.drawn for one in painters.values()]
    steps_of_items(decoded, methods, 0)
    assert [one.drawn for one in painters.values()] == drawn == [[2], [1]]
    assert steps_of_items(decoded, dict(painters), 0) == []
