"""VGG-19: a functional computation by hand, which layers run, and parity with bdpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bids_recon.models.vgg19 import Vgg19

NARROW = {"channels": (8, 16, 32, 64, 64), "hidden": 512}
TINY = {"channels": (2, 3, 4, 5, 6), "hidden": 7, "n_classes": 9, "image_size": 32}
LAYERS = [f"conv{s}_{d}" for s, n in enumerate((2, 2, 4, 4, 4), 1) for d in range(1, n + 1)] + [
    "fc6",
    "fc7",
    "fc8",
]


@pytest.fixture
def pixels() -> Tensor:
    return 50 * torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def tiny(**options: object) -> Vgg19:
    torch.manual_seed(0)
    return Vgg19(**TINY, **options)  # type: ignore[arg-type]


def by_hand(
    weights: dict[str, Tensor], pixels: Tensor, average: bool, slope: float
) -> Iterator[tuple[str, Tensor]]:
    """Layers in order from a state_dict, with functions only."""
    values = pixels
    numbers = iter([k.removesuffix(".weight") for k in weights if k.endswith("weight")])
    for stage, depth in enumerate((2, 2, 4, 4, 4), start=1):
        for position in range(1, depth + 1):
            key = next(numbers)
            before = functional.conv2d(values, weights[f"{key}.weight"], weights[f"{key}.bias"], padding=1)
            yield f"conv{stage}_{position}", before
            values = torch.where(before > 0, before, slope * before)
        corners = [values[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        values = torch.stack(corners).mean(0) if average else torch.stack(corners).amax(0)
    values = values.reshape(len(values), -1)
    for name in ("fc6", "fc7", "fc8"):
        key = next(numbers)
        before = values @ weights[f"{key}.weight"].T + weights[f"{key}.bias"]
        yield name, before
        values = torch.where(before > 0, before, slope * before)


@pytest.mark.parametrize(("pooling", "slope"), [("max", 0.0), ("average", 0.2)])
def test_layers_are_those_of_a_computation_by_hand(pixels: Tensor, pooling: str, slope: float) -> None:
    network = tiny(pooling=pooling, negative_slope=slope)
    found = network.layer_features(pixels, network.layers)
    assert list(found) == LAYERS
    for name, expected in by_hand(network.state_dict(), pixels, pooling == "average", slope):
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(pixels), found["fc8"])


def test_values_before_the_relu_are_not_overwritten(pixels: Tensor) -> None:
    found = tiny().layer_features(pixels, LAYERS)
    for name in LAYERS:
        assert (found[name] < 0).any(), name
        # Nothing ran after the layer here, so that nothing can have overwritten it.
        assert torch.equal(tiny().layer_features(pixels, [name])[name], found[name]), name


def test_no_layer_deeper_than_the_deepest_runs(pixels: Tensor) -> None:
    network = tiny()
    ran: list[str] = []
    for key, module in network.named_modules():
        module.register_forward_hook(lambda *_, key=key: ran.append(key))
    found = network.layer_features(pixels, ["conv2_1", "conv1_2"])
    assert ran == [f"features.{i}" for i in range(6)]
    assert list(found) == ["conv2_1", "conv1_2"]
    ran.clear()
    assert network.layer_features(pixels, []) == {}
    assert ran == []


def test_layers_of_convolutions_take_another_size() -> None:
    found = tiny().layer_features(torch.zeros(1, 3, 64, 96), ["conv5_4"])
    assert found["conv5_4"].shape == (1, 6, 4, 6)


def test_gradients_reach_the_pixels_but_not_the_weights(pixels: Tensor) -> None:
    network = tiny()
    pixels.requires_grad_()
    network.layer_features(pixels, ["fc8"])["fc8"].square().sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    assert not network.training
    assert all(not p.requires_grad and p.grad is None for p in network.parameters())


def test_what_cannot_be_is_refused(pixels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"no layer conv6_1"):
        tiny().layer_features(pixels, ["conv1_1", "conv6_1"])
    with pytest.raises(ValueError, match=r"multiple of 32"):
        Vgg19(image_size=100)
    with pytest.raises(ValueError, match="pooling"):
        Vgg19(pooling="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channel counts"):
        Vgg19(channels=(64, 128))


def test_published_shapes() -> None:
    with torch.device("meta"):
        state = Vgg19().state_dict()
    assert sum(v.numel() for v in state.values()) == 143_667_240
    assert tuple(state["features.34.weight"].shape) == (512, 512, 3, 3)
    assert tuple(state["classifier.0.weight"].shape) == (4096, 25088)
    numbers = [int(k.split(".")[1]) for k in state if k.startswith("features") and k.endswith("weight")]
    assert numbers == [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]


@pytest.mark.shared
def test_keys_are_those_of_the_published_file(shared: Path) -> None:
    lines = (shared / "parity" / "vgg19_full_keys.tsv").read_text().splitlines()
    with torch.device("meta"):
        state = Vgg19().state_dict()
    assert [f"{key}\t{tuple(value.shape)}\tfloat32" for key, value in state.items()] == lines


@pytest.mark.shared
def test_parity_with_bdpy(shared: Path) -> None:
    folder = shared / "parity" / "vgg19_relu7generator_narrow"
    expected = np.load(folder / "io.npz")
    network = Vgg19(**NARROW)  # type: ignore[arg-type]
    state = torch.load(folder / "vgg19_div8_state_dict_f16.pt", weights_only=True)
    network.load_state_dict({key: value.float() for key, value in state.items()})
    found = network.layer_features(torch.from_numpy(expected["x"].astype(np.float32)), network.layers)
    assert set(found) == {key.removeprefix("feat_") for key in expected if key.startswith("feat_c")} | {
        "fc6", "fc7", "fc8",
    }  # fmt: skip
    for name, values in found.items():
        target = expected[f"feat_{name}"]
        got = values.numpy()[:, : target.shape[1]]
        assert abs(got - target).max() < 1e-4 * target.std(), name


@pytest.mark.slow
@pytest.mark.shared
def test_parity_with_bdpy_at_full_width(shared: Path) -> None:
    expected = np.load(shared / "parity" / "vgg19_relu7generator_full_seeded" / "expected.npz")
    network = Vgg19()
    rng = np.random.Generator(np.random.PCG64(0))
    for values in network.state_dict().values():
        # As the recipe of the fixture says: one draw a tensor, in order.
        draw = rng.standard_normal(tuple(values.shape)).astype(np.float32)
        fan_in = int(np.prod(values.shape[1:]))
        draw *= np.float32(np.sqrt(2 / fan_in)) if values.ndim > 1 else np.float32(0.1)
        values.copy_(torch.from_numpy(draw))
    assert network.features[0].weight.flatten()[:8].numpy() == pytest.approx(expected["w_features0_first8"])
    assert network.classifier[6].weight.flatten()[-8:].numpy() == pytest.approx(
        expected["w_classifier6_last8"]
    )
    rng = np.random.Generator(np.random.PCG64(7))
    pixels = (rng.standard_normal((1, 3, 224, 224)) * 50).astype(np.float32)
    found = network.layer_features(torch.from_numpy(pixels), network.layers)
    for name, values in found.items():
        flat = values.numpy().ravel()
        samples = flat[np.linspace(0, flat.size - 1, 200).astype(int)]
        assert abs(samples - expected[name]).max() < 1e-4 * expected[name].std(), name
        assert np.linalg.norm(flat) == pytest.approx(float(expected[f"{name}__norm"]), rel=1e-5), name
