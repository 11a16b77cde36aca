"""Ten iterations of the descent against those of bdpy 0.26 (icnn), with the same small random networks.

The start of pixels is stored in half precision. That alone moves the losses that were stored with it by up to
0.6 %, whichever program runs, so that they are held to 1 %. bdpy was run once more from the start as it is
stored; those losses, below, are held to 0.1 %.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_recon.methods.feature_matching import FeatureMatch
from bids_recon.methods.momentum_descent import ICNN_GENERATOR, ICNN_PIXELS, DescentSettings, descend
from bids_recon.methods.picture_objective import Optimised
from bids_recon.models.relu7_generator import Relu7Generator
from bids_recon.models.vgg19 import Vgg19

pytestmark = pytest.mark.shared
LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1", "fc6", "fc7", "fc8")
ITERATIONS = 10
# Of bdpy.recon.torch.icnn.reconstruct from the stored start: losses, and pixels [:, 40::72, 40::72].
BDPY_LOSSES = {
    "sgd": [
        77334344,
        47064836,
        51697520,
        51728696,
        49914052,
        47227512,
        44135728,
        40966652,
        38045444,
        35745420,
    ],
    "sgd_noblur": [
        *(77334344, 64133264, 53391048, 44997472, 38525508),
        *(33623504, 29879196, 26967448, 24724526, 23105084),
    ],
}
BDPY_PIXELS = {
    "sgd": [
        [13.157, -1.925, 0.493, -0.941, 0.649, -3.563, -2.986, -3.872, -0.153],
        [-33.054, -0.696, 0.61, 1.0, -0.09, -1.057, 2.944, -0.102, -1.155],
        [9.807, 1.162, -1.022, -3.318, 3.321, 3.931, -2.79, 2.357, 3.038],
    ],
    "sgd_noblur": [
        [-4.506, -71.471, -9.142, 12.699, 1.273, 21.995, -9.382, -17.079, -52.935],
        [-76.086, 25.944, -29.165, 83.519, 21.14, -27.236, 51.913, -57.586, -67.812],
        [81.508, 22.647, -27.19, 50.247, -87.57, 26.941, -86.619, 79.424, -61.161],
    ],
}


class Fixture:
    """Networks, targets and what bdpy found."""

    def __init__(self, folder: Path) -> None:
        self.found = np.load(folder / "icnn_bdpy.npz")
        self.network = Vgg19(channels=(8, 16, 32, 64, 64), hidden=512)
        self.generator = Relu7Generator(latent=256, divisor=16)
        for name, module in (("vgg19_div8", self.network), ("relu7gen_div16", self.generator)):
            weights = torch.load(folder / f"{name}_state_dict_f16.pt", weights_only=True)
            module.load_state_dict({key: value.float() for key, value in weights.items()})
        self.targets = {layer: torch.from_numpy(self.found[f"target_{layer}"]).float() for layer in LAYERS}

    def start(self) -> torch.Tensor:
        image = torch.from_numpy(self.found["init_image"]).float()
        return image.permute(2, 0, 1)[None].contiguous()

    def icnn_losses(self, optimised: Optimised) -> np.ndarray:
        """Losses with weights that sum to one."""
        total = sum(1 / target.double().square().sum() for target in self.targets.values())
        return (2 / total * optimised.losses[0]).numpy()


@pytest.fixture(scope="module")
def icnn(shared: Path) -> Fixture:
    return Fixture(shared / "parity" / "vgg19_relu7generator_narrow")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sgd", ICNN_PIXELS),
        ("sgd_noblur", replace(ICNN_PIXELS, decay=(0.01, 0.01), blur=None)),
    ],
)
def test_pixels_move_as_those_of_bdpy(icnn: Fixture, name: str, settings: DescentSettings) -> None:
    match = FeatureMatch(icnn.network, icnn.targets)
    optimised = descend(match, icnn.start(), replace(settings, iterations=ITERATIONS))
    losses = icnn.icnn_losses(optimised)[:ITERATIONS]
    np.testing.assert_allclose(losses, BDPY_LOSSES[name], rtol=1e-3)
    np.testing.assert_allclose(losses, icnn.found[f"{name}_loss"], rtol=1e-2)
    pixels = optimised.solution[0, :, 40::72, 40::72].reshape(3, -1).numpy()
    # Where a unit is near zero, rounding decides which way pixels go, so that they are only about the same.
    assert np.corrcoef(pixels.ravel(), np.ravel(BDPY_PIXELS[name]))[0, 1] > 0.99
    assert np.std(pixels - BDPY_PIXELS[name]) < 0.1 * np.std(BDPY_PIXELS[name])


def test_the_generators_input_moves_as_that_of_bdpy(icnn: Fixture) -> None:
    match = FeatureMatch(icnn.network, icnn.targets, generator=icnn.generator, size=(224, 224))
    start = torch.from_numpy(icnn.found["init_feature_dgn"])[None]
    steps: list[torch.Tensor] = []
    optimised = descend(
        match,
        start,
        replace(ICNN_GENERATOR, iterations=ITERATIONS),
        lower=0.0,
        upper=torch.from_numpy(icnn.found["dgn_upper_bound"]),
        on_step=lambda iteration, x: steps.append(x),
    )
    losses = icnn.icnn_losses(optimised)[:ITERATIONS]
    np.testing.assert_allclose(losses, icnn.found["sgd_dgn_loss"], rtol=1e-3)
    # bdpy gives back the picture of its last evaluation, one step before the end.
    drawn = match.pictures(steps[-2])[0, :, ::4, ::4].numpy()
    expected = icnn.found["sgd_dgn_img"]
    assert np.abs(drawn - expected).max() < 0.01 * np.abs(expected).max()
