"""A part of Versatile Diffusion from its two files, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bids_recon.errors import DataError, MissingInputError
from bids_recon.weights.component import read_component

WEIGHTS = {"conv_in.weight": torch.arange(6.0).reshape(2, 3), "conv_in.bias": torch.tensor([0.5, -1.0])}


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    """Folder of a part whose two files are well."""
    part = tmp_path / "versatile-diffusion" / "vae"
    part.mkdir(parents=True)
    (part / "config.json").write_text('{"latent_channels": 4}')
    torch.save(WEIGHTS, part / "diffusion_pytorch_model.bin")
    return part


def test_part_is_read_with_its_hash(vae: Path, tmp_path: Path) -> None:
    component = read_component("vae", tmp_path)
    assert component.config == {"latent_channels": 4}
    assert list(component.state) == list(WEIGHTS)
    assert all(torch.equal(component.state[key], value) for key, value in WEIGHTS.items())
    assert component.file == vae / "diffusion_pytorch_model.bin"
    assert component.sha256 == hashlib.sha256(component.file.read_bytes()).hexdigest()


def test_other_format_is_taken(vae: Path, tmp_path: Path) -> None:
    (vae / "diffusion_pytorch_model.bin").unlink()
    save_file(WEIGHTS, vae / "diffusion_pytorch_model.safetensors")
    component = read_component("vae", tmp_path)
    assert component.file.suffix == ".safetensors"
    assert torch.equal(component.state["conv_in.weight"], WEIGHTS["conv_in.weight"])


@pytest.mark.parametrize("file", ["config.json", "diffusion_pytorch_model.bin"])
def test_either_file_is_checked(vae: Path, tmp_path: Path, file: str) -> None:
    read_component("vae", tmp_path)
    content = bytearray((vae / file).read_bytes())
    content[-3] ^= 1
    (vae / file).write_bytes(content)
    with pytest.raises(DataError, match="damaged or another file") as caught:
        read_component("vae", tmp_path)
    # Other parts have a file of the same name.
    assert f"delete only versatile-diffusion/vae/{file}.sha256" in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], "vae", None])
def test_configuration_is_an_object(vae: Path, tmp_path: Path, content: object) -> None:
    (vae / "config.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"vae/config\.json: should hold a JSON object.*published"):
        read_component("vae", tmp_path)


def test_objects_are_not_loaded(vae: Path, tmp_path: Path) -> None:
    torch.save({"conv_in.weight": Path("code")}, vae / "diffusion_pytorch_model.bin")
    with pytest.raises(DataError, match="Python objects besides tensors"):
        read_component("vae", tmp_path)


def test_what_is_missing_is_named(vae: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="text_unet/config"):
        read_component("text_unet", tmp_path)
    with pytest.raises(ValueError, match="versatile-diffusion/unet"):
        read_component("unet", tmp_path)
