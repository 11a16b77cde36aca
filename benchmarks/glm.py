"""Single-trial estimators on 6 runs of 150 volumes and 20,000 voxels: ours, nilearn, and GLMsingle.

    python benchmarks/glm.py [--json] [--quick] [--threads N]

One simulated person: 100 pictures shown three times, 30 % of voxels respond, each with a delay of its own,
beside autoregressive noise, drift and five time courses of noise that voxels share. Every case runs in a
process of its own. `r` is the correlation of single-trial responses with the true ones, mean over responding
voxels. `memory` is what an estimator needs at most beyond what the process holds after a small problem was
solved: memory of its own (anonymous), not pages of the files it reads and writes. Ours read time courses
through memory maps and write into one; nilearn and GLMsingle want all in memory. The bound is 1.5 times the
data of one run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import Measurement, answer, measure

QUICK = "--quick" in sys.argv
N_RUNS, N_VOLUMES, N_VOXELS, TR = 6, 150, 2000 if QUICK else 20_000, 2.0
N_PICTURES, N_TRIALS = 100, 50
RUN_MB = 4 * N_VOLUMES * N_VOXELS / 1e6
BOUND_MB = 1.5 * RUN_MB
DATA = "--data"
LSA, LIBRARY = "ours, lsa", "ours, library"

Timed = Callable[[], Mapping[str, Any]]
Runs = Sequence[tuple[np.ndarray, pd.DataFrame]]


def simulate(folder: Path) -> None:
    """Write time courses (n_voxels, n_volumes) of each run, trials, and the truth."""
    from bids_recon.glm.hrf import DoubleGamma

    rng = np.random.default_rng(0)
    # SPM's response, whose delay each voxel has its own of, to a tenth of a second.
    hrf = DoubleGamma(6.0, 1.0, 16.0, 1.0, 1 / 6)
    delay = rng.normal(0, 0.8, N_VOXELS).clip(-2.5, 2.5).round(1)
    responsive = rng.random(N_VOXELS) < 0.3
    betas = rng.normal(1.5, 1.0, (N_PICTURES, N_VOXELS)).astype(np.float32) * responsive
    weights = rng.normal(0, 0.5, (5, N_VOXELS)).astype(np.float32)
    mean = rng.uniform(700, 1300, N_VOXELS).astype(np.float32)
    pictures = np.concatenate([rng.permutation(N_PICTURES) for _ in range(3)]).reshape(N_RUNS, N_TRIALS)
    times = np.arange(N_VOLUMES) * TR
    for run in range(N_RUNS):
        onsets = 4 + np.cumsum(rng.uniform(5, 6.2, N_TRIALS))
        change = _autoregressive(rng, 0.3, N_VOXELS) + _autoregressive(rng, 0.5, 5) @ weights
        change += np.linspace(-1, 1, N_VOLUMES)[:, None] * rng.normal(0, 1, N_VOXELS).astype(np.float32)
        for value in np.unique(delay):
            rows = np.flatnonzero(delay == value)
            X = hrf.block(times[:, None] - onsets - value, 2.0) / hrf.peak(2.0)
            change[:, rows] += (X @ betas[pictures[run]][:, rows]).astype(np.float32)
        np.save(folder / f"run{run}.npy", np.ascontiguousarray((mean * (1 + change / 100)).T, np.float32))
        trials = pd.DataFrame({"onset": onsets, "duration": 2.0, "stimulus_id": pictures[run].astype(str)})
        trials.to_csv(folder / f"run{run}.tsv", sep="\t", index=False)
    np.savez(folder / "truth.npz", betas=betas[pictures.ravel()], responsive=responsive)


def _autoregressive(rng: np.random.Generator, value: float, n: int) -> np.ndarray:
    noise = rng.standard_normal((N_VOLUMES, n), dtype=np.float32)
    for row in range(1, N_VOLUMES):
        noise[row] += value * noise[row - 1]
    return noise


def folder() -> Path:
    """Where the data are, as the parent process says."""
    return Path(sys.argv[sys.argv.index(DATA) + 1])


def load(n_voxels: int = N_VOXELS) -> Runs:
    """Memory maps (n_voxels, n_volumes) and trials of all runs."""
    return [
        (
            np.load(folder() / f"run{run}.npy", mmap_mode="r")[:n_voxels],
            pd.read_csv(folder() / f"run{run}.tsv", sep="\t", dtype={"stimulus_id": str}),
        )
        for run in range(N_RUNS)
    ]


def correlation(responses: np.ndarray) -> float:
    """Mean over responding voxels of the correlation with the truth."""
    with np.load(folder() / "truth.npz") as truth:
        A, B = responses[:, truth["responsive"]], truth["betas"][:, truth["responsive"]]
    A, B = A - A.mean(axis=0), B - B.mean(axis=0)
    return float(np.mean((A * B).sum(axis=0) / np.sqrt((A**2).sum(axis=0) * (B**2).sum(axis=0))))


def nuisance() -> np.ndarray:
    """Drift of every run."""
    from bids_recon.glm.nuisance import nuisance_matrix

    return nuisance_matrix(N_VOLUMES, TR).to_numpy()


def anonymous_mb() -> float:
    """Memory of this process that is in no file, MB (10^6 bytes)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024 / 1e6


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Tell by how much memory grows at most, looked at every 5 ms."""
    begin = anonymous_mb()
    facts = {"memory_mb": 0.0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            facts["memory_mb"] = max(facts["memory_mb"], anonymous_mb() - begin)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield facts
    finally:
        over.set()
        watcher.join()


def _case(estimate: Callable[[Runs, np.ndarray], np.ndarray]) -> Callable[[], Timed]:
    """A case from a function of runs and of an array for responses, which gives back the responses."""

    def case() -> Timed:
        warnings.simplefilter("ignore")
        small = min(N_VOXELS, 200)
        estimate(load(small), np.empty((N_RUNS * N_TRIALS, small), dtype=np.float32))

        def timed() -> Mapping[str, Any]:
            shape = (N_RUNS * N_TRIALS, N_VOXELS)
            out = np.lib.format.open_memmap(folder() / "out.npy", mode="w+", dtype=np.float32, shape=shape)
            begin = time.perf_counter()
            with watched() as facts:
                found = estimate(load(), out)
            seconds = time.perf_counter() - begin
            return {**facts, "estimation_s": seconds, "r": correlation(np.asarray(found))}

        return timed

    return case


def _run_by_run(name: str) -> Callable[[Runs, np.ndarray], np.ndarray]:
    def estimate(runs: Runs, out: np.ndarray) -> np.ndarray:
        from bids_recon.glm.estimate import ESTIMATORS

        for number, (data, trials) in enumerate(runs):
            rows = slice(number * N_TRIALS, (number + 1) * N_TRIALS)
            out[rows] = ESTIMATORS[name](data.T, trials, TR, shift=4.0, start_time=0.0, nuisance=nuisance())
        return out

    return estimate


def _library(runs: Runs, out: np.ndarray) -> np.ndarray:
    from bids_recon.glm.library import library_responses
    from bids_recon.glm.run_data import RunData

    all_training = np.ones(N_TRIALS, dtype=bool)
    person = [RunData(data, trials, TR, 0.0, nuisance(), all_training) for data, trials in runs]
    return library_responses(person, out=out).responses


def _nilearn(noise_model: str) -> Callable[[Runs, np.ndarray], np.ndarray]:
    def estimate(runs: Runs, out: np.ndarray) -> np.ndarray:
        from nilearn.glm.first_level import make_first_level_design_matrix, run_glm

        for number, (data, trials) in enumerate(runs):
            names = [f"trial{row:03d}" for row in range(N_TRIALS)]
            design = make_first_level_design_matrix(
                np.arange(N_VOLUMES) * TR,
                trials[["onset", "duration"]].assign(trial_type=names),
                hrf_model="glover",
                drift_model=None,
                add_regs=nuisance(),
            )
            signals = np.asarray(data.T)
            labels, results = run_glm(signals, design.to_numpy(), noise_model=noise_model)
            rows = slice(number * N_TRIALS, (number + 1) * N_TRIALS)
            for label in np.unique(labels):
                out[rows, labels == label] = results[label].theta[:N_TRIALS]
            out[rows] *= 100 / signals.mean(axis=0)
        return out

    return estimate


def _glmsingle(runs: Runs, out: np.ndarray) -> np.ndarray:
    from glmsingle.glmsingle import GLM_single

    designs = []
    for _, trials in runs:
        design = np.zeros((N_VOLUMES, N_PICTURES))
        volumes = np.round(trials["onset"].to_numpy() / TR).astype(int)
        design[volumes, trials["stimulus_id"].astype(int)] = 1
        designs.append(design)
    options = {"wantfileoutputs": [0, 0, 0, 0], "wantmemoryoutputs": [0, 0, 0, 1], "seed": 0}
    with tempfile.TemporaryDirectory() as made:
        found = GLM_single(options).fit(
            designs, [np.array(data) for data, _ in runs], 2.0, TR, outputdir=str(Path(made) / "glmsingle")
        )
    out[:] = found["typed"]["betasmd"].reshape(-1, N_RUNS * N_TRIALS).T
    return out


CASES = {
    LSA: _case(_run_by_run("lsa")),
    "ours, lss": _case(_run_by_run("lss")),
    LIBRARY: _case(_library),
    "nilearn, OLS": _case(_nilearn("ols")),
    "nilearn, AR(1)": _case(_nilearn("ar1")),
    "GLMsingle": _case(_glmsingle),
}


def main() -> None:
    """Run every case and hold its time against that of our `lsa`, and our memory against the bound."""
    as_json = "--json" in sys.argv
    threads = int(sys.argv[sys.argv.index("--threads") + 1]) if "--threads" in sys.argv else None
    found: dict[str, Measurement] = {}
    with tempfile.TemporaryDirectory() as made:
        simulate(Path(made))
        if not as_json:
            print(f"{N_RUNS} runs of {N_VOLUMES} volumes and {N_VOXELS} voxels; one run is {RUN_MB:.0f} MB")
            print(f"{'case':<20}{'seconds':>9}{'x lsa':>8}{'memory MB':>11}{'peak MB':>9}{'r':>8}")
        for name in CASES:
            if name == "GLMsingle" and find_spec("glmsingle") is None:
                if not as_json:
                    print(f"{name:<20}is not installed")
                continue
            arguments = [DATA, made, *(["--quick"] if QUICK else [])]
            one = found[name] = measure(__file__, name, threads=threads, arguments=arguments)
            seconds, memory = one.facts["estimation_s"], one.facts["memory_mb"]
            ratio = seconds / found[LSA].facts["estimation_s"]
            if as_json:
                line = {"name": name, "seconds": seconds, "ratio": ratio, "memory_mb": memory}
                line |= {"bound_mb": BOUND_MB, "peak_rss_mb": one.peak_rss_mb, "r": one.facts["r"]}
                print(json.dumps(line), flush=True)
            else:
                numbers = f"{seconds:>9.2f}{ratio:>8.1f}{memory:>11.1f}{one.peak_rss_mb:>9.0f}"
                print(f"{name:<20}{numbers}{one.facts['r']:>8.3f}", flush=True)
    if not as_json:
        most = max(one.facts["memory_mb"] for name, one in found.items() if name.startswith("ours"))
        print(f"ours need at most {most:.1f} MB; 1.5 runs are {BOUND_MB:.1f} MB")


if __name__ == "__main__" and not answer(CASES):
    main()
