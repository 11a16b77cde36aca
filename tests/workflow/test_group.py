"""The group level on latents that were written by hand: whose options draw the mean, and names of regions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from bids_recon.config import Settings
from bids_recon.methods import registry
from bids_recon.methods.base import Method
from bids_recon.outputs.reading import read_tsv
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.column_notes import TEXT_COLUMNS
from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold
from bids_recon.workflow.group import run_group
from bids_recon.workflow.latents_store import write_decoded
from bids_recon.workflow.method_settings import method_options, options_record

SIZE = 8
PICTURES = ("a", "b", "c", "d")
MEMBERS = {"V1_d": [0, 1], "V1-d": [2, 3]}
VOXELS = VoxelSelection(
    (4, 1, 1), np.eye(4), np.arange(4), {name: np.isin(np.arange(4), own) for name, own in MEMBERS.items()}
)


class Layer:
    """A space of four numbers, the mean colours of the quarters of a picture, that an encoder is known by."""

    shape = (4,)

    def __init__(self, encoder: str) -> None:
        self.identity = encoder

    def encode(self, images: Sequence[NDArray[np.uint8]], *_: Any, **__: Any) -> NDArray[np.float32]:
        quarters = [image[::4, ::4, 0].ravel()[:4] for image in images]
        return np.stack(quarters).astype(np.float32)


class Plain(Method):
    """Draws pictures whose red is a norm that was measured, and whose green is the norm correction."""

    name = "plain"
    reference = "none"
    quick_render = True
    norm = 0.0

    @property
    def latent_spaces(self) -> dict[str, Any]:
        return {"z": Layer(str(self.options.extra["encoder"]))}

    def fit_latent_spaces(self, images: Any, extra_images: Any = (), captions: Any = None) -> None:
        raise AssertionError("nothing is fitted at the group level")

    def make_decoder(self, space: str) -> Any:
        raise AssertionError("nothing is fitted at the group level")

    def render(self, latents: Mapping[str, Any], seeds: NDArray[np.uint64]) -> NDArray[np.uint8]:
        pictures = np.zeros((len(seeds), SIZE, SIZE, 3), dtype=np.uint8)
        pictures[..., 0] = self.norm
        pictures[..., 1] = {"training": 100, "none": 200}[self.options.extra["norm_correction"]]
        # What makes pictures differ, so that there is something to be scored.
        pictures[..., 2] = np.clip(latents["z"], 0, 255).mean(axis=1)[:, None, None]
        pictures[:, 0, 0, 2] = 255
        return pictures

    def state(self) -> dict[str, NDArray[Any]]:
        return {"z": np.array([self.norm])}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.norm = float(state["z"][0])


class Other(Plain):
    """The same by another name."""

    name = "other"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set with four pictures, and the methods of this file."""
    own = {one.name: f"{__name__}:{one.__name__}" for one in (Plain, Other)}
    monkeypatch.setattr(registry, "BUILT_IN", registry.BUILT_IN | own)
    monkeypatch.setattr("bids_recon.workflow.group.available_scorers", lambda weights: [])
    (tmp_path / "ds" / "stimuli").mkdir(parents=True)
    description = {"Name": "By hand", "BIDSVersion": "1.10.0"}
    (tmp_path / "ds" / "dataset_description.json").write_text(json.dumps(description))
    rng = np.random.default_rng(0)
    for name in PICTURES:
        pixels = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "ds" / "stimuli" / f"{name}.png")
    return tmp_path


def settings(data: Path, **more: Any) -> Settings:
    return Settings(data / "ds", data / "out", levels=("group",), work_dir=data / "work", **more)


