"""Small folders as fMRIPrep leaves them, in the names of each generation, with a switch for each hole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from bids_recon.dataset.layout import BoldRun
from bids_recon.preprocess.fmriprep import FmriprepRun, find_fmriprep
from bids_recon.preprocess.itk_transforms import write_itk_affine

SHAPE = (8, 8, 6)
N_VOLUMES = 10
TR = 2.0
GENERATIONS = ("2018", "20.2", "22", "25", "26")
VERSIONS = {"2018": "1.1.4", "20.2": "20.2.1", "22": "22.1.1", "25": "25.1.4", "26": "26.0.0"}
POINTER = "../../../.git/annex/objects/aa/bb/MD5E-s1/MD5E-s1.nii.gz"
VOXEL_SIZE = {"func": 3.0, "T1w": 2.5, "MNI": 2.0}


def affine_of(space: str) -> np.ndarray:
    """Grid of a space: oblique in the run's own, plain elsewhere."""
    size = next((size for name, size in VOXEL_SIZE.items() if space.startswith(name)), 4.0)
    affine = np.diag([size, size, size, 1.0])
    if space == "func":
        affine[:3, :3] = Rotation.from_euler("x", 12, degrees=True).as_matrix() * size
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) / 2)
    return affine


def motion_pulls() -> np.ndarray:
    """Head movement of the fake runs (n_volumes, 4, 4)."""
    rng = np.random.default_rng(7)
    pulls = np.tile(np.eye(4), (N_VOLUMES, 1, 1))
    pulls[:, :3, :3] = Rotation.from_euler("xyz", rng.normal(0, 0.01, (N_VOLUMES, 3))).as_matrix()
    pulls[:, :3, 3] = rng.normal(0, 0.5, (N_VOLUMES, 3))
    return pulls


def anatomy_pull() -> np.ndarray:
    """From points of the T1w to points of the run's reference."""
    pull = np.eye(4)
    pull[:3, 3] = [1.0, -2.0, 3.0]
    return pull


