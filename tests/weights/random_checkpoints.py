"""Writers of small networks with random weights, in the files of the published ones, for Brain-Diffuser.

Pictures and tokens that they give are of no use, but finite and different from one another. Formats, names
and layouts are those of the published files, with what is old-fashioned in them: prefixes of parallel
training, attention names of 2022, buffers that are no longer stored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_recon.models.vdvae import Z_CHANNELS, Vdvae

TOKEN_WIDTH = 32
"""Length of a token of either encoder; 768 in the published network."""
PICTURE_SIDE = 16
"""Height and width of its pictures in pixels; 512 in the published network."""
_MERGES = ("t h", "th e</w>", "a n", "an d</w>", "i n</w>", "o n</w>", "c a", "ca t</w>", "d o", "do g</w>")
_START, _END = "<|startoftext|>", "<|endoftext|>"
# Branches that are added up shrink with their number; latents and mixtures, so that pictures do not saturate.
_FACTORS = {
    r"enc_blocks\..*c4": 1 / math.sqrt(65),
    r"resnet\.c4": 1 / math.sqrt(75),
    r"z_proj": 3 / math.sqrt(75),
    r"prior\.c4": 0.1,
    r"out_conv": 0.15,
}
# Attention of the autoencoder, today and in 2022.
_OLD_NAMES = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}


def random_network(width: int, seed: int = 0) -> Vdvae:
    """A VDVAE whose grey levels may saturate, for tests that compare numbers and not pictures."""
    network, generator = Vdvae(width), torch.Generator().manual_seed(seed)
    for key, value in network.state_dict().items():
        draw = torch.randn(value.shape, generator=generator)
        scale = math.sqrt(1 / max(1, math.prod(value.shape[1:]))) if key.endswith("weight") else 0.3
        value.copy_(draw * scale)
        # Of so many blocks, each may change little, or deviations explode.
        if key.endswith(".enc.c4.weight"):
            value[16:] *= 0.1
        elif key.endswith(("c4.weight", "z_proj.weight")):
            value *= 0.1
    return network


def write_random_vdvae(folder: Path, width: int = 16, seed: int = 0) -> Path:
    """Write a narrow VDVAE, and give its file.

    Activations are of order one, latents have small deviations, and one logistic is the likeliest of each
    mixture: first guesses are spread over the grey levels, not saturated, and depend on the latents.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = Vdvae(width).state_dict()
    state = {
        key: torch.randn(value.shape, generator=generator) * _deviation(key, value.shape)
        for key, value in shapes.items()
    }
    state["decoder.gain"] += 1
    for key, value in state.items():
        deviations = value[Z_CHANNELS : 2 * Z_CHANNELS]
        if key.endswith((".enc.c4.bias", ".prior.c4.bias")):
            deviations -= 2
        if key.endswith(".enc.c4.weight"):
            deviations *= 0.1
    # Ten logarithms of shares; for each colour ten means, ten logarithms of scales, ten mixings of colours.
    mixture = state["decoder.out_net.out_conv.bias"]
    mixture[0] += 6
    mixture[10:].view(3, 3, 10)[:, 1] -= 4
    file = folder / "imagenet64-iter-1600000-model-ema.th"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({f"module.{key}": value for key, value in state.items()}, file)
    return file


def _deviation(key: str, shape: torch.Size) -> float:
    """Deviation of the random weights of VDVAE."""
    if key.endswith(("bias", "gain")):
        return 0.03 if key.endswith((".enc.c4.bias", ".prior.c4.bias")) else 0.1
    if "bias_xs" in key:
        return 0.3
    # A GELU halves the variance, but before c1 it takes sums of many branches.
    kept = math.sqrt((2 if re.search(r"\.c[234]\.weight", key) else 1) / math.prod(shape[1:]))
    return kept * next((factor for part, factor in _FACTORS.items() if re.search(part, key)), 1)


