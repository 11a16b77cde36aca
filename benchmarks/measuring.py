"""Time and peak memory of named cases of a benchmark script, each in a process of its own.

A benchmark script has a table of cases. A case is a function that makes its input and gives back the function
to be timed, which may return facts (JSON-ready) that go into the measurement:

    CASES = {"ours": ours, "peer": peer}

    if __name__ == "__main__" and not answer(CASES):
        fast = measure(__file__, "ours", threads=2, repeats=3)
        slow = measure(__file__, "peer", threads=2)
        report([fast, slow], baseline=slow, as_json="--json" in sys.argv)
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Case = Callable[[], Callable[[], Mapping[str, Any] | None]]

FLAG = "--measure-case"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Measurement:
    """One case: fastest repeat, peak resident memory of its process (imports and input included), facts."""

    name: str
    seconds: float
    peak_rss_mb: float
    facts: Mapping[str, Any]


def measure(
    script: str, case: str, threads: int | None = None, repeats: int = 1, arguments: Sequence[str] = ()
) -> Measurement:
    """Run a case of a script in a fresh process.

    Parameters
    ----------
    script : str
        Path of a script that calls `answer`.
    case : str
        Name of the case.
    threads : int, optional
        Threads of BLAS and of torch; as many as there are cores by default.
    repeats : int
        How often the case is timed, in the same process; the fastest counts.
    arguments : sequence of str
        Further arguments of the script, to be found in `sys.argv`.

    Raises
    ------
    RuntimeError
        When the process fails; its error output is shown.
    """
    count = str(threads or os.cpu_count() or 1)
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, count)
    command = [sys.executable, script, FLAG, case, str(repeats), *arguments]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"the case {case} of {Path(script).name} failed")
    # What the measured code itself prints comes before.
    answered = json.loads(process.stdout.splitlines()[-1])
    return Measurement(case, answered["seconds"], answered["peak_rss_mb"], answered["facts"])


def answer(cases: Mapping[str, Case]) -> bool:
    """Run the case that `measure` asked for and print its measurement; False when none was asked for."""
    if FLAG not in sys.argv:
        return False
    place = sys.argv.index(FLAG)
    name, repeats = sys.argv[place + 1], int(sys.argv[place + 2])
    timed = cases[name]()
    seconds, facts = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        facts = timed()
        seconds.append(time.perf_counter() - start)
    print()
    print(json.dumps({"seconds": min(seconds), "peak_rss_mb": peak_rss_mb(), "facts": dict(facts or {})}))
    return True


def peak_rss_mb() -> float:
    """Peak resident memory of this process, MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():
        # The peak of getrusage starts at what the parent process had in memory, this one does not.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def report(measurements: Sequence[Measurement], baseline: Measurement, as_json: bool) -> None:
    """Print a table, or a line of JSON each; the ratio is the baseline's time over that of the case."""
    if not as_json:
        print(f"{'case':<44}{'seconds':>10}{'ratio':>8}{'peak MB':>9}  facts")
    for one in measurements:
        ratio = baseline.seconds / one.seconds
        if as_json:
            line = {"name": one.name, "seconds": one.seconds, "ratio": ratio, "peak_rss_mb": one.peak_rss_mb}
            print(json.dumps(line | dict(one.facts)))
        else:
            facts = ", ".join(f"{key} {value:.4g}" for key, value in one.facts.items())
            print(f"{one.name:<44}{one.seconds:>10.4f}{ratio:>8.1f}{one.peak_rss_mb:>9.0f}  {facts}")