def write_image(path: Path, space: str, *, series: bool = False, tr: float = TR, seed: int = 0) -> Path:
    """Write a random volume or series."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*SHAPE, N_VOLUMES) if series else SHAPE
    data = np.random.default_rng(seed).integers(0, 2000, shape).astype(np.int16)
    image = nib.Nifti1Image(data, affine_of(space))
    image.header.set_xyzt_units("mm", "sec")
    if series:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    nib.save(image, path)
    return path


def unfetch(path: Path) -> Path:
    """Leave of a file what git-annex leaves of one that was not fetched."""
    path.unlink()
    path.symlink_to(POINTER)
    return path


def raw_run(
    bids: Path,
    *,
    subject: str = "01",
    session: str = "",
    task: str = "perception",
    run: str = "01",
    others: str = "",
    metadata: dict[str, Any] | None = None,
    bold: bool = True,
) -> BoldRun:
    """Write a raw run; `others` are further entities, such as `_acq-mb`; `bold=False` for events alone."""
    folder = bids / f"sub-{subject}" / (f"ses-{session}" if session else "") / "func"
    name = stem(subject, session, task, run, others)
    path = write_image(folder / f"{name}_bold.nii.gz", "func", series=True, seed=99) if bold else None
    found = {"RepetitionTime": TR, "TaskName": task} if metadata is None else metadata
    return BoldRun(subject, session, task, run, path, None, found)


def stem(subject: str, session: str, task: str, run: str, others: str = "") -> str:
    """Beginning of the file names of a run."""
    parts = [
        f"sub-{subject}",
        f"ses-{session}" if session else "",
        f"task-{task}{others}",
        f"run-{run}" if run else "",
    ]
    return "_".join(filter(None, parts))


@dataclass(frozen=True)
class FakeRun:
    """What is written of one run.

    Attributes
    ----------
    spaces : tuple of str
        With a BOLD series, as `--output-spaces` takes them; `MNI152NLin2009cAsym:res-2` writes `_res-2`.
    echo : str
        Entity of series of single echoes, such as `_echo-1`.
    sidecar : dict or None
        Of each series; None for none.
    """

    subject: str = "01"
    session: str = ""
    task: str = "perception"
    run: str = "1"
    others: str = ""
    spaces: tuple[str, ...] = ("func", "T1w")
    echo: str = ""
    sidecar: dict[str, Any] | None = None
    masks: bool = True
    confounds: bool = True
    motion: bool = True
    coregistration: bool = True
    references: bool = True
    header_tr: float = TR


def fake_fmriprep(
    root: Path, generation: str, *runs: FakeRun, described: bool = True, anatomy: bool = True
) -> Path:
    """Write an output folder; by default of one run, with an anatomy of the participant."""
    root.mkdir(parents=True, exist_ok=True)
    if described:
        describe(root, generation)
    for run in runs or (FakeRun(),):
        write_run(root, generation, run)
        if anatomy:
            write_anatomy(root, generation, run.subject)
    return root


def find_fake(
    tmp_path: Path, generation: str, *runs: FakeRun, space: str | None = None, **options: bool
) -> FmriprepRun:
    """Write an output folder and a raw run `01`, and look for the run."""
    root = fake_fmriprep(tmp_path / "fmriprep", generation, *runs, **options)
    return find_fmriprep(root, raw_run(tmp_path / "bids"), space=space)


def describe(root: Path, generation: str, name: str = "fMRIPrep") -> None:
    """Write `dataset_description.json` as the version did."""
    maker = {"Name": name, "Version": VERSIONS[generation]}
    made = {"PipelineDescription": maker} if generation == "2018" else {"GeneratedBy": [maker]}
    content = {"Name": "fMRIPrep output", "BIDSVersion": "1.4.0", **made}
    (root / "dataset_description.json").write_text(json.dumps(content))


def write_run(root: Path, generation: str, run: FakeRun) -> None:
    """Write the functional files of a run."""
    folder = root / f"sub-{run.subject}" / (f"ses-{run.session}" if run.session else "") / "func"
    start = stem(run.subject, run.session, run.task, run.run, run.others)
    old = generation == "2018"
    for number, space in enumerate(run.spaces):
        part = space_part(space)
        name = f"{start}_bold{part}_preproc" if old else f"{start}{run.echo}{part}_desc-preproc_bold"
        write_image(folder / f"{name}.nii.gz", space, series=True, tr=run.header_tr, seed=number)
        if run.sidecar is not None:
            (folder / f"{name}.json").write_text(json.dumps(run.sidecar))
    # The reference of the run's own space is always there since 22.1, its mask since 23.2.
    always = ("func",) if generation in ("22", "25", "26") else ()
    for space in dict.fromkeys((*always, *run.spaces)):
        part = "_space-run" if generation == "26" and space == "func" else space_part(space)
        if run.masks and (generation != "22" or space in run.spaces):
            name = f"{start}_bold{part}_brainmask" if old else f"{start}{part}_desc-brain_mask"
            write_image(folder / f"{name}.nii.gz", space)
        if run.references and not old:
            coreg = "_desc-coreg" if generation == "25" and space == "func" else ""
            write_image(folder / f"{start}{part}{coreg}_boldref.nii.gz", space)
    _write_transforms(folder, start, generation, run)
    if run.confounds:
        name = "bold_confounds" if old else "desc-confounds_timeseries"
        write_confounds(folder / f"{start}_{name}.tsv", old=old)


def _write_transforms(folder: Path, start: str, generation: str, run: FakeRun) -> None:
    motion = {
        "22": "from-scanner_to-boldref_mode-image_xfm",
        "25": "from-orig_to-boldref_mode-image_desc-hmc_xfm",
        "26": "from-orig_to-run_mode-image_desc-hmc_xfm",
    }
    anatomy = {
        "20.2": "from-scanner_to-T1w_mode-image_xfm",
        "22": "from-scanner_to-T1w_mode-image_xfm",
        "25": "from-boldref_to-T1w_mode-image_desc-coreg_xfm",
        "26": "from-run_to-T1w_mode-image_desc-coreg_xfm",
    }
    if run.motion and generation in motion:
        write_itk_affine(folder / f"{start}_{motion[generation]}.txt", motion_pulls())
        if run.references and generation in ("25", "26"):
            part = "_space-orig" if generation == "26" else ""
            write_image(folder / f"{start}{part}_desc-hmc_boldref.nii.gz", "func", seed=5)
    if run.coregistration and generation in anatomy:
        write_itk_affine(folder / f"{start}_{anatomy[generation]}.txt", anatomy_pull())
        if generation in ("20.2", "22"):
            inverse = np.linalg.inv(anatomy_pull())
            write_itk_affine(folder / f"{start}_from-T1w_to-scanner_mode-image_xfm.txt", inverse)


def space_part(space: str) -> str:
    """Entities of a space in a file name."""
    name, *details = space.split(":")
    return "" if name == "func" else "".join([f"_space-{name}", *(f"_{detail}" for detail in details)])


def write_confounds(path: Path, *, old: bool = False) -> None:
    """Write a confounds table, with the columns of 2018 or of now."""
    now = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    motion = ["X", "Y", "Z", "RotX", "RotY", "RotZ"] if old else now
    displacement = "FramewiseDisplacement" if old else "framewise_displacement"
    values = np.random.default_rng(3).normal(0, 0.1, (N_VOLUMES, 6))
    table = pd.DataFrame(values, columns=motion)
    table[displacement] = [np.nan, *np.abs(np.diff(values, axis=0)).sum(axis=1)]
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")


def write_anatomy(
    root: Path,
    generation: str,
    subject: str = "01",
    session: str = "",
    template: str = "MNI152NLin2009cAsym",
    others: str = "",
) -> None:
    """Write the anatomical files of a participant, or of one session."""
    folder = root / f"sub-{subject}" / (f"ses-{session}" if session else "") / "anat"
    start = f"sub-{subject}{f'_ses-{session}' if session else ''}{others}"
    if generation == "2018":
        names = ["T1w_preproc", "T1w_brainmask", "T1w_space-X_preproc", "T1w_space-X_brainmask"]
        names += [f"T1w_class-{tissue}_probtissue" for tissue in ("GM", "WM", "CSF")]
        warps = [f"T1w_target-{template}_warp", f"T1w_space-{template}_target-T1w_warp"]
    else:
        names = ["desc-preproc_T1w", "desc-brain_mask", "space-X_desc-preproc_T1w", "space-X_desc-brain_mask"]
        names += [f"label-{tissue}_probseg" for tissue in ("GM", "WM", "CSF")]
        names += ["dseg", "space-X_label-GM_probseg"]
        warps = [f"from-{a}_to-{b}_mode-image_xfm" for a, b in (("T1w", template), (template, "T1w"))]
    for name in names:
        write_image(folder / f"{start}_{name.replace('X', template)}.nii.gz", "T1w")
    for number, name in enumerate(warps):
        write_composite(folder / f"{start}_{name}.h5", [10.0 * (1 - 2 * number), 0.0, 0.0])


def write_composite(path: Path, shift: list[float]) -> None:
    """Write a composite transform of one translation, in mm RAS+, as a pull."""
    lps = np.array(shift) * [-1, -1, 1]
    with h5py.File(path, "w") as file:
        groups = file.create_group("TransformGroup")
        groups.create_group("0")["TransformType"] = [b"CompositeTransform_double_3_3"]
        group = groups.create_group("1")
        group["TransformType"] = [b"AffineTransform_double_3_3"]
        group["TransformParameters"] = [*np.eye(3).ravel(), *lps]
        group["TransformFixedParameters"] = np.zeros(3)
