"""The eigenimage method from pictures to pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_recon.decoders.parametric_inversion import ParametricInversion
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.errors import DataError, UsageError
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.eigenimage import Eigenimage

SMALL = {"n_components": 6, "image_size": 8}


def blobs(n: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Pictures with a handful of degrees of freedom, 8 x 8."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).standard_normal((6, 8 * 8 * 3))
    pixels = 128 + rng.standard_normal((n, 6)) * [30, 25, 20, 15, 10, 10] @ basis
    return list(np.clip(pixels, 0, 255).astype(np.uint8).reshape(n, 8, 8, 3))


def seeds(n: int) -> NDArray[np.uint64]:
    return np.arange(n, dtype=np.uint64)


@pytest.mark.parametrize("decoder", ["ridge", "parametric-inversion"])
def test_planted_pictures_are_reconstructed(decoder: str) -> None:
    rng = np.random.default_rng(0)
    pictures = blobs(70)
    method = Eigenimage(MethodOptions(decoder=decoder, extra=SMALL))
    method.fit_latent_spaces(pictures[:60])
    latents = method.latent_spaces["eigenimage"].encode(pictures)
    responses = latents @ rng.standard_normal((6, 40)) / 100 + 3
    responses += 0.05 * responses.std() * rng.standard_normal(responses.shape)
    fitted = method.make_decoder("eigenimage").fit(responses[:60], latents[:60], np.arange(60))
    made = method.render({"eigenimage": fitted.predict(responses[60:])}, seeds(10))
    best = method.ceiling(pictures[60:], seeds(10))

    assert made.shape == (10, 8, 8, 3)
    assert made.dtype == np.uint8
    for reconstructed, ceiling in zip(made, best, strict=True):
        assert np.corrcoef(reconstructed.ravel(), ceiling.ravel())[0, 1] > 0.97
    alone = method.render({"eigenimage": fitted.predict(responses[60:61])}, seeds(1))
    np.testing.assert_allclose(alone[0].astype(int), made[0].astype(int), atol=1)


def test_ceiling_is_the_projection_on_the_components() -> None:
    pictures = blobs(20)
    method = Eigenimage(MethodOptions(extra=SMALL | {"n_components": 19}))
    method.fit_latent_spaces(pictures)
    assert np.abs(method.ceiling(pictures, seeds(20)).astype(int) - np.stack(pictures)).max() <= 1


def test_extra_pictures_enter_the_components() -> None:
    pictures, extra = blobs(4), blobs(20, seed=5)
    method = Eigenimage(MethodOptions(extra=SMALL))
    method.fit_latent_spaces(pictures, extra)
    assert method.latent_spaces["eigenimage"].shape == (6,)
    method.fit_latent_spaces(pictures)
    assert method.latent_spaces["eigenimage"].shape == (3,)


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        (MethodOptions(), RidgeDecoder, {"n_folds": 5}),
        (MethodOptions(legacy_test_statistics=True), RidgeDecoder, {"n_folds": 5}),
        (MethodOptions(decoder="parametric-inversion"), ParametricInversion, {"centre": "training"}),
        (
            MethodOptions(decoder="parametric-inversion", legacy_test_statistics=True),
            ParametricInversion,
            {"centre": "test", "include_constant": True},
        ),
    ],
)
def test_options_choose_the_decoder(options: MethodOptions, kind: type, expected: dict[str, Any]) -> None:
    decoder = Eigenimage(options).make_decoder("eigenimage")
    assert isinstance(decoder, kind)
    assert expected.items() <= decoder.get_params().items()


def test_legacy_statistics_are_undefined_for_one_test_picture() -> None:
    pictures = blobs(40)
    method = Eigenimage(
        MethodOptions(decoder="parametric-inversion", legacy_test_statistics=True, extra=SMALL)
    )
    method.fit_latent_spaces(pictures)
    latents = method.latent_spaces["eigenimage"].encode(pictures)
    decoder = method.make_decoder("eigenimage").fit(latents * 2, latents)
    with pytest.raises(DataError, match="only one"):
        decoder.predict(latents[:1])


@pytest.mark.parametrize("decoder", ["ridge", "parametric-inversion"])
def test_state_rebuilds_the_method(decoder: str) -> None:
    pictures = blobs(12)
    method = Eigenimage(MethodOptions(decoder=decoder, extra=SMALL))
    method.fit_latent_spaces(pictures)
    other = Eigenimage(MethodOptions(decoder=decoder, extra=SMALL))
    other.load_state(method.state())

    assert other.latent_spaces["eigenimage"].identity == method.latent_spaces["eigenimage"].identity
    np.testing.assert_array_equal(other.ceiling(pictures, seeds(12)), method.ceiling(pictures, seeds(12)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            MethodOptions(decoder="lasso"),
            r"no decoder 'lasso'.*ridge, unit-ridge, sparse, param",
        ),
        (MethodOptions(decoder="sparse", alpha=(1.0,)), "--alpha does not go with the decoder sparse"),
        (MethodOptions(extra={"n_components": 0}), "n_components .* is 0"),
        (MethodOptions(extra={"image_size": 2.5}), "image_size .* is 2.5"),
    ],
)
def test_options_that_do_not_exist_are_refused(options: MethodOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Eigenimage(options)
