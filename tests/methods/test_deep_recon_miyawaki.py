"""Deep image reconstruction on real responses of V1, each of 20 pictures left out in turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_eigenimage_miyawaki import read

from bids_recon.decoders.shared_work import SharedWork
from bids_recon.decoders.standardise import shuffle_responses
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.deep_recon import DeepRecon
from bids_recon.metrics.protocols import PIXELS_1, evaluate_pictures

# Pictures are 10 x 10 squares of two grey levels: layers of high resolution tell them apart.
EXTRA = {"encoder": "efficientnet-lite0", "image_size": 64, "layers": ["DNN1-2"], "iterations": 45}


def leave_one_picture_out(shared: Path, rng: np.random.Generator | None = None) -> NDArray[np.float64]:
    """Two-way identification by pixels of the picture drawn from the mean response to each picture."""
    responses, stimulus, names, pictures = read(shared)
    seen = responses if rng is None else shuffle_responses(responses, rng)
    method = DeepRecon(MethodOptions(decoder="ridge", alpha=(100.0,), device="cpu", extra=EXTRA))
    true = method.encode(pictures, method.settings.layers)
    made = []
    for own in range(len(pictures)):
        train = stimulus != own
        method.fit_latent_spaces([picture for other, picture in enumerate(pictures) if other != own])
        x, test = seen[train], responses[~train].mean(axis=0, keepdims=True)
        work, decoded = SharedWork(x), {}
        for layer, features in true.items():
            wanted = features[stimulus[train]].reshape(len(x), -1)
            decoder = method.make_decoder(layer).fit(x, wanted, names[stimulus[train]], work=work)
            decoded[layer] = decoder.predict(test).reshape(1, *features.shape[1:])
        made.append(method.render(decoded, np.zeros(1, np.uint64))[0])
    return evaluate_pictures(np.stack(made), pictures, None, PIXELS_1)["two-way-a"]


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.usefixtures("lite0_file")
def test_pictures_that_were_left_out_are_identified(shared: Path) -> None:
    found = leave_one_picture_out(shared)
    assert found.mean() >= 0.92
    assert (found > 0.5).mean() >= 0.9


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.usefixtures("lite0_file")
def test_shuffled_responses_identify_nothing(shared: Path) -> None:
    # Below one half: leaving a picture out moves the mean of the others away from it.
    found = leave_one_picture_out(shared, np.random.default_rng(0))
    assert 0.3 < found.mean() < 0.6
