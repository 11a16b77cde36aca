"""Captions of a run: where they are taken from, and what happens when some are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_recon.config import Settings
from bids_recon.dataset.stimuli import Stimulus, StimulusSet
from bids_recon.dataset.stimulus_spec import load_stimulus_spec
from bids_recon.errors import DataError
from bids_recon.methods.brain_diffuser import BrainDiffuser
from bids_recon.methods.eigenimage import Eigenimage
from bids_recon.workflow.caption_files import (
    caption_files,
    check_captions,
    check_fitted_captions,
    with_captions,
)

SPEC = load_stimulus_spec()


def pictures(folder: Path) -> StimulusSet:
    return StimulusSet(
        {name: Stimulus(name, path=folder / "stimuli" / f"{name}.png") for name in ("a", "b")}
        | {"c": Stimulus("c", image_id="17")}
    )


def table(file: Path, *rows: tuple[str, str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ["stim_file\tcaption", *("\t".join(row) for row in rows)]
    file.write_text("\n".join(lines) + "\n")
    return file


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(folder, folder / "out", **more)


def test_where_captions_are_taken_from(tmp_path: Path) -> None:
    users = ("eigenimage", "brain-diffuser")
    assert caption_files(settings(tmp_path), SPEC, users) == ()
    own = table(tmp_path / "stimuli" / "captions.tsv", ("a.png", "a dog"))
    other = table(tmp_path / "more.tsv", ("a.png", "a cat"))
    assert caption_files(settings(tmp_path), SPEC, users) == (own,)
    assert caption_files(settings(tmp_path), SPEC, users, [str(other)]) == (other,)
    assert caption_files(settings(tmp_path, captions=(other,)), SPEC, users, [str(own)]) == (other,)
    # The data set was moved since, or is mounted elsewhere.
    assert caption_files(settings(tmp_path), SPEC, users, [str(tmp_path / "gone.tsv")]) == (own,)
    # What a method does not use is not looked at.
    assert caption_files(settings(tmp_path, captions=(other,)), SPEC, ("eigenimage",), [str(own)]) == ()


def test_captions_reach_their_pictures(tmp_path: Path) -> None:
    own = table(tmp_path / "c.tsv", ("a.png", "a dog"), ("stimuli/b.png", "a cat"), ("a.png", "a pet"))
    coco = tmp_path / "coco.json"
    coco.write_text(json.dumps({"annotations": [{"image_id": 17, "caption": "a bus"}]}))
    found = with_captions(pictures(tmp_path), [own, coco])
    assert found.captions(["b", "a", "c"]) == [("a cat",), ("a dog", "a pet"), ("a bus",)]
    assert with_captions(pictures(tmp_path), []).captions(["a"]) is None
    # What was changed since is read again.
    table(own, ("a.png", "a wolf in the snow"))
    assert with_captions(pictures(tmp_path), [own]).captions(["a"]) == [("a wolf in the snow",)]


def test_captions_are_there_for_all_or_for_none(tmp_path: Path) -> None:
    ids = ("a", "b")
    bare = pictures(tmp_path)
    assert check_captions(["eigenimage"], bare, ids, []) == []
    (warning,) = check_captions(["brain-diffuser"], bare, ids, [])
    assert "brain-diffuser decodes and draws without clip-text" in warning
    own = table(tmp_path / "c.tsv", ("a.png", "a dog"))
    some = with_captions(bare, [own])
    assert check_captions(["eigenimage"], some, ids, [own]) == []
    assert check_captions(["brain-diffuser"], some, ("a",), [own]) == []
    with pytest.raises(DataError, match=rf"{own}: 1 of 2 pictures have no caption: b"):
        check_captions(["brain-diffuser"], some, ids, [own])
    captioned, bare_one = BrainDiffuser(), BrainDiffuser()
    bare_one.load_state({"captioned": np.zeros(1)})
    assert check_fitted_captions("eigenimage", {"0": Eigenimage()}, bare, ids, []) == []
    (warning,) = check_fitted_captions("brain-diffuser", {"0": bare_one}, some, ids, [own])
    assert "draws without clip-text" in warning
    assert check_fitted_captions("brain-diffuser", {"0": captioned}, some, ("a", "a"), [own]) == []
    for known, given, words in ((some, [own], rf"{own}: 1 of 2"), (bare, [], "2 of 2")):
        with pytest.raises(DataError, match=rf"{words} pictures have no caption.*--captions"):
            check_fitted_captions("brain-diffuser", {"0": captioned}, known, ids, given)
    strangers = with_captions(bare, [table(tmp_path / "d.tsv", ("z.png", "a zebra"))])
    (warning,) = check_captions(["brain-diffuser"], strangers, ids, [tmp_path / "d.tsv"])
    assert "d.tsv knows none of the pictures" in warning


@pytest.mark.parametrize(
    ("captions", "encoded"),
    [(None, False), ([(), ()], False), ([("a dog",), ("a cat", "a pet")], True)],
)
def test_a_method_knows_whether_it_was_fitted_with_captions(captions: Any, encoded: bool) -> None:
    fitted = BrainDiffuser()
    fitted.fit_latent_spaces([np.zeros((2, 2, 3), np.uint8)] * 2, (), captions)
    assert fitted.encodes_captions is encoded
    again = BrainDiffuser()
    again.load_state(fitted.state())
    assert again.encodes_captions is encoded
    assert again.choices["text_strength"] == (0.4 if encoded else 0.0)


def test_some_captions_are_too_few() -> None:
    with pytest.raises(DataError, match="1 of 2 training pictures have no caption"):
        BrainDiffuser().fit_latent_spaces([np.zeros((2, 2, 3), np.uint8)] * 2, (), [("a dog",), ()])
