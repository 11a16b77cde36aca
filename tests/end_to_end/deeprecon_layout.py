"""A simulated data set in the layout of OpenNeuro's ds001506 (Deep Image Reconstruction).

Folders, file names, events, masks and names of pictures are those of the real data set; brain, BOLD and
pictures are simulated. The real events can be put in place of the small ones that are made here.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from deeprecon_events import SESSIONS, LayoutSize, generated_events
from numpy.typing import NDArray
from PIL import Image

from bids_recon.outputs.atomic import write_json, write_nifti
from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate.brain import Brain
from bids_recon.simulate.cortex import Cortex, lay_out_cortex
from bids_recon.simulate.design import DEMO, SimulationDesign
from bids_recon.simulate.head import Head, grid_affine
from bids_recon.simulate.images import in_scanner_space, scaled_image
from bids_recon.simulate.pictures import make_pictures
from bids_recon.simulate.scanner import Scanner, signal

SUBJECT = "01"
DOI = "10.18112/openneuro.ds001506.v1.3.1"
BOLD_SLOPE = 0.5
SHAPE_NAMES = {"+": "plus", "X": "cross"}
# The real data set splits early areas at the horizontal meridian; the upper visual field is ventral.
SPLIT_AREAS = ("V1", "V2", "V3")
AREA_NAMES = {"V4": "hV4", "HVC": "HVC"}
SCAN = replace(
    DEMO,
    picture_size=64,
    grid=(14, 17, 12),
    voxel_size=10.0,
    roi_voxels=(("V1", 90), ("V2", 70), ("V3", 60), ("V4", 40), ("HVC", 40)),
    noise=0.5,
    drift=0.3,
)


@dataclass(frozen=True)
class Layout:
    """A data set on disk, and what was planted.

    Attributes
    ----------
    bids_dir, stimuli_dir : Path
        The data set, and the folder with its pictures, which lies outside.
    shown : dict of str to tuple of str
        Names of the pictures shown in each set: `train`, `natural`, `shapes` and `letters`.
    imagined : dict of str to str
        What the imagery runs name (a category, or a shape), and the name of the picture that it stands for.
    voxels : VoxelSelection
        Voxels that answer to pictures, with the areas of the simulation.
    responses : dict of str to ndarray (n_voxels,) float64
        Noiseless response to each picture, in percent of the baseline.
    """

    bids_dir: Path
    stimuli_dir: Path
    shown: Mapping[str, tuple[str, ...]]
    imagined: Mapping[str, str]
    voxels: VoxelSelection
    responses: Mapping[str, NDArray[np.float64]]

    def picture(self, name: str) -> Path:
        """File of a picture."""
        (file,) = self.stimuli_dir.glob(f"{name}.*")
        return file


def write_deeprecon_layout(
    folder: Path,
    *,
    events_from: Path | None = None,
    size: LayoutSize | None = None,
    scan: SimulationDesign = SCAN,
    imagery: float = 0.5,
    seed: int = 0,
) -> Layout:
    """Write a data set of one person, sub-01.

    Parameters
    ----------
    folder : Path
        Gets the folders `bids` and `pictures`.
    events_from : Path, optional
        A copy of ds001506, or an excerpt of it: the events of its sub-01 are copied byte by byte.
    size : LayoutSize, optional
        Of the events that are made where there are none to copy.
    scan : SimulationDesign
        Picture size, grid, areas, repetition time and noise; what it says of runs and pictures is not used.
    imagery : float
        Response to an imagined picture, relative to the response to the same picture when it is seen; with 0
        the imagery runs hold noise alone.
    seed : int
    """
    rng = np.random.default_rng(seed)
    bids_dir, stimuli_dir = folder / "bids", folder / "pictures"
    if events_from is None:
        for session, task, run, text in generated_events(size or LayoutSize(), rng):
            file = bids_dir / _file(session, task, run, "events.tsv")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    else:
        for source in sorted(events_from.glob(f"sub-{SUBJECT}/ses-*/func/*_events.tsv")):
            target = bids_dir / source.relative_to(events_from)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    write_json(
        bids_dir / "dataset_description.json",
        {"Name": "Deep Image Reconstruction", "BIDSVersion": "1.0.2", "DatasetDOI": DOI, "Simulated": True},
    )
    tables = {
        file: pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        for file in sorted(bids_dir.rglob("*_events.tsv"))
    }
    shown = {name: _shown(tables, session) for name, session in SESSIONS.items() if name != "imagery"}
    named = _shown(tables, SESSIONS["imagery"])
    imagined = {name: _meant(name, (*shown["natural"], *shown["shapes"])) for name in named}
    pictures = _draw(shown, scan, seed)
    stimuli_dir.mkdir()
    for name, pixels in pictures.items():
        natural = re.fullmatch(r"n\d{8}_\d+", name)
        file = stimuli_dir / f"{name}.{'JPEG' if natural else 'tiff'}"
        Image.fromarray(pixels).save(file, quality=95 if natural else None)

    width, depth, height = (n * scan.voxel_size for n in scan.grid)
    head = Head.fitted((width, depth, height), rng)
    affine = grid_affine(scan.grid, scan.voxel_size)
    cortex = lay_out_cortex(head, scan.grid, affine, scan.roi_voxels, rng)
    brain = Brain(cortex, scan.response, scan.modulation, rng)
    answers = brain.responses(np.stack(list(pictures.values())))
    responses = dict(zip(pictures, answers, strict=True))
    _write_masks(bids_dir, cortex)
    weaker = {name: imagery * responses[picture] for name, picture in imagined.items()}
    scanner = Scanner(scan, head, scan.noise)
    for file, events in tables.items():
        # A shape has one name, whether it is seen or imagined.
        _write_bold(file, events, weaker if "category_name" in events else responses, scanner, cortex, rng)
    return Layout(bids_dir, stimuli_dir, shown, imagined, cortex.voxels, responses)


def _file(session: str, task: str, run: str, suffix: str) -> Path:
    name = f"sub-{SUBJECT}_ses-{session}_task-{task}_run-{run}_{suffix}"
    return Path(f"sub-{SUBJECT}", f"ses-{session}", "func", name)


def _trials(events: pd.DataFrame) -> pd.DataFrame:
    """Presentations, one-back repeats among them, or periods of imagery: onset, duration (s) and name."""
    imagery = "category_name" in events
    rows = events[events["event_type"].isin(["2"] if imagery else ["1", "2"])]
    names = rows["category_name" if imagery else "stimulus_name"]
    return rows[["onset", "duration"]].astype(float).assign(name=names)


def _shown(tables: Mapping[Path, pd.DataFrame], session: str) -> tuple[str, ...]:
    """Names in all sessions of one kind, in order."""
    kind = session.rstrip("0123456789")
    found = [_trials(table)["name"] for file, table in tables.items() if f"_ses-{kind}0" in file.name]
    return tuple(sorted({name for names in found for name in names}))


def _meant(named: str, seen: tuple[str, ...]) -> str:
    """The seen picture that a category or a name stands for."""
    (picture,) = [name for name in seen if name == named or name.startswith(f"{named}_")]
    return picture


def _draw(
    shown: Mapping[str, tuple[str, ...]], scan: SimulationDesign, seed: int
) -> dict[str, NDArray[np.uint8]]:
    """Pictures by name: cuttings of photographs, coloured shapes and letters."""
    training, natural = shown["train"], shown["natural"]
    counts = replace(scan, n_train=len(training), n_natural=len(natural), n_shapes=40, n_letters=10)
    made = make_pictures(counts, seed)
    known = {picture.stimulus_id: picture.pixels for picture in made}
    drawn: dict[str, NDArray[np.uint8]] = {}
    for picture_set, names in (("train", training), ("natural", natural)):
        cuttings = [picture.pixels for picture in made if picture.picture_set == picture_set]
        drawn |= dict(zip(names, cuttings, strict=True))
    for name in shown["shapes"]:
        _, colour, shape = name.split("_")
        drawn[name] = known[f"shape-{colour}-{SHAPE_NAMES.get(shape, shape)}"]
    return drawn | {name: known[f"letter-{name[-1]}"] for name in shown["letters"]}


def _write_masks(bids_dir: Path, cortex: Cortex) -> None:
    """Masks as in the real `sourcedata`: by hemisphere, early areas by dorsal and ventral part."""
    folder = bids_dir / "sourcedata" / f"sub-{SUBJECT}" / "anat"
    voxels = cortex.voxels
    index = np.array(np.unravel_index(voxels.indices, voxels.shape)).T
    left = (index @ voxels.affine[:3, :3].T + voxels.affine[:3, 3])[:, 0] < 0
    upper = cortex.centres[:, 1] > 0
    for area in dict.fromkeys(cortex.area.tolist()):
        member = cortex.area == area
        if area in SPLIT_AREAS:
            parts = {f"{area}d": member & ~upper, f"{area}v": member & upper}
        else:
            parts = {AREA_NAMES[area]: member}
        for label, part in parts.items():
            for hemisphere, half in (("LH", part & left), ("RH", part & ~left)):
                volume = np.zeros(voxels.shape, dtype=np.uint8)
                volume.flat[voxels.indices[half]] = 1
                image = in_scanner_space(nib.Nifti1Image(volume, voxels.affine))
                write_nifti(folder / f"sub-{SUBJECT}_mask_{hemisphere}_{label}.nii.gz", image)


def _write_bold(
    events_file: Path,
    events: pd.DataFrame,
    evoked: Mapping[str, NDArray[np.float64]],
    scanner: Scanner,
    cortex: Cortex,
    rng: np.random.Generator,
) -> None:
    trials, tr = _trials(events), scanner.design.tr
    end = float(events["onset"].iloc[-1]) + float(events["duration"].iloc[-1])
    times = tr * np.arange(math.ceil(end / tr), dtype=np.float64)
    patterns = np.stack([evoked[name] for name in trials["name"]])
    patterns = patterns + scanner.design.trial_noise * rng.normal(size=patterns.shape)
    (duration,) = trials["duration"].unique()
    no_delay = np.zeros(patterns.shape[1])
    course = signal(patterns, trials["onset"].to_numpy(), duration, no_delay, times)
    volumes = scanner.acquire(course, cortex.voxels, rng)
    stem = events_file.name.removesuffix("_events.tsv")
    image = scaled_image(volumes, scanner.affine, BOLD_SLOPE, tr)
    write_nifti(events_file.with_name(f"{stem}_bold.nii.gz"), image)
    task = re.search(r"_task-([a-z]+)_", stem)
    assert task is not None
    write_json(events_file.with_name(f"{stem}_bold.json"), {"TaskName": task.group(1), "RepetitionTime": tr})
