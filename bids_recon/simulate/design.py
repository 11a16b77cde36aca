"""What is simulated: how many people and pictures, how the scanner runs, how noisy the brain is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from bids_recon.simulate.brain import AREAS

LETTERS = "ACEINORSTU"
N_SHAPES = 40
SUBJECT_DIGITS = 2
# Fields that a data set states only where they are used: data sets made without them keep their bytes.
_OPTIONAL = ("slice_timing", "oblique", "session_shift", "inplane_t2", "dummy_volumes", "landmarks")


@dataclass(frozen=True)
class SimulationDesign:
    """Settings of a simulated experiment.

    Every training picture is shown once, over `train_runs` runs of session `train`; every run of session
    `test` shows each test picture once, so that there are `repeats` such runs.

    Attributes
    ----------
    n_subjects : int
        People, labelled 01, 02, ...
    n_train, n_natural, n_shapes, n_letters : int
        Training photos, test photos, coloured shapes (at most 40) and letters (at most 10).
    picture_size : int
        Side of the square pictures, in pixels.
    train_runs, repeats : int
        Runs of the training session; runs of the test session, which is how often a test picture is shown.
    one_back : int
        Presentations per run that repeat the picture just shown, as in a one-back task.
    tr, on, off : float
        Repetition time, time a picture is on, and time until the next, in seconds.
    lead_in, lead_out : float
        Rest before the first and after the last picture of a run, in seconds.
    grid : tuple of 3 int
        Voxels of the functional volume.
    voxel_size : float
        Side of the isotropic functional voxel, in mm.
    roi_voxels : tuple of (str, int)
        Voxels of each visual area; names are keys of `bids_recon.simulate.brain.AREAS`.
    response, modulation : float
        Mean response to a picture, and standard deviation of the response over pictures, in percent of the
        baseline at the peak of the response; for a voxel of average gain.
    trial_noise : float
        Standard deviation of the response over repeats of a picture, in percent.
    noise : float
        Standard deviation over time of the measurement noise, in percent of the baseline.
    autocorrelation : float
        Lag-one correlation of the autocorrelated part of the noise.
    drift : float
        Amplitude of the slow drift, in percent.
    delay_jitter : float
        Standard deviation over voxels of the delay of the haemodynamic response, in seconds.
    motion : float
        Standard deviation of head position over a run, in mm (and, as an arc of 50 mm, of its rotation);
        0 holds the head still. Every run begins at the session's position.
    slice_timing : bool
        Whether the slices of a volume are taken one after the other, interleaved, instead of all at once.
    oblique : float
        Angle between the slices and the axes of the scanner, in degrees; at most 45.
    session_shift : float
        How far from its place in the T1w image the head lies in each session, in mm; it is turned too, by as
        much as moves a point at 50 mm by half of that. The slices follow half-way, at another tilt in each
        session.
    inplane_t2 : bool
        Whether each session has an anatomical image of the same slices, with the contrast of T2.
    dummy_volumes : int
        Volumes at the start of each run that are brighter, as before the steady state.
    landmarks : bool
        Whether the head has structures that make its left, right, front and back differ. Its images are then
        averages over voxels, as in a scanner, not samples at their centres: no interpolation follows these
        when the head moves.
    """

    n_subjects: int = 3
    n_train: int = 480
    n_natural: int = 20
    n_shapes: int = 16
    n_letters: int = 10
    picture_size: int = 128
    train_runs: int = 8
    repeats: int = 5
    one_back: int = 0
    tr: float = 2.0
    on: float = 6.0
    off: float = 6.0
    lead_in: float = 8.0
    lead_out: float = 12.0
    grid: tuple[int, int, int] = (24, 30, 20)
    voxel_size: float = 5.5
    roi_voxels: tuple[tuple[str, int], ...] = (
        ("V1", 300),
        ("V2", 220),
        ("V3", 180),
        ("V4", 140),
        ("HVC", 140),
    )
    response: float = 1.5
    modulation: float = 0.9
    trial_noise: float = 0.2
    noise: float = 0.9
    autocorrelation: float = 0.4
    drift: float = 1.0
    delay_jitter: float = 0.4
    motion: float = 0.0
    slice_timing: bool = False
    oblique: float = 0.0
    session_shift: float = 0.0
    inplane_t2: bool = False
    dummy_volumes: int = 0
    landmarks: bool = False

    def __post_init__(self) -> None:
        positive = {name: getattr(self, name) for name in ("n_subjects", "n_train", "train_runs", "repeats")}
        if low := [name for name, value in positive.items() if value < 1]:
            raise ValueError(f"{', '.join(low)}: at least 1 is needed")
        if self.n_natural + self.n_shapes + self.n_letters < 1:
            raise ValueError("there is no test picture")
        if self.n_shapes > N_SHAPES or self.n_letters > len(LETTERS):
            raise ValueError(f"there are {N_SHAPES} shapes and {len(LETTERS)} letters to choose from")
        if self.train_runs > self.n_train:
            raise ValueError(f"{self.n_train} training pictures cannot be spread over {self.train_runs} runs")
        if unknown := sorted({name for name, _ in self.roi_voxels} - set(AREAS)):
            raise ValueError(f"{', '.join(unknown)}: not among the areas {', '.join(AREAS)}")
        if not self.on > 0 or not self.tr > 0 or self.off < 0:
            raise ValueError("durations are positive")
        if not 0 <= self.dummy_volumes * self.tr <= self.lead_in:
            raise ValueError(f"{self.dummy_volumes} dummy volumes do not fit into the rest of lead_in")
        if not 0 <= self.oblique <= 45 or self.session_shift < 0:
            raise ValueError("oblique is an angle between 0 and 45 degrees, session_shift a length")

    @property
    def subjects(self) -> tuple[str, ...]:
        """Labels of the people."""
        return tuple(f"{number:0{SUBJECT_DIGITS}d}" for number in range(1, self.n_subjects + 1))

    def stated(self) -> dict[str, Any]:
        """Settings by name, for the description of the data set."""
        return {name: value for name, value in asdict(self).items() if value or name not in _OPTIONAL}


DEMO = SimulationDesign()
"""Three people; about half a minute and 230 MB."""

TINY = SimulationDesign(
    n_subjects=2,
    n_train=12,
    n_natural=4,
    n_shapes=2,
    n_letters=2,
    picture_size=32,
    train_runs=2,
    repeats=2,
    grid=(8, 8, 6),
    voxel_size=20.0,
    roi_voxels=(("V1", 20), ("V2", 12), ("HVC", 8)),
    noise=0.5,
    trial_noise=0.1,
    drift=0.3,
)
"""Two people, 12 training and 8 test pictures, 40 voxels; under a second."""

STILL = SimulationDesign(
    n_subjects=1,
    n_train=120,
    n_natural=20,
    n_shapes=8,
    n_letters=0,
    picture_size=64,
    train_runs=3,
    repeats=3,
    on=4.0,
    off=4.0,
    grid=(28, 34, 22),
    voxel_size=5.0,
    noise=0.6,
    landmarks=True,
)
"""One person who lies still in a scanner that takes whole volumes at once; what `MOVING` is compared with."""

MOVING = replace(
    STILL,
    motion=0.6,
    slice_timing=True,
    oblique=12.0,
    session_shift=8.0,
    inplane_t2=True,
    dummy_volumes=3,
)
"""The brain, pictures, trials and noise of `STILL`, with all that preprocessing has to undo."""