def person(
    data: Path, subject: str, encoder: str, norm_correction: str, norms: tuple[float, float],
    *, method: str = "plain", shuffles: int = 2, regions: Sequence[str] = (), seed: int = 0,
) -> None:  # fmt: skip
    """Write what was decoded of someone in two folds, with a norm each: a and b are tested in the first."""
    folds = []
    rng = np.random.default_rng([int(subject), seed])
    for number, (norm, names) in enumerate(zip(norms, (PICTURES[:2], PICTURES[2:]), strict=True)):
        rows = [(str(number), "test", f"{name}.png", f"{name}.png", "", "view", -1, 2) for name in names]
        items = pd.DataFrame(rows, columns=list(ITEM_COLUMNS))
        latents = rng.uniform(0, 255, (2, 4)).astype(np.float32)
        floor = rng.uniform(0, 255, (shuffles, 2, 4)).astype(np.float32)
        state = {"z": np.array([norm])}
        folds.append(
            DecodedFold(str(number), items, {"z": latents}, {"z": floor}, state, f"z:{encoder}", {"z": {}})
        )
    options = method_options(settings(data, encoder=encoder, norm_correction=norm_correction))
    sidecar = {
        "Simulated": False, "StimulusSpec": "bids", "Stimuli": [], "Split": "kfold:2",
        "ResponsesFrom": "betas", "LegacyTestStatistics": False, "AveragedTestTrials": True, "Voxels": 4,
        "Seed": seed, "MethodOptions": options_record(options),
    }  # fmt: skip
    for region in ("", *regions):
        write_decoded(data / "out", subject, method, Decoded(tuple(folds)), sidecar, VOXELS, region)


def colours(data: Path, subject: str) -> dict[str, tuple[int, int]]:
    """Red and green of someone's pictures."""
    table = read_tsv(data / "out" / "group" / "images.tsv", TEXT_COLUMNS)
    found = {}
    for row in table[(table["subject"] == subject) & (table["roi"] == "all")].to_dict("records"):
        with Image.open(data / "out" / "group" / row["file"]) as picture:
            red, green, _ = np.asarray(picture)[0, 0].tolist()
        found[row["stimulus_id"].removesuffix(".png")] = (red, green)
    return found


def test_the_mean_is_drawn_as_its_lead_draws(data: Path) -> None:
    person(data, "01", "vgg19", "training", (10.0, 20.0))
    person(data, "02", "lite", "none", (30.0, 40.0))
    person(data, "03", "lite", "none", (50.0, 60.0))
    run_group(settings(data, method=("plain",)), "command")
    assert colours(data, "01") == {"a": (10, 100), "b": (10, 100), "c": (20, 100), "d": (20, 100)}
    assert colours(data, "03") == {"a": (50, 200), "b": (50, 200), "c": (60, 200), "d": (60, 200)}
    # Not by the options of the first person, and each by a fold that left the picture out.
    assert colours(data, "average") == {"a": (30, 200), "b": (30, 200), "c": (40, 200), "d": (40, 200)}
    page = (data / "out" / "group.html").read_text()
    assert "4 pictures were averaged over fewer people than saw them" in page
    assert ">None<" not in page and "None times" not in page


def test_people_with_other_spaces_altogether_have_no_mean(data: Path) -> None:
    person(data, "01", "vgg19", "training", (10.0, 20.0))
    person(data, "02", "lite", "none", (30.0, 40.0))
    run_group(settings(data, method=("plain",)), "command")
    assert colours(data, "average") == {}
    assert colours(data, "02") == {"a": (30, 200), "b": (30, 200), "c": (40, 200), "d": (40, 200)}
    page = (data / "out" / "group.html").read_text()
    assert "so there is no mean over people" in page


def test_shuffles_of_each_method_stand_on_the_page(data: Path) -> None:
    person(data, "01", "lite", "none", (10.0, 20.0), shuffles=3)
    person(data, "01", "lite", "none", (10.0, 20.0), shuffles=1, method="other")
    run_group(settings(data, method=("plain", "other")), "command")
    page = (data / "out" / "group.html").read_text()
    assert "plain 3, other 1" in page
    assert ">None<" not in page and "None times" not in page


def test_pictures_of_regions_whose_names_are_alike_stay_apart(data: Path) -> None:
    person(data, "01", "lite", "none", (10.0, 20.0), regions=("V1_d", "V1-d"))
    run_group(settings(data, method=("plain",)), "command")
    table = read_tsv(data / "out" / "group" / "images.tsv", TEXT_COLUMNS)
    assert table.groupby("roi").size().to_dict() == {"all": 4, "V1_d": 4, "V1-d": 4}
    assert table["file"].nunique() == 12
    folders = table["file"].str.extract(r"plain/(?:roi-(\w+)/)?test/")[0].fillna("all")
    assert dict(zip(table["roi"], folders, strict=True)) == {"all": "all", "V1_d": "V1d", "V1-d": "V1dx2"}
    assert all((data / "out" / "group" / file).is_file() for file in table["file"])
