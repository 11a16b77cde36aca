"""A BIDS data set with known ground truth, as a folder on disk."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.errors import CannotCreateError, from_os_error
from bids_recon.outputs.atomic import (
    TEMPORARY_PREFIX,
    write_json,
    write_nifti,
    write_png,
    write_text,
    write_tsv,
)
from bids_recon.simulate import texts
from bids_recon.simulate.anatomy import write_inplane_t2, write_masks, write_t1w
from bids_recon.simulate.captions import caption_table
from bids_recon.simulate.design import DEMO, SimulationDesign
from bids_recon.simulate.experiment import Person, make_person
from bids_recon.simulate.images import scaled_image
from bids_recon.simulate.motion import PARAMETERS
from bids_recon.simulate.photos import TEST_PHOTOS, TRAINING_PHOTOS
from bids_recon.simulate.pictures import make_pictures
from bids_recon.simulate.placement import Placement
from bids_recon.simulate.scanner import Scanner, signal
from bids_recon.simulate.truth import TASK, GroundTruth, SimulatedRun

Progress = Callable[[int, int, str], None]

# Half a unit of intensity is a twentieth of a percent of the brain's baseline, far below the noise.
BOLD_SLOPE = 0.5

# First number of the seeds of random streams, beside those of `bids_recon.simulate.experiment`.
_RUN_NOISE = 4


def simulate_dataset(
    folder: Path, design: SimulationDesign = DEMO, *, seed: int = 0, progress: Progress | None = None
) -> GroundTruth:
    """Write a raw BIDS data set of simulated people looking at pictures.

    The folder appears only when it is complete. The same design, seed and versions of the libraries give the
    same files, byte by byte; a folder that holds this very data set already is left as it is.

    Parameters
    ----------
    folder : Path
        Where the data set goes.
    design : SimulationDesign
        What is simulated; `DEMO` or `TINY`, or one's own.
    seed : int
        Where all random draws start; not negative.
    progress : callable, optional
        Called after each step with the steps done, the steps in all, and what was done.

    Returns
    -------
    GroundTruth
        What was planted.

    Raises
    ------
    CannotCreateError
        When the folder holds anything else, or cannot be made.
    InputOutputError
        When the disk is full.
    """
    folder = Path(folder)
    total = 1 + design.n_subjects * (design.train_runs + design.repeats + 1)
    tell = progress or _say_nothing
    pictures = make_pictures(design, seed)
    pixels = np.stack([picture.pixels for picture in pictures])
    people = [make_person(design, seed, label, pictures, pixels) for label in design.subjects]
    truth = GroundTruth(
        folder, design, seed, pictures, {person.truth.label: person.truth for person in people}
    )
    if _is_there(truth):
        tell(total, total, "simulated before")
        return truth
    with _appearing(folder) as building:
        _write_root(building, truth)
        done = 1
        tell(done, total, "pictures")
        for person in people:
            for what in _write_person(building, truth, person):
                done += 1
                tell(done, total, f"sub-{person.truth.label} {what}")
    return truth


def _say_nothing(_done: int, _total: int, _what: str) -> None:
    """Progress of a caller who asks for none."""


def _is_there(truth: GroundTruth) -> bool:
    """Whether the folder holds the data set already.

    Raises
    ------
    CannotCreateError
        When it holds something else, or is not a folder.
    """
    folder = truth.folder
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return False
        description = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        description = None
    stated = json.loads(json.dumps(texts.raw_description(truth.design, truth.seed)))
    runs = [run for subject in truth.subjects.values() for run in subject.runs]
    files = [folder / run.file(*kind) for run in runs for kind in (("bold", ".nii.gz"), ("events", ".tsv"))]
    if description == stated and all(file.is_file() for file in files):
        return True
    raise CannotCreateError(
        "holds something other than this simulated data set",
        file=folder,
        remedy="Name a folder that does not exist yet, or delete this one.",
    )


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Give a folder in a hidden place beside `folder` to fill; move it when the block ends well."""
    hidden: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=folder.parent))
        # What mkdtemp makes is private; a folder inside has the rights that the user's umask gives.
        building = hidden / folder.name
        building.mkdir()
        yield building
        building.replace(folder)
    except OSError as error:
        raise from_os_error(error, folder) from error
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)


