"""Decoders by name, with the options that a user may give."""

from __future__ import annotations

from typing import Any

from bids_recon.decoders.registry import decoder_class
from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.errors import UsageError
from bids_recon.methods.base import Decoder, MethodOptions

CHOICES = ("ridge", "unit-ridge", "sparse", "parametric-inversion")


def choose_decoder(
    options: MethodOptions, *, default: str = "ridge", rescaled: bool = False, **published: Any
) -> Decoder:
    """Make an unfitted decoder from a method's defaults and the user's options.

    Parameters
    ----------
    options : MethodOptions
    default : str
        The decoder of the method when none was asked for.
    rescaled : bool
        Whether the method rescales decoded latents when the user says nothing.
    **published
        Parameters of the default decoder; what the user gives wins.

    Raises
    ------
    UsageError
        When there is no such decoder, or an option does not go with it.
    """
    name = options.decoder or default
    if name not in CHOICES:
        raise UsageError(f"there is no decoder '{name}'", remedy=f"Choose one of: {', '.join(CHOICES)}.")
    params = dict(published) if name == default else {}
    params |= _given(name, options)
    decoder: Decoder = decoder_class(name)(**params)
    wanted = options.rescale or ("out-of-fold" if rescaled else "none")
    if wanted == "none":
        return decoder
    statistics = "test" if options.legacy_test_statistics else "out-of-fold"
    return RescaledDecoder(decoder, statistics=statistics, seed=options.seed)


def _given(name: str, options: MethodOptions) -> dict[str, Any]:
    """Parameters of a decoder that follow from the options."""
    belongs = {
        "alpha": ("ridge", "unit-ridge"),
        "alpha_selection": ("ridge",),
        "alpha_per": ("ridge",),
        "noise_covariance": ("parametric-inversion",),
    }
    for option, decoders in belongs.items():
        if getattr(options, option) not in (None, ()) and name not in decoders:
            raise UsageError(
                f"--{option.replace('_', '-')} does not go with the decoder {name}",
                remedy=f"It belongs to: {', '.join(decoders)}.",
            )
    if name == "parametric-inversion":
        published = options.legacy_test_statistics
        params = {"centre": "test", "include_constant": True} if published else {}
        covariance = options.noise_covariance
        return params | ({"noise_covariance": covariance} if covariance else {})
    if name == "ridge":
        known = {
            "alphas": options.alpha,
            "selection": options.alpha_selection,
            "alpha_per": options.alpha_per,
        }
        chosen = {key: value for key, value in known.items() if value}
        return {"device": options.device, "seed": options.seed, **chosen}
    if len(options.alpha) > 1:
        raise UsageError(f"the decoder {name} takes one --alpha, it does not choose among several")
    return {"device": options.device} | ({"alpha": options.alpha[0]} if options.alpha else {})
