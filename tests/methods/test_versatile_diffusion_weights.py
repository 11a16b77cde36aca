"""Versatile Diffusion from a folder of weights in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from models.tiny_versatile_diffusion import SCHEDULER, build_tiny, tiny_parts

from bids_recon.errors import DataError, MissingInputError
from bids_recon.methods.versatile_diffusion_weights import NETWORK_WEIGHTS, load_versatile_diffusion
from bids_recon.weights.manifest import weight_named

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of `tiny_parts` under the published names."""
    for name, part in tiny_parts().items():
        file = path(tmp_path, name)
        file.parent.mkdir(parents=True)
        torch.save(dict(part.state), file)
        path(tmp_path, f"{name}/config").write_text(json.dumps(part.config))
    scheduler = path(tmp_path, "scheduler/config")
    scheduler.parent.mkdir()
    scheduler.write_text(json.dumps(SCHEDULER))
    return tmp_path


def path(folder: Path, part: str) -> Path:
    return folder / weight_named(f"versatile-diffusion/{part}").file


def test_networks_are_those_of_the_folder_and_are_loaded_once(folder: Path) -> None:
    network = load_versatile_diffusion(CPU, weights=folder)
    expected = build_tiny().state_dict()
    found = network.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert load_versatile_diffusion(CPU, weights=folder) is network
    half = load_versatile_diffusion(CPU, torch.bfloat16, folder)
    assert {tensor.dtype for tensor in half.parameters()} == {torch.bfloat16}


def test_other_weights_under_the_same_names_are_read_again(folder: Path) -> None:
    network = load_versatile_diffusion(CPU, weights=folder)
    file = path(folder, "vae")
    file.unlink()
    file.with_name(f"{file.name}.sha256").unlink()
    torch.save(dict(tiny_parts(seed=1)["vae"].state), file)
    changed = load_versatile_diffusion(CPU, weights=folder)
    key = "vae.decoder.conv_in.weight"
    assert not torch.equal(changed.state_dict()[key], network.state_dict()[key])


def test_all_that_is_read_is_named(folder: Path) -> None:
    assert {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} == {
        Path(weight_named(name).file) for name in NETWORK_WEIGHTS
    }
    for name in NETWORK_WEIGHTS:
        file = folder / weight_named(name).file
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(MissingInputError, match=file.name):
            load_versatile_diffusion(CPU, weights=folder)
        file.write_bytes(content)


def test_a_schedule_of_another_kind_is_refused_with_its_file(folder: Path) -> None:
    path(folder, "scheduler/config").write_text(json.dumps({**SCHEDULER, "prediction_type": "sample"}))
    with pytest.raises(DataError, match=r"scheduler_config\.json: 'prediction_type' is 'sample'"):
        load_versatile_diffusion(CPU, weights=folder)
