"""The very deep VAE: a functional computation by hand, what is drawn in which order, parity with others."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from random_checkpoints import random_network
from torch import Tensor
from torch.nn import functional

from bids_recon.models.logistic_mixture import sample_pictures
from bids_recon.models.vdvae import Gaussian, Noise, Vdvae, latent_length

ENCODER = "64x11,64d2,32x20,32d2,16x9,16d2,8x8,8d2,4x7,4d4,1x5"
DECODER = "1x2,4m1,4x3,8m4,8x7,16m8,16x15,32m16,32x31,64m32,64x12"
SIDES = [1] * 2 + [4] * 4 + [8] * 8 + [16] * 16 + [32] * 32 + [64] * 13


def random_levels(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 64, 64), generator=generator).float()


def seeded(seed: int) -> Noise:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.empty(shape).normal_(generator=generator)


def bottleneck(weights: dict[str, Tensor], name: str, values: Tensor) -> Tensor:
    for step in ("c1", "c2", "c3", "c4"):
        weight = weights[f"{name}.{step}.weight"]
        values = 0.5 * values * (1 + torch.erf(values / math.sqrt(2)))
        values = functional.conv2d(
            values, weight, weights[f"{name}.{step}.bias"], padding="same" if weight.shape[-1] == 3 else 0
        )
    return values


def encode_by_hand(weights: dict[str, Tensor], levels: Tensor) -> dict[int, Tensor]:
    values = functional.conv2d(
        (levels - 115.92961967) / 69.37404,
        weights["encoder.in_conv.weight"],
        weights["encoder.in_conv.bias"],
        padding=1,
    )
    activations, number = {}, 0
    for words in ENCODER.split(","):
        pooled = "d" in words
        for _ in range(1 if pooled else int(words.split("x")[1])):
            values = values + bottleneck(weights, f"encoder.enc_blocks.{number}", values)
            number += 1
        if pooled:
            values = functional.avg_pool2d(values, int(words.split("d")[1]))
        activations[values.shape[-1]] = values
    return activations


def decode_by_hand(weights: dict[str, Tensor], activations: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Latents and features, where each latent is the mean of its posterior."""
    maps = {1: 0, 4: 1, 8: 2, 16: 3, 32: 4, 64: 5}
    n = len(activations[1])
    xs = {side: weights[f"decoder.bias_xs.{k}"].repeat(n, 1, 1, 1) for side, k in maps.items()}
    latents, number = [], 0
    for words in DECODER.split(","):
        side, below = (int(word) for word in words.replace("m", "x").split("x"))
        for _ in range(1 if "m" in words else below):
            name, x = f"decoder.dec_blocks.{number}", xs[side]
            if "m" in words:
                factor = side // below
                x = x + xs[below].repeat_interleave(factor, 2).repeat_interleave(factor, 3)
            q = bottleneck(weights, f"{name}.enc", torch.cat([x, activations[side]], 1))
            x = x + bottleneck(weights, f"{name}.prior", x)[:, 32:]
            x = x + functional.conv2d(
                q[:, :16], weights[f"{name}.z_proj.weight"], weights[f"{name}.z_proj.bias"]
            )
            xs[side] = x + bottleneck(weights, f"{name}.resnet", x)
            latents.append(q[:, :16].reshape(n, -1))
            number += 1
    return torch.cat(latents, 1), xs[64] * weights["decoder.gain"] + weights["decoder.bias"]


def test_the_pass_of_means_is_that_of_a_computation_by_hand() -> None:
    network, levels = random_network(4), random_levels(2)
    weights = network.state_dict()
    expected = encode_by_hand(weights, levels)
    found = network.activations(levels)
    assert set(found) == {64, 32, 16, 8, 4, 1}
    for side, values in expected.items():
        torch.testing.assert_close(found[side], values, rtol=1e-4, atol=1e-5)
    latents, features = decode_by_hand(weights, expected)
    assert latents.shape == (2, latent_length(75))
    assert latents.std() > 0.1
    own = network.latents(levels)
    torch.testing.assert_close(own, latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.features(own), features, rtol=1e-4, atol=1e-4)
    mixture = (
        torch.einsum("kc,nchw->nhwk", weights["decoder.out_net.out_conv.weight"][:, :, 0, 0], features)
        + (weights["decoder.out_net.out_conv.bias"])
    )
    torch.testing.assert_close(network.mixture(features), mixture, rtol=1e-4, atol=1e-4)


def test_all_means_of_the_posteriors_lead_back_to_the_features_of_their_own_pass() -> None:
    network, levels = random_network(8), random_levels(2)
    activations = network.activations(levels)
    latents, maps = network.walk(
        2, lambda number, values, prior: network.posterior(number, values, activations).mean
    )
    expected = network.final(maps)
    found = network.features(torch.cat([z.flatten(1) for z in latents], 1))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    # With the first 31 only, the others come from the prior, and the picture is another.
    first = network.features(torch.cat([z.flatten(1) for z in latents[:31]], 1))
    assert (first - expected).abs().max() > 0.01 * expected.std()


def test_latents_of_the_first_blocks_begin_those_of_all() -> None:
    network, levels = random_network(4), random_levels(1)
    assert [latent_length(k) for k in (0, 2, 6, 30, 31)] == [0, 32, 1056, 74784, 91168]
    whole, first = network.latents(levels), network.latents(levels, 31)
    assert first.shape == (1, 91168)
    torch.testing.assert_close(first, whole[:, :91168], rtol=0, atol=0)


