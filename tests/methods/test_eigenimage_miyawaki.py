"""The eigenimage method on real responses of V1 (118 trials), each of 20 pictures left out in turn."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from bids_recon.decoders.standardise import shuffle_responses
from bids_recon.latents.eigenimage import square_picture
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.eigenimage import Eigenimage

SIZE = 32


def read(
    shared: Path,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.str_], list[NDArray[np.uint8]]]:
    data_set = shared / "data" / "miyawaki-figures"
    stem = "derivatives/betas/sub-01/func/sub-01_task-figures_space-T1w"
    image = nib.load(data_set / f"{stem}_stat-effect_desc-SingletrialBetas_statmap.nii.gz")
    responses = np.asarray(image.dataobj, dtype=np.float32).reshape(967, 118).T
    trials = pd.read_csv(data_set / f"{stem}_desc-SingletrialBetas_trials.tsv", sep="\t")
    names, stimulus = np.unique(trials["stim_file"].to_numpy(str), return_inverse=True)
    pictures = [np.asarray(Image.open(data_set / "stimuli" / name).convert("RGB")) for name in names]
    return responses, stimulus, names, pictures


def identified(made: NDArray[np.uint8], truth: NDArray[np.float64], own: int) -> NDArray[np.float64]:
    """Share of the other pictures that correlate less with each reconstruction than its own does."""
    correlations = np.corrcoef(made.reshape(len(made), -1), truth)[: len(made), len(made) :]
    others = np.delete(correlations, own, axis=1)
    return (others < correlations[:, [own]]).mean(axis=1) + (others == correlations[:, [own]]).mean(
        axis=1
    ) / 2


def leave_one_picture_out(
    shared: Path, rng: np.random.Generator | None = None, decoder: str | None = None
) -> tuple[float, float]:
    """Two-way identification of single trials, and of the mean response to each picture."""
    responses, stimulus, names, pictures = read(shared)
    truth = np.stack([square_picture(picture, SIZE).ravel() for picture in pictures]).astype(float)
    single, averaged = [], []
    for own in range(len(pictures)):
        train = stimulus != own
        method = Eigenimage(MethodOptions(decoder=decoder, extra={"image_size": SIZE}))
        method.fit_latent_spaces([picture for other, picture in enumerate(pictures) if other != own])
        latents = method.latent_spaces["eigenimage"].encode(pictures)
        seen = responses[train] if rng is None else shuffle_responses(responses[train], rng)
        fitted = method.make_decoder("eigenimage").fit(seen, latents[stimulus[train]], names[stimulus[train]])
        test = np.vstack([responses[~train], responses[~train].mean(axis=0, keepdims=True)])
        made = method.render({"eigenimage": fitted.predict(test)}, np.zeros(len(test), np.uint64))
        scores = identified(made, truth, own)
        single.extend(scores[:-1])
        averaged.append(scores[-1])
    return float(np.mean(single)), float(np.mean(averaged))


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["ridge", "parametric-inversion"])
def test_pictures_that_were_left_out_are_identified(shared: Path, decoder: str) -> None:
    single, averaged = leave_one_picture_out(shared, decoder=decoder)
    assert single >= 0.92
    assert averaged >= 0.94


@pytest.mark.shared
@pytest.mark.slow
def test_shuffled_responses_identify_nothing(shared: Path) -> None:
    # Below one half: leaving a picture out moves the training mean away from it.
    single, averaged = leave_one_picture_out(shared, np.random.default_rng(0))
    assert 0.33 < single < 0.42
    assert averaged < 0.52
