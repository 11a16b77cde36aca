"""The interface behind which every published system stands."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bids_recon.latents.base import Image, LatentSpace


class Decoder(Protocol):
    """A scikit-learn style regression from responses to latents."""

    def fit(
        self, X: NDArray[np.floating], Y: NDArray[np.floating], groups: NDArray[Any] | None = None
    ) -> Decoder:
        """Learn from responses X (n_trials, n_voxels), flattened latents Y (n_trials, n_targets).

        `groups` (n_trials,) are stimulus ids: inner cross-validation keeps them together.
        """
        ...

    def predict(self, X: NDArray[np.floating]) -> NDArray[np.floating]:
        """Latents (n_trials, n_targets)."""
        ...

    def summary(self) -> dict[str, Any]:
        """What the sidecar says of the fit (alpha, number of voxels, conditioning), JSON-ready."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that predict again elsewhere."""
        ...


@dataclass(frozen=True)
class MethodOptions:
    """Choices that a method may read; each ignores what does not concern it.

    Attributes
    ----------
    decoder : str or None
        Name of the decoder; None for the method's own default.
    legacy_test_statistics : bool
        Use test-set statistics where the publication did.
    seed : int
        Seed of the run.
    device : str
        `cpu`, `cuda` or `auto`.
    extra : dict
        Settings of one method only.
    """

    decoder: str | None = None
    legacy_test_statistics: bool = False
    seed: int = 0
    device: str = "auto"
    extra: Mapping[str, Any] = field(default_factory=dict)


class Method(abc.ABC):
    """A recipe: which latents, which decoder, how decoded latents become pictures.

    A new instance serves each fold of a split. The order of calls is `fit_latent_spaces` (training
    pictures only), then any of the others; or `load_state` in place of the fit.
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    quick_render: ClassVar[bool] = False
    """Whether pictures take so little time that the participant level may draw them for its report."""

    def __init__(self, options: MethodOptions | None = None) -> None:
        self.options = options or MethodOptions()

    @abc.abstractmethod
    def fit_latent_spaces(self, images: Sequence[Image], extra_images: Sequence[Image] = ()) -> None:
        """Fit the latent spaces that are not pretrained, on training pictures and unrelated extra ones."""

    @property
    @abc.abstractmethod
    def latent_spaces(self) -> dict[str, LatentSpace]:
        """The spaces to decode, by name."""

    @abc.abstractmethod
    def make_decoder(self, space: str) -> Decoder:
        """Make an unfitted decoder for one latent space."""

    @abc.abstractmethod
    def render(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """Pictures (n, height, width, 3) from latents, {space: (n, *shape)}; `seeds` (n,), one a picture."""

    def ceiling(self, images: Sequence[Image], seeds: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Pictures from the true latents of the seen pictures: the best this method could do."""
        return self.render({name: space.encode(images) for name, space in self.latent_spaces.items()}, seeds)

    @abc.abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that rebuild the fitted latent spaces; empty when all are pretrained."""

    @abc.abstractmethod
    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Rebuild what `state` described."""
