"""Deep image reconstruction from pictures to pictures, with a network that nobody trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bids_recon.decoders.sparse import SparseDecoder
from bids_recon.decoders.unit_ridge import UnitRidgeDecoder
from bids_recon.errors import DataError, MissingInputError, UsageError
from bids_recon.latents import feature_encoder
from bids_recon.latents.encoder_catalogue import ENCODERS
from bids_recon.latents.feature_encoder import FeatureEncoder
from bids_recon.methods import deep_recon
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.deep_recon import DeepRecon
from bids_recon.models.relu7_generator import Relu7Generator
from bids_recon.models.vgg19 import Vgg19

SMALL = {"encoder": "efficientnet-lite0", "image_size": 32, "layers": ["stem", "block1"], "iterations": 6}
Make = Callable[..., DeepRecon]


def seeds(n: int) -> NDArray[np.uint64]:
    return np.arange(n, dtype=np.uint64)


def blotches(n: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return list(coarse.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture
def make(random_lite0: FeatureEncoder, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The method with options, on the random network."""
    monkeypatch.setattr(deep_recon, "load_encoder", lambda *_: random_lite0)

    def make(**extra: Any) -> DeepRecon:
        return DeepRecon(MethodOptions(device="cpu", extra=SMALL | extra))

    return make


