"""Deep image reconstruction: features of every layer are decoded, and a picture is found that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.decoders.device import find_device, to_device
from bids_recon.decoders.norm_correction import correct_feature_norm, feature_norm
from bids_recon.errors import DataError, UsageError
from bids_recon.latents.base import Captions, Image, LatentSpace
from bids_recon.latents.distinct_pictures import DistinctPictures
from bids_recon.latents.feature_encoder import FeatureEncoder, load_encoder
from bids_recon.latents.feature_layer import FeatureLayerSpace
from bids_recon.methods.base import Decoder, Method, MethodOptions
from bids_recon.methods.decoder_choice import choose_decoder
from bids_recon.methods.deep_recon_settings import DeepReconSettings
from bids_recon.methods.picture_search import PictureGenerator, find_pictures
from bids_recon.methods.picture_spectrum import picture_waves
from bids_recon.models.relu7_generator import Relu7Generator
from bids_recon.weights.activation_range import read_activation_range
from bids_recon.weights.caffe_networks import read_relu7_generator_state
from bids_recon.weights.checkpoint import load_strictly
from bids_recon.weights.checksums import file_state
from bids_recon.weights.store import find_weight

GENERATOR_INPUT = 4096
_MEAN = "mean/"


@lru_cache(maxsize=1)
def _load_generator(file: Path, state: tuple[int, int], device: torch.device) -> Relu7Generator:
    """Load the generator, or take the one at hand: folds and people share it. `state` tells changed files."""
    del state
    with torch.device("meta"):
        network = Relu7Generator()
    load_strictly(network, read_relu7_generator_state(file), file)
    return network.requires_grad_(False).eval().to(device)


class DeepRecon(Method):
    """Deep image reconstruction (Shen, Horikawa, Majima and Kamitani 2017, 2019).

    Reads of the options: `decoder` (`unit-ridge` by default, the present decoder of the authors; `sparse` is
    that of the paper) with all that belongs to it, `device`, `weights`, and in `extra` what
    `DeepReconSettings` names.

    Raises
    ------
    UsageError
        When an option has a value that does not exist, or two do not go together.
    """

    name: ClassVar[str] = "deep-recon"
    n_shuffles: ClassVar[int] = 2
    picture_shuffles: ClassVar[int | None] = 2
    reference: ClassVar[str] = (
        "Shen G, Horikawa T, Majima K, Kamitani Y (2019). Deep image reconstruction from human brain"
        " activity. PLOS Computational Biology 15(1): e1006633."
    )

    def __init__(self, options: MethodOptions | None = None) -> None:
        super().__init__(options)
        choose_decoder(self.options, default="unit-ridge")
        self.settings = DeepReconSettings.of(self.options.extra)
        self._norms: dict[str, float] = {}
        # Mean training features, where norms are around them.
        self._means: dict[str, NDArray[np.float32]] = {}

    @property
    def weights(self) -> tuple[str, ...]:
        """The network, and the generator with the range of its input."""
        generator = ("relu7-generator", "relu7-range") if self.settings.generator == "relu7" else ()
        return (self.settings.encoder.weight, *generator)

    @property
    def choices(self) -> dict[str, Any]:
        """Those of `DeepReconSettings`, with the layers that pictures are to match."""
        chosen = self.settings
        return {
            "encoder": chosen.encoder.name,
            "image_size": chosen.size,
            "norm_correction": chosen.norm_correction,
            "layers": list(chosen.drawn_layers),
            "generator": chosen.generator,
            "optimiser": chosen.optimiser,
            "iterations": chosen.iterations,
            "layer_order": chosen.layer_order,
        }

    @cached_property
    def _encoder(self) -> FeatureEncoder:
        settings, device = self.settings, find_device(self.options.device)
        return load_encoder(settings.encoder, settings.size, device, self.options.weights)

    @cached_property
    def _generator(self) -> PictureGenerator | None:
        device = find_device(self.options.device)
        if self.settings.generator == "none":
            return None
        if self.settings.generator == "waves":
            size = self.settings.size
            return PictureGenerator(picture_waves(size, device), (3, size, size))
        file = find_weight("relu7-generator", self.options.weights)
        bounds = find_weight("relu7-range", self.options.weights)
        network = _load_generator(file, file_state(file), device)
        upper = to_device(read_activation_range(bounds, GENERATOR_INPUT), device)
        return PictureGenerator(network, (GENERATOR_INPUT,), upper)

    def fit_latent_spaces(
        self,
        images: Sequence[Image],
        extra_images: Sequence[Image] = (),
        captions: Captions | None = None,
    ) -> None:
        """Measure the norms that decoded features are brought to; the network itself is not trained.

        Raises
        ------
        UsageError
            When the norms of extra pictures are asked for and there are none.
        """
        del captions
        settings = self.settings
        if settings.norm_correction == "none":
            return
        measured = DistinctPictures(extra_images if settings.norm_correction == "extra" else images)
        if not len(measured):
            raise UsageError(
                "--norm-correction extra takes the norms of features from other pictures, and there are none",
                remedy="Name a folder of natural pictures with --extra-images.",
            )
        if settings.norm_correction == "centred":
            self._means = self._mean_features(measured)
        sums = dict.fromkeys(settings.layers, 0.0)
        for _, features in self._encoder.feature_batches(measured, settings.layers):
            for layer, values in features.items():
                sums[layer] += float(feature_norm(values, self._means.get(layer)).sum())
        self._norms = {layer: total / len(measured) for layer, total in sums.items()}

    def _mean_features(self, images: Sequence[Image]) -> dict[str, NDArray[np.float32]]:
        layers, shapes = self.settings.layers, self._encoder.shapes
        sums = {layer: np.zeros(shapes[layer]) for layer in layers}
        for _, features in self._encoder.feature_batches(images, layers):
            for layer, values in features.items():
                sums[layer] += values.sum(axis=0, dtype=np.float64)
        return {layer: (total / len(images)).astype(np.float32) for layer, total in sums.items()}

    @property
    def latent_spaces(self) -> dict[str, LatentSpace]:
        """One space for each layer."""
        return {layer: FeatureLayerSpace(self._encoder, layer) for layer in self.settings.layers}

    def encode(
        self, images: Sequence[Image], spaces: Sequence[str], captions: Captions | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Features (n, *shape) of pictures in several layers, which are computed in one go."""
        del captions
        encoder = self._encoder
        found = {layer: np.empty((len(images), *encoder.shapes[layer]), np.float32) for layer in spaces}
        for rows, features in encoder.feature_batches(images, spaces):
            for layer, values in features.items():
                found[layer][rows] = values
        return found

    def make_decoder(self, space: str) -> Decoder:
        """Make an unfitted decoder of a layer."""
        if space not in self.settings.layers:
            raise KeyError(space)
        return choose_decoder(self.options, default="unit-ridge")

    def render(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """Pictures (n, size, size, 3) whose features come closest to decoded ones.

        The search begins at one colour, so seeds do not matter.

        Raises
        ------
        DataError
            When decoded features are zero or not finite.
        """
        return self.render_steps(latents, seeds)[0]

    def render_steps(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]:
        """Pictures, and what they looked like after some of the iterations."""
        return self._find(latents, len(seeds), corrected=True)

    def ceiling(
        self, images: Sequence[Image], seeds: NDArray[np.uint64], captions: Captions | None = None
    ) -> NDArray[np.uint8]:
        """Pictures from the true features of the seen pictures, a batch at a time."""
        del seeds, captions
        parts = []
        for start in range(0, len(images), self.settings.batch_size):
            some = [images[row] for row in range(start, min(start + self.settings.batch_size, len(images)))]
            true = self._encoder.features(some, self.settings.drawn_layers)
            # True features have the norm that they should have.
            latents = {layer: features.cpu().numpy() for layer, features in true.items()}
            parts.append(self._find(latents, len(some), corrected=False)[0])
        return np.concatenate(parts)

    def _find(
        self, latents: Mapping[str, NDArray[np.floating]], n: int, *, corrected: bool
    ) -> tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]:
        settings = self.settings
        found = []
        for start in range(0, n, settings.batch_size):
            part = slice(start, start + settings.batch_size)
            targets = {}
            for layer in settings.drawn_layers:
                # Layers may lie on disk: a batch of one at a time.
                wanted = np.array(latents[layer][part], dtype=np.float32)
                if corrected and self._norms:
                    mean, norm = self._means.get(layer), self._norms[layer]
                    wanted = correct_feature_norm(wanted, mean, norm).astype(np.float32)
                targets[layer] = to_device(wanted, self._encoder.device)
            try:
                found.append(find_pictures(self._encoder, targets, settings, self._generator))
            except ValueError as error:
                raise DataError(f"no picture can be found for decoded features: {error}") from error
        steps = {
            number: np.concatenate([one.steps[number] for one in found]) for number in sorted(found[0].steps)
        }
        return np.concatenate([one.pictures for one in found]), steps

    def state(self) -> dict[str, NDArray[Any]]:
        """Norm (1,) of each layer, and its mean features; nothing where norms are not corrected."""
        norms = {layer: np.array([norm]) for layer, norm in self._norms.items()}
        return norms | {f"{_MEAN}{layer}": mean for layer, mean in self._means.items()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the norms that were measured.

        Raises
        ------
        DataError
            When that of a layer is missing.
        """
        needed = [*self.settings.layers]
        if self.settings.norm_correction == "centred":
            needed += [f"{_MEAN}{layer}" for layer in self.settings.layers]
        missing = [name for name in needed if name not in state]
        if self.settings.norm_correction != "none" and missing:
            raise DataError(f"the saved norms of decoded features lack '{missing[0]}'")
        self._means = {
            name.removeprefix(_MEAN): np.asarray(array)
            for name, array in state.items()
            if name.startswith(_MEAN)
        }
        self._norms = {name: float(norm[0]) for name, norm in state.items() if not name.startswith(_MEAN)}
