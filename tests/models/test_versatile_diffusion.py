"""Versatile Diffusion: the blend of its guides, reading of its parts, parity with diffusers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.tiny_versatile_diffusion import (
    SCHEDULER,
    SIZE,
    UNET,
    VAE,
    WIDTH,
    build_tiny,
    guides,
    load_parity,
    tiny_parts,
)
from torch import Tensor, nn

from bids_recon.errors import DataError
from bids_recon.models.dual_transformer import DualTransformer
from bids_recon.models.versatile_diffusion import Part, VersatileDiffusion, build_versatile_diffusion
from bids_recon.weights.checkpoint import load_strictly


class Linear(nn.Module):
    """Adds what its guide says, a number of its own times the sum of the tokens."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, **kwargs: Any) -> tuple[Tensor]:
        self.calls += 1
        return (hidden_states + self.factor * encoder_hidden_states.sum((1, 2))[:, None, None, None],)


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_changes_of_both_branches_are_blended_by_the_strength_of_the_text(strength: float) -> None:
    image, text = Linear(10.0), Linear(1.0)
    tokens = torch.cat([torch.full((2, 3, 1), 2.0), torch.full((2, 5, 1), 7.0)], 1)
    (found,) = DualTransformer(image, text)(
        torch.ones(2, 4, 2, 2),
        tokens,
        cross_attention_kwargs={"text_strength": strength, "text_tokens": 3},
        encoder_attention_mask=None,
    )
    # The text's tokens sum to 6, those of the picture to 35.
    assert found.numpy() == pytest.approx(1 + strength * 6 + (1 - strength) * 350)
    assert (text.calls, image.calls) == (int(strength > 0), int(strength < 1))


@pytest.fixture(scope="module")
def network() -> VersatileDiffusion:
    return build_tiny()


def test_each_guide_reaches_the_prediction_and_one_left_out_does_not(network: VersatileDiffusion) -> None:
    text, vision, *_ = guides(2)
    other_text, other_vision, *_ = guides(2, seed=1)
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))

    def predict(text: Tensor | None, vision: Tensor | None, strength: float = 0.4) -> Tensor:
        return network.noise_prediction(latents, 500, text, vision, strength)

    both = predict(text, vision)
    spread = both.std()
    assert (predict(other_text, vision) - both).abs().max() > 1e-3 * spread
    assert (predict(text, other_vision) - both).abs().max() > 1e-3 * spread
    assert torch.equal(predict(None, vision), predict(other_text, vision, 0.0))
    assert torch.equal(predict(text, None), predict(text, other_vision, 1.0))
    assert (predict(text, None) - predict(None, vision)).abs().max() > 1e-3 * spread
    with pytest.raises(ValueError, match="one guide"):
        predict(None, None)


