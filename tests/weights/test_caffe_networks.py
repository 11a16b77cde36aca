"""Caffemodels into networks: the same features and pictures as from modules given the weights directly."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from caffe_encoder import LEGACY, MODERN, encode_net
from numpy.typing import NDArray
from torch import nn

from bids_recon.errors import DataError
from bids_recon.models.relu7_generator import Relu7Generator
from bids_recon.models.vgg19 import Vgg19
from bids_recon.weights.caffe_networks import (
    read_relu7_generator_state,
    read_vgg19_state,
    relu7_generator_state,
    vgg19_state,
)
from bids_recon.weights.checkpoint import load_strictly

Blobs = dict[str, list[NDArray[np.float32]]]


def tiny_vgg19() -> Vgg19:
    torch.manual_seed(0)
    return Vgg19(channels=(2, 3, 4, 5, 6), hidden=7, n_classes=9, image_size=64)


def tiny_generator() -> Relu7Generator:
    torch.manual_seed(0)
    return Relu7Generator(256, 16)


def blobs_of(module: nn.Module, names: list[str]) -> Blobs:
    """Weights and biases in the order of the module, under the names of Caffe."""
    tensors = [tensor.numpy().copy() for tensor in module.state_dict().values()]
    return {name: tensors[2 * i : 2 * i + 2] for i, name in enumerate(names)}


@pytest.fixture
def vgg19_blobs() -> Blobs:
    return blobs_of(tiny_vgg19(), list(tiny_vgg19().layers))


@pytest.fixture
def generator_blobs() -> Blobs:
    names = [key.removesuffix(".weight") for key in tiny_generator().state_dict() if key.endswith("weight")]
    return blobs_of(tiny_generator(), names)


@pytest.mark.parametrize("form", [LEGACY, MODERN])
def test_vgg19_from_a_caffemodel_gives_the_same_features(
    tmp_path: Path, vgg19_blobs: Blobs, form: str
) -> None:
    path = tmp_path / "vgg19.caffemodel"
    path.write_bytes(encode_net({"data": [], **vgg19_blobs, "prob": []}, form))
    with torch.device("meta"):
        network = Vgg19(channels=(2, 3, 4, 5, 6), hidden=7, n_classes=9, image_size=64)
    load_strictly(network, read_vgg19_state(path), path)
    # The result must not hang on the file.
    path.unlink()
    pixels = 50 * torch.randn(1, 3, 64, 64)
    expected = tiny_vgg19().layer_features(pixels, network.layers)
    for name, values in network.layer_features(pixels, network.layers).items():
        assert torch.equal(values, expected[name]), name
    assert expected["fc8"].std() > 0


@pytest.mark.parametrize("form", [LEGACY, MODERN])
def test_generator_from_a_caffemodel_draws_the_same(
    tmp_path: Path, generator_blobs: Blobs, form: str
) -> None:
    path = tmp_path / "generator.caffemodel"
    path.write_bytes(encode_net(generator_blobs, form))
    with torch.device("meta"):
        network = Relu7Generator(256, 16)
    load_strictly(network, read_relu7_generator_state(path), path)
    codes = torch.rand(1, 256)
    assert torch.equal(network(codes), tiny_generator()(codes))


def test_converted_files_load_too(tmp_path: Path) -> None:
    vgg19, generator = tiny_vgg19(), tiny_generator()
    torch.save(vgg19.state_dict(), tmp_path / "vgg19.pt")
    assert set(read_vgg19_state(tmp_path / "vgg19.pt")) == set(vgg19.state_dict())
    # Every tensor a second time, as bdpy's class holds its layers in two lists as well.
    own = generator.state_dict()
    aliases: dict[str, torch.Tensor] = {}
    for kind, keys in (("defc", list(own)[:6]), ("deconv", list(own)[6:])):
        for i, key in enumerate(keys):
            aliases[f"{kind}.{2 * (i // 2)}.{key.split('.')[1]}"] = own[key]
    assert {"defc.4.bias", "deconv.16.weight"} <= set(aliases)
    torch.save({**own, **aliases}, tmp_path / "generator.pt")
    state = read_relu7_generator_state(tmp_path / "generator.pt")
    network = Relu7Generator(256, 16)
    load_strictly(network, state, tmp_path / "generator.pt")
    codes = torch.rand(1, 256)
    assert torch.equal(network(codes), generator(codes))


@pytest.mark.parametrize("name", ["conv1_1", "conv3_4", "fc6", "fc8"])
def test_a_missing_layer_is_named(tmp_path: Path, vgg19_blobs: Blobs, name: str) -> None:
    del vgg19_blobs[name]
    path = tmp_path / "VGG.caffemodel"
    path.write_bytes(encode_net(vgg19_blobs, LEGACY))
    with pytest.raises(DataError, match=rf"VGG\.caffemodel: has no layer '{name}'.*incomplete"):
        read_vgg19_state(path)


def test_a_file_cut_off_between_or_within_layers_is_named(tmp_path: Path, vgg19_blobs: Blobs) -> None:
    content = encode_net(vgg19_blobs, LEGACY)
    path = tmp_path / "VGG.caffemodel"
    # Ends of the layers, then places within them.
    names = list(vgg19_blobs)
    ends = [len(encode_net({name: vgg19_blobs[name] for name in names[:n]}, LEGACY)) for n in (3, 16, 18)]
    within = [len(content) * share // 100 for share in (7, 33, 61, 99)]
    for length in ends + within:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"VGG\.caffemodel: (has no layer|is cut off)"):
            read_vgg19_state(path)


@pytest.mark.parametrize(("name", "weight", "bias", "problem"), [
    ("conv2_1", (3, 2, 5, 5), 3, "kernels 3 x 3"),
    ("conv2_1", (3, 18), 3, "kernels 3 x 3"),
    ("conv2_1", (3, 4, 3, 3), 3, "takes 4 inputs, but the layer before gives 2"),
    ("conv2_1", (3, 2, 3, 3), 4, "4 biases for 3 outputs"),
    ("fc6", (7, 25), 7, "takes 25 inputs, but the layer before gives 6"),
    ("fc7", (7, 14), 7, "takes 14 inputs, but the layer before gives 7"),
    ("fc7", (2, 1, 7, 7), 7, "not a matrix"),
    ("fc7", (7,), 7, "not a matrix"),
])  # fmt: skip
def test_a_layer_of_another_shape_is_named(
    vgg19_blobs: Blobs, name: str, weight: tuple[int, ...], bias: int, problem: str
) -> None:
    vgg19_blobs[name] = [np.zeros(weight, np.float32), np.zeros(bias, np.float32)]
    with pytest.raises(DataError, match=rf"VGG\.caffemodel: its layer '{name}' .*{re.escape(problem)}"):
        vgg19_state(vgg19_blobs, Path("VGG.caffemodel"))


def test_a_layer_without_bias_is_named(generator_blobs: Blobs) -> None:
    generator_blobs["deconv2"].pop()
    with pytest.raises(DataError, match=r"g\.caffemodel: its layer 'deconv2' has 1 blobs"):
        relu7_generator_state(generator_blobs, Path("g.caffemodel"))


def test_blobs_of_convolutions_are_no_generator(generator_blobs: Blobs) -> None:
    # Were conv5_1 a convolution, its blob would be (out, in, 3, 3).
    generator_blobs["conv5_1"][0] = np.ascontiguousarray(generator_blobs["conv5_1"][0].swapaxes(0, 1))
    with pytest.raises(DataError, match="'conv5_1' takes 32 inputs, but the layer before gives 16"):
        relu7_generator_state(generator_blobs, Path("g.caffemodel"))


def test_names_are_those_of_the_full_networks() -> None:
    with torch.device("meta"):
        networks = (Vgg19(), Relu7Generator())
    # Memory that is never written to is never taken.
    for network, names, convert in (
        (networks[0], list(networks[0].layers), vgg19_state),
        (networks[1], [k.split(".")[0] for k in list(networks[1].state_dict())[::2]], relu7_generator_state),
    ):
        own = list(network.state_dict().items())
        blobs = {
            name: [np.empty(tuple(own[2 * i + j][1].shape), np.float32) for j in range(2)]
            for i, name in enumerate(names)
        }
        state = convert(blobs, Path("net.caffemodel"))
        assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in own}
