"""The relu7 generator: a functional computation by hand, and parity with bdpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from bids_recon.models.relu7_generator import Relu7Generator

ORDER = ["defc7", "defc6", "defc5", "deconv5", "conv5_1", "deconv4", "conv4_1", "deconv3", "conv3_1"]
ORDER += ["deconv2", "deconv1", "deconv0"]


def test_pictures_are_those_of_a_computation_by_hand() -> None:
    torch.manual_seed(0)
    network = Relu7Generator(256, 16)
    weights = network.state_dict()
    codes = torch.rand(2, 256)
    values = codes
    for name in ORDER:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        if name.startswith("defc"):
            values = values @ weight.T + bias
        else:
            side = round((values[0].numel() / weight.shape[0]) ** 0.5)
            values = values.reshape(2, weight.shape[0], side, side)
            stride = 2 if name.startswith("deconv") else 1
            values = functional.conv_transpose2d(values, weight, bias, stride=stride, padding=1)
        if name != "deconv0":
            values = torch.where(values > 0, values, 0.3 * values)
    pictures = network(codes)
    assert pictures.shape == (2, 3, 256, 256)
    torch.testing.assert_close(pictures, values, rtol=1e-4, atol=1e-6)


def test_gradients_reach_the_code_but_not_the_weights() -> None:
    network = Relu7Generator(256, 16)
    codes = torch.rand(1, 256).requires_grad_()
    network(codes).square().sum().backward()
    assert codes.grad is not None
    assert (codes.grad != 0).all()
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_published_shapes() -> None:
    with torch.device("meta"):
        state = Relu7Generator().state_dict()
    assert list(state) == [f"{name}.{kind}" for name in ORDER for kind in ("weight", "bias")]
    assert tuple(state["defc5.weight"].shape) == (4096, 4096)
    assert tuple(state["conv5_1.weight"].shape) == (256, 512, 3, 3)
    assert tuple(state["deconv0.weight"].shape) == (32, 3, 4, 4)


def test_a_code_that_makes_no_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="256 units"):
        Relu7Generator(256)


@pytest.mark.shared
def test_keys_are_those_of_the_published_file_without_its_aliases(shared: Path) -> None:
    lines = (shared / "parity" / "relu7generator_full_keys.tsv").read_text().splitlines()
    with torch.device("meta"):
        state = Relu7Generator().state_dict()
    own = [line for line in lines if not line.startswith(("defc.", "deconv."))]
    assert [f"{key}\t{tuple(value.shape)}\tfloat32" for key, value in state.items()] == own


@pytest.mark.shared
def test_parity_with_bdpy(shared: Path) -> None:
    folder = shared / "parity" / "vgg19_relu7generator_narrow"
    io = np.load(folder / "io.npz")
    network = Relu7Generator(256, 16)
    state = torch.load(folder / "relu7gen_div16_state_dict_f16.pt", weights_only=True)
    network.load_state_dict({key: value.float() for key, value in state.items()})
    found = network(torch.from_numpy(io["z"])).numpy()
    assert abs(found - io["gen_out"]).max() < 1e-4 * io["gen_out"].std()


@pytest.mark.slow
@pytest.mark.shared
def test_parity_with_bdpy_at_full_width(shared: Path) -> None:
    folder = shared / "parity" / "vgg19_relu7generator_full_seeded"
    expected = np.load(folder / "expected.npz")
    network = Relu7Generator()
    own = network.state_dict()
    rng = np.random.Generator(np.random.PCG64(1))
    # The aliases come last, so that their draws change nothing here.
    keys = [line.split("\t")[0] for line in (folder / "keys_relu7generator.tsv").read_text().splitlines()]
    assert keys[: len(own)] == list(own)
    for values in own.values():
        draw = rng.standard_normal(tuple(values.shape)).astype(np.float32)
        fan_in = int(np.prod(values.shape[1:]))
        draw *= np.float32(np.sqrt(2 / fan_in)) if values.ndim > 1 else np.float32(0.1)
        values.copy_(torch.from_numpy(draw))
    assert own["defc7.weight"].flatten()[:8].numpy() == pytest.approx(expected["gen_defc7_first8"])
    rng = np.random.Generator(np.random.PCG64(7))
    rng.standard_normal((1, 3, 224, 224))
    codes = abs(rng.standard_normal((1, 4096))).astype(np.float32)
    assert codes[0, :8] == pytest.approx(expected["z_first8"])
    found = network(torch.from_numpy(codes)).numpy()
    assert abs(found - expected["gen_out"]).max() < 1e-4 * expected["gen_out"].std()