def write_random_versatile_diffusion(folder: Path, seed: int = 0) -> Path:
    """Write a tiny Versatile Diffusion into `folder`/versatile-diffusion, and give that folder.

    77 text tokens and 257 vision tokens of length 32; pictures of 16 x 16 pixels, whose latents are 8 x 8.
    """
    root = folder / "versatile-diffusion"
    vocabulary = _write_tokenizer(root / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _write_diffusers_parts(root)
        _write_clip_parts(root, len(vocabulary))
    schedule = {
        "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "clip_sample": False, "num_train_timesteps": 1000,
        "set_alpha_to_one": False, "steps_offset": 1, "trained_betas": None,
    }  # fmt: skip
    _write(root / "scheduler" / "scheduler_config.json", schedule)
    preparation = {
        "crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 32,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    }  # fmt: skip
    _write(root / "image_feature_extractor" / "preprocessor_config.json", preparation)
    return root


def _write_diffusers_parts(root: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel

    common = {
        "block_out_channels": [32, 64], "layers_per_block": 1, "cross_attention_dim": TOKEN_WIDTH,
        "attention_head_dim": 4, "norm_num_groups": 8,
    }  # fmt: skip
    image_unet = {
        "sample_size": 8, "in_channels": 4, "out_channels": 4, **common,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    }  # fmt: skip
    text_unet = {
        "sample_size": 8, "in_channels": [TOKEN_WIDTH, 1, 1], "out_channels": [TOKEN_WIDTH, 1, 1], **common,
        "down_block_types": ["CrossAttnDownBlockFlat", "DownBlockFlat"],
        "up_block_types": ["UpBlockFlat", "CrossAttnUpBlockFlat"],
    }  # fmt: skip
    vae = {
        "sample_size": PICTURE_SIDE, "in_channels": 3, "out_channels": 3, "latent_channels": 4,
        "block_out_channels": [32, 64], "layers_per_block": 1, "norm_num_groups": 8,
        "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    }  # fmt: skip
    parts: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("image_unet", UNet2DConditionModel, image_unet),
        ("text_unet", UNetFlatConditionModel, text_unet),
        ("vae", AutoencoderKL, vae),
    )
    for part, kind, config in parts:
        state = kind(**config).state_dict()
        if part == "vae":
            state = {_renamed(key): value for key, value in state.items()}
        named = {"_class_name": kind.__name__, "_diffusers_version": "0.9.0", **config}
        _write_part(root / part, named, state, "diffusion_pytorch_model.bin")


def _write_clip_parts(root: Path, n_pieces: int) -> None:
    from transformers import (
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    common = {
        "hidden_size": 32, "intermediate_size": 64, "projection_dim": TOKEN_WIDTH, "num_hidden_layers": 2,
        "num_attention_heads": 4, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05,
    }  # fmt: skip
    text = {
        "model_type": "clip_text_model", "vocab_size": n_pieces, "max_position_embeddings": 77, **common,
        "bos_token_id": n_pieces - 2, "eos_token_id": n_pieces - 1, "pad_token_id": n_pieces - 1,
    }  # fmt: skip
    # 16 x 16 patches and the class token: 257 tokens.
    vision = {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 2, **common}
    text_state = CLIPTextModelWithProjection(CLIPTextConfig(**text)).state_dict()
    text_state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    vision_state = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision)).state_dict()
    vision_state["vision_model.embeddings.position_ids"] = torch.arange(257)[None]
    old = {"torch_dtype": "float32", "transformers_version": "4.25.0.dev0"}
    text |= {"architectures": ["CLIPTextModelWithProjection"], **old}
    vision |= {"architectures": ["CLIPVisionModelWithProjection"], **old}
    _write_part(root / "text_encoder", text, text_state, "pytorch_model.bin")
    _write_part(root / "image_encoder", vision, vision_state, "pytorch_model.bin")


def _write_tokenizer(folder: Path) -> dict[str, int]:
    """Vocabulary and rules of a tokenizer that knows every byte and a few words."""
    # Bytes that are no visible characters stand for themselves as the characters from 256 on (GPT-2, CLIP).
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    letters = [chr(code) for code in visible] + [chr(256 + i) for i in range(256 - len(visible))]
    merged = ["".join(merge.split()) for merge in _MERGES]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *merged, _START, _END]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    _write(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *_MERGES]) + "\n", encoding="utf-8")
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    _write(folder / "special_tokens_map.json", special)
    _write(folder / "tokenizer_config.json", {**special, "model_max_length": 77, "do_lower_case": True})
    return vocabulary


def _renamed(key: str) -> str:
    for today, old in _OLD_NAMES.items():
        key = key.replace(today, old)
    return key


def _write_part(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], file: str) -> None:
    _write(folder / "config.json", config)
    torch.save({key: value.clone() for key, value in state.items()}, folder / file)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
