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

    The parameters are what `from_state` of its class takes beside the arrays.
    """
    params = decoder.get_params(deep=False)
    return {"name": decoder.name, "params": {key: _plain(value) for key, value in params.items()}}


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
    params = {key: _made(value) for key, value in description["params"].items()}
    return decoder_class(description["name"])(**params)


def _made(value: Any) -> Any:
    return make_decoder(value) if isinstance(value, Mapping) and set(value) == {"name", "params"} else value


def load_decoder(description: Mapping[str, Any], state: Mapping[str, NDArray[Any]]) -> Any:
    """Fitted decoder from what `describe_decoder` wrote and the arrays of its state.

    Raises
    ------
    UsageError
        When there is no decoder of that name.
    DataError
        When an array is missing.
    """
    return decoder_class(description["name"]).from_state(state, description["params"])
