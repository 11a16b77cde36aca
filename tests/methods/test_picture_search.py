"""The search for pictures: stages, snapshots, bounds and pictures that are done early."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_recon.latents.feature_encoder import FeatureEncoder
from bids_recon.methods import picture_search
from bids_recon.methods.deep_recon_settings import DeepReconSettings
from bids_recon.methods.feature_matching import FeatureMatch
from bids_recon.methods.picture_search import PictureGenerator, find_pictures, stages

SETTINGS = DeepReconSettings.of(
    {"encoder": "efficientnet-lite0", "image_size": 32, "layers": ["stem", "block1"], "iterations": 6}
)
LAYERS = ("stem", "block1", "block2")


@pytest.fixture(scope="module")
def targets(random_lite0: FeatureEncoder) -> dict[str, Tensor]:
    coarse = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    features = random_lite0.features(list(coarse.repeat(8, 1).repeat(8, 2)), SETTINGS.layers)
    return {layer: values.clone() for layer, values in features.items()}


@pytest.mark.parametrize(
    ("order", "layers", "iterations", "expected"),
    [
        ("together", LAYERS, 200, [(LAYERS, 200)]),
        ("shallow-first", LAYERS, 200, [(("stem",), 20), (LAYERS, 180)]),
        ("shallow-first", LAYERS, 50, [(("stem",), 20), (LAYERS, 30)]),
        ("shallow-first", LAYERS, 30, [(("stem",), 12), (LAYERS, 18)]),
        ("shallow-first", ("block3",), 200, [(("block3",), 200)]),
        ("shallow-first", LAYERS, 1, [(LAYERS, 1)]),
    ],
)
def test_stages(
    order: str, layers: tuple[str, ...], iterations: int, expected: list[tuple[tuple[str, ...], int]]
) -> None:
    settings = replace(SETTINGS, layer_order=order, iterations=iterations)
    assert stages(layers, settings) == expected


def test_losses_are_those_of_the_pictures_that_are_found(
    random_lite0: FeatureEncoder, targets: dict[str, Tensor]
) -> None:
    start = FeatureMatch(random_lite0.network, targets)(random_lite0.start(3), torch.arange(3))
    before = start.numpy()
    for order in ("together", "shallow-first"):
        settings = replace(SETTINGS, layer_order=order, iterations=15)
        found = find_pictures(random_lite0, targets, settings)
        match = FeatureMatch(random_lite0.network, targets)
        losses = match(random_lite0.pixels(list(found.pictures)), torch.arange(3)).numpy()
        # Grey levels are rounded in pictures.
        np.testing.assert_allclose(found.losses, losses, rtol=0.03, atol=1e-4)
        assert (found.losses < 0.3 * before).all()


def test_shallow_layers_come_first(random_lite0: FeatureEncoder, targets: dict[str, Tensor]) -> None:
    found = find_pictures(random_lite0, targets, replace(SETTINGS, iterations=12))
    # Five iterations, 0.4 * 12, see the stem alone.
    alone = find_pictures(random_lite0, {"stem": targets["stem"]}, replace(SETTINGS, iterations=5))
    np.testing.assert_array_equal(found.steps[5], alone.pictures)
    np.testing.assert_array_equal(found.steps[2], alone.steps[2])
    assert (found.steps[10] != alone.pictures).any()
    assert list(found.steps) == [1, 2, 5, 10, 12]


def test_the_last_step_is_the_picture(random_lite0: FeatureEncoder, targets: dict[str, Tensor]) -> None:
    for optimiser, iterations in (("lbfgs", 5), ("gradient-descent", 7)):
        settings = replace(SETTINGS, optimiser=optimiser, iterations=iterations, layer_order="together")
        found = find_pictures(random_lite0, targets, settings)
        assert list(found.steps) == sorted({1, 2, 5, iterations})
        np.testing.assert_array_equal(found.steps[iterations], found.pictures)
        assert (found.steps[1] != found.steps[2]).any()


def test_pictures_that_are_done_early_do_not_change_any_more(random_lite0: FeatureEncoder) -> None:
    # The start has just these features: there is nothing to do for the first, and all for the second.
    grey = random_lite0.features([np.full((32, 32, 3), 127, np.uint8)], ["stem"])["stem"]
    settings = replace(SETTINGS, iterations=60)
    found = find_pictures(random_lite0, {"stem": grey.clone()}, settings)
    assert list(found.steps) == [1, 2, 5, 10, 20, 50, 60]
    for shown in found.steps.values():
        assert (shown == 127).all()
    assert found.losses[0] == pytest.approx(0, abs=1e-10)


def test_grey_levels_stay_within_bounds(
    random_lite0: FeatureEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    match = FeatureMatch.__call__

    def watched(self: FeatureMatch, x: Tensor, rows: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return match(self, x, rows)

    monkeypatch.setattr(FeatureMatch, "__call__", watched)
    black_white = np.zeros((1, 32, 32, 3), np.uint8)
    black_white[:, :16] = 255
    features = random_lite0.features(list(black_white), ["stem"])["stem"]
    for optimiser in ("lbfgs", "gradient-descent"):
        seen.clear()
        settings = replace(SETTINGS, optimiser=optimiser, layer_order="together")
        find_pictures(random_lite0, {"stem": 3 * features}, settings)
        values = torch.cat(seen)
        assert values.min() == pytest.approx(-127 / 128)
        assert values.max() == pytest.approx(1)


def test_the_input_of_a_generator_stays_in_range(
    random_lite0: FeatureEncoder, targets: dict[str, Tensor]
) -> None:
    inputs: list[Tensor] = []
    mixing = torch.randn(5, 3 * 40 * 40, generator=torch.Generator().manual_seed(1))

    def draw(codes: Tensor) -> Tensor:
        inputs.append(codes.detach().clone())
        return (codes @ mixing).reshape(-1, 3, 40, 40)

    upper = torch.tensor([0.0, 0.02, 0.05, 1.0, 10.0])
    settings = replace(SETTINGS, iterations=10, layer_order="together")
    found = find_pictures(random_lite0, targets, settings, PictureGenerator(draw, (5,), upper))
    codes = torch.cat(inputs)
    assert (inputs[0] == 0).all()
    assert (codes >= 0).all()
    assert (codes <= upper).all()
    assert found.pictures.shape == (3, 32, 32, 3)
    middle = draw(inputs[-1])[:, :, 4:36, 4:36]
    np.testing.assert_array_equal(found.pictures, random_lite0.pictures(middle))

    inputs.clear()
    find_pictures(random_lite0, targets, settings, PictureGenerator(draw, (5,)))
    assert torch.cat(inputs).min() < 0


def test_steps_are_counted_over_stages(
    random_lite0: FeatureEncoder, targets: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_search, "SNAPSHOTS", tuple(range(1, 100)))
    found = find_pictures(random_lite0, targets, replace(SETTINGS, iterations=8))
    assert list(found.steps) == list(range(1, 9))
    changes = [(found.steps[n] != found.steps[n + 1]).any() for n in range(1, 8)]
    assert all(changes)
