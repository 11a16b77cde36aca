"""One option in a group of the command line."""

from __future__ import annotations

import argparse
from typing import Any


def add_option(group: argparse._ArgumentGroup, *names: str, **options: Any) -> None:
    """Add an option in both spellings, with hyphens and with underscores; lists may be given in parts."""
    spelled = [*names, *(f"--{n[2:].replace('-', '_')}" for n in names if "-" in n[2:] and n[:2] == "--")]
    if options.get("nargs") == "+":
        options["action"] = "extend"
    group.add_argument(*dict.fromkeys(spelled), **options)
