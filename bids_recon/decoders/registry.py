"""Decoders by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import UsageError

# Modules are loaded when a decoder is asked for.
DECODERS = {
    "ridge": "bids_recon.decoders.ridge:RidgeDecoder",
    "unit-ridge": "bids_recon.decoders.unit_ridge:UnitRidgeDecoder",
    "sparse": "bids_recon.decoders.sparse:SparseDecoder",
    "parametric-inversion": "bids_recon.decoders.parametric_inversion:ParametricInversion",
    "rescaled": "bids_recon.decoders.rescaling:RescaledDecoder",
}


def decoder_class(name: str) -> type[Any]:
    """Class of a decoder.

    Raises
    ------
    UsageError
        When there is no decoder of that name.
    """
    if name not in DECODERS:
        raise UsageError(f"there is no decoder '{name}'", remedy=f"Choose one of {', '.join(DECODERS)}.")
    module, _, attribute = DECODERS[name].partition(":")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found


def describe_decoder(decoder: Any) -> dict[str, Any]:
    """Name and parameters of a decoder, JSON-ready, those of a decoder inside it too.

    The parameters are what `from_state` of its class takes beside the arrays. The device is left out: it
    belongs to the machine, not to the decoder.
    """
    params = {key: _plain(value) for key, value in decoder.get_params(deep=False).items() if key != "device"}
    return {"name": getattr(decoder, "name", type(decoder).__name__), "params": params}


def on_device(params: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Parameters of `describe_decoder` for a device, those of a decoder inside it too."""
    inside = {
        key: {**value, "params": on_device(value["params"], device)}
        for key, value in params.items()
        if _is_description(value)
    }
    return {**params, **inside, "device": device}


def _plain(value: Any) -> Any:
    if hasattr(value, "get_params"):
        return describe_decoder(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def make_decoder(description: Mapping[str, Any]) -> Any:
    """Unfitted decoder from what `describe_decoder` wrote.

    Raises
    ------
    UsageError
        When there is no decoder of that name.
    """
    kind = decoder_class(description["name"])
    known = {key: value for key, value in description["params"].items() if key in kind._get_param_names()}
    return kind(**{key: _made(value) for key, value in known.items()})


def _is_description(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"name", "params"}


def _made(value: Any) -> Any:
    return make_decoder(value) if _is_description(value) else value


def load_decoder(
    description: Mapping[str, Any], state: Mapping[str, NDArray[Any]], device: str = "auto"
) -> Any:
    """Fitted decoder from what `describe_decoder` wrote and the arrays of its state.

    Raises
    ------
    UsageError
        When there is no decoder of that name.
    DataError
        When an array is missing.
    """
    return decoder_class(description["name"]).from_state(state, on_device(description["params"], device))
