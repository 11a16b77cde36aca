"""Versatile Diffusion with few channels and weights that nobody trained, made for tests in a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_recon.models.versatile_diffusion import Part, VersatileDiffusion, build_versatile_diffusion
from bids_recon.weights.checkpoint import load_strictly

WIDTH = 8
"""Of the tokens of both guides."""
SIZE = 8
"""Height and width of pictures in pixels."""
UNET: dict[str, Any] = {
    "sample_size": 4,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
}
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def tiny_parts(seed: int = 0) -> dict[str, Part]:
    """`image_unet`, `text_unet` and `vae`, as `build_versatile_diffusion` takes them."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        image, text = UNet2DConditionModel(**UNET).state_dict(), UNet2DConditionModel(**UNET).state_dict()
        vae = AutoencoderKL(**VAE).state_dict()
        # Without these, no channel would differ from another in its mean.
        for state in (image, text, vae):
            for key, value in state.items():
                if key.endswith("bias"):
                    value.normal_(std=0.3)
        # Untrained, the encoder tells hardly anything of a picture.
        vae["quant_conv.weight"][:4] *= 20
    # The text U-Net has layers of its own besides the transformers.
    text = {key: value for key, value in text.items() if ".attentions." in key}
    text["conv_in.weight"] = torch.zeros(8, WIDTH)
    return {
        "image_unet": Part(UNET, image, Path("image_unet/weights.bin")),
        "text_unet": Part({}, text, Path("text_unet/weights.bin")),
        "vae": Part(VAE, vae, Path("vae/weights.bin")),
    }


def build_tiny(
    parts: Mapping[str, Part] | None = None, dtype: torch.dtype = torch.float32, **changed: Part
) -> VersatileDiffusion:
    """The network of these parts, some of them replaced."""
    return build_versatile_diffusion(
        **{**(parts or tiny_parts()), **changed}, scheduler=SCHEDULER, load=load_strictly, dtype=dtype
    )


def guides(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random tokens of `n` texts and pictures, and of what says nothing: 77 and 257 of each."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, 77, WIDTH), (n, 257, WIDTH), (1, 77, WIDTH), (1, 257, WIDTH)]
    text, vision, no_text, no_vision = (torch.randn(shape, generator=generator) for shape in shapes)
    return text, vision, no_text, no_vision


def load_parity(folder: Path) -> tuple[VersatileDiffusion, dict[str, Any]]:
    """The network of the fixture, whose file has both U-Nets in one, and its inputs and outputs."""
    config = json.loads((folder / "config.json").read_text())
    dual = torch.load(folder / "image_unet_dual_state_dict.pt", weights_only=True)
    vae = torch.load(folder / "vae_state_dict.pt", weights_only=True)
    image = {key.replace(".transformers.0.", "."): dual[key] for key in dual if ".transformers.1." not in key}
    text = {key.replace(".transformers.1.", "."): dual[key] for key in dual if ".transformers.1." in key}
    network = build_versatile_diffusion(
        Part(config["image_unet"], image, folder / "image"),
        Part({}, text, folder / "text"),
        Part(config["vae"], vae, folder / "vae"),
        config["scheduler"],
        load_strictly,
    )
    with np.load(folder / "io.npz") as arrays:
        return network, {key: torch.from_numpy(arrays[key]) for key in arrays}
