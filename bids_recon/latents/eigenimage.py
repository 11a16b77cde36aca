"""Eigenimages: the principal components of pictures as a latent space."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from sklearn.decomposition import PCA

from bids_recon.dataset.stimuli import picture_hash
from bids_recon.errors import DataError
from bids_recon.latents.base import Captions, Image

# Up to this many pictures (or pixels) a full decomposition takes seconds; beyond, when few components are
# wanted, Lanczos iteration finds them to machine precision in less.
FULL_LIMIT = 2048
CHANNELS = 3


def square_picture(picture: Image, size: int) -> Image:
    """Bring a picture to (size, size, 3) uint8.

    The whole picture is resampled, without cropping: what the participant saw at the borders stays in the
    targets, at the price of a changed aspect when the picture is not square. The filter is Lanczos, which
    keeps more detail than an area average and has no aliases where the ratio of sizes is not an integer.

    Raises
    ------
    DataError
        When the picture is not (height, width, 3) uint8.
    """
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] != CHANNELS or picture.dtype != np.uint8 or 0 in picture.shape:
        raise DataError(
            f"a picture has shape {picture.shape} and type {picture.dtype}, expected (height, width, 3) uint8"
        )
    if picture.shape[:2] == (size, size):
        return picture
    resampled = PillowImage.fromarray(picture).resize((size, size), PillowImage.Resampling.LANCZOS)
    return np.asarray(resampled)


class EigenimageSpace:
    """Scores of pictures on the principal components of the pictures it was fitted on.

    The eigen-image baseline of Mozafari, Reddy and VanRullen (2020), section III.C. Scores are in grey levels
    (0 to 255) and not whitened, so that distances between latents are distances between pictures.

    Parameters
    ----------
    n_components : int
        Largest number of components; fewer are kept when there are few pictures.
    size : int
        Pictures are brought to size x size pixels, see `square_picture`.

    Attributes
    ----------
    mean : ndarray (size * size * 3,) float32
        Mean picture.
    components : ndarray (n, size * size * 3) float32
        Orthonormal eigenimages by falling variance, signs such that the largest loading is positive.
    explained_variance_ratio : ndarray (n,) float64
        Share of the pictures' variance along each of them.
    """

    name = "eigenimage"

    def __init__(self, n_components: int = 120, size: int = 64) -> None:
        self.n_components, self.size = n_components, size

    def fit(self, images: Iterable[Image]) -> EigenimageSpace:
        """Find the components of pictures, each (height, width, 3) uint8 of any size.

        A picture that occurs more than once counts once; the order of the pictures does not matter.

        Raises
        ------
        DataError
            When there are fewer than two different pictures.
        """
        distinct: dict[str, NDArray[np.uint8]] = {}
        n_given = 0
        for image in images:
            n_given += 1
            square = square_picture(image, self.size)
            distinct.setdefault(picture_hash(square), square.ravel())
        if len(distinct) < 2:
            raise DataError(
                f"at least two different training pictures are needed to find eigenimages,"
                f" but {n_given} given hold {len(distinct)}",
                remedy="Check the split, or give more pictures with --extra-images.",
            )
        hashes = sorted(distinct)
        shape = (len(hashes), self.size**2 * CHANNELS)
        n_kept = min(self.n_components, shape[0] - 1, shape[1])
        lanczos = min(shape) > FULL_LIMIT and n_kept < min(shape) // 4
        pixels = np.empty(shape, dtype=np.float32 if lanczos else np.float64)
        for row, key in enumerate(hashes):
            pixels[row] = distinct[key]
        pca = PCA(n_kept, svd_solver="arpack" if lanczos else "full", random_state=0).fit(pixels)
        singular = pca.singular_values_
        real = singular > singular[0] * max(shape) * np.finfo(singular.dtype).eps
        self.mean: NDArray[np.float32] = pca.mean_.astype(np.float32)
        self.components: NDArray[np.float32] = pca.components_[real].astype(np.float32)
        self.explained_variance_ratio: NDArray[np.float64] = pca.explained_variance_ratio_[real].astype(float)
        description = f"{self.name} {self.size} {len(self.components)} {' '.join(hashes)}"
        self._identity = hashlib.sha256(description.encode()).hexdigest()
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of components kept, as a tuple."""
        return (len(self.components),)

    @property
    def identity(self) -> str:
        """SHA-256 over the pictures fitted (after resizing), their size and the number of components."""
        return self._identity

    def encode(
        self,
        images: Sequence[Image],
        captions: Captions | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Scores (n, n_components) of pictures (height, width, 3) uint8; captions are not used."""
        del captions
        scores = np.empty((len(images), *self.shape), dtype=np.float32) if out is None else out
        for row, image in enumerate(images):
            scores[row] = self.components @ (square_picture(image, self.size).ravel() - self.mean)
        return scores

    def decode(self, latents: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Pictures (n, size, size, 3) from scores (n, n_components), rounded and clipped to 0..255."""
        pixels = np.asarray(latents, dtype=np.float32) @ self.components + self.mean
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8).reshape(-1, self.size, self.size, CHANNELS)

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays from which `from_state` rebuilds the fitted space."""
        return {
            "mean": self.mean,
            "components": self.components,
            "explained_variance_ratio": self.explained_variance_ratio,
            "size": np.array([self.size], dtype=np.int64),
            "n_components": np.array([self.n_components], dtype=np.int64),
            "identity": np.frombuffer(bytes.fromhex(self.identity), dtype=np.uint8).copy(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> EigenimageSpace:
        """Rebuild a fitted space from the arrays of `state`.

        Raises
        ------
        DataError
            When an array is missing.
        """
        try:
            space = cls(int(state["n_components"][0]), int(state["size"][0]))
            space.mean, space.components = state["mean"], state["components"]
            space.explained_variance_ratio = state["explained_variance_ratio"]
            space._identity = np.asarray(state["identity"], dtype=np.uint8).tobytes().hex()
        except KeyError as error:
            raise DataError(f"the saved eigenimages lack the array {error}") from error
        return space
