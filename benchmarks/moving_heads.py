"""What a head that moves costs: two-way identification from raw BOLD of MOVING against STILL, several seeds.

    python benchmarks/moving_heads.py [--json] [--seeds N]

MOVING has the brain, pictures, trials and noise of STILL, and besides head motion, slice timing, oblique
slices, two sessions on different grids, an inplane T2 image and volumes before the steady state. It is
preprocessed by the app; STILL is taken as it is. The peer is MOVING without preprocessing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.cli.run import main
from bids_recon.simulate.dataset import simulate_dataset
from bids_recon.simulate.design import MOVING, STILL

SPLIT = "column:picture_set:train=train,natural=natural,shapes=shapes,letters=letters"
CASES = {
    "still": (STILL, "--preprocess", "none"),
    "moving, preprocessed": (MOVING, "--preprocess", "full"),
    "moving, preprocessed, no motion regressors": (MOVING, "--preprocess", "full", "--nuisance", "none"),
    "moving, as it is": (MOVING, "--preprocess", "none"),
}


def identified(folder: Path, seed: int, name: str) -> tuple[float, float]:
    """Two-way identification (definition A, pixels) over all test pictures, and seconds."""
    design, *options = CASES[name]
    bids = folder / "data" / ("moving" if design is MOVING else "still")
    simulate_dataset(bids, design, seed=seed)
    begin = time.perf_counter()
    out = folder / name.replace(" ", "_").replace(",", "")
    code = main(
        [
            *(str(bids), str(out), "participant", "group", "--split", SPLIT, *options),
            *("--derivatives", f"rois={bids / 'derivatives' / 'rois'}", "--n-shuffles", "3"),
            *("-w", str(out) + "_work", "--skip-bids-validation"),
        ]
    )
    if code:
        raise SystemExit(f"{name}: exit code {code}")
    table = pd.read_csv(out / "group" / "metrics.tsv", sep="\t")
    rows = table[(table["metric"] == "two-way-a") & (table["protocol"] == "pixels-1")]
    return float(np.average(rows["value"], weights=rows["n_items"])), time.perf_counter() - begin


def run() -> None:
    n_seeds = int(sys.argv[sys.argv.index("--seeds") + 1]) if "--seeds" in sys.argv else 3
    scores: dict[str, list[float]] = {name: [] for name in CASES}
    seconds: dict[str, float] = dict.fromkeys(CASES, 0.0)
    for seed in range(1, n_seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for name in CASES:
                score, took = identified(Path(folder), seed, name)
                scores[name].append(score)
                seconds[name] += took / n_seeds
    still = np.mean(scores["still"])
    for name, values in scores.items():
        loss = 100 * (1 - np.mean(values) / still)
        if "--json" in sys.argv:
            facts = {"name": name, "seconds": seconds[name], "ratio": float(np.mean(values) / still)}
            print(json.dumps(facts | {"identified": values, "loss_percent": float(loss)}))
        else:
            each = ", ".join(f"{value:.3f}" for value in values)
            print(f"{name:<44}{seconds[name]:>7.0f} s  {np.mean(values):.3f} ({each}), loss {loss:.1f} %")


if __name__ == "__main__":
    run()
