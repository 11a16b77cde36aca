"""The loss of deep image reconstruction against its formula, and a picture found again from its features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bids_recon.methods.batched_lbfgs import minimise_lbfgs
from bids_recon.methods.feature_matching import FeatureMatch, centre_crop
from bids_recon.methods.momentum_descent import PAPER, descend
from bids_recon.models.vgg19 import Vgg19

SIZE = 32
LAYERS = ("conv1_1", "conv2_2", "conv5_1", "fc7")


@pytest.fixture(scope="module")
def network() -> Vgg19:
    torch.manual_seed(0)
    network = Vgg19(channels=(8, 8, 8, 8, 8), hidden=16, n_classes=5, image_size=SIZE)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
        else:
            nn.init.normal_(parameter, std=0.1)
    return network


def pictures(n: int = 3) -> Tensor:
    """Smooth pictures in -100..100, each brighter than the one before."""
    rough = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 200 - 100
    smooth = nn.functional.interpolate(rough, size=SIZE, mode="bicubic")
    return smooth * torch.arange(1, n + 1)[:, None, None, None] / n


def paper_loss(found: dict[str, Tensor], wanted: dict[str, Tensor], layers: tuple[str, ...]) -> list[float]:
    n = len(found[layers[0]])
    return [
        sum(
            0.5
            * float((found[layer][i].double() - wanted[layer][i].double()).square().sum())
            / float(wanted[layer][i].double().square().sum())
            for layer in layers
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("layers", [LAYERS, ("conv1_1",), ("fc7", "conv2_2")])
def test_the_loss_is_the_papers_for_any_subset_of_layers(network: Vgg19, layers: tuple[str, ...]) -> None:
    wanted = network.layer_features(pictures(), layers)
    moved = pictures() + torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    match = FeatureMatch(network, wanted)
    expected = paper_loss(network.layer_features(moved, layers), wanted, layers)
    torch.testing.assert_close(match(moved, torch.arange(3)), torch.tensor(expected), rtol=1e-4, atol=0)
    assert match(pictures(), torch.arange(3)).abs().max() < 1e-10


@pytest.mark.parametrize("rows", [[1], [0, 2], [1, 2]])
def test_rows_choose_their_targets(network: Vgg19, rows: list[int]) -> None:
    match = FeatureMatch(network, network.layer_features(pictures(), LAYERS))
    x = pictures().roll(1, dims=0)
    whole = match(x, torch.arange(3))
    torch.testing.assert_close(match(x[rows], torch.tensor(rows)), whole[rows])
    assert whole.min() > 0.1


def test_pictures_are_found_again_from_all_their_features(network: Vgg19) -> None:
    layers = ("conv1_1", "conv1_2", "conv2_2")
    match = FeatureMatch(network, network.layer_features(pictures(), layers))
    start = torch.zeros_like(pictures())
    optimised = minimise_lbfgs(match, start, lower=-130.0, upper=130.0, iterations=60)
    r = torch.corrcoef(torch.cat([optimised.solution.flatten(1), pictures().flatten(1)]))[:3, 3:]
    assert r.diagonal().min() > 0.999
    descended = descend(match, start, replace(PAPER, iterations=60))
    assert (descended.losses[:, -1] < 0.1 * descended.losses[:, 0]).all()


def test_one_picture_a_call_finds_what_single_runs_find(network: Vgg19) -> None:
    # Larger calls round differently, which grows from step to step.
    wanted = network.layer_features(pictures(), LAYERS)
    start = torch.zeros_like(pictures())
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batch = minimise_lbfgs(FeatureMatch(network, wanted), start, iterations=20, at_once=1)
        for row in range(3):
            alone = FeatureMatch(network, {layer: target[row : row + 1] for layer, target in wanted.items()})
            single = minimise_lbfgs(alone, start[row : row + 1], iterations=20)
            torch.testing.assert_close(batch.losses[row], single.losses[0], rtol=1e-6, atol=0)
            torch.testing.assert_close(batch.solution[row], single.solution[0], rtol=1e-6, atol=1e-5)
    finally:
        torch.set_num_threads(n_threads)


def test_a_generator_draws_what_is_cut_from_its_middle(network: Vgg19) -> None:
    torch.manual_seed(3)
    weights = torch.randn(3, 40, 40, 6) * 30

    def generator(codes: Tensor) -> Tensor:
        return torch.einsum("chwk,bk->bchw", weights, codes)

    codes = torch.tensor([[1.0, -1, 0.5, 2, 0, 1], [0.2, 1, 1, -1, -2, 0]])
    wanted = network.layer_features(generator(codes)[:, :, 4:36, 4:36], LAYERS)
    match = FeatureMatch(network, wanted, generator=generator, size=(SIZE, SIZE))
    torch.testing.assert_close(match.pictures(codes), generator(codes)[:, :, 4:36, 4:36])
    assert match(codes, torch.arange(2)).max() < 1e-10
    found = minimise_lbfgs(match, torch.zeros_like(codes), iterations=60)
    torch.testing.assert_close(found.solution, codes, atol=1e-2, rtol=0)


def test_without_a_size_all_that_is_drawn_is_seen(network: Vgg19) -> None:
    match = FeatureMatch(
        network, {"conv1_1": torch.ones(1, 8, SIZE, SIZE)}, generator=lambda codes: codes * 2
    )
    assert (match.pictures(torch.ones(1, 3, SIZE, SIZE)) == 2).all()


def test_a_crop_of_an_odd_border_leaves_the_larger_part_below() -> None:
    picture = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert centre_crop(picture, (2, 4)).tolist() == [[[[5, 6, 7, 8], [10, 11, 12, 13]]]]
    with pytest.raises(ValueError, match="smaller"):
        centre_crop(picture, (6, 5))


def test_targets_that_no_loss_can_be_made_of_are_refused(network: Vgg19) -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        FeatureMatch(network, {})
    with pytest.raises(ValueError, match="same number"):
        FeatureMatch(network, {"fc6": torch.ones(2, 16), "fc7": torch.ones(3, 16)})
    for value in (0.0, torch.nan, torch.inf):
        targets = torch.ones(2, 16)
        targets[1] = value
        with pytest.raises(ValueError, match="fc7"):
            FeatureMatch(network, {"fc7": targets})
