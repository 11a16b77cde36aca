"""A network with weights: units of its input, features of its layers, and what tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bids_recon.errors import DataError, MissingInputError
from bids_recon.latents import feature_encoder
from bids_recon.latents.eigenimage import square_picture
from bids_recon.latents.encoder_catalogue import ENCODERS, encoder_spec
from bids_recon.latents.feature_encoder import FeatureEncoder, load_encoder
from bids_recon.models.efficientnet_lite0 import EfficientNetLite0
from bids_recon.models.vgg19 import Vgg19
from bids_recon.weights.checkpoint import load_state, load_strictly

CPU = torch.device("cpu")
NARROW = {"channels": (2, 3, 4, 5, 6), "hidden": 7, "n_classes": 9}


def noise(n: int, size: int = 32, seed: int = 0) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


def plain(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((5, 7, 3), colour, np.uint8)


def narrow_vgg19(name: str = "vgg19", seed: int = 0, source: str = "random") -> FeatureEncoder:
    spec = ENCODERS[name]
    torch.manual_seed(seed)
    network = Vgg19(**NARROW, **spec.options)  # type: ignore[arg-type]
    return FeatureEncoder(spec, network, spec.size, source, CPU)


def test_vgg19_sees_blue_green_red_less_the_mean_of_ilsvrc() -> None:
    pixels = narrow_vgg19().pixels([plain((255, 0, 10))])
    assert pixels.shape == (1, 3, 224, 224)
    assert pixels.dtype == torch.float32
    expected = torch.tensor([10 - 104.00698793, 0 - 116.66876762, 255 - 122.67891434])
    torch.testing.assert_close(pixels[0, :, 17, 200], expected)
    assert (pixels == pixels[:, :, :1, :1]).all()


def test_lite0_sees_red_green_blue_about_zero(random_lite0: FeatureEncoder) -> None:
    pixels = random_lite0.pixels([plain((255, 0, 127))])
    torch.testing.assert_close(pixels[0, :, 3, 4], torch.tensor([1.0, -127 / 128, 0.0]))


def test_pictures_come_back(random_lite0: FeatureEncoder) -> None:
    for encoder in (narrow_vgg19(), random_lite0):
        pictures = noise(2, encoder.size)
        found = encoder.pictures(encoder.pixels(pictures))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pictures)


def test_pictures_are_resampled_to_the_size_of_the_network(random_lite0: FeatureEncoder) -> None:
    large = noise(1, 50)[0][:40]
    np.testing.assert_array_equal(
        random_lite0.pictures(random_lite0.pixels([large]))[0], square_picture(large, 32)
    )


def test_the_search_begins_at_the_mean_colour_and_ends_at_black_and_white(
    random_lite0: FeatureEncoder,
) -> None:
    vgg19 = narrow_vgg19()
    # Red, green, blue of the mean, rounded.
    np.testing.assert_array_equal(vgg19.pictures(vgg19.start(1))[0, 0, 0], [123, 117, 104])
    assert (random_lite0.pictures(random_lite0.start(2)) == 127).all()
    for encoder in (vgg19, random_lite0):
        black, white = encoder.bounds
        assert black.shape == white.shape == (3, 1, 1)
        assert (encoder.pictures(black.expand(1, 3, 4, 4)) == 0).all()
        assert (encoder.pictures(white.expand(1, 3, 4, 4)) == 255).all()
        extremes = encoder.pixels([plain((0, 0, 0)), plain((255, 255, 255))])
        torch.testing.assert_close(extremes[0, :, :1, :1], black)
        torch.testing.assert_close(extremes[1, :, :1, :1], white)


def test_grey_levels_are_rounded_and_clipped(random_lite0: FeatureEncoder) -> None:
    levels = torch.tensor([-3.0, 260.0, 17.4, 17.6]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    found = random_lite0.pictures((levels - 127) / 128)
    np.testing.assert_array_equal(found[0, :, :, 0], [[0, 255], [17, 18]])


def test_features_are_those_of_the_network_and_cut_no_gradients_elsewhere(
    random_lite0: FeatureEncoder,
) -> None:
    pictures = noise(3)
    found = random_lite0.features(pictures, ["block5", "stem"])
    levels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    expected = random_lite0.network.layer_features((levels - 127) / 128, ["block5", "stem"])
    assert list(found) == ["block5", "stem"]
    for layer, values in found.items():
        torch.testing.assert_close(values, expected[layer], rtol=1e-4, atol=1e-5)
        assert values.shape[1:] == random_lite0.shapes[layer]


def test_shapes_of_all_layers_are_known_without_a_picture(random_lite0: FeatureEncoder) -> None:
    assert list(random_lite0.shapes) == list(random_lite0.spec.layers)
    assert random_lite0.shapes["stem"] == (32, 16, 16)
    assert random_lite0.shapes["block16"] == (320, 1, 1)
    assert random_lite0.shapes["logits"] == (1000,)
    vgg19 = narrow_vgg19()
    assert vgg19.shapes["conv1_2"] == (2, 224, 224)
    assert vgg19.shapes["conv5_4"] == (6, 14, 14)
    assert vgg19.shapes["fc8"] == (9,)


def test_batches_change_nothing(random_lite0: FeatureEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, layers = noise(5), ["stem", "logits"]
    whole = random_lite0.features(pictures, layers)
    bytes_each = 4 * sum(int(np.prod(shape)) for shape in random_lite0.shapes.values())
    monkeypatch.setattr(feature_encoder, "BATCH_BYTES", 2 * bytes_each + 1)
    parts = list(random_lite0.feature_batches(pictures, layers))
    assert [(rows.start, rows.stop) for rows, _ in parts] == [(0, 2), (2, 4), (4, 5)]
    for layer in layers:
        found = np.concatenate([features[layer] for _, features in parts])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, whole[layer].numpy(), rtol=1e-4, atol=1e-4)


def test_at_least_one_and_at_most_some_pictures_are_taken_at_a_time(
    random_lite0: FeatureEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_encoder, "MOST_AT_ONCE", 3)
    assert [rows.stop for rows, _ in random_lite0.feature_batches(noise(7), ["stem"])] == [3, 6, 7]
    monkeypatch.setattr(feature_encoder, "BATCH_BYTES", 1)
    assert [rows.stop for rows, _ in random_lite0.feature_batches(noise(3), ["stem"])] == [1, 2, 3]


def test_imagery_averages_and_leaks() -> None:
    encoder = narrow_vgg19("vgg19-imagery")
    plain_weights = narrow_vgg19()
    torch.testing.assert_close(
        encoder.network.state_dict(),  # type: ignore[attr-defined]
        plain_weights.network.state_dict(),  # type: ignore[attr-defined]
    )
    pictures = noise(1, 224)
    found = encoder.features(pictures, ["conv1_1", "conv1_2", "conv2_1"])
    weights = encoder.network.state_dict()  # type: ignore[attr-defined]
    values = encoder.pixels(pictures)
    for layer, key in (("conv1_1", "features.0"), ("conv1_2", "features.2"), ("conv2_1", "features.5")):
        before = functional.conv2d(values, weights[f"{key}.weight"], weights[f"{key}.bias"], padding=1)
        torch.testing.assert_close(found[layer], before, rtol=1e-4, atol=1e-3)
        values = torch.maximum(before, 0.2 * before)
        if layer == "conv1_2":
            values = (
                values[..., ::2, ::2]
                + values[..., 1::2, ::2]
                + values[..., ::2, 1::2]
                + values[..., 1::2, 1::2]
            ) / 4
    usual = plain_weights.features(pictures, ["conv1_1", "conv2_1"])
    torch.testing.assert_close(usual["conv1_1"], found["conv1_1"])
    assert (usual["conv2_1"] - found["conv2_1"]).abs().max() > 1


def test_identity_tells_layers_sizes_networks_and_weights_apart(random_lite0: FeatureEncoder) -> None:
    spec, network = random_lite0.spec, random_lite0.network
    encoders = [
        random_lite0,
        FeatureEncoder(spec, network, 64, "random", CPU),
        FeatureEncoder(spec, network, 32, "others", CPU),
        narrow_vgg19(),
        narrow_vgg19("vgg19-imagery"),
    ]
    layers = [("stem", "block1")] * 3 + [("conv1_1", "conv1_2")] * 2
    found = [encoder.identity(layer) for encoder, own in zip(encoders, layers, strict=True) for layer in own]
    assert len(set(found)) == 10
    again = FeatureEncoder(spec, network, 32, "random", CPU)
    assert again.identity("stem") == random_lite0.identity("stem")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vgg19 of few channels where the full one would be built."""
    full = feature_encoder.Vgg19
    monkeypatch.setattr(feature_encoder, "Vgg19", lambda **options: full(**NARROW, **options))


