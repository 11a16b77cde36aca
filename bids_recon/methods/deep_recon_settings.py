"""Choices of deep image reconstruction, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_recon.errors import UsageError
from bids_recon.latents.encoder_catalogue import EncoderSpec, encoder_spec

GENERATORS = ("none", "relu7", "waves")
OPTIMISERS = ("lbfgs", "gradient-descent")
NORMS = ("none", "training", "extra", "centred")
LAYER_ORDERS = ("together", "shallow-first")


@dataclass(frozen=True)
class DeepReconSettings:
    """How features are decoded and pictures are found.

    Attributes
    ----------
    encoder : EncoderSpec
    size : int
        Of its input, in pixels.
    layers : tuple of str
        Layers that are decoded, from shallow to deep.
    drawn_layers : tuple of str
        Those of them that pictures are to match.
    generator : {"none", "relu7", "waves"}
        Whether pixels are optimised, the input of a generator of natural pictures, or amplitudes of waves.
    optimiser : {"lbfgs", "gradient-descent"}
    iterations : int
    layer_order : {"together", "shallow-first"}
        Whether all layers are matched from the start.
    norm_correction : {"none", "training", "extra", "centred"}
        Of which pictures the norm is that decoded features are brought to. With "centred", their distance
        from the mean training features is brought to that of training features.
    batch_size : int
        Pictures that are optimised at a time.
    """

    encoder: EncoderSpec
    size: int
    layers: tuple[str, ...]
    drawn_layers: tuple[str, ...]
    generator: str
    optimiser: str
    iterations: int
    layer_order: str
    norm_correction: str
    batch_size: int

    @classmethod
    def of(cls, extra: Mapping[str, Any]) -> DeepReconSettings:
        """Settings from the options of a method; what is absent or None is as published.

        Raises
        ------
        UsageError
            When a choice does not exist, or two do not go together.
        """

        def given(name: str, default: Any) -> Any:
            value = extra.get(name)
            absent = value is None or (isinstance(value, (list, tuple)) and not value)
            return default if absent else value

        encoder, size = encoder_spec(given("encoder", "vgg19"), extra.get("image_size"))
        generator = _one_of(GENERATORS, "generator", given("generator", "none"))
        if generator == "relu7" and encoder.weight != "vgg19-caffe":
            raise UsageError(
                f"the generator {generator} draws pictures for VGG19, not for {encoder.name}",
                remedy="Leave --generator out, or choose --encoder vgg19.",
            )
        # The paper: pixels by L-BFGS unless stated, the generator's input by gradient descent.
        usual = "gradient-descent" if generator == "relu7" else "lbfgs"
        optimiser = _one_of(OPTIMISERS, "optimiser", given("optimiser", usual))
        order = "shallow-first" if encoder.shallow_first and optimiser == "lbfgs" else "together"
        order = _one_of(LAYER_ORDERS, "layer_order", given("layer_order", order))
        if order == "shallow-first" and optimiser != "lbfgs":
            raise UsageError(
                "layers can be matched one group after the other by --optimiser lbfgs only",
                remedy="Leave --layer-order out.",
            )
        layers = encoder.choose_layers(tuple(given("layers", encoder.layers)))
        drawn_layers = encoder.choose_layers(tuple(given("drawn_layers", layers)))
        if missing := [layer for layer in drawn_layers if layer not in layers]:
            raise UsageError(
                f"pictures cannot match the layer {missing[0]}, which was not decoded",
                remedy=f"Decoded layers: {', '.join(layers)}.",
            )
        return cls(
            encoder=encoder,
            size=size,
            layers=layers,
            drawn_layers=drawn_layers,
            generator=generator,
            optimiser=optimiser,
            iterations=int(given("iterations", 200)),
            layer_order=order,
            norm_correction=_one_of(
                NORMS, "norm_correction", given("norm_correction", encoder.norm_correction)
            ),
            batch_size=int(given("batch_size", 16)),
        )


def _one_of(choices: tuple[str, ...], option: str, value: Any) -> str:
    if value not in choices:
        raise UsageError(
            f"{option} of the method deep-recon is '{value}'", remedy=f"Choose one of: {', '.join(choices)}."
        )
    return str(value)
