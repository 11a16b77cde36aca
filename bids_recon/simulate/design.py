"""What is simulated: how many people and pictures, how the scanner runs, how noisy the brain is."""

from __future__ import annotations

from dataclasses import dataclass

from bids_recon.simulate.brain import AREAS

LETTERS = "ACEINORSTU"
N_SHAPES = 40
SUBJECT_DIGITS = 2


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
        0 holds the head still.
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

    @property
    def subjects(self) -> tuple[str, ...]:
        """Labels of the people."""
        return tuple(f"{number:0{SUBJECT_DIGITS}d}" for number in range(1, self.n_subjects + 1))


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
