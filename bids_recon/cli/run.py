"""`bids-recon`: from the command line to the levels of analysis, and to an exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence

from bids_recon.cli.exits import run_program
from bids_recon.cli.parser import parse_settings
from bids_recon.config import Settings
from bids_recon.errors import ExitCode

LOGGER = logging.getLogger("bids_recon")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app; an error in input or options ends with one message and its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return run_program("bids-recon", lambda: _run(argv))


def _run(argv: Sequence[str]) -> ExitCode:
    settings = parse_settings(argv)
    # Libraries of linear algebra read these when they are first loaded, which is below.
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, str(settings.omp_nthreads))
    from bids_recon.workflow.run import dry_run, run_levels

    with _logging(settings):
        return (
            dry_run(settings) if settings.dry_run else run_levels(settings, f"bids-recon {shlex.join(argv)}")
        )


@contextlib.contextmanager
def _logging(settings: Settings) -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(max(logging.WARNING - 10 * settings.verbose, logging.DEBUG))
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