def test_one_space_for_each_layer_and_all_are_computed_in_one_go(
    make: Make, random_lite0: FeatureEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, pictures = make(layers=["DNN1", "logits"]), blotches(5)
    spaces = method.latent_spaces
    assert list(spaces) == ["stem", "block1", "logits"]
    assert [space.shape for space in spaces.values()] == [(32, 16, 16), (16, 16, 16), (1000,)]
    monkeypatch.setattr(feature_encoder, "MOST_AT_ONCE", 2)
    calls: list[list[str]] = []
    network = random_lite0.network.layer_features

    def counted(pixels: torch.Tensor, names: Any) -> dict[str, torch.Tensor]:
        calls.append(list(names))
        return network(pixels, names)

    monkeypatch.setattr(random_lite0.network, "layer_features", counted)
    found = method.encode(pictures, ["logits", "stem"])
    assert calls == [["logits", "stem"]] * 3
    assert list(found) == ["logits", "stem"]
    for layer, features in found.items():
        np.testing.assert_array_equal(features, spaces[layer].encode(pictures))


def test_decoders() -> None:
    options: list[tuple[dict[str, Any], type]] = [
        ({}, UnitRidgeDecoder),
        ({"decoder": "sparse"}, SparseDecoder),
    ]
    for given, kind in options:
        method = DeepRecon(MethodOptions(extra=SMALL, **given))
        assert isinstance(method.make_decoder("block1"), kind)
        with pytest.raises(KeyError):
            method.make_decoder("block2")
    fitted = DeepRecon(MethodOptions(alpha=(7.0,), extra=SMALL)).make_decoder("stem")
    assert fitted.get_params()["alpha"] == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (MethodOptions(decoder="lasso"), "no decoder 'lasso'"),
        (MethodOptions(decoder="sparse", alpha=(1.0,)), "--alpha does not go with the decoder sparse"),
        (MethodOptions(extra={"encoder": "resnet"}), "no encoder 'resnet'"),
        (MethodOptions(extra=SMALL | {"drawn_layers": ["block2"]}), "block2, which was not decoded"),
    ],
)
def test_options_that_do_not_exist_are_refused_before_anything_is_loaded(
    options: MethodOptions, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        DeepRecon(options)


def test_weights_that_are_needed(tmp_path: Path) -> None:
    assert DeepRecon().weights == ("vgg19-caffe",)
    assert DeepRecon(MethodOptions(extra=SMALL)).weights == ("efficientnet-lite0",)
    relu7 = DeepRecon(MethodOptions(weights=tmp_path, extra={"generator": "relu7"}))
    assert relu7.weights == ("vgg19-caffe", "relu7-generator", "relu7-range")
    with pytest.raises(MissingInputError, match="weights 'vgg19-caffe'"):
        _ = relu7.latent_spaces


def expected_norms(method: DeepRecon, pictures: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Mean over pictures of the deviation over the places of a channel, averaged over channels."""
    norms = {}
    for layer, space in method.latent_spaces.items():
        features = space.encode(pictures).astype(float)
        deviations = [[channel.std(ddof=1) for channel in picture] for picture in features]
        norms[layer] = float(np.mean(np.mean(deviations, axis=1)))
    return norms


def test_norms_are_those_of_the_pictures_asked_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, extra = blotches(5), blotches(4, seed=1)
    monkeypatch.setattr(feature_encoder, "MOST_AT_ONCE", 2)
    for choice, measured in (("training", pictures), ("extra", extra)):
        method = make(norm_correction=choice)
        method.fit_latent_spaces(pictures, extra)
        found = {layer: float(norm[0]) for layer, norm in method.state().items()}
        assert found == pytest.approx(expected_norms(method, measured), rel=1e-5)
        assert list(found) == ["stem", "block1"]
    uncorrected = make(norm_correction="none")
    uncorrected.fit_latent_spaces(pictures, extra)
    assert uncorrected.state() == {}


def test_norms_of_extra_pictures_need_extra_pictures(make: Make) -> None:
    with pytest.raises(UsageError, match=r"there are none.*--extra-images"):
        make(norm_correction="extra").fit_latent_spaces(blotches(2))


def test_state_rebuilds_the_method(make: Make) -> None:
    pictures = blotches(3)
    method, other, unfitted = make(), make(), make()
    method.fit_latent_spaces(pictures)
    other.load_state(method.state())
    halved = {layer: features / 2 for layer, features in method.encode(pictures, ["stem", "block1"]).items()}
    drawn = method.render(halved, seeds(3))
    np.testing.assert_array_equal(other.render(halved, seeds(3)), drawn)
    assert (unfitted.render(halved, seeds(3)) != drawn).any()
    with pytest.raises(DataError, match="lack 'block1'"):
        make().load_state({"stem": np.ones(1)})
    make(norm_correction="none").load_state({})


def test_features_decoded_too_small_are_brought_to_the_norm_of_training_pictures(make: Make) -> None:
    pictures = blotches(6)
    method = make(drawn_layers=["block1"], norm_correction="training")
    method.fit_latent_spaces(pictures)
    true = method.encode(pictures[:2], ["stem", "block1"])
    drawn = method.render(true, seeds(2)).astype(int)
    halved = {layer: 0.5 * features for layer, features in true.items()}
    # Scaling by a power of two is exact.
    np.testing.assert_array_equal(method.render(halved, seeds(2)), drawn)

    uncorrected = make(drawn_layers=["block1"], norm_correction="none")
    uncorrected.fit_latent_spaces(pictures)
    assert np.abs(uncorrected.render(halved, seeds(2)).astype(int) - drawn).mean() > 5


def test_centred_norms_stretch_the_distance_from_the_mean(make: Make) -> None:
    pictures = blotches(6)
    method = make(drawn_layers=["block1"], norm_correction="centred")
    method.fit_latent_spaces(pictures)
    state = method.state()
    all_true = method.encode(pictures, ["stem", "block1"])
    for layer, features in all_true.items():
        mean = features.mean(axis=0)
        np.testing.assert_allclose(state[f"mean/{layer}"], mean, atol=1e-5)
        away = (features - mean).reshape(len(features), len(mean), -1)
        assert float(state[layer][0]) == pytest.approx(away.std(axis=2, ddof=1).mean(), rel=1e-4)
    # Features that were decoded half-way to the mean give the pictures of whole ones.
    true = {layer: features[:2] for layer, features in all_true.items()}
    shrunk = {layer: (f + state[f"mean/{layer}"]) / 2 for layer, f in true.items()}
    again = make(drawn_layers=["block1"], norm_correction="centred")
    again.load_state(state)
    whole, half = (again.render(latents, seeds(2)).astype(int) for latents in (true, shrunk))
    assert np.abs(whole - half).mean() < 2
    with pytest.raises(DataError, match="lack 'mean/stem'"):
        again.load_state({layer: state[layer] for layer in ("stem", "block1")})


def test_norms_do_not_depend_on_the_order_of_pictures(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_encoder, "MOST_AT_ONCE", 2)
    pictures = blotches(7)
    states = []
    for order in ([0, 1, 2, 3, 4, 5, 6], [6, 3, 3, 0, 1, 5, 2, 4]):
        method = make(norm_correction="centred")
        method.fit_latent_spaces([pictures[row] for row in order])
        states.append({name: array.tobytes() for name, array in method.state().items()})
    assert states[0] == states[1]


def test_the_ceiling_is_drawn_from_features_as_they_are(make: Make) -> None:
    pictures = blotches(3)
    corrected, uncorrected = make(batch_size=2), make(norm_correction="none")
    corrected.fit_latent_spaces(blotches(4, seed=1))
    ceiling = corrected.ceiling(pictures, seeds(3)).astype(int)
    true = uncorrected.encode(pictures, ["stem", "block1"])
    assert np.abs(ceiling - uncorrected.render(true, seeds(3))).max() <= 1
    assert np.abs(ceiling - corrected.render(true, seeds(3))).max() > 1


def test_true_features_give_the_picture_back(make: Make) -> None:
    pictures = blotches(3)
    found = make(iterations=60, layer_order="together").ceiling(pictures, seeds(3))
    for one, picture in zip(found, pictures, strict=True):
        assert np.corrcoef(one.ravel(), picture.ravel())[0, 1] > 0.98


def test_batches_change_nothing(make: Make) -> None:
    pictures = blotches(3)
    whole, parts = make(norm_correction="none"), make(norm_correction="none", batch_size=2)
    features = whole.encode(pictures, ["stem", "block1"])
    drawn, steps = whole.render_steps(features, seeds(3))
    in_parts, steps_in_parts = parts.render_steps(features, seeds(3))
    assert drawn.shape == (3, 32, 32, 3)
    assert np.abs(drawn.astype(int) - in_parts).max() <= 1
    assert list(steps) == list(steps_in_parts) == [1, 2, 5, 6]
    for number, shown in steps.items():
        assert np.abs(shown.astype(int) - steps_in_parts[number]).max() <= 1
    np.testing.assert_array_equal(steps[6], drawn)
    np.testing.assert_array_equal(whole.render(features, seeds(3)), drawn)


def test_seeds_and_layers_that_are_not_drawn_do_not_matter(make: Make) -> None:
    method = make(drawn_layers=["stem"], norm_correction="none")
    features = method.encode(blotches(2), ["stem", "block1"])
    drawn = method.render(features, seeds(2))
    other = method.render({"stem": features["stem"]}, seeds(2) + np.uint64(7))
    np.testing.assert_array_equal(drawn, other)


@pytest.mark.parametrize("wrong", [0.0, np.nan])
def test_features_that_are_zero_or_not_finite_are_refused(make: Make, wrong: float) -> None:
    method = make(norm_correction="none")
    features = method.encode(blotches(2), ["stem", "block1"])
    features["block1"][1] = wrong
    with pytest.raises(DataError, match="layer block1 are zero or not finite"):
        method.render(features, seeds(2))


def test_waves_draw_within_the_size_of_the_network(make: Make) -> None:
    pictures = blotches(2)
    method = make(generator="waves", iterations=40, layer_order="together")
    found = method.ceiling(pictures, seeds(2))
    assert found.shape == (2, 32, 32, 3)
    for one, picture in zip(found, pictures, strict=True):
        assert np.corrcoef(one.ravel(), picture.ravel())[0, 1] > 0.9


def test_the_relu7_generator_is_loaded_and_its_input_kept_in_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    vgg19 = Vgg19(channels=(2, 3, 4, 5, 6), hidden=7, n_classes=9)
    encoder = FeatureEncoder(ENCODERS["vgg19"], vgg19, 224, "random", torch.device("cpu"))
    generator = Relu7Generator(latent=512, divisor=8)
    for parameter in generator.parameters():
        parameter.mul_(3)
    torch.save(generator.state_dict(), tmp_path / "generator_relu7.pt")
    (tmp_path / "act_range_3x_fc7.txt").write_text("\n".join(["0"] + ["0.5"] * 511))
    monkeypatch.setattr(deep_recon, "load_encoder", lambda *_: encoder)
    monkeypatch.setattr(deep_recon, "GENERATOR_INPUT", 512)
    monkeypatch.setattr(deep_recon, "Relu7Generator", lambda: Relu7Generator(latent=512, divisor=8))
    inputs: list[torch.Tensor] = []
    draw = Relu7Generator.forward

    def watched(self: Relu7Generator, codes: torch.Tensor) -> torch.Tensor:
        inputs.append(codes.detach().clone())
        return draw(self, codes)

    monkeypatch.setattr(Relu7Generator, "forward", watched)
    extra = {"generator": "relu7", "layers": ["DNN1"], "iterations": 5, "norm_correction": "none"}
    method = DeepRecon(MethodOptions(device="cpu", weights=tmp_path, extra=extra))
    features = method.encode(blotches(2), ["conv1_1", "conv1_2"])
    drawn, steps = method.render_steps(features, seeds(2))
    assert drawn.shape == (2, 224, 224, 3)
    assert list(steps) == [1, 2, 5]
    assert (inputs[0] == 0).all()
    codes = torch.cat(inputs)
    assert (codes[:, 0] == 0).all()
    assert codes.min() == 0
    assert codes.max() == 0.5
    # The middle of what the generator draws from the last input.
    middle = draw(generator, inputs[-1])[:, :, 16:240, 16:240]
    np.testing.assert_array_equal(drawn, encoder.pictures(middle))


def test_a_generator_of_another_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(Relu7Generator(latent=512, divisor=8).state_dict(), tmp_path / "generator_relu7.pt")
    (tmp_path / "act_range_3x_fc7.txt").write_text("1 2 3")
    method = DeepRecon(MethodOptions(device="cpu", weights=tmp_path, extra={"generator": "relu7"}))
    with pytest.raises(DataError) as unfit:
        _ = method._generator
    assert unfit.value.file == tmp_path / "generator_relu7.pt"
