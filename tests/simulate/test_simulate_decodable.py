"""The demo's promise: pictures can be told apart from simulated responses, and not from shuffled ones."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV

from bids_recon.glm.block_average import block_average
from bids_recon.simulate import DEMO, simulate_dataset

SIDE = 32


def two_way(reconstructed, seen):
    """Share of other pictures of the set that a reconstruction resembles less than the one it is of."""
    n = len(seen)
    likeness = np.corrcoef(reconstructed, seen)[:n, n:]
    return (likeness < np.diag(likeness)[:, None]).sum() / (n * (n - 1))


@pytest.mark.slow
def test_demo_pictures_are_identified(tmp_path):
    truth = simulate_dataset(tmp_path / "bids", replace(DEMO, n_subjects=1))
    subject = truth.subjects["01"]
    pixels = {
        picture.file: np.asarray(Image.fromarray(picture.pixels).resize((SIDE, SIDE)), float).ravel()
        for picture in truth.pictures
    }
    responses, files, sets = [], [], []
    for run in subject.runs:
        image = nib.load(truth.folder / run.file("bold", ".nii.gz"))
        bold = image.get_fdata(dtype=np.float32).reshape(-1, run.n_volumes)[subject.voxels.indices].T
        ramp = np.linspace(-1, 1, run.n_volumes)[:, None]
        responses.append(block_average(bold, run.trials, DEMO.tr, nuisance=ramp))
        files += run.trials["stim_file"].tolist()
        sets += run.trials["picture_set"].tolist()
    x, files, sets = np.vstack(responses), np.array(files), np.array(sets)
    training = sets == "train"
    x = (x - x[training].mean(axis=0)) / x[training].std(axis=0)
    pca = PCA(100, random_state=0).fit([pixels[file] for file in files[training]])
    scores = pca.transform([pixels[file] for file in files[training]])
    decoder = RidgeCV(np.logspace(2, 5, 7)).fit(x[training], scores)
    floors = [
        RidgeCV(np.logspace(2, 5, 7)).fit(
            x[training][np.random.default_rng(n).permutation(len(scores))], scores
        )
        for n in range(5)
    ]
    for test_set, least in (("natural", 0.93), ("shapes", 0.90), ("letters", 0.85)):
        names = sorted(set(files[sets == test_set]))
        mean = np.stack([x[files == name].mean(axis=0) for name in names])
        seen = np.stack([pixels[name] for name in names])
        assert two_way(pca.inverse_transform(decoder.predict(mean)), seen) > least
        floor = [two_way(pca.inverse_transform(chance.predict(mean)), seen) for chance in floors]
        assert 0.35 < np.mean(floor) < 0.65
