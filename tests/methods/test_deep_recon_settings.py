"""Choices of deep image reconstruction: what is published by default, and what does not go together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bids_recon.errors import UsageError
from bids_recon.latents.encoder_catalogue import ENCODERS
from bids_recon.methods.deep_recon_settings import DeepReconSettings

LITE0 = {"encoder": "efficientnet-lite0"}


def test_defaults_are_those_of_the_paper() -> None:
    settings = DeepReconSettings.of({})
    assert settings.encoder is ENCODERS["vgg19"]
    assert settings.size == 224
    assert settings.layers == settings.drawn_layers == ENCODERS["vgg19"].layers
    assert (settings.generator, settings.optimiser, settings.iterations) == ("none", "lbfgs", 200)
    assert (settings.layer_order, settings.norm_correction, settings.batch_size) == (
        "together",
        "training",
        16,
    )


def test_the_input_of_a_generator_descends() -> None:
    settings = DeepReconSettings.of({"generator": "relu7"})
    assert (settings.optimiser, settings.iterations, settings.layer_order) == (
        "gradient-descent",
        200,
        "together",
    )
    assert DeepReconSettings.of({"generator": "relu7", "optimiser": "lbfgs"}).optimiser == "lbfgs"


@pytest.mark.parametrize(
    ("optimiser", "order"),
    [(None, "shallow-first"), ("lbfgs", "shallow-first"), ("gradient-descent", "together")],
)
def test_a_network_of_relu6_begins_with_shallow_layers_where_it_can(optimiser: str, order: str) -> None:
    assert DeepReconSettings.of(LITE0 | {"optimiser": optimiser}).layer_order == order
    assert DeepReconSettings.of(LITE0 | {"layer_order": "together"}).layer_order == "together"


def test_what_is_absent_is_like_what_is_none_or_empty() -> None:
    nothing = dict.fromkeys(
        (
            "encoder",
            "image_size",
            "generator",
            "optimiser",
            "iterations",
            "layer_order",
            "norm_correction",
            "batch_size",
        )
    )
    assert DeepReconSettings.of(nothing | {"layers": (), "drawn_layers": []}) == DeepReconSettings.of({})


def test_choices_come_back_from_a_sidecar() -> None:
    given = LITE0 | {
        "image_size": 96,
        "layers": ("DNN1-2", "head"),
        "drawn_layers": ("head", "stem"),
        "generator": "waves",
        "iterations": 45,
        "norm_correction": "none",
        "batch_size": 3,
    }
    settings = DeepReconSettings.of(given)
    assert DeepReconSettings.of(json.loads(json.dumps(given))) == settings
    assert settings.layers == ("stem", "block1", "block2", "block3", "head")
    assert settings.drawn_layers == ("stem", "head")
    assert (settings.size, settings.iterations, settings.batch_size) == (96, 45, 3)


def test_all_decoded_layers_are_drawn_by_default() -> None:
    settings = DeepReconSettings.of({"layers": ["DNN2", "conv1_1"]})
    assert settings.drawn_layers == settings.layers == ("conv1_1", "conv2_1", "conv2_2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoder": "alexnet"}, r"no encoder 'alexnet'.*vgg19, vgg19-imagery, efficientnet-lite0"),
        ({"layers": ["conv6_1"]}, r"network vgg19 has no layer 'conv6_1'.*DNN1 to DNN8.*conv1_1"),
        ({"layers": ["DNN9"]}, r"no layer 'DNN9'"),
        (LITE0 | {"drawn_layers": ["conv1_1"]}, r"efficientnet-lite0 has no layer 'conv1_1'"),
        (LITE0 | {"generator": "relu7"}, r"relu7 draws pictures for VGG19, not for efficientnet-lite0"),
        (LITE0 | {"image_size": 100}, r"multiple of 32 pixels, not 100.*--image-size 96"),
        ({"image_size": 96}, r"vgg19 takes pictures of 224 x 224 pixels, not 96"),
        ({"layers": ["DNN1"], "drawn_layers": ["DNN1-2"]}, r"cannot match the layer conv2_1, which was not"),
        (
            {"layer_order": "shallow-first", "optimiser": "gradient-descent"},
            r"--optimiser lbfgs only.*Leave --layer-order out",
        ),
        ({"generator": "relu7", "layer_order": "shallow-first"}, r"--optimiser lbfgs only"),
        ({"generator": "relu6"}, r"generator .* is 'relu6'.*none, relu7, waves"),
        ({"optimiser": "adam"}, r"optimiser .* is 'adam'.*lbfgs, gradient-descent"),
        ({"layer_order": "deep-first"}, r"layer_order .* is 'deep-first'.*together, shallow-first"),
        ({"norm_correction": "test"}, r"norm_correction .* is 'test'.*none, training, extra"),
    ],
)
def test_what_does_not_exist_or_go_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DeepReconSettings.of(given)
