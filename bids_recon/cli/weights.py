"""`bids-recon-weights`: the weights of published networks that methods need."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import bids_recon
from bids_recon.cli.exits import run_program
from bids_recon.errors import ExitCode


def main(argv: Sequence[str] | None = None) -> int:
    """Say which weights the installed methods need.

    `eigenimage`, the one method of this version, fits its latent space on the training pictures and needs
    none, so there is nothing to list, download or verify yet.
    """
    parser = argparse.ArgumentParser(
        prog="bids-recon-weights", description="Weights of published networks that methods need."
    )
    parser.add_argument("action", choices=("list", "download", "verify"))
    parser.add_argument("--method", nargs="+", metavar="NAME", help="methods (default: all)")
    parser.add_argument("--version", action="version", version=f"bids-recon {bids_recon.__version__}")
    options = parser.parse_args(argv)
    return run_program("bids-recon-weights", lambda: _list(options.method))


def _list(methods: Sequence[str] | None) -> ExitCode:
    from bids_recon.methods.registry import available_methods, make_method

    for name in methods or available_methods():
        make_method(name)
        print(f"{name}: needs no weights")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
