"""CLIP: networks made of a configuration alone, and normalised tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_recon.models.clip import (
    make_clip_text,
    make_clip_vision,
    normalised_image_tokens,
    normalised_text_tokens,
)
from bids_recon.weights.checkpoint import load_state, load_strictly

START, END = 48, 49
TEXT: dict[str, Any] = {
    "model_type": "clip_text_model",
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "projection_dim": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 12,
    "eos_token_id": END,
}
LEGACY = {**TEXT, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "torch_dtype": "float16"}
VISION: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "projection_dim": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 8,
    "patch_size": 2,
    "torch_dtype": "float16",
}
IDS = torch.tensor([[START, 3, 7, 7, 40, END, *[END] * 6], [START, END, *[END] * 10]])
FIRST_END = (5, 1)


def filled(network: Any, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    state = {
        key: 0.3 * torch.randn(values.shape, generator=generator) + (values.ndim == 1)
        for key, values in network.state_dict().items()
    }
    load_strictly(network, state, Path("random.bin"))
    return network


def pixels(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def doubles(values: torch.Tensor) -> np.ndarray:
    return values.detach().numpy().astype(np.float64)


def within(found: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert np.abs(doubles(found) - expected).max() < tolerance * expected.std()


@pytest.mark.parametrize("config", [TEXT, LEGACY], ids=["true end", "legacy end"])
@torch.no_grad()
def test_text_tokens_are_projected_and_divided_by_the_length_of_the_end_of_text(
    config: dict[str, Any],
) -> None:
    network = filled(make_clip_text(config))
    hidden = doubles(network.text_model(input_ids=IDS).last_hidden_state)
    projected = hidden @ doubles(network.text_projection.weight).T
    lengths = np.array([np.linalg.norm(projected[row, end]) for row, end in enumerate(FIRST_END)])
    found = normalised_text_tokens(network, IDS)
    within(found, projected / lengths[:, None, None])
    for row, end in enumerate(FIRST_END):
        assert found[row, end].norm() == pytest.approx(1, abs=1e-5)
        assert (found[row, torch.arange(12) != end].norm(dim=-1) - 1).abs().max() > 0.01


@torch.no_grad()
def test_image_tokens_all_pass_the_last_layer_norm() -> None:
    network = filled(make_clip_vision(VISION))
    values = pixels()
    hidden = doubles(network.vision_model(pixel_values=values).last_hidden_state)
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(hidden.var(axis=-1, keepdims=True) + 1e-5)
    norm, projection = network.vision_model.post_layernorm, network.visual_projection
    projected = (scaled * doubles(norm.weight) + doubles(norm.bias)) @ doubles(projection.weight).T
    found = normalised_image_tokens(network, values)
    assert found.shape == (3, 17, 24)
    within(found, projected / np.linalg.norm(projected[:, :1], axis=-1, keepdims=True))
    # What CLIP itself gives of the whole picture.
    whole = doubles(network(pixel_values=values).image_embeds)
    within(found[:, 0], whole / np.linalg.norm(whole, axis=-1, keepdims=True))


@torch.no_grad()
def test_a_mask_changes_only_what_comes_after_the_end() -> None:
    network = filled(make_clip_text(TEXT))
    mask = torch.zeros(2, 12, dtype=torch.int64)
    for row, end in enumerate(FIRST_END):
        mask[row, : end + 1] = 1
    free, masked = normalised_text_tokens(network, IDS), normalised_text_tokens(network, IDS, mask)
    for row, end in enumerate(FIRST_END):
        torch.testing.assert_close(free[row, : end + 1], masked[row, : end + 1], rtol=1e-4, atol=1e-5)
        assert (free[row, end + 1 :] - masked[row, end + 1 :]).abs().max() > 1e-3


@pytest.mark.parametrize(("make", "config"), [(make_clip_text, LEGACY), (make_clip_vision, VISION)])
def test_networks_are_empty_but_whole_and_compute_in_float32(make: Any, config: dict[str, Any]) -> None:
    network = make(config)
    assert {values.device.type for values in network.parameters()} == {"meta"}
    assert {values.dtype for values in network.parameters()} == {torch.float32}
    assert not any(module.training for module in network.modules())
    n_places = {make_clip_text: 12, make_clip_vision: 17}[make]
    buffers = dict(network.named_buffers())
    assert [name.rsplit(".", 1)[1] for name in buffers] == ["position_ids"]
    for values in buffers.values():
        torch.testing.assert_close(values, torch.arange(n_places)[None])
    filled(network)
    assert {values.device.type for values in [*network.parameters(), *network.buffers()]} == {"cpu"}
    assert "position_ids" not in " ".join(network.state_dict())


@torch.no_grad()
def test_networks_made_empty_compute_what_those_of_the_library_do() -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    network = filled(make_clip_text(TEXT))
    usual = CLIPTextModelWithProjection(CLIPTextConfig(**TEXT)).eval()
    usual.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(IDS).text_embeds, usual(IDS).text_embeds)


@pytest.mark.parametrize(
    ("make", "config", "found"),
    [
        (make_clip_text, VISION, "'clip_vision_model', not of a 'clip_text_model'"),
        (make_clip_vision, TEXT, "'clip_text_model', not of a 'clip_vision_model'"),
        (make_clip_vision, {}, "'None'"),
    ],
)
def test_configurations_of_other_networks_are_refused(make: Any, config: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        make(config)


@pytest.mark.shared
@torch.no_grad()
def test_tokens_are_those_of_the_versatile_diffusion_pipeline(shared: Path) -> None:
    folder = shared / "parity" / "versatile_diffusion_tiny"
    config, arrays = json.loads((folder / "config.json").read_text()), np.load(folder / "io.npz")
    for part, make, inputs, normalised, expected in (
        ("text", make_clip_text, "input_ids", normalised_text_tokens, "text_tokens_normed"),
        ("vision", make_clip_vision, "pixel_values", normalised_image_tokens, "image_tokens_normed"),
    ):
        network, file = make(config[part]), folder / f"clip_{part}_state_dict.pt"
        load_strictly(network, load_state(file), file)
        within(normalised(network, torch.from_numpy(arrays[inputs])), arrays[expected].astype(np.float64))
