"""The BIDS validator, as a report and never as a gate.

Four of six public data sets with pictures fail it for reasons that do not concern decoding.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

TIME_LIMIT = 60.0


def validate(bids_dir: Path) -> list[str]:
    """Call `bids-validator-deno` where it is installed and sum up its errors, a line each.

    Returns
    -------
    list of str
        Empty when the validator finds no error or is not installed.
    """
    beside = Path(sys.executable).parent / "bids-validator-deno"
    program = str(beside) if beside.is_file() else shutil.which("bids-validator-deno")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, str(bids_dir), "--json", "--ignoreNiftiHeaders"],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
        issues = json.loads(done.stdout)["issues"]["issues"]
        counts = Counter(issue["code"] for issue in issues if issue.get("severity") == "error")
    except subprocess.TimeoutExpired:
        return [f"The BIDS validator did not finish in {TIME_LIMIT:.0f} s and was stopped."]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Another version of the validator may say something else; its report is no part of the result.
        return ["The BIDS validator could not be run; use --skip-bids-validation to leave it out."]
    return [f"BIDS validator: {code} ({count} times)" for code, count in counts.most_common()]
