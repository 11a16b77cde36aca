"""Features decoded on a simulated brain: pictures that a network of no part in them tells apart.

Trials are the noiseless responses of the simulated brain with noise of the size that estimates have; there is
no BOLD in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.standardise import shuffle_responses
from bids_recon.methods.base import Method, MethodOptions
from bids_recon.methods.deep_recon import DeepRecon
from bids_recon.methods.eigenimage import Eigenimage
from bids_recon.metrics.network_features import evaluate_network, load_mobilenet
from bids_recon.simulate.design import DEMO
from bids_recon.simulate.experiment import make_person
from bids_recon.simulate.pictures import make_pictures

# Deviation of a single trial's estimate, in percent signal change; test pictures are shown five times.
NOISE, REPEATS = 0.6, 5


@dataclass(frozen=True)
class Experiment:
    """Responses (n, n_voxels) to pictures, of training and test."""

    training: list[NDArray[np.uint8]]
    seen: list[NDArray[np.uint8]]
    responses: NDArray[np.float32]
    test: NDArray[np.float32]


def simulate(seed: int, n_train: int, n_test: int) -> Experiment:
    design = replace(DEMO, n_subjects=1, n_train=n_train, n_natural=n_test, n_shapes=0, n_letters=0)
    pictures = make_pictures(design, seed)
    pixels = np.stack([picture.pixels for picture in pictures])
    true = make_person(design, seed, "01", pictures, pixels).truth.betas
    noise = NOISE * np.random.default_rng(seed).standard_normal(true.shape)
    noise[n_train:] /= REPEATS**0.5
    responses = (true + noise).astype(np.float32)
    return Experiment(
        list(pixels[:n_train]), list(pixels[n_train:]), responses[:n_train], responses[n_train:]
    )


def drawn(
    method: Method, experiment: Experiment, rng: np.random.Generator | None = None
) -> NDArray[np.uint8]:
    """Pictures of test responses; after training on shuffled responses when `rng` is given."""
    method.fit_latent_spaces(experiment.training)
    x = experiment.responses if rng is None else shuffle_responses(experiment.responses, rng)
    decoded, work = {}, SharedWork(x)
    true = method.encode(experiment.training, list(method.latent_spaces))
    for name, latents in true.items():
        decoder = method.make_decoder(name).fit(x, latents.reshape(len(x), -1), work=work)
        decoded[name] = decoder.predict(experiment.test).reshape(-1, *latents.shape[1:])
    return method.render(decoded, np.zeros(len(experiment.test), np.uint64))


def identified(
    made: NDArray[np.uint8], seen: list[NDArray[np.uint8]], mobilenet: Path
) -> NDArray[np.float64]:
    """Two-way identification of each picture by features of MobileNetV2."""
    return evaluate_network(made, seen, None, load_mobilenet(mobilenet))["two-way-a"]


# The first iterations match the stem alone. An early end leaves out what noise adds to fine structure.
DEEP: dict[str, Any] = {
    "encoder": "efficientnet-lite0",
    "image_size": 128,
    "layers": ["DNN1-5"],
    "generator": "waves",
    "iterations": 45,
    "batch_size": 40,
}
# One penalty for both methods, near those that cross-validation chooses.
ALPHA = (1000.0,)


def deep_recon(**extra: Any) -> DeepRecon:
    return DeepRecon(MethodOptions(decoder="ridge", alpha=ALPHA, device="cpu", extra=DEEP | extra))


def eigenimage() -> Eigenimage:
    return Eigenimage(MethodOptions(alpha=ALPHA, device="cpu"))


@pytest.mark.slow
@pytest.mark.usefixtures("lite0_file")
def test_photographs_are_identified_above_the_baseline(mobilenet_file: Path) -> None:
    experiment = simulate(1, n_train=480, n_test=30)
    deep = identified(drawn(deep_recon(), experiment), experiment.seen, mobilenet_file)
    baseline = identified(drawn(eigenimage(), experiment), experiment.seen, mobilenet_file)
    assert deep.mean() > baseline.mean()
    assert deep.mean() > 0.68


@pytest.mark.slow
@pytest.mark.usefixtures("lite0_file")
def test_shuffled_responses_identify_nothing(mobilenet_file: Path) -> None:
    experiment = simulate(1, n_train=240, n_test=20)
    shallow = deep_recon(image_size=64, layers=["DNN1-3"], iterations=25)
    floor = [
        identified(
            drawn(shallow, experiment, np.random.default_rng(seed)), experiment.seen, mobilenet_file
        ).mean()
        for seed in range(3)
    ]
    assert np.mean(floor) == pytest.approx(0.5, abs=0.12)
