"""A miniature of the release of NSD: the same files, with small made-up content and known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import scipy.io
from numpy.typing import NDArray

from bids_recon.dataset.nsd_layout import COMPLETED, NsdRelease
from bids_recon.dataset.nsd_trials import BRICK, LAST_OF_PAPER
from bids_recon.glm.nsd_betas import DATASET, STORED_PER_PERCENT
from bids_recon.outputs.atomic import atomic_path, write_json, write_nifti, write_text
from bids_recon.rois.nsd_regions import AREAS, GENERAL

SHAPE = (8, 9, 7)
N_RUNS = 2
REPEATS = 3
N_CODE = 12
# Percent signal change that a picture's eigenimages and chance account for, as standard deviations.
SIGNAL = 1.0
NOISE = 1.0
VOXEL_MM = 1.8
DESCRIPTION = {"Name": "Miniature of the Natural Scenes Dataset", "BIDSVersion": "1.10.0", "Simulated": True}
# First numbers of the seeds of random streams.
_PICTURES, _DESIGN, _BRAIN = range(3)


@dataclass(frozen=True)
class SimulatedNsd:
    """What was planted.

    Attributes
    ----------
    release : NsdRelease
    pictures : ndarray (n_pictures, size, size, 3) uint8
        All pictures, in the order of the release.
    code : ndarray (n_pictures, N_CODE) float64
        Their first eigenimages' scores, each of unit deviation: responses in `nsdgeneral` are linear in them.
    """

    release: NsdRelease
    pictures: NDArray[np.uint8]
    code: NDArray[np.float64]


def write_nsd(
    folder: Path,
    *,
    seed: int = 0,
    subjects: Sequence[str] = ("01", "02"),
    n_sessions: int = 40,
    trials_per_session: int = 9,
    size: int = 32,
    formats: Sequence[str] = (".nii.gz",),
    described: bool = True,
) -> SimulatedNsd:
    """Write a miniature release.

    Numbers that the reader does not take from the files are those of NSD: 40 sessions, each picture shown
    three times, a tenth of a person's pictures shared by all eight people, sessions that people completed.
    Two of the shared pictures, and one of the others, are first shown after session 37.

    Parameters
    ----------
    folder : Path
    seed : int
        The same seed gives the same content.
    subjects : sequence of str
        People whose responses are written.
    n_sessions, trials_per_session : int
        Their product is a multiple of 3, and 15 or more.
    size : int
        Side of the pictures in pixels.
    formats : sequence of str
        Of the responses: `.nii.gz`, `.hdf5` or both.
    described : bool
        Whether a `dataset_description.json`, which the release does not have, says that all is simulated.

    Raises
    ------
    ReconError
        When a file cannot be written.
    ValueError
        When trials cannot be three to a picture, or are too few.
    """
    n_trials = n_sessions * trials_per_session
    if n_trials % REPEATS or n_trials < 5 * REPEATS:
        raise ValueError(f"{n_trials} trials are not {REPEATS} for each of five pictures or more")
    release = NsdRelease(folder)
    if described:
        write_json(folder / "dataset_description.json", DESCRIPTION)
    own = n_trials // REPEATS
    n_shared = max(4, own // 10)
    n_pictures = n_shared + len(COMPLETED) * (own - n_shared)
    rng = np.random.default_rng([seed, _DESIGN])
    numbers = rng.permutation(n_pictures) + 1
    shared = np.sort(numbers[:n_shared])
    rest = numbers[n_shared:].reshape(len(COMPLETED), -1)
    people = np.hstack([np.broadcast_to(shared, (len(COMPLETED), n_shared)), rest])
    order = _order(rng, own, n_shared, n_sessions, trials_per_session)
    _write_design(release, rng, order, people, shared, n_sessions, trials_per_session)
    _write_picture_table(release, order, people, shared, n_pictures)
    pictures = make_pictures(n_pictures, size, np.random.default_rng([seed, _PICTURES]))
    with atomic_path(release.pictures) as temporary, h5py.File(temporary, "w") as opened:
        opened.create_dataset(BRICK, data=pictures)
    code = eigenimage_scores(pictures)
    for subject in subjects:
        generator = np.random.default_rng([seed, _BRAIN, int(subject)])
        brain, general = _write_regions(release, subject)
        seen = code[people[int(subject) - 1, order] - 1].reshape(n_sessions, trials_per_session, N_CODE)
        weights = generator.normal(0, SIGNAL / np.sqrt(N_CODE), (N_CODE, int(general.sum())))
        for session in range(1, min(COMPLETED[subject], n_sessions) + 1):
            values = np.zeros((trials_per_session, *SHAPE))
            values[:, brain] = generator.normal(0, NOISE, (trials_per_session, int(brain.sum())))
            values[:, general] += seen[session - 1] @ weights
            stored = np.round(STORED_PER_PERCENT * values).astype(np.int16)
            _write_betas(release, subject, session, stored, formats)
    return SimulatedNsd(release, pictures, code)


def make_pictures(n: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colourful clouds (n, size, size, 3) uint8, in which low spatial frequencies prevail."""
    across, down = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    falling = 1 / np.maximum(np.hypot(across, down), 1 / size) ** 2
    waves = np.fft.rfft2(rng.normal(size=(n, size, size, 3)), axes=(1, 2)) * falling[:, :, None]
    clouds = np.fft.irfft2(waves, s=(size, size), axes=(1, 2))
    clouds = 128 + 50 * (clouds - clouds.mean(axis=(1, 2, 3), keepdims=True)) / clouds.std()
    return clouds.clip(0, 255).round().astype(np.uint8)


