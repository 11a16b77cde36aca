"""`bids-recon-ratings`: the judgement of raters, scored into the table of the group."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import bids_recon
from bids_recon.cli.exits import run_program
from bids_recon.errors import ExitCode

CATCH_THRESHOLD = 0.8


def main(argv: Sequence[str] | None = None) -> int:
    """Score files that `group/rating.html` saved into `group/metrics.tsv`."""
    parser = argparse.ArgumentParser(
        prog="bids-recon-ratings",
        description="Check files of ratings, keep them in OUTPUT_DIR/group/ratings, and score all that are "
        "kept there into OUTPUT_DIR/group/metrics.tsv.",
    )
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR", help="output of the group level")
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="FILE.json",
        help="files that raters saved (default: score the kept ones again)",
    )
    parser.add_argument(
        "--catch-threshold",
        type=share,
        default=CATCH_THRESHOLD,
        metavar="SHARE",
        help="leave out raters with fewer of the catch trials right, 0 to 1 (%(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"bids-recon {bids_recon.__version__}")
    options = parser.parse_args(argv)
    return run_program(
        "bids-recon-ratings", lambda: _score(options.output_dir, options.files, options.catch_threshold)
    )


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


def _score(output_dir: Path, files: Sequence[Path], catch_threshold: float) -> ExitCode:
    from bids_recon.workflow.rating_scores import score_ratings

    outcome = score_ratings(output_dir, files, catch_threshold)
    for reason in outcome.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    print(f"raters: {', '.join(outcome.raters)}")
    for row in outcome.rows.to_dict("records"):
        who = f"{row['subject']} {row['method']} {row['test_set']}"
        interval = f"({row['ci_low']:.2f} to {row['ci_high']:.2f})"
        print(f"  {who}: {row['metric']} {row['value']:.2f} {interval}; {row['note']}")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