def test_the_branches_are_those_of_the_two_unets(network: VersatileDiffusion) -> None:
    from diffusers import UNet2DConditionModel

    parts = tiny_parts()
    text, vision, *_ = guides(1)
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for tokens, state, strength in (
        (vision, parts["image_unet"].state, 0.0),
        (text, {**parts["image_unet"].state, **parts["text_unet"].state}, 1.0),
    ):
        single = UNet2DConditionModel(**UNET).eval()
        kept = parts["image_unet"].state["conv_in.weight"]
        single.load_state_dict({**state, "conv_in.weight": kept})
        with torch.no_grad():
            expected = single(latents, 500, tokens).sample
        found = network.noise_prediction(latents, 500, text, vision, strength)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_left_without_memory_or_with_gradients(network: VersatileDiffusion) -> None:
    tensors = [*network.parameters(), *network.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert not any(tensor.requires_grad for tensor in tensors)
    assert not network.training
    assert (network.size, network.latent_shape) == (SIZE, (4, 4, 4))


def test_latents_of_a_picture_are_a_draw_from_the_posterior(network: VersatileDiffusion) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    zeros, ones = torch.zeros(2, 4, 4, 4), torch.ones(2, 4, 4, 4)
    mean = network.encode_pictures(pictures, zeros)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    posterior = network.vae.encode(pixels).latent_dist
    torch.testing.assert_close(mean, posterior.mean * 0.18215, rtol=1e-4, atol=1e-6)
    deviation = network.encode_pictures(pictures, ones) - mean
    torch.testing.assert_close(deviation, posterior.std * 0.18215, rtol=1e-4, atol=1e-6)
    decoded = network.decode_latents(mean)
    assert decoded.shape == (2, 3, SIZE, SIZE)
    torch.testing.assert_close(decoded, network.vae.decode(posterior.mean).sample, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(16, 16, 3\)"):
        network.encode_pictures(np.zeros((1, 16, 16, 3), np.uint8), zeros[:1])


def test_half_precision_is_near_the_whole(network: VersatileDiffusion) -> None:
    half = build_tiny(dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in half.parameters()} == {torch.bfloat16}
    text, vision, *_ = guides(1)
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = network.noise_prediction(latents, 500, text, vision, 0.4)
    found = half.noise_prediction(latents, 500, text, vision, 0.4)
    assert found.dtype == torch.float32
    assert 0 < (found - whole).abs().max() < 0.1 * whole.std()


def test_attention_of_the_vae_under_its_names_of_2022(network: VersatileDiffusion) -> None:
    vae = tiny_parts()["vae"]
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in vae.state.items():
        for today, then in former.items():
            if f".attentions.0.{today}." in key:
                key = key.replace(today, then)
                value = value[..., None, None] if value.ndim == 2 and then in ("query", "value") else value
        state[key] = value
    assert len(set(vae.state) - set(state)) == 2 * 4 * 2
    renamed = build_tiny(vae=vae._replace(state=state))
    for key, value in network.vae.state_dict().items():
        assert torch.equal(renamed.vae.state_dict()[key], value), key


def test_a_config_of_a_saved_pipeline_is_taken_for_the_parts_it_was_made_of() -> None:
    image = tiny_parts()["image_unet"]
    saved = {**UNET, "dual_cross_attention": True, "_class_name": "UNet2DConditionModel", "unheard_of": 1}
    state = build_tiny(image_unet=image._replace(config=saved)).state_dict()
    assert list(state) == list(build_tiny().state_dict())


def test_building_says_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    parts = tiny_parts()
    # After the import of diffusers, which would set this.
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    build_tiny(parts, torch.bfloat16)
    assert not caplog.records


def without(part: Part, beginning: str) -> Part:
    return part._replace(state={k: v for k, v in part.state.items() if not k.startswith(beginning)})


def test_weights_that_do_not_fit_are_refused_with_their_file() -> None:
    parts = tiny_parts()
    block = "up_blocks.1.attentions.0"
    with pytest.raises(DataError, match=rf"text_unet.weights\.bin: has no weights of '{block}'"):
        build_tiny(parts, text_unet=without(parts["text_unet"], f"{block}."))
    with pytest.raises(DataError, match=r"text_unet.weights\.bin.*lacks 'norm\.bias'"):
        build_tiny(parts, text_unet=without(parts["text_unet"], f"{block}.norm.bias"))
    with pytest.raises(DataError, match=r"image_unet.weights\.bin.*lacks 'conv_in\.weight'"):
        build_tiny(parts, image_unet=without(parts["image_unet"], "conv_in.weight"))
    with pytest.raises(DataError, match=r"vae.weights\.bin.*it has 'more'"):
        build_tiny(parts, vae=parts["vae"]._replace(state={**parts["vae"].state, "more": torch.ones(1)}))
    with pytest.raises(DataError, match=r"vae.weights\.bin.*other shapes"):
        shorter = {**parts["vae"].state, "encoder.conv_in.bias": torch.ones(3)}
        build_tiny(parts, vae=parts["vae"]._replace(state=shorter))


def test_configurations_of_no_network_are_refused_with_their_file() -> None:
    parts = tiny_parts()
    image, vae = parts["image_unet"], parts["vae"]
    with pytest.raises(DataError, match=r"image_unet.config\.json: describes no UNet2DConditionModel"):
        build_tiny(parts, image_unet=image._replace(config={**UNET, "down_block_types": ["Nonsense", "?"]}))
    with pytest.raises(DataError, match=r"vae.config\.json: describes no AutoencoderKL"):
        build_tiny(parts, vae=vae._replace(config={**VAE, "norm_num_groups": 5}))
    plain = {**UNET, "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    plain["mid_block_type"] = None
    with pytest.raises(DataError, match=r"image_unet.config\.json: .*without attention"):
        build_tiny(parts, image_unet=image._replace(config=plain))
    with pytest.raises(DataError, match="'beta_schedule' is 'linear'"):
        build_versatile_diffusion(
            **parts, scheduler={**SCHEDULER, "beta_schedule": "linear"}, load=load_strictly
        )


def test_the_text_unet_of_diffusers_names_its_attention_like_the_image_unet() -> None:
    flat = pytest.importorskip("diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet")
    config = {**UNET, "in_channels": WIDTH, "out_channels": WIDTH}
    config["down_block_types"] = ["CrossAttnDownBlockFlat", "DownBlockFlat"]
    config["up_block_types"] = ["UpBlockFlat", "CrossAttnUpBlockFlat"]
    config["mid_block_type"] = "UNetMidBlockFlatCrossAttn"
    torch.manual_seed(3)
    text = flat.UNetFlatConditionModel(**config).state_dict()
    network = build_tiny(text_unet=Part(config, text, Path("text_unet/weights.bin")))
    duals = {name: part for name, part in network.unet.named_modules() if isinstance(part, DualTransformer)}
    assert len(duals) == 4
    used: dict[str, Tensor] = {}
    for name, part in duals.items():
        part.transformers[1].state_dict(destination=used, prefix=f"{name}.")
    assert set(used) == {key for key in text if ".attentions." in key}
    assert all(torch.equal(value, text[key]) for key, value in used.items())


@pytest.fixture(scope="module")
def parity(shared: Path) -> tuple[VersatileDiffusion, dict[str, Any]]:
    return load_parity(shared / "parity" / "versatile_diffusion_tiny")


@pytest.mark.shared
def test_predictions_are_those_of_diffusers(parity: tuple[VersatileDiffusion, dict[str, Any]]) -> None:
    network, io = parity
    for name, strength in (("mix0p4", 0.4), ("textonly", 1.0), ("imageonly", 0.0)):
        expected = io[f"eps_t500_{name}"]
        found = network.noise_prediction(
            io["init_latent_mean"], 500, io["cond_text"], io["cond_image"], strength
        )
        assert (found - expected).abs().max() < 1e-4 * expected.std(), name


@pytest.mark.shared
def test_start_and_pictures_are_those_of_diffusers(
    parity: tuple[VersatileDiffusion, dict[str, Any]],
) -> None:
    network, io = parity
    mean = network.vae.encode(io["init_image"]).latent_dist.mean * network.vae.config.scaling_factor
    assert (mean - io["init_latent_mean"]).abs().max() < 1e-4 * mean.std()
    start = network.schedule.add_noise(io["init_latent_mean"], io["noise"], int(io["noise_t"]))
    assert (start - io["x_start"]).abs().max() < 1e-4 * start.std()
    decoded = network.decode_latents(io["x_final"])
    assert (decoded - io["decoded"]).abs().max() < 1e-4 * decoded.std()
