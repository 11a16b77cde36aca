"""Head motion of a run: ours against antspyx, with the truth known; and the resampling of volumes.

    python benchmarks/realign.py [--json] [--quick]

The head is the template of nilearn, blurred as by the point spread of an EPI and sampled by splines of the
fifth order from its grid of 2 mm, so that the truth owes nothing to an interpolation of what is realigned.
It moves by 1.5 mm on average, with noise of 1.5 % of the brain's brightness. Errors are mean displacements
of brain points, relative to the middle volume. antspyx realigns a few volumes only; seconds are those of one
volume, and ratios (of time on the clock) are those to antspyx on the same data. It comes with
`pip install .[ants]` and is left out without it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measuring import Measurement, answer, measure
from scipy import ndimage

from bids_recon.preprocess.realign import realign_run
from bids_recon.preprocess.resampling import resample
from bids_recon.preprocess.rigid import matrices, mean_displacement

QUICK = "--quick" in sys.argv
N_VOLUMES, N_ANTS = (24, 3) if QUICK else (100, 6)
GRIDS = {
    "67x79x64, 3 mm": ((67, 79, 64), (3.0, 3.0, 3.0)),
    "64x64x35, 3.2x3.2x3.8 mm": ((64, 64, 35), (3.2, 3.2, 3.8)),
}
CENTRE = np.array([0.0, -18.0, 10.0])
MEAN_DISPLACEMENT = 1.5
NOISE = 0.015
BRAIN = 0.3
POINT_SPREAD = 1.4
"""Full width at half maximum, in voxels."""

Case = Callable[[], Callable[[], Mapping[str, Any]]]


def motion(n: int, points: np.ndarray) -> np.ndarray:
    """Pulls (n, 4, 4): a smooth walk, zero in the middle, of the mean displacement that is asked for."""
    walk = ndimage.gaussian_filter1d(
        np.cumsum(np.random.default_rng(1).normal(size=(n, 6)), axis=0), 2, axis=0
    )
    walk -= walk[n // 2]
    walk /= walk.std(axis=0)
    walk[:, 3:] /= 60
    for _ in range(3):
        walk *= MEAN_DISPLACEMENT / mean_displacement(matrices(walk, CENTRE), np.eye(4), points).mean()
    return matrices(walk, CENTRE)


def run(grid: str, n: int, drift: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Volumes (x, y, z, n), affine, true pulls, and points of the brain, of the first `n` volumes."""
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=2)
    shape, sizes = GRIDS[grid]
    head = np.asarray(template.dataobj, dtype=np.float64)
    head *= 1000 / head.max()
    head = ndimage.gaussian_filter(head, np.array(sizes) / 2 * POINT_SPREAD / 2.355)
    inner = np.argwhere(head > 1000 * BRAIN)[::97]
    points = inner @ template.affine[:3, :3].T + template.affine[:3, 3]
    pulls = motion(N_VOLUMES, points)
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    splines = ndimage.spline_filter(head, 5)
    rng = np.random.default_rng(2)
    # antspyx, which gets fewer, aligns to the middle volume too: it comes first then, and the others lie
    # all over the run.
    order = list(range(N_VOLUMES))
    if n < N_VOLUMES:
        order = [N_VOLUMES // 2, *np.linspace(0, N_VOLUMES - 1, n - 1).round().astype(int).tolist()]
    volumes = np.empty((*shape, n), dtype=np.float32, order="F")
    for place, number in enumerate(order):
        back = np.linalg.inv(template.affine) @ np.linalg.inv(pulls[number]) @ affine
        volumes[..., place] = ndimage.affine_transform(
            splines, back[:3, :3], back[:3, 3], shape, order=5, prefilter=False, mode="constant"
        )
        bright = volumes[..., place][volumes[..., place] > 1000 * BRAIN].mean()
        volumes[..., place] += NOISE * bright * rng.standard_normal(shape)
        if drift:
            side = np.linspace(-1, 1, shape[0])[:, None, None]
            late = 2 * number / N_VOLUMES - 1
            volumes[..., place] *= 1 + 0.03 * late + 0.01 * late * side
            # The slices at the ends are lost in every other volume.
            if number % 2:
                volumes[..., :2, place] = volumes[..., -2:, place] = 0
    return volumes, affine, pulls[order], points


def errors(found: np.ndarray, true: np.ndarray, middle: int, points: np.ndarray) -> dict[str, float]:
    relative = [pulls @ np.linalg.inv(pulls[middle]) for pulls in (found, true)]
    error = np.delete(mean_displacement(*relative, points), middle)
    moved = np.delete(mean_displacement(relative[1], np.eye(4), points), middle)
    return {
        "error_mm": float(error.mean()),
        "largest_mm": float(error.max()),
        "moved_mm": float(moved.mean()),
    }


def _ours(grid: str, drift: bool = False) -> Case:
    def case() -> Callable[[], Mapping[str, Any]]:
        volumes, affine, pulls, points = run(grid, N_VOLUMES, drift)

        def timed() -> Mapping[str, Any]:
            start = time.process_time()
            found, _ = realign_run(volumes, affine)
            used = (time.process_time() - start) / N_VOLUMES
            return {"n": N_VOLUMES, "cpu_seconds": used, **errors(found.pull, pulls, N_VOLUMES // 2, points)}

        return timed

    return case


def _ants(grid: str) -> Case:
    def case() -> Callable[[], Mapping[str, Any]]:
        import ants

        volumes, affine, pulls, points = run(grid, N_ANTS)
        # ITK counts x and y the other way.
        flip = np.diag([-1.0, -1, 1, 1])
        spacing = list(np.linalg.norm(affine[:3, :3], axis=0))
        place = {
            "origin": list((flip @ affine)[:3, 3]),
            "direction": (flip @ affine)[:3, :3] / spacing,
            "spacing": spacing,
        }
        fixed = ants.from_numpy(np.ascontiguousarray(volumes[..., 0]), **place)
        direction = np.eye(4)
        direction[:3, :3] = place["direction"]
        series = ants.from_numpy(
            np.ascontiguousarray(volumes),
            origin=[*place["origin"], 0.0],
            spacing=[*spacing, 2.0],
            direction=direction,
        )

        def timed() -> Mapping[str, Any]:
            start = time.process_time()
            with TemporaryDirectory() as folder:
                answered = ants.motion_correction(
                    series, fixed, type_of_transform="BOLDRigid", outprefix=str(Path(folder) / "m")
                )
                used = (time.process_time() - start) / N_ANTS
                found = np.tile(np.eye(4), (N_ANTS, 1, 1))
                for matrix, files in zip(found, answered["motion_parameters"], strict=True):
                    transform = ants.read_transform(files if isinstance(files, str) else files[0])
                    values = np.asarray(transform.parameters)
                    about = np.asarray(transform.fixed_parameters)[:3]
                    matrix[:3, :3] = values[:9].reshape(3, 3)
                    matrix[:3, 3] = values[9:] + about - matrix[:3, :3] @ about
            return {"n": N_ANTS, "cpu_seconds": used, **errors(flip @ found @ flip, pulls, 0, points)}

        return timed

    return case


def _resampling(order: int) -> Case:
    def case() -> Callable[[], Mapping[str, Any]]:
        shape = (104, 104, 72)
        volume = np.random.default_rng(0).normal(1000, 100, shape).astype(np.float32)
        pull = matrices([1.3, -0.8, 2.1, 0.02, -0.03, 0.01], CENTRE)
        affine = np.diag([2.0, 2, 2, 1])

        def timed() -> Mapping[str, Any]:
            start = time.process_time()
            resample(volume, affine, pull, shape, affine, order=order)  # type: ignore[arg-type]
            return {"n": 1, "cpu_seconds": time.process_time() - start}

        return timed

    return case


CASES: dict[str, Case] = {}
for _grid in GRIDS:
    CASES[f"antspyx BOLDRigid, {_grid}"] = _ants(_grid)
    CASES[f"ours, {_grid}"] = _ours(_grid)
    CASES[f"ours, drift and slices lost, {_grid}"] = _ours(_grid, drift=True)
CASES["resample, cubic, 104x104x72"] = _resampling(3)
CASES["resample, linear, 104x104x72"] = _resampling(1)


def main() -> None:
    as_json = "--json" in sys.argv
    # ITK has its own count of threads.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(os.cpu_count() or 1)
    if not as_json:
        print(
            f"{'case':<54}{'s/volume':>9}{'ratio':>7}{'CPU s':>8}{'peak MB':>9}"
            f"{'error mm':>10}{'largest':>9}{'moved':>7}"
        )
    found: dict[str, Measurement] = {}
    for name in CASES:
        if name.startswith("antspyx") and importlib.util.find_spec("ants") is None:
            continue
        one = measure(
            __file__,
            name,
            repeats=1 if name.startswith("antspyx") else 3,
            arguments=["--quick"] if QUICK else [],
        )
        found[name] = one
        peer = found.get(
            f"antspyx BOLDRigid, {name.partition(', ')[2].removeprefix('drift and slices lost, ')}"
        )
        seconds = one.seconds / one.facts["n"]
        ratio = peer.seconds / peer.facts["n"] / seconds if peer else None
        if as_json:
            line = {"name": name, "seconds": seconds, "ratio": ratio, "peak_rss_mb": one.peak_rss_mb}
            print(json.dumps({**line, **one.facts}), flush=True)
            continue
        numbers = f"{seconds:>9.4f}{ratio or float('nan'):>7.1f}{one.facts['cpu_seconds']:>8.3f}"
        accuracy = [one.facts.get(key, float("nan")) for key in ("error_mm", "largest_mm", "moved_mm")]
        where = f"{accuracy[0]:>10.4f}{accuracy[1]:>9.4f}{accuracy[2]:>7.2f}"
        print(f"{name:<54}{numbers}{one.peak_rss_mb:>9.0f}{where}", flush=True)


if __name__ == "__main__" and not answer(CASES):
    main()
