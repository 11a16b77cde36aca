"""Decoders by name, with the options that a user may give."""

from __future__ import annotations

from typing import Any

from bids_recon.decoders.registry import decoder_class
from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.decoders.ridge import RidgeDecoder
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
    chosen = [key for key in ("alpha_selection", "alpha_per") if getattr(options, key) is not None]
    if chosen and name != RidgeDecoder.name:
        raise UsageError(
            f"--{chosen[0].replace('_', '-')} does not go with the decoder {name}: only ridge chooses one"
        )
    if name == "parametric-inversion":
        if options.alpha:
            raise UsageError("--alpha does not go with the decoder parametric-inversion: it has no penalty")
        return {"centre": "test", "include_constant": True} if options.legacy_test_statistics else {}
    if name == "sparse":
        if options.alpha:
            raise UsageError("--alpha does not go with the decoder sparse: it learns its penalties")
        return {"device": options.device}
    if name == "unit-ridge":
        if len(options.alpha) > 1:
            raise UsageError("the decoder unit-ridge takes one --alpha, it does not choose among several")
        return {"device": options.device} | ({"alpha": options.alpha[0]} if options.alpha else {})
    params: dict[str, Any] = {"device": options.device, "seed": options.seed}
    if options.alpha:
        params["alphas"] = options.alpha
    if options.alpha_selection:
        params["selection"] = options.alpha_selection
    if options.alpha_per:
        params["alpha_per"] = options.alpha_per
    return params
