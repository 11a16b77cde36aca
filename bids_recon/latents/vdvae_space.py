"""Latents of a very deep VAE: the first guess of Brain-Diffuser, of its layout and colours.

Ozcelik & VanRullen 2023, "First stage: reconstruction of images via VDVAE": the latents of the first 31 of 75
blocks are decoded from brain activity; the other 44 are drawn from their priors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from bids_recon.dataset.stimuli import picture_hash
from bids_recon.latents.base import Captions, Image
from bids_recon.models.full_precision import full_precision
from bids_recon.models.logistic_mixture import expected_pictures, sample_pictures
from bids_recon.models.vdvae import SIDE, Noise, Vdvae, latent_length
from bids_recon.weights.checkpoint import load_state, load_strictly
from bids_recon.weights.checksums import content_hash, file_state
from bids_recon.weights.store import find_weight

LATENT_BLOCKS = 31
"""Blocks whose latents are decoded."""
PREPROCESSING = 1
"""Version of what is done to a picture; another one makes other latents."""
DRAWS = ("mean", "sample")
GUESSES = ("sample", "mean")
_WEIGHT = "vdvae"
_PUBLISHED_WIDTH = 512
# Of the published width, a picture needs some 35 MB while it is encoded.
_AT_ONCE = 8


@dataclass(frozen=True)
class LoadedVdvae:
    """A VDVAE with weights.

    Attributes
    ----------
    network : Vdvae
        On `device`, in float32.
    source : str
        SHA-256 of the file of its weights.
    device : torch.device
    """

    network: Vdvae
    source: str
    device: torch.device


class VdvaeSpace:
    """Latents of the first 31 blocks of a VDVAE, as one vector of 91,168 numbers.

    Pictures are resampled to 64 x 64 pixels with Pillow's bilinear filter, as published: the whole picture,
    without cropping, also where it is not square, as in the other latent spaces.

    Parameters
    ----------
    network : LoadedVdvae
    draw : {"mean", "sample"}
        Whether the latent of a picture is the mean of each block's posterior, or a sample, as published.
    seed : int
        Of the samples. They depend on it and on the pixels of the picture, not on other pictures.

    Raises
    ------
    ValueError
        When `draw` is neither of them.
    """

    name = "vdvae"

    def __init__(self, network: LoadedVdvae, draw: str = "mean", seed: int = 0) -> None:
        if draw not in DRAWS:
            raise ValueError(f"latents are one of {DRAWS}, not '{draw}'")
        self._loaded, self.draw, self.seed = network, draw, seed

    @property
    def shape(self) -> tuple[int, ...]:
        """(91168,): block after block, each flattened (channels, height, width)."""
        return (latent_length(LATENT_BLOCKS),)

    @property
    def identity(self) -> str:
        """Hash over the weights, and the kind of latents; over the seed too, where they are samples."""
        seed = f" {self.seed}" if self.draw == "sample" else ""
        return hashlib.sha256(
            f"{self.name} {PREPROCESSING} {self._loaded.source} {self.draw}{seed}".encode()
        ).hexdigest()

    def encode(
        self,
        images: Sequence[Image],
        captions: Captions | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Latents (n, 91168) of pictures, read a few at a time; written to `out` when it is given.

        Captions are not used.

        Raises
        ------
        ValueError
            When a picture is not (height, width, 3) uint8.
        """
        del captions
        latents = np.empty((len(images), *self.shape), np.float32) if out is None else out
        network, device = self._loaded.network, self._loaded.device
        for start in range(0, len(images), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(images)))
            small, generators = [], []
            for row in rows:
                picture = images[row]
                small.append(_small(picture))
                if self.draw == "sample":
                    generators.append(_generator(f"{self.seed}\n{picture_hash(picture)}"))
            levels = torch.from_numpy(np.stack(small)).to(device).permute(0, 3, 1, 2).float().contiguous()
            noise = _noise(generators) if generators else None
            with torch.inference_mode(), full_precision():
                found = network.latents(levels, LATENT_BLOCKS, noise)
            latents[start : rows.stop] = found.cpu().numpy()
        return latents

    def decode(
        self, latents: NDArray[np.floating], seeds: NDArray[np.uint64], guess: str = "sample"
    ) -> NDArray[np.uint8]:
        """Draw pictures.

        One picture goes through the network at a time. Which component of a mixture a pixel comes from is a
        jump, so that the last digits, which depend on the size of a batch, would change whole pixels.

        Parameters
        ----------
        latents : ndarray (n, 91168)
        seeds : ndarray (n,) uint64
            One a picture; they matter to samples only.
        guess : {"sample", "mean"}
            "sample": the latents of the other 44 blocks are drawn from their priors, and the levels of the
            pixels from their mixtures, as published. "mean": the means of these priors, and the expected
            levels.

        Returns
        -------
        ndarray (n, 64, 64, 3) uint8

        Raises
        ------
        ValueError
            When `guess` is neither of them, or the numbers of latents and seeds differ.
        """
        if guess not in GUESSES:
            raise ValueError(f"first guesses are one of {GUESSES}, not '{guess}'")
        pictures = np.empty((len(latents), SIDE, SIDE, 3), np.uint8)
        for picture, latent, seed in zip(pictures, latents, seeds, strict=True):
            given = torch.from_numpy(np.array(latent[None], np.float32)).to(self._loaded.device)
            with torch.inference_mode(), full_precision():
                picture[:] = self._drawn(given, int(seed), guess)[0].cpu().numpy()
        return pictures

    def _drawn(self, latent: Tensor, seed: int, guess: str) -> Tensor:
        network = self._loaded.network
        if guess == "mean":
            return expected_pictures(network.mixture(network.features(latent)))
        # Not the seed itself, which begins the noise of the diffusion: that is to be other noise.
        generator = _generator(f"{seed}\n{VdvaeSpace.name}")
        return sample_pictures(network.mixture(network.features(latent, _noise([generator]))), generator)


