"""The people of a simulated experiment, and which picture each of them sees when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.simulate.brain import Brain
from bids_recon.simulate.cortex import lay_out_cortex
from bids_recon.simulate.design import SimulationDesign
from bids_recon.simulate.head import Head, grid_affine
from bids_recon.simulate.motion import draw_motion
from bids_recon.simulate.pictures import Picture
from bids_recon.simulate.placement import Placement, place_session
from bids_recon.simulate.scanner import draw_delays
from bids_recon.simulate.truth import SimulatedRun, SubjectTruth

# People differ in how noisy they are, relative to the design.
NOISE_RANGE = (0.85, 1.2)

# First numbers of the seeds of independent random streams; the pictures have 0.
_PERSON, _ORDER, _MOTION, _PLACEMENT = 1, 2, 3, 6


@dataclass(frozen=True)
class Person:
    """A simulated person.

    Attributes
    ----------
    head : Head
        Size of the head.
    truth : SubjectTruth
        Voxels, responses and runs.
    """

    head: Head
    truth: SubjectTruth


def make_person(
    design: SimulationDesign, seed: int, label: str, pictures: Sequence[Picture], pixels: NDArray[np.uint8]
) -> Person:
    """Draw a person's head, brain and runs.

    Parameters
    ----------
    design : SimulationDesign
        What is simulated.
    seed : int
        Seed of the data set; each person draws from streams of their own.
    label : str
        Digits that label the person.
    pictures : sequence of Picture
        The pictures of the experiment.
    pixels : ndarray (n_stimuli, size, size, 3) uint8
        Their pixels.
    """
    rng = np.random.default_rng([seed, _PERSON, int(label)])
    affine = grid_affine(design.grid, design.voxel_size)
    width, depth, height = (extent * design.voxel_size for extent in design.grid)
    head = Head.fitted((width, depth, height), rng, landmarks=design.landmarks)
    cortex = lay_out_cortex(head, design.grid, affine, design.roi_voxels, rng)
    brain = Brain(cortex, design.response, design.modulation, rng)
    truth = SubjectTruth(
        label=label,
        voxels=cortex.voxels,
        betas=brain.responses(pixels).astype(np.float32),
        delays=draw_delays(cortex.voxels.n_voxels, design.delay_jitter, rng),
        centres=brain.centres,
        sizes=brain.sizes,
        noise=float(design.noise * rng.uniform(*NOISE_RANGE)),
        runs=_plan_runs(design, seed, label, pictures),
    )
    return Person(head, truth)


def _plan_runs(
    design: SimulationDesign, seed: int, label: str, pictures: Sequence[Picture]
) -> tuple[SimulatedRun, ...]:
    rng = np.random.default_rng([seed, _ORDER, int(label)])
    training = [picture for picture in pictures if picture.picture_set == "train"]
    test = [picture for picture in pictures if picture.picture_set != "train"]
    plan: list[tuple[str, int, list[Picture]]] = []
    parts = np.array_split(rng.permutation(len(training)), design.train_runs)
    for number, part in enumerate(parts, start=1):
        plan.append(("train", number, [training[index] for index in part]))
    plan.extend(
        ("test", number, [test[index] for index in rng.permutation(len(test))])
        for number in range(1, design.repeats + 1)
    )
    placements = _place_sessions(design, seed, label)
    runs: list[SimulatedRun] = []
    for session, number, shown in plan:
        repeated = rng.choice(len(shown), min(design.one_back, len(shown)), replace=False)
        # From the end, so that an insertion does not move the places still to come.
        for place in sorted(repeated.tolist(), reverse=True):
            shown.insert(place + 1, shown[place])
        length = design.lead_in + len(shown) * (design.on + design.off) + design.lead_out
        n_volumes = math.ceil(length / design.tr)
        motion = None
        if design.motion:
            stream = np.random.default_rng([seed, _MOTION, int(label), len(runs)])
            motion = draw_motion(n_volumes, design.motion, stream)
        trials, place = _trials(design, shown), placements[session]
        run = f"{number:02d}"
        runs.append(
            SimulatedRun(label, session, run, trials, n_volumes, motion, place.position, place.affine)
        )
    return tuple(runs)


def _place_sessions(design: SimulationDesign, seed: int, label: str) -> dict[str, Placement]:
    sessions = ("train", "test")
    streams = [np.random.default_rng([seed, _PLACEMENT, int(label), n]) for n in range(len(sessions))]
    return {name: place_session(design, rng) for name, rng in zip(sessions, streams, strict=True)}


def _trials(design: SimulationDesign, shown: Sequence[Picture]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "onset": design.lead_in + np.arange(len(shown)) * (design.on + design.off),
            "duration": np.full(len(shown), design.on),
            "trial_type": [picture.kind for picture in shown],
            "stim_file": [picture.file for picture in shown],
            "picture_set": [picture.picture_set for picture in shown],
            "colour": [picture.colour or "n/a" for picture in shown],
            "shape": [picture.shape or "n/a" for picture in shown],
        }
    )
