"""Weights of the two networks of deep image reconstruction, from caffemodels or converted files.

Parameters come out under the names of torchvision (VGG-19) or of the Caffe layers (generator). Caffe and
torch order the numbers of a layer alike: (out, in, k, k) for a convolution, (in, out, k, k) for a
deconvolution, (out, in) for a fully connected layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_recon.errors import DataError
from bids_recon.weights.caffemodel import FETCH_AGAIN, read_caffemodel
from bids_recon.weights.checkpoint import load_state

Blobs = Mapping[str, Sequence[NDArray[np.float32]]]


class _Layer(NamedTuple):
    """A layer of Caffe, the torch module that takes its weights, and the side of its kernel."""

    name: str
    module: str
    kind: Literal["convolution", "deconvolution", "fully connected"]
    kernel: int = 1


def _vgg19_layers() -> Iterator[_Layer]:
    number = 0
    for stage, depth in enumerate((2, 2, 4, 4, 4), start=1):
        for position in range(1, depth + 1):
            yield _Layer(f"conv{stage}_{position}", f"features.{number}", "convolution", 3)
            # A ReLU follows.
            number += 2
        # A pooling follows.
        number += 1
    for i, name in enumerate(("fc6", "fc7", "fc8")):
        yield _Layer(name, f"classifier.{3 * i}", "fully connected")


def _generator_layers() -> Iterator[_Layer]:
    for name in ("defc7", "defc6", "defc5"):
        yield _Layer(name, name, "fully connected")
    # The layers called conv are deconvolutions too, of stride 1.
    stages = (
        "deconv5",
        "conv5_1",
        "deconv4",
        "conv4_1",
        "deconv3",
        "conv3_1",
        "deconv2",
        "deconv1",
        "deconv0",
    )
    for name in stages:
        yield _Layer(name, name, "deconvolution", 4 if name.startswith("deconv") else 3)


def read_vgg19_state(path: Path) -> dict[str, Tensor]:
    """Weights of VGG-19 by torchvision's names, from a caffemodel or a converted file (.pt, .safetensors).

    Raises
    ------
    ReconError
        When the file is missing, damaged, or another network's; see `vgg19_state` and `load_state`.
    """
    return vgg19_state(read_caffemodel(path), path) if path.suffix == ".caffemodel" else load_state(path)


def read_relu7_generator_state(path: Path) -> dict[str, Tensor]:
    """Weights of the relu7 generator by layer, from a caffemodel or a converted file (.pt, .safetensors).

    The converted file of the Kamitani lab holds every tensor twice; its second names, defc.* and deconv.*,
    are left out.

    Raises
    ------
    ReconError
        When the file is missing, damaged, or another network's; see `relu7_generator_state` and `load_state`.
    """
    if path.suffix == ".caffemodel":
        return relu7_generator_state(read_caffemodel(path), path)
    return {k: v for k, v in load_state(path).items() if not k.startswith(("defc.", "deconv."))}


def vgg19_state(blobs: Blobs, file: Path) -> dict[str, Tensor]:
    """Weights of VGG-19 by torchvision's names (features.0.weight ... classifier.6.bias).

    Layers may have any number of channels, so long as each fits the one before.

    Parameters
    ----------
    blobs : dict of list of ndarray
        What `read_caffemodel` gives.
    file : Path
        Its file, for messages.

    Returns
    -------
    dict of Tensor float32
        Sharing memory with `blobs`.

    Raises
    ------
    DataError
        When a layer is missing, or its shapes are not those of VGG-19.
    """
    return _state(tuple(_vgg19_layers()), blobs, file)


def relu7_generator_state(blobs: Blobs, file: Path) -> dict[str, Tensor]:
    """Weights of the relu7 generator by layer (defc7.weight ... deconv0.bias); see `vgg19_state`.

    Raises
    ------
    DataError
        When a layer is missing, or its shapes are not those of the generator.
    """
    return _state(tuple(_generator_layers()), blobs, file)


def _state(layers: Sequence[_Layer], blobs: Blobs, file: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    before: _Layer | None = None
    n_before = 0
    for layer in layers:
        if layer.name not in blobs:
            raise DataError(
                f"has no layer '{layer.name}': it is incomplete, or another network",
                file=file,
                remedy=FETCH_AGAIN,
            )
        own = blobs[layer.name]
        if len(own) != 2:
            raise _unfit(layer, f"has {len(own)} blobs, not a weight and a bias", file)
        weight, bias = own
        if layer.kind == "fully connected":
            weight = _matrix(layer, weight, file)
        elif weight.ndim != 4 or weight.shape[2:] != (layer.kernel, layer.kernel):
            side = layer.kernel
            raise _unfit(layer, f"has weights {weight.shape}, not of kernels {side} x {side}", file)
        inputs, outputs = weight.shape[:2] if layer.kind == "deconvolution" else weight.shape[1::-1]
        # Between maps and vectors, a channel is several numbers.
        if before is not None and inputs != n_before:
            several = layer.kind != before.kind and max(inputs, n_before) % min(inputs, n_before) == 0
            if not several:
                raise _unfit(layer, f"takes {inputs} inputs, but the layer before gives {n_before}", file)
        if bias.size != outputs:
            raise _unfit(layer, f"has {bias.size} biases for {outputs} outputs", file)
        before, n_before = layer, outputs
        state[f"{layer.module}.weight"] = torch.from_numpy(weight)
        state[f"{layer.module}.bias"] = torch.from_numpy(bias.reshape(-1))
    return state


def _matrix(layer: _Layer, weight: NDArray[np.float32], file: Path) -> NDArray[np.float32]:
    # Old files put (1, 1) in front.
    if weight.ndim < 2 or any(length != 1 for length in weight.shape[:-2]):
        raise _unfit(layer, f"has weights {weight.shape}, not a matrix", file)
    return weight.reshape(weight.shape[-2:])


def _unfit(layer: _Layer, what: str, file: Path) -> DataError:
    return DataError(
        f"its layer '{layer.name}' {what}", file=file, remedy="Is it the file of another network?"
    )
