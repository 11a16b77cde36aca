"""The random networks that other tests use: in the published formats, with numbers that are fit to use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from random_checkpoints import (
    PICTURE_SIDE,
    TOKEN_WIDTH,
    write_random_vdvae,
    write_random_versatile_diffusion,
)

from bids_recon.latents.vdvae_space import VdvaeSpace, load_vdvae
from bids_recon.weights.checkpoint import load_state
from bids_recon.weights.component import read_component
from bids_recon.weights.manifest import MANIFEST
from bids_recon.weights.store import find_weight


def test_guesses_of_the_random_vdvae_show_their_latents(tmp_path: Path) -> None:
    file = write_random_vdvae(tmp_path, width=8, seed=3)
    assert find_weight("vdvae", tmp_path) == file
    assert all(key.startswith("module.") for key in torch.load(file, weights_only=True))
    space = VdvaeSpace(load_vdvae(torch.device("cpu"), tmp_path))
    pictures = [np.full((64, 64, 3), colour, np.uint8) for colour in ((220, 30, 60), (20, 120, 200))]
    latents = space.encode(pictures)
    assert latents.shape == (2, 91168) and 0.1 < latents.std() < 2
    for guess in ("sample", "mean"):
        guesses = space.decode(latents, np.array([1, 1], np.uint64), guess).astype(int)
        assert np.isin(guesses, (0, 255)).mean() < 0.1 and 10 < guesses.std() < 80
        # The random numbers of both are the same.
        assert np.abs(guesses[0] - guesses[1]).mean() > 5


def test_seeds_give_other_vdvaes_and_the_same_again(tmp_path: Path) -> None:
    states = [load_state(write_random_vdvae(tmp_path / str(i), 4, seed)) for i, seed in enumerate((0, 0, 1))]
    key = "encoder.in_conv.weight"
    assert torch.equal(states[0][key], states[1][key]) and not torch.equal(states[0][key], states[2][key])


@pytest.mark.slow
def test_random_versatile_diffusion_fits_the_networks_of_today(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    root = write_random_versatile_diffusion(tmp_path)
    paths = {find_weight(row.name, tmp_path) for row in MANIFEST if row.name.startswith("versatile-")}
    assert len(paths) == 13 and all(path.is_relative_to(root) for path in paths)
    unet = read_component("image_unet", tmp_path)
    network = UNet2DConditionModel.from_config(unet.config)
    network.load_state_dict(unet.state)
    with torch.no_grad():
        noise = network(torch.randn(1, 4, 8, 8), 741, torch.randn(1, 257, TOKEN_WIDTH)).sample
    assert torch.isfinite(noise).all() and float(noise.std()) > 0.01
    # Text guidance takes the attention of the same names from the other U-Net.
    attention = [key for key in unet.state if ".attentions." in key]
    other = read_component("text_unet", tmp_path).state
    assert attention and all(other[key].shape == unet.state[key].shape for key in attention)
    vae = read_component("vae", tmp_path)
    assert "encoder.mid_block.attentions.0.query.weight" in vae.state
    shrinks = len(vae.config["block_out_channels"]) - 1
    assert unet.config["sample_size"] * 2**shrinks == PICTURE_SIDE
    text = read_component("text_encoder", tmp_path)
    encoder = CLIPTextModelWithProjection(CLIPTextConfig(**text.config))
    assert not encoder.load_state_dict(text.state, strict=False).missing_keys
    vocabulary = json.loads((root / "tokenizer" / "vocab.json").read_text(encoding="utf-8"))
    assert len(vocabulary) == text.config["vocab_size"] == 524
    assert vocabulary["<|endoftext|>"] == text.config["eos_token_id"] == 523
    assert sorted(vocabulary.values()) == list(np.arange(524))


@pytest.mark.slow
def test_random_versatile_diffusion_depends_on_its_seed_alone(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_random_versatile_diffusion(tmp_path / name, seed)
        torch.rand(5)
    a, b, c = (read_component("image_encoder", tmp_path / name).state for name in "abc")
    key = "visual_projection.weight"
    assert torch.equal(a[key], b[key]) and not torch.equal(a[key], c[key])