def test_a_gaussian_draws_with_its_deviation() -> None:
    gaussian = Gaussian(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5]).log())
    torch.testing.assert_close(gaussian.draw(None), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(gaussian.draw(lambda shape: -2 * torch.ones(shape)), torch.tensor([-5.0, 1.0]))


def test_noise_is_asked_for_in_the_order_of_the_blocks_that_are_drawn() -> None:
    network, levels = random_network(4), random_levels(2)
    asked: list[tuple[int, ...]] = []

    def silent(shape: torch.Size) -> Tensor:
        asked.append(tuple(shape))
        return torch.zeros(shape)

    latents = network.latents(levels, 31, silent)
    assert asked == [(2, 16, side, side) for side in SIDES[:31]]
    torch.testing.assert_close(latents, network.latents(levels, 31))
    asked.clear()
    features = network.features(latents, silent)
    assert asked == [(2, 16, side, side) for side in SIDES[31:]]
    torch.testing.assert_close(features, network.features(latents))
    assert (network.features(latents, seeded(0)) - features).abs().max() > 0.1 * features.std()


def test_samples_deviate_as_their_posteriors_say() -> None:
    network, levels = random_network(8), random_levels(1)
    activations, seen = network.activations(levels), {}

    def record(number: int, values: Tensor, prior: Gaussian) -> Tensor:
        seen[number] = network.posterior(number, values, activations)
        return seen[number].draw(seeded(number))

    latents, _ = network.walk(1, record, 31)
    assert len(latents) == len(seen) == 31
    # Each block has a generator of its own here, so that its noise is known.
    again = [seeded(number)(z.shape) for number, z in enumerate(latents)]
    calls = iter(again)
    found = network.latents(levels, 31, lambda shape: next(calls))
    torch.testing.assert_close(found, torch.cat([z.flatten(1) for z in latents], 1))
    mean, deviation = seen[30].mean, seen[30].log_deviation.exp()
    torch.testing.assert_close((latents[30] - mean) / deviation, again[30], rtol=1e-3, atol=1e-4)


def test_latents_that_end_inside_a_block_are_refused() -> None:
    with pytest.raises(ValueError, match="91167"):
        random_network(4).features(torch.zeros(1, 91167))


def test_published_size() -> None:
    with torch.device("meta"):
        network = Vdvae()
    assert sum(weight.numel() for weight in network.parameters()) == 125_005_860
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["encoder.enc_blocks.64.c2.weight"] == (128, 128, 1, 1)
    assert shapes["encoder.enc_blocks.59.c2.weight"] == (128, 128, 3, 3)
    assert shapes["decoder.dec_blocks.74.prior.c4.weight"] == (544, 128, 1, 1)
    assert shapes["decoder.bias_xs.5"] == (1, 512, 64, 64)


@pytest.mark.shared
def test_keys_are_those_of_the_published_file(shared: Path) -> None:
    lines = (shared / "parity" / "vdvae_full_keys.tsv").read_text().splitlines()
    with torch.device("meta"):
        state = Vdvae().state_dict()
    assert [f"{key}\t{tuple(value.shape)}\tfloat32" for key, value in state.items()] == lines


@pytest.mark.shared
def test_parity_with_the_published_code(shared: Path) -> None:
    folder = shared / "parity" / "vdvae"
    io = np.load(folder / "io.npz")
    network = Vdvae(32)
    network.load_state_dict(torch.load(folder / "state_dict.pt", weights_only=True))
    levels = torch.from_numpy(io["image_uint8"]).permute(0, 3, 1, 2).float()

    def check(found: Tensor, name: str) -> None:
        expected = io[name]
        assert found.shape == expected.shape
        assert abs(found.numpy() - expected).max() < 1e-4 * expected.std(), name

    activations = network.activations(levels)
    for side in (16, 8, 4, 1):
        check(activations[side], f"act_{side}")
    means = network.latents(levels)
    check(means[:, :91168], "z31_mean")
    check(network.latents(levels, 31, seeded(0)), "z31_seed0")
    features = network.features(means)
    check(features, "px_z_mean")
    check(features, "px_z_manual75")
    check(network.mixture(features)[:, :32, :32], "dmol_logits_manual75")
    first = torch.from_numpy(io["z31_mean"])
    check(network.features(first), "px_z_manual31_restpriormean")
    sampled = network.features(first, seeded(1))
    check(sampled, "px_z_manual31_seed1")
    pictures = sample_pictures(network.mixture(sampled), torch.Generator().manual_seed(2)).numpy()
    difference = abs(pictures.astype(int) - io["image_manual31_seed1_dmolseed2"])
    # Where a level lies at a whole number, the last digit decides.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.shared
def test_divergence_of_posteriors_from_priors_is_that_of_the_published_code(shared: Path) -> None:
    folder = shared / "parity" / "vdvae"
    io = np.load(folder / "io.npz")
    network = Vdvae(32)
    network.load_state_dict(torch.load(folder / "state_dict.pt", weights_only=True))
    activations = network.activations(torch.from_numpy(io["image_uint8"]).permute(0, 3, 1, 2).float())
    noise, divergences = seeded(0), []

    def draw(number: int, values: Tensor, prior: Gaussian) -> Tensor:
        posterior = network.posterior(number, values, activations)
        ours, theirs = (torch.distributions.Normal(g.mean, g.log_deviation.exp()) for g in (posterior, prior))
        divergences.append(torch.distributions.kl_divergence(ours, theirs).sum((1, 2, 3)))
        return posterior.draw(noise)

    _, maps = network.walk(2, draw)
    found = torch.stack(divergences, 1).numpy()
    np.testing.assert_allclose(found, io["kl_per_block_seed0"], rtol=1e-4)
    features = network.final(maps).numpy()
    assert abs(features - io["px_z_seed0"]).max() < 1e-4 * io["px_z_seed0"].std()
