"""Latents of the VDVAE: pictures in, pictures out, in any order and batches; files of weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from random_checkpoints import random_network
from torch import Tensor

from bids_recon.errors import DataError, MissingInputError
from bids_recon.latents import vdvae_space
from bids_recon.latents.base import LatentSpace
from bids_recon.latents.vdvae_space import LoadedVdvae, VdvaeSpace, load_vdvae
from bids_recon.models.logistic_mixture import expected_pictures
from bids_recon.models.vdvae import Noise, Vdvae

CPU = torch.device("cpu")
FILE = "imagenet64-iter-1600000-model-ema.th"
LENGTH = 91168


@pytest.fixture(scope="module")
def loaded() -> LoadedVdvae:
    return LoadedVdvae(random_network(4), "random", CPU)


def pictures(n: int, size: int = 64, seed: int = 0) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


class NoiseNetwork:
    """Stands for a network: its latents are the noise it is given, and it remembers that of its features."""

    def __init__(self) -> None:
        self.drawn: list[Tensor] = []

    def latents(self, levels: Tensor, n_blocks: int, noise: Noise) -> Tensor:
        del n_blocks
        return noise(torch.Size([len(levels), LENGTH, 1, 1]))[:, :, 0, 0]

    def features(self, latents: Tensor, noise: Noise) -> Tensor:
        self.drawn.append(noise(torch.Size([len(latents), 16, 32, 32])))
        return latents

    def mixture(self, features: Tensor) -> Tensor:
        return torch.zeros(len(features), 64, 64, 10)


def noise_space(seed: int = 0) -> tuple[VdvaeSpace, NoiseNetwork]:
    network: Any = NoiseNetwork()
    return VdvaeSpace(LoadedVdvae(network, "noise", CPU), "sample", seed), network


def test_latents_are_means_of_the_posteriors_of_the_first_31_blocks(loaded: LoadedVdvae) -> None:
    space: LatentSpace = VdvaeSpace(loaded)
    assert isinstance(space, LatentSpace)
    assert (space.name, space.shape) == ("vdvae", (LENGTH,))
    given = pictures(2)
    found = space.encode(given)
    assert found.dtype == np.float32
    levels = torch.from_numpy(np.stack(given)).permute(0, 3, 1, 2).float()
    expected = loaded.network.latents(levels)[:, :LENGTH].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert abs(found[0] - found[1]).max() > 0.1


def test_the_whole_picture_is_shrunk_as_published(loaded: LoadedVdvae) -> None:
    space = VdvaeSpace(loaded)
    large = pictures(1, 150)[0][:90]
    small = np.asarray(PillowImage.fromarray(large).resize((64, 64), PillowImage.Resampling.BILINEAR))
    np.testing.assert_array_equal(space.encode([large]), space.encode([small]))


@pytest.mark.parametrize("draw", ["mean", "sample"])
def test_neither_batch_nor_order_matters_to_latents(
    draw: str, loaded: LoadedVdvae, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, given = VdvaeSpace(loaded, draw), pictures(3)
    whole = space.encode(given)
    monkeypatch.setattr(vdvae_space, "_AT_ONCE", 2)
    out = np.full((3, LENGTH), np.nan, np.float32)
    assert space.encode(given[::-1], out=out) is out
    np.testing.assert_allclose(out[::-1], whole, rtol=1e-4, atol=1e-5)


def test_samples_belong_to_a_picture_and_a_seed(loaded: LoadedVdvae) -> None:
    given = pictures(2)
    mean, first, other = (
        VdvaeSpace(loaded, draw, seed).encode(given)
        for draw, seed in (("mean", 0), ("sample", 0), ("sample", 1))
    )
    assert abs(first - mean).std() > 0.1
    assert abs(first - other).std() > 0.1


def test_noise_of_samples_is_normal_and_of_each_picture_alone() -> None:
    given = pictures(2)
    first, other = (noise_space(seed)[0].encode([*given, given[0]]) for seed in (0, 1))
    np.testing.assert_array_equal(first[0], first[2])
    numbers = np.stack([first[0], first[1], other[0], other[1]])
    # 91,168 numbers: standard errors are some 0.003.
    np.testing.assert_allclose(numbers.mean(axis=1), 0, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(numbers) - np.eye(4), 0, atol=0.02)
    np.testing.assert_allclose(numbers.std(axis=1), 1, atol=0.02)


def test_identity_tells_weights_and_kinds_of_latents_apart(loaded: LoadedVdvae) -> None:
    others = LoadedVdvae(loaded.network, "others", CPU)
    spaces = [
        VdvaeSpace(loaded),
        VdvaeSpace(others),
        VdvaeSpace(loaded, "sample"),
        VdvaeSpace(loaded, "sample", 1),
    ]
    assert len({space.identity for space in spaces}) == 4
    # Means do not depend on the seed.
    assert VdvaeSpace(loaded, "mean", 1).identity == VdvaeSpace(loaded, "mean", 0).identity


@pytest.mark.parametrize("guess", ["sample", "mean"])
def test_neither_batch_nor_order_matters_to_pictures(guess: str, loaded: LoadedVdvae) -> None:
    space = VdvaeSpace(loaded)
    latents = np.random.default_rng(0).normal(size=(4, LENGTH)).astype(np.float32)
    seeds = np.array([7, 2**64 - 1, 0, 12345], np.uint64)
    whole = space.decode(latents, seeds, guess)
    assert whole.shape == (4, 64, 64, 3)
    assert whole.dtype == np.uint8
    for row in (2, 0):
        np.testing.assert_array_equal(space.decode(latents[[row]], seeds[[row]], guess)[0], whole[row])
    order = [3, 1, 0, 2]
    np.testing.assert_array_equal(space.decode(latents[order], seeds[order], guess), whole[order])
    assert abs(whole[0].astype(int) - whole[1]).mean() > 1


def test_seeds_matter_to_samples_only(loaded: LoadedVdvae) -> None:
    space = VdvaeSpace(loaded)
    latents = np.repeat(np.random.default_rng(0).normal(size=(1, LENGTH)), 2, axis=0)
    seeds = np.array([1, 2], np.uint64)
    first, other = space.decode(latents, seeds)
    assert (first != other).mean() > 0.5
    first, other = space.decode(latents, seeds, "mean")
    np.testing.assert_array_equal(first, other)
    network = loaded.network
    given = torch.from_numpy(latents[:1]).float()
    expected = expected_pictures(network.mixture(network.features(given)))[0].numpy()
    assert abs(expected.astype(int) - first).max() <= 1


def test_noise_of_a_picture_is_not_that_which_its_seed_begins() -> None:
    space, network = noise_space()
    space.decode(np.zeros((2, LENGTH)), np.array([5, 6], np.uint64))
    numbers = [noise.flatten().numpy() for noise in network.drawn]
    plain = torch.randn(numbers[0].size, generator=torch.Generator().manual_seed(5)).numpy()
    np.testing.assert_allclose(np.corrcoef([*numbers, plain]) - np.eye(3), 0, atol=0.05)


def test_calls_that_make_no_sense_are_refused(loaded: LoadedVdvae) -> None:
    with pytest.raises(ValueError, match="median"):
        VdvaeSpace(loaded, "median")
    space = VdvaeSpace(loaded)
    with pytest.raises(ValueError, match="mode"):
        space.decode(np.zeros((1, LENGTH)), np.zeros(1, np.uint64), "mode")
    with pytest.raises(ValueError):
        space.decode(np.zeros((2, LENGTH)), np.zeros(1, np.uint64), "mean")
    with pytest.raises(ValueError, match=r"\(64, 64\)"):
        space.encode([np.zeros((64, 64), np.uint8)])


def write(folder: Path, network: Vdvae, *, prefix: str = "module.", legacy: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    torch.save(state, folder / FILE, _use_new_zipfile_serialization=not legacy)
    return folder / FILE


def test_published_files_are_loaded_by_their_hash(tmp_path: Path, loaded: LoadedVdvae) -> None:
    given, networks = pictures(1), [loaded.network, random_network(8, 2)]
    write(tmp_path / "0", networks[0])
    write(tmp_path / "1", networks[1], prefix="", legacy=False)
    first, second = (load_vdvae(CPU, tmp_path / name) for name in ("0", "1"))
    for found, network in zip((first, second), networks, strict=True):
        expected = VdvaeSpace(LoadedVdvae(network, "", CPU)).encode(given)
        np.testing.assert_allclose(VdvaeSpace(found).encode(given), expected, rtol=1e-4, atol=1e-5)
        assert not found.network.training
        assert not any(weight.requires_grad for weight in found.network.parameters())
    sources = [hashlib.sha256((tmp_path / name / FILE).read_bytes()).hexdigest() for name in ("0", "1")]
    assert [first.source, second.source] == sources
    # Folds and people share it.
    assert load_vdvae(CPU, tmp_path / "1") is second


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="bids-recon-weights download") as missing:
        load_vdvae(CPU, tmp_path)
    assert missing.value.file == tmp_path / FILE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("encoder.in_conv.weight"), "lacks 'encoder.in_conv.weight'"),
        (lambda state: state.update({"encoder.in_conv.weight": torch.zeros(3)}), "other shapes"),
        (
            lambda state: state.pop("decoder.dec_blocks.74.z_proj.bias"),
            "lacks 'decoder.dec_blocks.74.z_proj.bias'",
        ),
    ],
)
def test_checkpoints_of_other_networks_are_refused(
    tmp_path: Path, loaded: LoadedVdvae, change: Any, message: str
) -> None:
    state = dict(loaded.network.state_dict())
    change(state)
    file = write(tmp_path, SimpleNamespace(state_dict=lambda: state))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="does not fit Vdvae") as refused:
        load_vdvae(CPU, tmp_path)
    assert message in str(refused.value)
    assert refused.value.file == file
