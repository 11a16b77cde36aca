"""The interface behind which every published system stands."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.targets import Targets
from bids_recon.latents.base import Captions, Image, LatentSpace
from bids_recon.outputs.tensor_files import Tensor


class Decoder(Protocol):
    """A scikit-learn style regression from responses to latents."""

    name: ClassVar[str]

    def fit(
        self,
        X: NDArray[np.floating],
        Y: Targets,
        groups: NDArray[Any] | None = None,
        *,
        work: SharedWork | None = None,
    ) -> Decoder:
        """Learn from responses X (n_trials, n_voxels), flattened latents Y (n_trials, n_targets).

        Y may be `RepeatedRows`, which `np.asarray` turns into an array. `groups` (n_trials,) are stimulus
        ids: inner cross-validation keeps them together. `work` holds what fits on the same X share.
        """
        ...

    def predict(self, X: NDArray[np.floating]) -> NDArray[np.floating]:
        """Latents (n_trials, n_targets)."""
        ...

    def summary(self) -> dict[str, Any]:
        """What the sidecar says of the fit (alpha, number of voxels, conditioning), JSON-ready."""
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, as in scikit-learn."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """Arrays that, with the parameters, predict again elsewhere."""
        ...

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Decoder:
        """Rebuild a fitted decoder from `state` and from parameters that went through JSON."""
        ...


@dataclass(frozen=True)
class MethodOptions:
    """Choices that a method may read; each ignores what does not concern it.

    Attributes
    ----------
    decoder : str or None
        Name of the decoder; None for the method's own default.
    alpha : tuple of float
        Penalties of ridge-type decoders: one is taken as it is, among several one is chosen; empty for the
        method's own.
    alpha_selection, alpha_per : str or None
        How and for what penalties are chosen (see `RidgeDecoder`); None for the method's own.
    noise_covariance : str or None
        Of the parametric inversion (see `ParametricInversion`); None for the method's own.
    rescale : {"none", "out-of-fold"} or None
        Whether decoded latents are rescaled to the spread of true ones; None for what the method does.
    legacy_test_statistics : bool
        Use test-set statistics where the publication did.
    seed : int
        Seed of the run.
    device : str
        `cpu`, `cuda` or `auto`.
    weights : Path or None
        Folder of the weights of published networks; None for the usual one.
    extra : dict
        Settings of one method only.
    """

    decoder: str | None = None
    alpha: tuple[float, ...] = ()
    alpha_selection: str | None = None
    alpha_per: str | None = None
    noise_covariance: str | None = None
    rescale: str | None = None
    legacy_test_statistics: bool = False
    seed: int = 0
    device: str = "auto"
    weights: Path | None = None
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
    n_shuffles: ClassVar[int] = 20
    """Shuffles that measure the floor where the user does not say how many."""
    picture_shuffles: ClassVar[int | None] = None
    """Shuffles whose pictures are drawn, where drawing takes long; all of them by default."""
    draws_at_random: ClassVar[bool] = False
    """Whether another seed gives another picture of the same latents."""
    uses_captions: ClassVar[bool] = False
    """Whether captions of pictures are encoded where there are any."""

    def __init__(self, options: MethodOptions | None = None) -> None:
        self.options = options or MethodOptions()

    @property
    def weights(self) -> tuple[str, ...]:
        """Names in the manifest of the weights that are needed, with the options of this instance."""
        return ()

    @property
    def decoding_weights(self) -> tuple[str, ...]:
        """Those of them that decoded latents depend on; the others draw."""
        return self.weights

    @property
    def encodes_captions(self) -> bool:
        """Whether it was fitted with captions, so that latents of pictures need theirs."""
        return False

    @property
    def choices(self) -> dict[str, Any]:
        """What the options of this method alone come to, by option, defaults filled in; JSON-ready."""
        return {}

    @abc.abstractmethod
    def fit_latent_spaces(
        self,
        images: Sequence[Image],
        extra_images: Sequence[Image] = (),
        captions: Captions | None = None,
    ) -> None:
        """Fit the latent spaces that are not pretrained, on training pictures and unrelated extra ones.

        `captions` are those of the training pictures; None where the data set has none.
        """

    @property
    @abc.abstractmethod
    def latent_spaces(self) -> dict[str, LatentSpace]:
        """The spaces to decode, by name."""

    def encode(
        self, images: Sequence[Image], spaces: Sequence[str], captions: Captions | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Latents (n, *shape) of pictures in several spaces, where they fit into memory together."""
        known = self.latent_spaces
        return {name: known[name].encode(images, captions) for name in spaces}

    @abc.abstractmethod
    def make_decoder(self, space: str) -> Decoder:
        """Make an unfitted decoder for one latent space."""

    @abc.abstractmethod
    def render(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """Pictures (n, height, width, 3) from latents, {space: (n, *shape)}; `seeds` (n,), one a picture."""

    def render_steps(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]:
        """Pictures as `render` gives them, and those after some of the iterations that led to them.

        Returns
        -------
        pictures : ndarray (n, height, width, 3) uint8
        steps : dict of int to ndarray, as `pictures`
            By number of iterations; empty for a method that draws in one go.
        """
        return self.render(latents, seeds), {}

    def ceiling(
        self, images: Sequence[Image], seeds: NDArray[np.uint64], captions: Captions | None = None
    ) -> NDArray[np.uint8]:
        """Pictures from the true latents of the seen pictures: the best this method could do."""
        return self.render(self.encode(images, tuple(self.latent_spaces), captions), seeds)

    @abc.abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that rebuild the fitted latent spaces; empty when all are pretrained."""

    @abc.abstractmethod
    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Rebuild what `state` described."""
