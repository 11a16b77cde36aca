"""Decoded latents of single regions on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import MissingInputError
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold
from bids_recon.workflow.latents_store import (
    decoded_regions,
    decoded_subjects,
    read_decoded,
    remove_decoded,
    write_decoded,
)

MEMBERS = {"V1_d": [0, 1, 2], "V1-d": [3, 4], "FFA": [5]}
VOXELS = VoxelSelection(
    (6, 1, 1), np.eye(4), np.arange(6), {name: np.isin(np.arange(6), own) for name, own in MEMBERS.items()}
)


def decoded(value: float) -> Decoded:
    items = pd.DataFrame([("0", "test", "a", "a.png", "", "view", -1, 2)], columns=list(ITEM_COLUMNS))
    latents = np.full((1, 2), value, dtype=np.float32)
    return Decoded((DecodedFold("0", items, {"z": latents}, {"z": latents[None]}, {}, "s", {"z": {}}),))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Latents of two methods, of all voxels and of each region."""
    for method in ("deep-recon", "deep"):
        for number, name in enumerate(["", *VOXELS.rois]):
            write_decoded(tmp_path, "01", method, decoded(number), {"Voxels": 6}, VOXELS, name)
    return tmp_path


def test_regions_whose_names_are_alike_stay_apart(out: Path) -> None:
    found = decoded_regions(out, "01", "deep-recon")
    assert found == {"FFA": "FFA", "V1d": "V1_d", "V1dx2": "V1-d"}
    values = {}
    for short, name in found.items():
        latents, sidecar = read_decoded(out, "01", "deep-recon", short)
        assert sidecar["Region"] == name
        values[name] = (float(latents.folds[0].predicted["z"][0, 0]), sidecar["Voxels"])
    assert values == {"V1_d": (1.0, 3), "V1-d": (2.0, 2), "FFA": (3.0, 1)}
    whole, sidecar = read_decoded(out, "01", "deep-recon")
    assert whole.folds[0].predicted["z"].tolist() == [[0.0, 0.0]]
    assert sidecar["Voxels"] == 6 and "Region" not in sidecar


def test_what_was_decoded_is_removed_with_files_that_lost_their_sidecar(out: Path) -> None:
    folder = out / "sub-01" / "decoder"
    (folder / "sub-01_label-FFA_desc-deeprecon_decoder.json").unlink()
    others = {file.name for file in folder.iterdir() if "_desc-deep_" in file.name}
    remove_decoded(out, "01", "deep-recon")
    left = {file.name for file in folder.iterdir()}
    assert others == {name for name in left if "_desc-deep_" in name} and len(others) == 12
    assert left - others == {
        "sub-01_desc-deeprecon_latents.tsv",
        "sub-01_desc-deeprecon_latents.safetensors",
    }
    assert decoded_regions(out, "01", "deep-recon") == {}
    assert len(decoded_regions(out, "01", "deep")) == 3
    with pytest.raises(MissingInputError, match=r"sub-01_desc-deeprecon_decoder\.json: is missing"):
        read_decoded(out, "01", "deep-recon")
    remove_decoded(out, "02", "deep-recon")


def test_the_sidecar_of_all_voxels_goes_first(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, gone = Path.unlink, []

    def stopped(self: Path, missing_ok: bool = False) -> None:
        if gone:
            raise KeyboardInterrupt
        gone.append(self.name)
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", stopped)
    with pytest.raises(KeyboardInterrupt):
        remove_decoded(out, "01", "deep-recon")
    assert gone == ["sub-01_desc-deeprecon_decoder.json"]
    assert not decoded_subjects(out, "deep-recon")


def test_regions_are_named_as_they_were_given(out: Path) -> None:
    file = out / "sub-01" / "decoder" / "sub-01_label-V1dx2_desc-deep_decoder.json"
    assert json.loads(file.read_text())["Region"] == "V1-d"
