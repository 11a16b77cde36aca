"""Decoders from a method's defaults and the options of a user."""

from __future__ import annotations

from typing import Any

import pytest

from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.errors import UsageError
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.decoder_choice import choose_decoder


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ({}, "ridge", {"alphas": (7.0,), "selection": "k-fold"}),
        (
            {"alpha": (1.0, 2.0), "alpha_selection": "gcv"},
            "ridge",
            {"alphas": (1.0, 2.0), "selection": "gcv"},
        ),
        ({"alpha_per": "target", "seed": 3}, "ridge", {"alpha_per": "target", "seed": 3}),
        ({"decoder": "unit-ridge"}, "unit-ridge", {"alpha": 100.0}),
        ({"decoder": "unit-ridge", "alpha": (5.0,)}, "unit-ridge", {"alpha": 5.0}),
        ({"decoder": "sparse", "device": "cpu"}, "sparse", {"device": "cpu", "n_iterations": 200}),
        ({"decoder": "parametric-inversion"}, "parametric-inversion", {"centre": "training"}),
        (
            {"decoder": "parametric-inversion", "noise_covariance": "shrunk"},
            "parametric-inversion",
            {"noise_covariance": "shrunk", "include_constant": False},
        ),
    ],
)
def test_options_win_over_the_defaults_of_the_method(
    options: dict[str, Any], name: str, expected: dict[str, Any]
) -> None:
    decoder: Any = choose_decoder(MethodOptions(**options), alphas=(7.0,))
    assert decoder.name == name
    assert expected.items() <= decoder.get_params().items()


@pytest.mark.parametrize(
    ("rescaled", "options", "statistics"),
    [
        (False, {}, None),
        (True, {"rescale": "none"}, None),
        (True, {}, "out-of-fold"),
        (False, {"rescale": "out-of-fold"}, "out-of-fold"),
        (True, {"legacy_test_statistics": True}, "test"),
    ],
)
def test_rescaling(rescaled: bool, options: dict[str, Any], statistics: str | None) -> None:
    decoder: Any = choose_decoder(MethodOptions(**options), rescaled=rescaled)
    assert isinstance(decoder, RescaledDecoder) == (statistics is not None)
    if statistics:
        assert decoder.statistics == statistics
        assert decoder.decoder.name == "ridge"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decoder": "forest"}, "no decoder 'forest'"),
        ({"decoder": "unit-ridge", "alpha": (1.0, 2.0)}, "takes one --alpha"),
        (
            {"decoder": "parametric-inversion", "alpha": (1.0,)},
            "inversion. It belongs to: ridge, unit-ridge",
        ),
        ({"decoder": "sparse", "alpha": (1.0,)}, "--alpha does not go with the decoder sparse"),
        ({"decoder": "sparse", "alpha_selection": "gcv"}, "--alpha-selection does not go with"),
        ({"noise_covariance": "shrunk"}, "--noise-covariance does not go with the decoder ridge"),
        ({"decoder": "unit-ridge", "alpha_per": "target"}, "--alpha-per does not go with"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose_decoder(MethodOptions(**options))
