"""`bids-recon-demo`: a simulated data set, and both levels run on it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import bids_recon
from bids_recon.cli.exits import run_program
from bids_recon.cli.values import seed_number, whole_number
from bids_recon.errors import CannotCreateError, ExitCode, UsageError

FIRST_LINE = "The brain in this demonstration is simulated: no person was scanned."
SPLIT = "column:picture_set:train=train,natural=natural,shapes=shapes,letters=letters"
PROTOCOLS = {"pixels-1": "pixels", "mobilenetv2-1": "features of MobileNetV2"}
ONE_METHOD = ("--method", "eigenimage")
# Small pictures, few iterations: minutes, not hours.
BOTH_METHODS = (
    *("--method", "eigenimage", "deep-recon", "--encoder", "efficientnet-lite0", "--layers", "DNN1-4"),
    *("--image-size", "128", "--generator", "waves", "--iterations", "30"),
    *("--decoder", "ridge", "--alpha", "600"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write a simulated BIDS data set into DIR/bids and its derivatives into DIR/derivatives."""
    parser = argparse.ArgumentParser(
        prog="bids-recon-demo",
        description=f"Simulate a BIDS data set, reconstruct its pictures, and write reports. {FIRST_LINE}",
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a new or empty folder, or that of an earlier demo"
    )
    parser.add_argument(
        "--seed",
        type=seed_number,
        default=0,
        metavar="N",
        help="seed of the simulation and of the analysis (0)",
    )
    parser.add_argument(
        "--nprocs", type=whole_number, default=2, metavar="N", help="participants at a time (2)"
    )
    parser.add_argument("--version", action="version", version=f"bids-recon {bids_recon.__version__}")
    options = parser.parse_args(argv)
    print(FIRST_LINE, flush=True)
    logger = logging.getLogger("bids_recon")
    before = logger.level
    # Warnings are in the reports; here they would tear the progress bar.
    logger.setLevel(logging.ERROR)
    try:
        return run_program("bids-recon-demo", lambda: _run(options.folder, options.seed, options.nprocs))
    finally:
        logger.setLevel(before)


def _run(folder: Path, seed: int, nprocs: int) -> ExitCode:
    from tqdm import tqdm

    from bids_recon.cli.parser import parse_settings
    from bids_recon.simulate.dataset import simulate_dataset
    from bids_recon.simulate.design import DEMO
    from bids_recon.workflow.run import run_levels

    bids_dir, output_dir = folder / "bids", folder / "derivatives"
    _check(folder)
    n_people, methods = DEMO.n_subjects, _methods()
    n_steps = 2 * n_people + (1 if methods == ONE_METHOD else 2)
    with tqdm(total=n_steps, bar_format="{l_bar}{bar}| {elapsed} {desc}", leave=True) as bar:
        bar.set_description_str("simulating")

        def simulated(done: int, total: int, what: str) -> None:
            bar.n = n_people * done / total
            bar.set_description_str(what)

        simulate_dataset(bids_dir, DEMO, seed=seed, progress=simulated)
        bar.n = n_people
        argv = [
            *(str(bids_dir), str(output_dir), "participant", "group", *methods),
            *("--split", SPLIT, "--seed", str(seed), "--nprocs", str(nprocs), "--omp-nthreads", "1"),
            *("--derivatives", f"rois={bids_dir / 'derivatives' / 'rois'}"),
            # Its heads lie still, and aligning thousands of volumes would take longer than all the rest.
            *("--preprocess", "none"),
            *("--work-dir", str(folder / "work"), "--skip-bids-validation"),
        ]
        bar.set_description_str("responses and decoders")

        def step(what: str) -> None:
            bar.update(1)
            bar.set_description_str(f"{what} done")

        code = run_levels(parse_settings(argv), f"bids-recon {' '.join(argv)}", step)
    if code is ExitCode.OK:
        if methods == ONE_METHOD:
            print("deep-recon was left out: its network comes with pip install 'bids-recon[lite]'")
        print(f"Report: {output_dir / 'group.html'}")
        _print_scores(output_dir)
    return code


def _methods() -> tuple[str, ...]:
    """Options of the methods that can be run with what is installed."""
    from bids_recon.errors import ReconError
    from bids_recon.weights.store import find_weight

    try:
        find_weight("efficientnet-lite0")
    except ReconError:
        return ONE_METHOD
    return BOTH_METHODS


def _check(folder: Path) -> None:
    """Refuse a folder with other content: the demo must not mix with anybody's data."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CannotCreateError("is a file", file=folder, remedy="Name a new folder.")
    from bids_recon.outputs.atomic import TEMPORARY_PREFIX

    known = {"bids", "derivatives", "work"}
    # A demo that was killed while it simulated leaves a temporary folder behind; the next call goes on.
    found = {item.name for item in folder.iterdir() if not item.name.startswith(TEMPORARY_PREFIX)}
    if foreign := sorted(found - known):
        raise UsageError(f"is not empty (it holds {foreign[0]})", file=folder, remedy="Name a new folder.")


def _print_scores(output_dir: Path) -> None:
    import pandas as pd

    table = pd.read_csv(output_dir / "group" / "metrics.tsv", sep="\t", dtype={"subject": str})
    chosen = table[(table["metric"] == "two-way-a") & table["protocol"].isin(PROTOCOLS)]
    for (protocol, method), rows in chosen.groupby(["protocol", "method"], sort=False):
        measure = PROTOCOLS[str(protocol)]
        print(f"Two-way identification by {measure}, {method} (chance 0.5, floor in brackets):")
        for test_set, scored in rows.groupby("test_set", sort=False):
            scores = []
            for row in scored.to_dict("records"):
                who = "mean latents" if row["subject"] == "average" else f"sub-{row['subject']}"
                scores.append(f"{who} {row['value']:.2f} ({row['floor']:.2f})")
            print(f"  {test_set}: {', '.join(scores)}")


if __name__ == "__main__":
    sys.exit(main())