def _small(picture: Image) -> Image:
    """The whole picture at 64 x 64 pixels."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"a picture has shape {picture.shape} and type {picture.dtype}, not (h, w, 3) uint8")
    return np.asarray(PillowImage.fromarray(picture).resize((SIDE, SIDE), PillowImage.Resampling.BILINEAR))


def _generator(description: str) -> torch.Generator:
    digest = hashlib.sha256(description.encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big"))


def _noise(generators: Sequence[torch.Generator]) -> Noise:
    """Noise of which each picture has its own generator."""

    def draw(shape: torch.Size) -> Tensor:
        return torch.stack([torch.randn(shape[1:], generator=generator) for generator in generators])

    return draw


def load_vdvae(device: torch.device, weights: Path | None = None) -> LoadedVdvae:
    """Load the VDVAE with its published weights, or with others of the same format and any width.

    Parameters
    ----------
    device : torch.device
    weights : Path, optional
        Folder of weights; by default that of `bids_recon.weights.store.weights_folder`.

    Raises
    ------
    MissingInputError
        When the weights are not there.
    DataError
        When they are damaged, or those of another network.
    """
    file = find_weight(_WEIGHT, weights)
    return _load(device, file, file_state(file))


@lru_cache(maxsize=1)
def _load(device: torch.device, file: Path, file_version: tuple[int, int]) -> LoadedVdvae:
    """Load the network, or take the one at hand: folds and people share it."""
    del file_version
    state = load_state(file)
    first = state.get("encoder.in_conv.weight")
    # No memory for weights that are replaced at once.
    with torch.device("meta"):
        network = Vdvae(_PUBLISHED_WIDTH if first is None or first.ndim != 4 else len(first))
    load_strictly(network, state, file)
    network.requires_grad_(False).eval().to(device)
    return LoadedVdvae(network, content_hash(file), device)
