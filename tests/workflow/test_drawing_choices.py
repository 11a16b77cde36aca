"""What the group level may choose of how pictures are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bids_recon.config import Settings
from bids_recon.errors import UsageError
from bids_recon.methods.registry import make_method
from bids_recon.workflow.drawing_choices import check_settled, drawing_record
from bids_recon.workflow.method_settings import options_of

FILE = Path("out/sub-01_decoder.json")


def settings(**more: Any) -> Settings:
    return Settings(Path("ds"), Path("out"), **more)


def sidecar(**options: Any) -> dict[str, Any]:
    return {"MethodOptions": options, "LegacyTestStatistics": False, "Seed": 0}


def record(method: str, decoded: dict[str, Any], chosen: Settings) -> dict[str, Any]:
    return drawing_record(make_method(method, options_of(decoded, chosen)).choices)


def test_the_record_has_what_belongs_to_drawing() -> None:
    chosen = settings(generator="waves", iterations=50, layers=("conv1_1", "fc6"), encoder="vgg19")
    assert record("deep-recon", sidecar(), chosen) == {
        "generator": "waves",
        "optimiser": "lbfgs",
        "iterations": 50,
        "layer_order": "together",
        "layers": ["conv1_1", "fc6"],
    }
    decoded = sidecar(layers=["fc6", "fc7"])
    assert record("deep-recon", decoded, settings())["layers"] == ["fc6", "fc7"]
    assert record("eigenimage", sidecar(), chosen) == {}


def test_the_record_of_a_diffusion() -> None:
    chosen = settings(ablate=("clip-text",), steps=20, strength=0.5, device="cpu")
    assert record("brain-diffuser", sidecar(vdvae_latents="sample"), chosen) == {
        "vdvae_guess": "sample",
        "ablate": ["clip-text"],
        "strength": 0.5,
        "guidance_scale": 7.5,
        "text_strength": 0.0,
        "steps": 20,
        "vd_start": "published",
        "precision": "float32",
    }
    with pytest.raises(UsageError, match="--vdvae-latents sample, and --vdvae-latents mean"):
        check_settled(
            settings(vdvae_latents="mean"), "brain-diffuser", sidecar(vdvae_latents="sample"), file=FILE
        )


@pytest.mark.parametrize(
    ("given", "decoded"),
    [
        ({}, {"encoder": "vgg19-imagery", "norm_correction": "none"}),
        ({"encoder": "vgg19"}, {"encoder": None}),
        ({"encoder": "vgg19", "norm_correction": "training"}, {}),
        ({"norm_correction": "extra"}, {"norm_correction": "extra"}),
    ],
)
def test_options_that_say_what_was_decoded(given: dict[str, str], decoded: dict[str, Any]) -> None:
    check_settled(settings(**given), "deep-recon", sidecar(**decoded), file=FILE)


@pytest.mark.parametrize(
    ("given", "decoded", "words"),
    [
        ({"encoder": "vgg19-imagery"}, {"encoder": None}, "--encoder vgg19, and --encoder vgg19-imagery"),
        (
            {"norm_correction": "none"},
            {"norm_correction": None},
            "--norm-correction training, and --norm-correction none",
        ),
        ({"encoder": "vgg19"}, {"encoder": "efficientnet-lite0"}, "--encoder efficientnet-lite0, and"),
    ],
)
def test_options_that_decoding_has_settled(
    given: dict[str, str], decoded: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=f"{FILE}: latents were decoded with {words}"):
        check_settled(settings(**given), "deep-recon", sidecar(**decoded), file=FILE)
    check_settled(settings(**given), "eigenimage", sidecar(**decoded), file=FILE)
