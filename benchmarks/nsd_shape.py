"""Ridge at the size of one NSD person: 8,859 x 15,724 responses to 347,000 targets that stay on disk.

    python benchmarks/nsd_shape.py [--json] [--quick] [--targets N] [--to FOLDER]

Fits, predicts the 982 test trials into a file, and says how long each step took and the peak memory, pages of
mapped files included. The targets (12 GB) are written to FOLDER (a temporary one by default) and removed
again. There is no peer in the run: at this size the published loop takes hours (`docs/performance.md`).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from measuring import answer, measure, report

QUICK = "--quick" in sys.argv
N_TRIALS, N_VOXELS, N_NEW = (900, 1500, 100) if QUICK else (8859, 15_724, 982)
ALPHA = 60_000.0
RANK = 200


def _option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


N_TARGETS = int(_option("--targets", "20000" if QUICK else "347000"))
FOLDER = Path(_option("--to", tempfile.gettempdir()))
FILE = FOLDER / "nsd_shape_targets.npy"
PREDICTED = FOLDER / "nsd_shape_predicted.npy"


def write_targets() -> None:
    """Targets (n_trials, n_targets) float32 that share latent factors with the responses."""
    rng = np.random.default_rng(1)
    factors = _factors()[:N_TRIALS]
    stored = np.lib.format.open_memmap(FILE, "w+", np.float32, (N_TRIALS, N_TARGETS))
    # Long rows in blocks: written once, in order.
    weights = rng.standard_normal((RANK, N_TARGETS), dtype=np.float32)
    for start in range(0, N_TRIALS, 200):
        rows = slice(start, min(start + 200, N_TRIALS))
        stored[rows] = factors[rows] @ weights + 20 * rng.standard_normal(
            (rows.stop - rows.start, N_TARGETS), dtype=np.float32
        )
    stored.flush()


def _factors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N_TRIALS + N_NEW, RANK), dtype=np.float32)


def fit_and_predict() -> Callable[[], Mapping[str, Any]]:
    """One alpha for all targets, predictions to a file."""
    from bids_recon.decoders.ridge import RidgeDecoder

    rng = np.random.default_rng(2)
    X = _factors() @ rng.standard_normal((RANK, N_VOXELS), dtype=np.float32)
    X += 14 * rng.standard_normal(X.shape, dtype=np.float32)
    train, new = X[:N_TRIALS].copy(), X[N_TRIALS:].copy()
    del X

    def timed() -> Mapping[str, Any]:
        targets = np.load(FILE, mmap_mode="r")
        out = np.lib.format.open_memmap(PREDICTED, "w+", np.float32, (N_NEW, N_TARGETS))
        start = time.perf_counter()
        decoder = RidgeDecoder(_alphas(), selection="gcv").fit(train, targets)
        middle = time.perf_counter()
        decoder.predict(new, out=out)
        end = time.perf_counter()
        return {"fit": middle - start, "predict": end - middle, "alpha": decoder.alpha_}

    return timed


def _alphas() -> list[float]:
    return list(np.logspace(3, 7, 10)) if "--choose" in sys.argv else [ALPHA]


CASES = {"ours, one alpha": fit_and_predict, "ours, 10 alphas, gcv": fit_and_predict}


def main() -> None:
    """Write the targets, measure, remove the files."""
    given = ["--targets", str(N_TARGETS), "--to", str(FOLDER), *(["--quick"] if QUICK else [])]
    try:
        write_targets()
        one = measure(__file__, "ours, one alpha", arguments=given)
        choice = measure(__file__, "ours, 10 alphas, gcv", arguments=[*given, "--choose"])
    finally:
        FILE.unlink(missing_ok=True)
        PREDICTED.unlink(missing_ok=True)
    report([one, choice], baseline=one, as_json="--json" in sys.argv)


if __name__ == "__main__" and not answer(CASES):
    main()
