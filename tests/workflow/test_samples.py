"""Several pictures of one response: seeds, files and the map of their spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from bids_recon.dataset.stimuli import Stimulus, StimulusSet
from bids_recon.methods.seeds import picture_seed, sample_seeds
from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold
from bids_recon.workflow.group_files import remove_unlisted, write_pictures
from bids_recon.workflow.samples import Samples, spread_map
from bids_recon.workflow.scoring import Scores

SIZE = 2


class Dice:
    """Draws one grey, which follows from the seed and the latent."""

    def render(self, latents: dict[str, NDArray[Any]], seeds: NDArray[np.uint64]) -> NDArray[np.uint8]:
        greys = (seeds % np.uint64(100) + latents["z"][:, 0].astype(np.uint64)).astype(np.uint8)
        return np.broadcast_to(greys[:, None, None, None], (len(seeds), SIZE, SIZE, 3)).copy()


def decoded() -> Decoded:
    folds = []
    for name, ids in (("0", ("a", "b")), ("1", ("c",))):
        rows = [(name, "test", one, "", "", "", -1, 1) for one in ids]
        items = pd.DataFrame(rows, columns=list(ITEM_COLUMNS))
        values = np.full((len(ids), 1), 10.0 * int(name), np.float32)
        folds.append(DecodedFold(name, items, {"z": values}, {"z": values[None]}, {}, "same"))
    return Decoded(tuple(folds))


def test_samples_differ_by_their_seeds_alone() -> None:
    samples = Samples(decoded(), {"0": Dice(), "1": Dice()}, 7, 3)  # type: ignore[dict-item]
    samples.draw()
    for item, name in enumerate("abc"):
        seed = np.array([picture_seed(7, name)])
        wanted = [int(sample_seeds(seed, k)[0] % np.uint64(100)) + (10 if name == "c" else 0) for k in (1, 2)]
        assert [int(picture[0, 0, 0]) for picture in samples.of(item)] == wanted
    assert sample_seeds(seed, 0) is seed
    assert len({int(sample_seeds(seed, k)[0]) for k in range(20)}) == 20


def test_spread_is_that_of_the_samples() -> None:
    pictures = np.zeros((3, 1, 2, 3), np.uint8)
    pictures[:, 0, 1, 0] = [10, 20, 30]
    np.testing.assert_allclose(spread_map(pictures), [[0, 10 / 3]])


def test_samples_and_their_spread_are_written_and_listed(tmp_path: Path) -> None:
    methods = {"0": Dice(), "1": Dice()}
    one = decoded()
    seeds = np.array([picture_seed(7, name) for name in "abc"])
    pictures = np.concatenate([methods["0"].render({"z": np.zeros((3, 1))}, seeds)])
    scores = Scores(pd.DataFrame(), pd.DataFrame(), pictures, pictures)
    stimuli = StimulusSet({name: Stimulus(name, pattern=np.zeros((1, 1), np.uint8)) for name in "abc"})
    who = {"subject": "01", "method": "dice", "roi": "all"}

    def write(samples: Samples | None) -> tuple[pd.DataFrame, list[str]]:
        table = write_pictures(tmp_path, tmp_path, who, one, scores, stimuli, 7, samples=samples)
        remove_unlisted(tmp_path, "dice", [table])
        return table, sorted(file.name for file in tmp_path.rglob("*.png"))

    table, files = write(Samples(one, methods, 7, 3))  # type: ignore[arg-type]
    assert files == sorted(
        f"{name}{end}.png" for name in "abc" for end in ("", "_sample-02", "_sample-03", "_spread")
    )
    assert table["n_samples"].tolist() == [3, 3, 3]
    assert table["spread_file"][1] == "images/01/dice/test/samples/b_spread.png"
    values = [
        np.asarray(Image.open(tmp_path / "images/01/dice/test" / f"{name}.png"))[0, 0, 0]
        for name in ("a", "samples/a_sample-02", "samples/a_sample-03")
    ]
    assert table["spread"][0] == np.float64(np.std(np.array(values, float), ddof=1))
    spread = np.asarray(Image.open(tmp_path / table["spread_file"][0]))
    assert (spread == round(table["spread"][0])).all()

    table, files = write(None)
    assert files == ["a.png", "b.png", "c.png"]
    assert table["n_samples"].tolist() == [1, 1, 1]
    assert table["spread_file"].isna().all()