@pytest.mark.usefixtures("narrow")
def test_a_file_is_loaded_by_its_hash(tmp_path: Path) -> None:
    states = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        states.append(narrow_vgg19(seed=seed).network.state_dict())  # type: ignore[attr-defined]
        torch.save(states[-1], folder / "VGG_ILSVRC_19_layers.pt")
    spec, size = encoder_spec("vgg19")
    first, second = (load_encoder(spec, size, CPU, tmp_path / str(seed)) for seed in (0, 1))
    pictures = noise(1, 224)
    for encoder, seed in ((first, 0), (second, 1)):
        expected = narrow_vgg19(seed=seed).features(pictures, ["conv2_2", "fc7"])
        torch.testing.assert_close(encoder.features(pictures, ["conv2_2", "fc7"]), expected)
        assert not any(weight.requires_grad for weight in encoder.network.parameters())  # type: ignore[attr-defined]
        assert not encoder.network.training  # type: ignore[attr-defined]
    assert first.identity("fc7") != second.identity("fc7")
    assert first.identity("fc7") == load_encoder(spec, size, CPU, tmp_path / "0").identity("fc7")


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", ["vgg19", "vgg19-imagery"])
def test_imagery_has_the_same_file(name: str, tmp_path: Path) -> None:
    torch.save(narrow_vgg19().network.state_dict(), tmp_path / "VGG_ILSVRC_19_layers.pt")  # type: ignore[attr-defined]
    encoder = load_encoder(*encoder_spec(name), CPU, tmp_path)
    pictures = noise(1, 224)
    torch.testing.assert_close(
        encoder.features(pictures, ["fc8"]), narrow_vgg19(name).features(pictures, ["fc8"])
    )


def test_weights_that_are_missing_or_of_another_network_are_named(tmp_path: Path) -> None:
    spec, size = encoder_spec("vgg19")
    with pytest.raises(MissingInputError, match="bids-recon-weights download") as missing:
        load_encoder(spec, size, CPU, tmp_path)
    assert missing.value.file == tmp_path / "VGG_ILSVRC_19_layers.caffemodel"
    file = tmp_path / "VGG_ILSVRC_19_layers.pt"
    torch.save(narrow_vgg19().network.state_dict(), file)  # type: ignore[attr-defined]
    with pytest.raises(DataError) as unfit:
        load_encoder(spec, size, CPU, tmp_path)
    assert unfit.value.file == file


def test_published_weights_of_lite0_are_loaded(lite0_file: Path) -> None:
    spec, size = encoder_spec("efficientnet-lite0", 64)
    encoder = load_encoder(spec, size, CPU)
    network = EfficientNetLite0()
    load_strictly(network, load_state(lite0_file), lite0_file)
    pictures = noise(2, 64)
    expected = network.layer_features(encoder.pixels(pictures), ["block11"])["block11"]
    torch.testing.assert_close(encoder.features(pictures, ["block11"])["block11"], expected)