def _write_root(root: Path, truth: GroundTruth) -> None:
    design = truth.design
    write_json(root / "dataset_description.json", texts.raw_description(design, truth.seed))
    write_text(root / "README.md", texts.readme(design, truth.seed))
    write_tsv(
        root / "participants.tsv",
        pd.DataFrame(
            {
                "participant_id": [f"sub-{label}" for label in truth.subjects],
                "measurement_noise": [round(subject.noise, 3) for subject in truth.subjects.values()],
            }
        ),
    )
    write_json(root / "participants.json", texts.PARTICIPANTS)
    write_json(root / f"task-{TASK}_events.json", texts.EVENTS)
    stimuli = root / "stimuli"
    for picture in truth.pictures:
        write_png(stimuli / picture.file, picture.pixels)
    write_tsv(stimuli / "sources.tsv", texts.source_table(truth.pictures))
    write_tsv(stimuli / "captions.tsv", caption_table(truth.pictures))
    write_text(stimuli / "README.md", texts.stimuli_readme((*TRAINING_PHOTOS, *TEST_PHOTOS)))
    derivatives = {"rois": texts.rois_readme(design)}
    if design.motion or design.session_shift:
        derivatives["motion"] = texts.motion_readme(design)
    for name, words in derivatives.items():
        write_json(
            root / "derivatives" / name / "dataset_description.json", texts.derivative_description(name)
        )
        write_text(root / "derivatives" / name / "README.md", words)


def _write_person(root: Path, truth: GroundTruth, person: Person) -> Iterator[str]:
    """Write the files of a person; give the name of each step once it is done."""
    design, subject = truth.design, person.truth
    write_t1w(root, truth, subject.label, person.head)
    write_masks(root, subject.label, subject.voxels)
    if design.inplane_t2:
        for number in (0, design.train_runs):
            write_inplane_t2(root, truth, subject.label, person.head, number)
    yield "anatomy"
    scanner = Scanner(design, person.head, subject.noise)
    rows = {picture.file: number for number, picture in enumerate(truth.pictures)}
    for number, run in enumerate(subject.runs):
        rng = np.random.default_rng([truth.seed, _RUN_NOISE, int(subject.label), number])
        planted = subject.betas[[rows[file] for file in run.trials["stim_file"]]]
        evoked = planted + design.trial_noise * rng.normal(size=planted.shape)
        onsets = run.trials["onset"].to_numpy(dtype=np.float64)
        times = design.tr * np.arange(run.n_volumes, dtype=np.float64)
        course = partial(_course, evoked, onsets, design.on, subject.delays, times)
        volumes = scanner.acquire(
            course(0.0),
            subject.voxels,
            rng,
            run.motion,
            placement=Placement(run.position, run.affine),
            later=course if design.slice_timing else None,
        )
        _write_run(root, design, run, scaled_image(volumes, run.affine, BOLD_SLOPE, design.tr))
        yield f"ses-{run.session} run-{run.run}"


def _course(
    evoked: NDArray[np.float64],
    onsets: NDArray[np.float64],
    duration: float,
    delays: NDArray[np.float64],
    times: NDArray[np.float64],
    late: float,
) -> NDArray[np.float64]:
    """Time courses `late` seconds after each volume has begun."""
    return signal(evoked, onsets, duration, delays, times + late)


def _write_run(root: Path, design: SimulationDesign, run: SimulatedRun, bold: nib.Nifti1Image) -> None:
    write_nifti(root / run.file("bold", ".nii.gz"), bold)
    write_json(root / run.file("bold", ".json"), texts.bold_sidecar(design))
    write_tsv(root / run.file("events", ".tsv"), run.trials)
    folder = root / "derivatives" / "motion"
    if run.motion is not None:
        confounds = pd.DataFrame(run.motion, columns=list(PARAMETERS)).round(6)
        write_tsv(folder / run.file("timeseries", ".tsv", "confounds"), confounds)
        write_json(folder / run.file("timeseries", ".json", "confounds"), texts.CONFOUNDS)
    if design.session_shift:
        write_json(folder / run.file("xfm", ".json", "position"), texts.position(run.position))
