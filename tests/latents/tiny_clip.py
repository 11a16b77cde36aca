"""A tiny CLIP with random weights, in the files and folders in which Versatile Diffusion is published."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = (("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>"), ("o", "g</w>"))
_LETTERS = string.ascii_lowercase + ".,"
_TOKENS = [
    *_LETTERS,
    *(f"{letter}</w>" for letter in _LETTERS),
    *("".join(pair) for pair in MERGES),
    START,
    END,
]
VOCABULARY = {token: number for number, token in enumerate(_TOKENS)}

WIDTH = 24
# As in a folder written by a transformers of 2022: keys that are gone, and an end of text that is not true.
OLD_TEXT_CONFIG: dict[str, Any] = {
    "_name_or_path": "somewhere/else",
    "architectures": ["CLIPTextModelWithProjection"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 32,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "projection_dim": WIDTH,
    "torch_dtype": "float16",
    "transformers_version": "4.25.0.dev0",
    "vocab_size": len(VOCABULARY),
}
NEW_TEXT_CONFIG = {**OLD_TEXT_CONFIG, "eos_token_id": VOCABULARY[END], "dtype": "float32"}
VISION_CONFIG: dict[str, Any] = {
    "architectures": ["CLIPVisionModelWithProjection"],
    "attention_dropout": 0.0,
    "dropout": 0.0,
    "hidden_act": "quick_gelu",
    "hidden_size": 32,
    "image_size": 32,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model",
    "num_attention_heads": 4,
    "num_channels": 3,
    "num_hidden_layers": 2,
    "patch_size": 2,
    "projection_dim": WIDTH,
    "torch_dtype": "float32",
    "transformers_version": "4.25.0.dev0",
}


def random_text(config: dict[str, Any] = OLD_TEXT_CONFIG, seed: int = 0) -> Any:
    """The text encoder as transformers itself makes it."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    kept = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
    return _randomised(CLIPTextModelWithProjection(CLIPTextConfig(**kept)), seed)


def random_vision(seed: int = 1) -> Any:
    """The picture encoder as transformers itself makes it."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    kept = {key: value for key, value in VISION_CONFIG.items() if key != "torch_dtype"}
    return _randomised(CLIPVisionModelWithProjection(CLIPVisionConfig(**kept)), seed)


def _randomised(network: Any, seed: int) -> Any:
    # The library begins with layer norms that do nothing, which no test could tell from missing ones.
    generator = torch.Generator().manual_seed(seed)
    for values in network.parameters():
        scale = 0.3 if values.ndim < 2 else values[0].numel() ** -0.5
        offset = 1.0 if values.ndim < 2 else 0.0
        torch.nn.init.normal_(values, offset, scale, generator=generator)
    return network.eval()


def write_tiny_clip(
    folder: Path, text_config: dict[str, Any] = OLD_TEXT_CONFIG, seed: int = 0, old_keys: bool = True
) -> Path:
    """Write both encoders and the tokenizer below `versatile-diffusion` in a folder of weights.

    With `old_keys`, the files hold the numbers of the places, as those of 2022 do.
    """
    home = folder / "versatile-diffusion"
    networks = {
        "text_encoder": ("text_model", random_text(text_config, seed), text_config),
        "image_encoder": ("vision_model", random_vision(seed + 1), VISION_CONFIG),
    }
    for part, (inner, network, config) in networks.items():
        state = network.state_dict()
        if old_keys:
            n_places = state[f"{inner}.embeddings.position_embedding.weight"].shape[0]
            state[f"{inner}.embeddings.position_ids"] = torch.arange(n_places)[None]
        (home / part).mkdir(parents=True, exist_ok=True)
        torch.save(state, home / part / "pytorch_model.bin")
        (home / part / "config.json").write_text(json.dumps(config))
    (home / "tokenizer").mkdir(exist_ok=True)
    (home / "tokenizer" / "vocab.json").write_text(json.dumps(VOCABULARY))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES), ""]
    (home / "tokenizer" / "merges.txt").write_text("\n".join(lines))
    return folder


def tokenizer_files(folder: Path) -> tuple[Path, Path]:
    """Vocabulary and merges of what `write_tiny_clip` wrote."""
    home = folder / "versatile-diffusion" / "tokenizer"
    return home / "vocab.json", home / "merges.txt"


def by_hand(*pieces: str) -> list[int]:
    """Numbers of a text that falls into some pieces, as the text encoder reads them."""
    numbers = [VOCABULARY[piece] for piece in (START, *pieces, END)]
    return numbers + [VOCABULARY[END]] * (77 - len(numbers))
