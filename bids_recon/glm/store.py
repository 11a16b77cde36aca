"""Single-trial responses as BIDS derivatives: written, and read back, ours or another program's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.errors import DataError, from_os_error
from bids_recon.glm.beta_files import DESC, MAY_BE_EMPTY, BetaFiles, beta_files_of_one_space
from bids_recon.glm.responses import Responses
from bids_recon.outputs.atomic import write_json, write_nifti, write_tsv
from bids_recon.outputs.names import derivative_name, unique_labels
from bids_recon.preprocess.series import read_voxels, write_series
from bids_recon.rois.grids import describe_grid, same_grid
from bids_recon.rois.selection import VoxelSelection


def write_responses(
    responses: Responses,
    root: Path,
    *,
    subject: str,
    session: str | None,
    task: str,
    space: str | None,
    description: Mapping[str, Any],
) -> list[Path]:
    """Write the responses of one session and task of one person.

    Parameters
    ----------
    responses : Responses
        All its trials go into one statmap, in their order.
    root : Path
        Root of the derivatives; files go to ``sub-<subject>/[ses-<session>/]func``.
    subject, session, task, space : str
        Labels without prefix; session and space may be None.
    description : mapping
        Added to the sidecar of the statmap. Its `SpatialReference` goes to the sidecars of all masks as well,
        its `Sources` to that of the mask of all voxels.

    Returns
    -------
    list of Path
        Files written; the statmap is the last, and its presence says that the others are complete.
        Regions of an earlier call under the same names are removed.

    Raises
    ------
    ReconError
        When a file cannot be written.
    """
    folder = root / f"sub-{subject}" / (f"ses-{session}" if session else "") / "func"
    entities = {"sub": subject, "ses": session, "task": task, "space": space}

    def named(suffix: str, extension: str, **more: str) -> Path:
        return folder / derivative_name({**entities, **more}, suffix, extension)

    statmap = named("statmap", ".nii.gz", stat="effect", desc=DESC)
    _remove(statmap)
    voxels = responses.voxels
    reference = {key: description[key] for key in ("SpatialReference",) if key in description}
    sources = {key: description[key] for key in ("Sources",) if key in description}

    mask = named("mask", ".nii.gz", desc="brain")
    sidecar: dict[str, Any] = {
        "Description": "Voxels that have responses",
        "Type": "Brain",
        **reference,
        **sources,
    }
    written = _write_mask(mask, voxels, None, sidecar)
    for name, short in unique_labels(voxels.rois).items():
        sidecar = {"Description": f"Region of interest {name}", "Type": "ROI", "ROI": name, **reference}
        if voxels.sources.get(name):
            sidecar["Sources"] = voxels.sources[name]
        written += _write_mask(named("mask", ".nii.gz", label=short), voxels, name, sidecar)
    _remove_stale(folder, derivative_name(entities, "label", "-*_mask.*"), written)

    written.append(write_tsv(named("trials", ".tsv", desc=DESC), _without_empty_cells(responses.trials)))
    sidecar = {
        "Description": "Response of each voxel to each presentation, in the order of the trials table",
        "Units": "percent signal change",
        "SkullStripped": False,
        "NumberOfTrials": len(responses.trials),
        "NumberOfVoxels": voxels.n_voxels,
        **description,
    }
    written.append(write_json(named("statmap", ".json", stat="effect", desc=DESC), sidecar))
    return [*written, write_series(statmap, responses.data, voxels)]


def read_responses(
    root: Path,
    subject: str,
    *,
    sessions: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    space: str | None = None,
) -> tuple[Responses, list[str]]:
    """Read all single-trial responses of one person.

    The layout is that of `write_responses`; of the files beside a statmap only the trials table is needed.

    Parameters
    ----------
    root, subject, sessions, tasks, space
        See `bids_recon.glm.beta_files.beta_files_of_one_space`.

    Returns
    -------
    responses : Responses
        Sessions, tasks and runs one after the other, in the order of the names of their files. Voxels are
        those that all files have: in a file, those of its brain mask, or else of its region masks together,
        or else those that are not zero throughout. Without the voxels whose responses are NaN or infinite, or
        all alike in a file. A voxel belongs to a region when any file says so. `trials` is text as in the
        file, with `subject`, `session`, `task` and `run` filled in from the file name where absent.
    warnings : list of str
        What was dropped, as sentences.

    Raises
    ------
    MissingInputError
        When there is no statmap, or no trials table beside one.
    DataError
        When volumes and trials do not match in number, files lie on different grids, a file is damaged, or no
        voxel is left.
    UsageError
        When there are responses in several spaces and none was chosen.
    """
    files = beta_files_of_one_space(root, subject, sessions, tasks, space)
    tables = [one.read_trials() for one in files]
    images = [one.open(len(table)) for one, table in zip(files, tables, strict=True)]
    for one, image in zip(files, images, strict=True):
        if not same_grid(image, images[0]):
            raise DataError(
                f"has the grid {describe_grid(image)}, but {files[0].statmap} has {describe_grid(images[0])},"
                " or they lie at different places",
                file=one.statmap,
                remedy="Read sessions or tasks that are on one grid, or resample them to one.",
            )
    regions = [one.read_rois(image) for one, image in zip(files, images, strict=True)]
    voxel_sets = [
        one.voxel_indices(image, rois) for one, image, (rois, _) in zip(files, images, regions, strict=True)
    ]
    warnings: list[str] = []
    voxels = _common_voxels(files, images[0], voxel_sets, regions, warnings)

    data = np.empty((sum(map(len, tables)), voxels.n_voxels), dtype=np.float32)
    keep = np.ones(voxels.n_voxels, dtype=bool)
    begin = 0
    for one, table in zip(files, tables, strict=True):
        # Opened afresh: an image keeps its file open for as long as it lives, and there may be many.
        image = one.open(len(table))
        block = read_voxels(image, one.statmap, voxels.indices, out=data[begin : begin + len(table)])
        begin += len(table)
        finite = np.isfinite(block).all(axis=0)
        constant = (block.max(axis=0) == block.min(axis=0)) & finite & (len(block) > 1)
        for bad, reason in (
            (~finite, "NaN or infinite responses"),
            (constant, "the same response throughout"),
        ):
            if bad.any():
                warnings.append(
                    f"{one.statmap}: {bad.sum()} of {voxels.n_voxels} voxels are left out: {reason}."
                )
                keep &= ~bad
    responses = Responses(data, pd.concat(tables, ignore_index=True).fillna("n/a"), voxels)
    if not keep.all():
        responses = responses.restrict(keep)
    if not responses.voxels.n_voxels:
        raise DataError("no voxel has finite, varying responses in all files", file=files[0].statmap.parent)
    lost = sorted({name for rois, _ in regions for name in rois} - set(responses.voxels.rois))
    if lost:
        warnings.append(f"{files[0].statmap.parent}: no voxels are left in {', '.join(lost)}.")
    return responses, warnings


def _common_voxels(
    files: list[BetaFiles],
    image: nib.Nifti1Image,
    voxel_sets: list[NDArray[np.int64]],
    regions: list[tuple[dict[str, NDArray[np.bool_]], dict[str, list[str]]]],
    warnings: list[str],
) -> VoxelSelection:
    common = voxel_sets[0]
    for indices in voxel_sets[1:]:
        common = np.intersect1d(common, indices, assume_unique=True)
    most = max(map(len, voxel_sets))
    if len(common) < most:
        warnings.append(f"{files[0].statmap.parent}: {len(common)} voxels are in all files; one has {most}.")
    rois: dict[str, NDArray[np.bool_]] = {}
    sources: dict[str, list[str]] = {}
    for masks, origins in regions:
        for name, mask in masks.items():
            member = mask.ravel()[common]
            rois[name] = rois[name] | member if name in rois else member
            sources[name] = list(dict.fromkeys([*sources.get(name, []), *origins[name]]))
    rois = {name: member for name, member in rois.items() if member.any()}
    space = files[0].entities.get("space")
    affine = np.asarray(image.affine, dtype=float)
    return VoxelSelection(image.shape[:3], affine, common, rois, space, sources)


def _write_mask(file: Path, voxels: VoxelSelection, roi: str | None, sidecar: dict[str, Any]) -> list[Path]:
    image = nib.Nifti1Image(voxels.mask(roi).astype(np.uint8), voxels.affine)
    image.header.set_xyzt_units("mm")
    return [
        write_nifti(file, image),
        write_json(file.with_name(file.name.replace(".nii.gz", ".json")), sidecar),
    ]


def _without_empty_cells(trials: pd.DataFrame) -> pd.DataFrame:
    """Write "no session" as n/a: an empty cell would break the rules for tables in BIDS."""
    return trials.assign(
        **{name: trials[name].replace("", "n/a") for name in MAY_BE_EMPTY if name in trials.columns}
    )


def _remove_stale(folder: Path, pattern: str, written: list[Path]) -> None:
    """Remove masks of regions that were asked for before but are not any more."""
    for file in set(folder.glob(pattern)) - set(written):
        _remove(file)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, file) from error
