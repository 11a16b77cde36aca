"""Memory of one participant from raw BOLD to responses: 24 runs x 240 volumes at 2 mm, 104 x 104 x 72 voxels.

    python benchmarks/raw_participant.py [--json] [--runs N] [--glm NAME]

One run is written, 375 MB in a sparse file (no disk where there is no head), and linked under 24 names.
The app runs in a process of its own, on the brain; the peak is that of the process, with all there is in
it. The peer is the size of the raw series in memory, which a program that held all runs at once would need.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import Measurement, answer, measure, report

SHAPE, VOXEL, N_VOLUMES, TR = (104, 104, 72), 2.0, 240, 2.0
N_TRIALS = 50
LIMIT_MB = 8 * 1024**3 / 1e6


def option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


N_RUNS, GLM = int(option("--runs", "24")), option("--glm", "block-average")


def write_data(root: Path) -> None:
    """A data set of one participant whose head moves by tenths of a voxel."""
    import json

    import nibabel as nib
    from scipy.ndimage import shift

    from bids_recon.simulate.head import Head, grid_affine, grid_points

    affine = grid_affine(SHAPE, VOXEL)
    extent = (VOXEL * SHAPE[0], VOXEL * SHAPE[1], VOXEL * SHAPE[2])
    head = Head.fitted(extent, np.random.default_rng(0))
    points = grid_points(SHAPE, affine)
    still = (1000 * head.intensity(points, "EPI")).astype(np.float32)
    func, anat = root / "sub-01" / "func", root / "sub-01" / "anat"
    func.mkdir(parents=True)
    anat.mkdir()
    t1w = nib.Nifti1Image((1000 * head.intensity(points, "T1w")).astype(np.int16), affine)
    nib.save(t1w, anat / "sub-01_T1w.nii")
    moved = [shift(still, (0.1 * k, 0, -0.05 * k), order=1, mode="nearest") for k in range(4)]
    rng = np.random.default_rng(0)
    image = nib.Nifti1Image(np.broadcast_to(np.int16(0), (*SHAPE, N_VOLUMES)), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((VOXEL, VOXEL, VOXEL, TR))
    image.header.set_data_offset(image.header.single_vox_offset)
    first = func / "sub-01_task-view_run-01_bold.nii"
    with first.open("wb") as stream:
        stream.write(image.header.binaryblock + bytes(image.header.single_vox_offset - 348))
        for k in range(N_VOLUMES):
            volume = moved[(k // 20) % len(moved)]
            noisy = np.where(
                volume > 40, volume * (1 + 0.01 * rng.standard_normal(SHAPE, dtype=np.float32)), 0
            )
            for plane in np.moveaxis(noisy.astype("<i2"), 2, 0):
                # Planes without a head are holes.
                data = plane.tobytes(order="F")
                stream.write(data) if plane.any() else stream.seek(len(data), os.SEEK_CUR)
        stream.truncate(image.header.single_vox_offset + 2 * int(np.prod(SHAPE)) * N_VOLUMES)
    (root / "dataset_description.json").write_text('{"Name": "large", "BIDSVersion": "1.10.0"}')
    (root / "task-view_bold.json").write_text(json.dumps({"RepetitionTime": TR, "TaskName": "view"}))
    for number in range(1, N_RUNS + 1):
        stem = f"sub-01_task-view_run-{number:02d}"
        if number > 1:
            os.link(first, func / f"{stem}_bold.nii")
        names = [f"p{(number * N_TRIALS + trial) // 2}.png" for trial in range(N_TRIALS)]
        events = pd.DataFrame({"onset": 8 + 9.0 * np.arange(N_TRIALS), "duration": 4.0, "stim_file": names})
        events.to_csv(func / f"{stem}_events.tsv", sep="\t", index=False)


def participant() -> Callable[[], Mapping[str, Any]]:
    folder = Path(option("--folder", "."))

    def timed() -> Mapping[str, Any]:
        from bids_recon.cli.run import main

        code = main(
            [
                *(
                    str(folder / "bids"),
                    str(folder / "out"),
                    "participant",
                    "--responses-only",
                    "--roi",
                    "brain",
                ),
                *("--glm", GLM, "-w", str(folder / "work"), "--skip-bids-validation", "--nprocs", "2"),
            ]
        )
        return {"exit_code": code, "volumes": N_RUNS * N_VOLUMES}

    return timed


CASES = {"participant": participant}

if __name__ == "__main__" and not answer(CASES):
    with tempfile.TemporaryDirectory(dir=option("--folder", ".")) as place:
        write_data(Path(place) / "bids")
        arguments = ["--folder", place, "--runs", str(N_RUNS), "--glm", GLM]
        found = measure(__file__, "participant", threads=2, arguments=arguments)
    everything = 4e-6 * np.prod(SHAPE) * N_VOLUMES * N_RUNS
    one = Measurement(
        f"{N_RUNS} runs x {N_VOLUMES} volumes, {GLM}", found.seconds, found.peak_rss_mb,
        {**found.facts, "all_runs_in_memory_mb": float(everything), "limit_mb": LIMIT_MB},
    )  # fmt: skip
    report([one], one, "--json" in sys.argv)
    if found.facts["exit_code"] or found.peak_rss_mb > LIMIT_MB:
        raise SystemExit("the run failed, or took more memory than 8 GiB")
