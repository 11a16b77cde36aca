"""The part of the settings that methods read, on its way to the sidecar and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_recon.config import Settings
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.registry import make_method
from bids_recon.weights.store import find_weight

# Fields of their own in `MethodOptions`; the others are settings of single methods.
_OWN = ("decoder", "alpha", "alpha_selection", "alpha_per", "noise_covariance", "rescale")
# Settings of single methods, under the names of their options.
_OF_METHODS = ("n_components", "image_size", "encoder", "layers", "norm_correction", "vdvae_latents")
# Those that decoding does not depend on: the group level may choose others.
DRAWING = (
    *("generator", "optimiser", "iterations", "layer_order"),
    *(
        "vdvae_guess",
        "ablate",
        "strength",
        "guidance_scale",
        "text_strength",
        "steps",
        "vd_start",
        "precision",
    ),
)


def method_options(settings: Settings) -> MethodOptions:
    """Options of a method that is fitted by this run."""
    return MethodOptions(
        decoder=settings.decoder,
        alpha=settings.alpha,
        alpha_selection=settings.alpha_selection,
        alpha_per=settings.alpha_per,
        noise_covariance=settings.noise_covariance,
        rescale=settings.rescale,
        legacy_test_statistics=settings.legacy_test_statistics,
        seed=settings.seed,
        device=settings.device,
        weights=settings.weights,
        extra={name: getattr(settings, name) for name in (*_OF_METHODS, *DRAWING)}
        | {"batch_size": settings.batch_size},
    )


def check_method(method: str, options: MethodOptions) -> None:
    """Check options, and find weights, before hours of computing and not after.

    Raises
    ------
    ReconError
        When there is no such method, an option does not suit it, or weights are missing or damaged.
    """
    for weight in make_method(method, options).weights:
        find_weight(weight, options.weights)


def options_record(options: MethodOptions) -> dict[str, Any]:
    """What a sidecar keeps of the options, JSON-ready: all that decoded latents depend on.

    Seed and legacy statistics have keys of their own.
    """
    extra = {name: value for name, value in options.extra.items() if name in _OF_METHODS}
    return {name: getattr(options, name) for name in _OWN} | extra


def options_of(sidecar: Mapping[str, Any], settings: Settings) -> MethodOptions:
    """The options a method was fitted with, from the sidecar of its decoded latents.

    What belongs to the machine (device, weights, pictures at a time) comes from the settings, and so does how
    pictures are drawn, where the settings say so: they may match some of the layers that were decoded.
    """
    extra = dict(sidecar["MethodOptions"])
    own = {name: extra.pop(name, None) for name in _OWN}
    own["alpha"] = tuple(own["alpha"] or ())
    drawing = {name: value for name in DRAWING if (value := getattr(settings, name)) not in (None, ())}
    return MethodOptions(
        **own,
        legacy_test_statistics=sidecar["LegacyTestStatistics"],
        seed=sidecar["Seed"],
        device=settings.device,
        weights=settings.weights,
        extra={**extra, **drawing, "drawn_layers": settings.layers, "batch_size": settings.batch_size},
    )