def eigenimage_scores(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Scores (n, N_CODE) of pictures on their first principal components, of unit deviation."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    flat -= flat.mean(axis=0)
    _, vectors = np.linalg.eigh(flat @ flat.T)
    return vectors[:, : -N_CODE - 1 : -1] * np.sqrt(len(pictures))


def _order(
    rng: np.random.Generator, own: int, n_shared: int, n_sessions: int, trials_per_session: int
) -> NDArray[np.int64]:
    """Which of a person's pictures each trial shows (n_trials,), from 0."""
    n_late = (n_sessions - LAST_OF_PAPER) * trials_per_session
    late = [n_shared - 2, n_shared - 1, own - 1]
    if n_late < len(late) * REPEATS:
        return rng.permutation(np.repeat(np.arange(own), REPEATS))
    others = rng.permutation(np.repeat(np.delete(np.arange(own), late), REPEATS))
    before = n_sessions * trials_per_session - n_late
    end = np.concatenate([np.repeat(late, REPEATS), others[before:]])
    return np.concatenate([others[:before], rng.permutation(end)])


def _write_design(
    release: NsdRelease,
    rng: np.random.Generator,
    order: NDArray[np.int64],
    people: NDArray[np.int64],
    shared: NDArray[np.int64],
    n_sessions: int,
    trials_per_session: int,
) -> None:
    # As in NSD, odd runs may have a trial more than even ones, and a run begins and ends without a picture.
    n_slots = trials_per_session // N_RUNS + 4
    pattern = np.zeros((n_sessions, N_RUNS, n_slots), dtype=np.uint8)
    for session in pattern:
        for run, slots in enumerate(session):
            n = (trials_per_session + N_RUNS - 1 - run) // N_RUNS
            slots[1 + rng.choice(n_slots - 2, n, replace=False)] = 1
    content = {"masterordering": order[None] + 1, "subjectim": people, "sharedix": shared[None]}
    # MATLAB writes numbers as doubles.
    doubles = {name: values.astype(np.float64) for name, values in content.items()}
    with atomic_path(release.design) as temporary:
        scipy.io.savemat(temporary, {**doubles, "stimpattern": pattern}, format="5")


def _write_picture_table(
    release: NsdRelease,
    order: NDArray[np.int64],
    people: NDArray[np.int64],
    shared: NDArray[np.int64],
    n_pictures: int,
) -> None:
    numbers = np.arange(n_pictures)
    table = pd.DataFrame({"cocoId": 1000 + 7 * numbers, "cocoSplit": "train2017"})
    table["cropBox"], table["loss"] = "(0.0, 0.0, 0.0, 0.0)", 0.0
    table["nsdId"] = numbers
    table["flagged"], table["BOLD5000"] = False, False
    table["shared1000"] = np.isin(numbers + 1, shared)
    # Trials of the three presentations of each of a person's pictures, from 1.
    shown = np.argsort(order, kind="stable").reshape(-1, REPEATS) + 1
    for person, pictures in enumerate(people, 1):
        table[f"subject{person}"] = np.isin(numbers + 1, pictures).astype(int)
    for person, pictures in enumerate(people, 1):
        for repeat in range(REPEATS):
            trials = np.zeros(n_pictures, dtype=np.int64)
            trials[pictures - 1] = shown[:, repeat]
            table[f"subject{person}_rep{repeat}"] = trials
    write_text(release.picture_table, table.to_csv())


def _write_regions(release: NsdRelease, subject: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Write masks and maps of a person; give the brain and `nsdgeneral`."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    brain = np.sum(np.square(axes), axis=0) < 1.3
    general = brain & (axes[1] < 0.1)
    _write_volume(release.brain_mask(subject), brain.astype(np.int16))
    _write_volume(release.region_file(subject, GENERAL), np.where(brain, general, -1).astype(np.int16))
    # The first column of areas begins behind; a few voxels of the last lie outside `nsdgeneral`.
    places = np.argwhere(brain)
    places = places[np.argsort(places[:, 1], kind="stable")]
    visual = places[: int(0.6 * general.sum())]
    later = places[len(visual) : int(general.sum()) + 12]
    for name, areas in AREAS.items():
        volume = np.where(brain, 0, -1).astype(np.int16)
        for value, part in enumerate(
            np.array_split(visual if name.startswith("prf") else later, len(areas)), 1
        ):
            volume[tuple(part.T)] = value
        _write_volume(release.region_file(subject, name), volume)
        lines = [f"{value} {area}" for value, area in enumerate(("Unknown", *areas))]
        write_text(release.region_table(subject, name), "\n".join(lines) + "\n")
    eccentricity = np.where(brain, 6 * (axes[1] + 1) / 2, np.nan).astype(np.float32)
    _write_volume(release.eccentricity(subject), eccentricity)
    return brain, general


def _write_volume(file: Path, values: NDArray[np.generic]) -> None:
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    write_nifti(file, nib.Nifti1Image(values, affine))


def _write_betas(
    release: NsdRelease, subject: str, session: int, stored: NDArray[np.int16], formats: Sequence[str]
) -> None:
    """Write the responses (n_trials, x, y, z) of a session."""
    stem = release.beta_folder(subject) / f"betas_session{session:02d}"
    for suffix in formats:
        file = stem.with_name(stem.name + suffix)
        if suffix == ".hdf5":
            with atomic_path(file) as temporary, h5py.File(temporary, "w") as opened:
                opened.create_dataset(
                    DATASET, data=stored.transpose(0, 3, 2, 1), chunks=(len(stored), 1, 1, 1)
                )
        else:
            _write_volume(file, stored.transpose(1, 2, 3, 0))
