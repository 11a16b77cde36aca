"""`bids-recon-weights`: the weights of published networks that methods need."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import bids_recon
from bids_recon.cli.exits import run_program
from bids_recon.errors import DataError, ExitCode, MissingInputError, ReconError, UsageError

if TYPE_CHECKING:
    from bids_recon.weights.manifest import Weight

PROGRAM = "bids-recon-weights"
ACTIONS = {
    "list": "which weights there are, who may use them, and which are on this machine",
    "download": "fetch those that are missing; a download that broke off is continued",
    "verify": "read every file that is here, and compare it with the published or recorded SHA-256",
}


def main(argv: Sequence[str] | None = None) -> int:
    """List, download or verify weights."""
    options = _parser().parse_args(argv)
    return run_program(PROGRAM, lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Weights of published networks that methods need. "
        + " ".join(f"{action}: {text}." for action, text in ACTIONS.items()),
    )
    parser.add_argument("action", choices=tuple(ACTIONS))
    parser.add_argument(
        "--method",
        nargs="+",
        metavar="NAME",
        help="weights of these methods; 'scoring' for networks that score pictures (default: all)",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="folder of weights (default: $BIDS_RECON_WEIGHTS, else bids_recon/weights in the user's cache)",
    )
    parser.add_argument("--offline", action="store_true", help="never use the network")
    parser.add_argument("--version", action="version", version=f"bids-recon {bids_recon.__version__}")
    return parser


def _run(options: argparse.Namespace) -> ExitCode:
    from bids_recon.weights.manifest import MANIFEST, weights_of
    from bids_recon.weights.store import weights_folder

    folder = weights_folder(options.to)
    _check_methods(options.method, MANIFEST)
    weights = weights_of(options.method, MANIFEST)
    for method in options.method or ():
        if not weights_of([method], MANIFEST):
            print(f"{method}: needs no weights")
    if not weights:
        return ExitCode.OK
    if options.action == "list":
        return _list(weights, folder)
    if options.action == "download":
        return _download(weights, folder, options.offline)
    return _verify(weights, folder, options.method is not None)


def _check_methods(methods: Sequence[str] | None, manifest: Iterable[Weight]) -> None:
    known = {method for weight in manifest for method in weight.methods}
    if unknown := set(methods or ()) - known:
        from bids_recon.methods.registry import available_methods

        known |= set(available_methods())
        if unknown := unknown - known:
            raise UsageError(
                f"there is no method '{min(unknown)}'", remedy=f"Choose from: {', '.join(sorted(known))}."
            )


def _list(weights: Iterable[Weight], folder: Path) -> ExitCode:
    rows = [("name", "size", "state", "needed by", "licence", "who may use it")]
    for network, files in itertools.groupby(weights, key=lambda weight: weight.name.partition("/")[0]):
        rows += _rows_of_network(network, list(files), folder)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\nfolder: {folder}")
    return ExitCode.OK


def _rows_of_network(
    network: str, files: Sequence[Weight], folder: Path
) -> list[tuple[str, str, str, str, str, str]]:
    """One row for a network of one file; else one for the network, and one below it for each of its files."""
    from bids_recon.weights.manifest import total_text

    one = files[0]
    common = (", ".join(one.methods), one.licence, one.terms)
    states = [_state(weight, folder) for weight in files]
    if one.name == network:
        return [(network, one.size_text, states[0], *common)]
    n_here = len(states) - states.count("missing")
    part = f"{n_here} of {len(states)} are here" if n_here else "missing"
    state = "damaged" if "damaged" in states else states[0] if len(set(states)) == 1 else part
    rows = [(network, total_text(files), state, *common)]
    for weight, own_state in zip(files, states, strict=True):
        rows.append((f"  {weight.name.removeprefix(network)}", weight.size_text, own_state, "", "", ""))
    return rows


def _state(weight: Weight, folder: Path) -> str:
    from bids_recon.weights.store import check, locate

    found = locate(weight, folder)
    if found is None:
        return "missing"
    try:
        # A file that is still being copied must not get its hash recorded.
        check(weight, found, folder, record=False)
    except DataError:
        return "damaged"
    return "package" if found.in_package else "present"


def _download(weights: Sequence[Weight], folder: Path, offline: bool) -> ExitCode:
    """Fetch all that can be fetched, then give the exit code of the first that could not."""
    from bids_recon.weights.manifest import total_text
    from bids_recon.weights.store import downloadable

    code = ExitCode.OK
    if len(lacking := downloadable(weights, folder)) > 1:
        print(f"missing: {total_text(lacking)}", flush=True)
    for weight in weights:
        try:
            print(f"{weight.name}: {_obtain(weight, folder, offline)}", flush=True)
        except ReconError as error:
            print(f"{weight.name}: {error}", file=sys.stderr, flush=True)
            code = code or error.exit_code
    return code


def _obtain(weight: Weight, folder: Path, offline: bool) -> str:
    from bids_recon.weights.store import check, locate

    if found := locate(weight, folder):
        check(weight, found, folder)
        return f"is here: {found.path}"
    if weight.url is None:
        return f"is not downloaded but comes with a Python package: {weight.install}"
    if offline:
        raise MissingInputError(
            f"is missing ({weight.size_text}), and --offline was given",
            file=folder / weight.file,
            remedy="Download it on a connected machine, and copy it there.",
        )
    from bids_recon.weights.download import download_weight

    print(f"{weight.name}: {weight.size_text}; licence: {weight.licence}; {weight.terms}", flush=True)
    return f"downloaded: {download_weight(weight, folder)}"


def _verify(weights: Iterable[Weight], folder: Path, all_wanted: bool) -> ExitCode:
    from bids_recon.weights.store import check, locate

    n_damaged = 0
    lacking: list[Weight] = []
    for weight in weights:
        found = locate(weight, folder)
        if found is None:
            lacking.append(weight)
            install = f": `{weight.install}`" if weight.install else ""
            print(f"{weight.name}: missing ({weight.size_text}){install}")
            continue
        try:
            sha256 = check(weight, found, folder, full=True)
        except DataError as error:
            n_damaged += 1
            print(f"{weight.name}: DAMAGED: {error}")
            continue
        origin = "published" if weight.sha256 and not found.alternative else "recorded"
        print(f"{weight.name}: has the {origin} SHA-256 {sha256}: {found.path}")
    if all_wanted:
        _say_how_to_get(lacking, folder)
    if n_damaged:
        return ExitCode.DATA_ERROR
    return ExitCode.NO_INPUT if lacking and all_wanted else ExitCode.OK


def _say_how_to_get(lacking: Sequence[Weight], folder: Path) -> None:
    from bids_recon.weights.manifest import total_text
    from bids_recon.weights.store import download_command

    by_command: dict[str, list[Weight]] = {}
    for weight in lacking:
        if weight.url:
            by_command.setdefault(download_command(weight, folder), []).append(weight)
    for command, files in by_command.items():
        print(f"`{command}` fetches what is missing: {total_text(files)}.")


if __name__ == "__main__":
    sys.exit(main())
