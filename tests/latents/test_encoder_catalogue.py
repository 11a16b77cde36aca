"""The networks whose layers can be decoded, by name, group and size."""

from __future__ import annotations

import pytest

from bids_recon.errors import UsageError
from bids_recon.latents.encoder_catalogue import ENCODERS, encoder_spec
from bids_recon.models.efficientnet_lite0 import EfficientNetLite0
from bids_recon.models.vgg19 import Vgg19

TINY = {"channels": (1, 1, 1, 1, 1), "hidden": 1, "n_classes": 1, "image_size": 32}


def test_layers_of_the_catalogue_are_those_of_the_networks() -> None:
    assert ENCODERS["vgg19"].layers == Vgg19(**TINY).layers  # type: ignore[arg-type]
    assert ENCODERS["vgg19-imagery"].layers == ENCODERS["vgg19"].layers
    assert ENCODERS["efficientnet-lite0"].layers == EfficientNetLite0().layers


def test_groups_of_vgg19_are_those_of_the_paper() -> None:
    spec = ENCODERS["vgg19"]
    assert list(spec.groups) == [f"DNN{number}" for number in range(1, 9)]
    # Shen et al. (2017): five blocks of convolutions between poolings, then the fully-connected layers.
    assert [len(group) for group in spec.groups.values()] == [2, 2, 4, 4, 4, 1, 1, 1]
    assert spec.groups["DNN4"] == ("conv4_1", "conv4_2", "conv4_3", "conv4_4")
    assert [spec.groups[f"DNN{number}"] for number in (6, 7, 8)] == [("fc6",), ("fc7",), ("fc8",)]
    assert len(spec.layers) == 19


def test_a_group_of_lite0_has_one_resolution() -> None:
    spec = ENCODERS["efficientnet-lite0"]
    strides = {"stem": 2, "block1": 2, "block2": 4, "block3": 4, "block4": 8, "block5": 8}
    strides |= {f"block{number}": 16 for number in range(6, 12)}
    strides |= {f"block{number}": 32 for number in range(12, 17)} | {"head": 32, "logits": 0}
    assert [len({strides[layer] for layer in group}) for group in spec.groups.values()] == [1] * 8
    assert len(spec.layers) == 19


@pytest.mark.parametrize(
    ("wanted", "layers"),
    [
        (("fc8", "conv1_2"), ("conv1_2", "fc8")),
        (("DNN2",), ("conv2_1", "conv2_2")),
        (("dnn6-8",), ("fc6", "fc7", "fc8")),
        (("DNN1-2", "conv2_1", "DNN6"), ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "fc6")),
        (("DNN1-8",), ENCODERS["vgg19"].layers),
        ((), ()),
    ],
)
def test_layers_by_name_group_and_range(wanted: tuple[str, ...], layers: tuple[str, ...]) -> None:
    assert ENCODERS["vgg19"].choose_layers(wanted) == layers


@pytest.mark.parametrize(
    "name", ["conv1_3", "DNN0", "DNN9", "DNN3-2", "DNN0-3", "DNN1-9", "DNN", "xDNN1", ""]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"network vgg19 has no layer '{name}'.*conv1_1, conv1_2"):
        ENCODERS["vgg19"].choose_layers(["conv1_1", name])


@pytest.mark.parametrize(
    ("name", "size", "found"),
    [
        ("vgg19", None, 224),
        ("vgg19-imagery", 224, 224),
        ("efficientnet-lite0", None, 224),
        ("efficientnet-lite0", 32, 32),
        ("efficientnet-lite0", 96, 96),
    ],
)
def test_size_of_pictures(name: str, size: int | None, found: int) -> None:
    assert encoder_spec(name, size) == (ENCODERS[name], found)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("vgg16", None, "no encoder 'vgg16'. Choose one of: vgg19, vgg19-imagery, efficientnet-lite0"),
        ("vgg19", 128, "224 x 224 pixels, not 128. Leave --image-size out"),
        ("efficientnet-lite0", 65, "multiple of 32 pixels, not 65. Give --image-size 64"),
        ("efficientnet-lite0", 8, "not 8. Give --image-size 32"),
        ("efficientnet-lite0", 0, "not 0. Give --image-size 32"),
        ("efficientnet-lite0", -32, "not -32. Give --image-size 32"),
    ],
)
def test_sizes_that_do_not_suit_are_refused(name: str, size: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encoder_spec(name, size)


def test_imagery_has_gradients_where_max_pooling_and_relus_have_none() -> None:
    assert ENCODERS["vgg19-imagery"].options == {"pooling": "average", "negative_slope": 0.2}
    assert not ENCODERS["vgg19"].options
