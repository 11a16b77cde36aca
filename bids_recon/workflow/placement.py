"""Where the runs of a participant lie: each on one reference, and the reference on the T1w image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from bids_recon.dataset.anatomy import Anatomy
from bids_recon.dataset.layout import BoldRun
from bids_recon.outputs.atomic import write_safetensors
from bids_recon.preprocess.coarsening import coarsened, voxel_sizes
from bids_recon.preprocess.coregistration import choose_backend, register_by_way_of, register_rigid
from bids_recon.preprocess.realign import align_references
from bids_recon.preprocess.resampling import resample
from bids_recon.preprocess.run_motion import RunMotion, estimate_run_motion
from bids_recon.preprocess.tissues import brain_mask_t1w, tissue_masks
from bids_recon.rois.brain import mask_of_mean
from bids_recon.rois.grids import Volume, read_volume
from bids_recon.workflow.stage_cache import StageCache, fingerprint, stage_key

# Means of two runs of one person correlate above this when they are aligned.
LIKELY_ALIGNED = 0.9
# A voxel of the grid belongs to a tissue when this part of it does.
_PURE = 0.95


@dataclass(frozen=True)
class Placement:
    """The common grid of a participant's runs.

    Attributes
    ----------
    reference : Volume
        Mean of the first run, or the reference of an earlier run of the program; its grid is the common one.
    to_run : dict of str to ndarray (4, 4)
        Maps points of the reference to points of each run's own reference, by name of the run.
    brain : ndarray (x, y, z) bool
    to_bold : ndarray (4, 4) or None
        Maps points of the T1w image to points of the reference; None without a T1w image.
    anatomy : Volume or None
        The T1w image on the common grid.
    tissues : dict of str to ndarray (x, y, z) bool
        `CSF` and `WM` on the common grid.
    engine : str
        What found `to_bold`; "" without a T1w image.
    warnings : tuple of str
    key : str
        Hash of what it depends on.
    """

    reference: Volume
    to_run: Mapping[str, NDArray[np.float64]]
    brain: NDArray[np.bool_]
    to_bold: NDArray[np.float64] | None
    anatomy: Volume | None
    tissues: Mapping[str, NDArray[np.bool_]]
    engine: str
    warnings: tuple[str, ...]
    key: str

    @property
    def anatomy_affine(self) -> NDArray[np.float64] | None:
        """Affine of the common grid in the space of the T1w image."""
        return None if self.to_bold is None else np.linalg.inv(self.to_bold) @ self.reference.affine


def run_motion(run: BoldRun, cache: StageCache, device: str) -> tuple[RunMotion, str]:
    """Motion within a run and its key, from the work folder where an earlier call left it."""
    assert run.bold is not None
    stage, key = f"motion_{run.name}", stage_key({"bold": fingerprint(run.bold)})
    if done := cache.outputs(stage, key):
        with safe_open(done[0], framework="np") as stored:
            reference = Volume(stored.get_tensor("reference"), stored.get_tensor("affine"))
            dropped = int(stored.metadata()["n_dropped"])
            return RunMotion(stored.get_tensor("pull"), reference, dropped), key
    motion = estimate_run_motion(run.bold, device=device)
    arrays = {
        "pull": motion.pull,
        "reference": np.ascontiguousarray(motion.reference.data),
        "affine": motion.reference.affine,
    }
    file = write_safetensors(
        cache.folder / f"{stage}.safetensors", arrays, {"n_dropped": str(motion.n_dropped)}
    )
    cache.finish(stage, key, [file])
    return motion, key


def place_runs(
    runs: Sequence[BoldRun],
    motions: Mapping[str, tuple[RunMotion, str]],
    anatomy: Anatomy,
    cache: StageCache,
    device: str,
    seed: int,
    earlier_reference: Path | None = None,
) -> Placement:
    """Align the runs' references to that of the first run, and this one to the T1w image.

    Decoders of an earlier run of the program take voxels of its grid: all runs are aligned to
    `earlier_reference`, the image that it left.
    """
    # The inplane image shows where the head lay in its session, which is not that of an earlier reference.
    inplane = None if earlier_reference else anatomy.inplane.get(runs[0].session)
    key = stage_key(
        {
            "motions": [motions[run.name][1] for run in runs],
            "t1w": fingerprint(anatomy.t1w) if anatomy.t1w else None,
            "inplane": fingerprint(inplane) if inplane else None,
            "seed": seed,
            "engine": choose_backend("auto")[0] if anatomy.t1w else None,
            "reference": fingerprint(earlier_reference) if earlier_reference else None,
        }
    )
    first = motions[runs[0].name][0].reference
    reference = read_volume(earlier_reference) if earlier_reference else first
    if done := cache.outputs("placement", key):
        return _read(done[0], runs, reference, key)
    warnings: list[str] = []
    to_run = {} if earlier_reference else {runs[0].name: np.eye(4)}
    for run in runs[len(to_run) :]:
        to_run[run.name] = _to_reference(
            run, motions[run.name][0].reference, reference, device, seed, warnings
        )
    brain = mask_of_mean(reference)
    to_bold, engine, on_grid = None, "", None
    tissues: dict[str, NDArray[np.bool_]] = {}
    if anatomy.t1w is not None:
        t1w = read_volume(anatomy.t1w)
        if inplane is not None:
            found = register_by_way_of(reference, read_volume(inplane), t1w, boldref_mask=brain, seed=seed)
        else:
            found = register_rigid(reference, t1w, moving_mask=brain, seed=seed)
        to_bold, engine = found.pull, found.backend
        on_grid, tissues = _anatomy_on_grid(t1w, reference, brain, to_bold)
    else:
        warnings.append(
            "No T1w image was found: masks of regions are taken to lie where the first run's header says."
        )
    placement = Placement(reference, to_run, brain, to_bold, on_grid, tissues, engine, tuple(warnings), key)
    cache.finish("placement", key, [_write(cache.folder / "placement.safetensors", placement, runs)])
    return placement


def _to_reference(
    run: BoldRun, moving: Volume, fixed: Volume, device: str, seed: int, warnings: list[str]
) -> NDArray[np.float64]:
    pull, correlation = align_references(moving, fixed, device=device)
    if correlation < LIKELY_ALIGNED:
        # Another contrast, or a head that lies far away: mutual information looks further.
        start = register_rigid(moving, fixed, seed=seed).pull
        second, improved = align_references(moving, fixed, start=start, device=device)
        if improved > correlation:
            pull, correlation = second, improved
    if correlation < LIKELY_ALIGNED:
        warnings.append(
            f"{run.name}: after alignment its mean correlates with that of the first run only at"
            f" {correlation:.2f}; look at the images."
        )
    return pull


def _anatomy_on_grid(
    t1w: Volume, reference: Volume, brain: NDArray[np.bool_], to_bold: NDArray[np.float64]
) -> tuple[Volume, dict[str, NDArray[np.bool_]]]:
    """The T1w image and pure tissues on the common grid."""
    to_t1w = np.asarray(np.linalg.inv(to_bold), dtype=np.float64)
    shape = (reference.shape[0], reference.shape[1], reference.shape[2])

    size = float(voxel_sizes(reference.affine).min())

    def moved(data: NDArray[Any]) -> NDArray[np.float32]:
        # Voxels of the grid are coarser than those of the image: each takes the mean of what it covers.
        image = coarsened(Volume(data, t1w.affine), size)
        return resample(
            image.data, image.affine, to_t1w, shape, reference.affine, order=1, outside="zero"
        )  # fmt: skip

    head = brain_mask_t1w(brain, reference.affine, t1w, to_bold)
    tissues = {
        name: moved(mask) > _PURE for name, mask in tissue_masks(t1w, head).items() if name in ("CSF", "WM")
    }
    return Volume(moved(t1w.data), reference.affine), {name: mask & brain for name, mask in tissues.items()}


def _write(file: Path, placement: Placement, runs: Sequence[BoldRun]) -> Path:
    arrays: dict[str, NDArray[Any]] = {
        "to_run": np.stack([placement.to_run[run.name] for run in runs]),
        "brain": placement.brain.astype(np.uint8),
        **{f"tissue {name}": mask.astype(np.uint8) for name, mask in placement.tissues.items()},
    }
    if placement.to_bold is not None and placement.anatomy is not None:
        arrays |= {"to_bold": placement.to_bold, "anatomy": placement.anatomy.data}
    facts = {"engine": placement.engine, "warnings": json.dumps(placement.warnings)}
    return write_safetensors(file, {name: np.ascontiguousarray(one) for name, one in arrays.items()}, facts)


def _read(file: Path, runs: Sequence[BoldRun], reference: Volume, key: str) -> Placement:
    with safe_open(file, framework="np") as stored:
        arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        facts = stored.metadata()
    to_run = {run.name: matrix for run, matrix in zip(runs, arrays["to_run"], strict=True)}
    tissues = {
        name.removeprefix("tissue "): mask.astype(bool)
        for name, mask in arrays.items()
        if name.startswith("tissue ")
    }
    anatomy = Volume(arrays["anatomy"], reference.affine) if "anatomy" in arrays else None
    warnings = tuple(json.loads(facts["warnings"]))
    brain = arrays["brain"].astype(bool)
    return Placement(
        reference, to_run, brain, arrays.get("to_bold"), anatomy, tissues, facts["engine"], warnings, key
    )
