"""The part of the settings that methods read, on its way to the sidecar and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_recon.config import Settings
from bids_recon.methods.base import MethodOptions

# Fields of their own in `MethodOptions`; the others are settings of single methods.
_OWN = ("decoder", "alpha", "alpha_selection", "alpha_per", "noise_covariance", "rescale")


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
        extra={"n_components": settings.n_components, "image_size": settings.image_size},
    )


def options_record(options: MethodOptions) -> dict[str, Any]:
    """What a sidecar keeps of the options, JSON-ready; seed and legacy statistics have keys of their own."""
    return {name: getattr(options, name) for name in _OWN} | dict(options.extra)


def options_of(sidecar: Mapping[str, Any], device: str) -> MethodOptions:
    """The options a method was fitted with, from the sidecar of its decoded latents."""
    extra = dict(sidecar["MethodOptions"])
    own = {name: extra.pop(name, None) for name in _OWN}
    own["alpha"] = tuple(own["alpha"] or ())
    return MethodOptions(
        **own,
        legacy_test_statistics=sidecar["LegacyTestStatistics"],
        seed=sidecar["Seed"],
        device=device,
        extra=extra,
    )
