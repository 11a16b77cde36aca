"""How the cost of decoders grows with targets, samples and voxels: measured, against theory, and plotted.

    python benchmarks/scaling.py [--json] [--quick] [--plot FILE.png]

One quantity varies, the others stay at 1,000 samples, 4,000 voxels and 20,000 targets (2,000 units for the
decoder of single units). Every point is a process of its own. The slope is that of a straight line through
the logarithms of the last three points; theory is the power of the term that dominates there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from measuring import Measurement, answer, measure

QUICK = "--quick" in sys.argv
BASE = {"samples": 1000, "voxels": 4000, "targets": 20_000}
UNIT_TARGETS = 2000
GRIDS = {
    "targets": [2500, 5000, 10_000, 20_000, 40_000, 80_000],
    "samples": [500, 1000, 2000, 3000, 4500],
    "voxels": [2000, 4000, 8000, 16_000, 32_000],
}
UNIT_GRIDS = {"targets": [250, 500, 1000, 2000, 4000], "voxels": [1000, 2000, 4000, 8000, 16_000]}
# What theory says of the largest sizes: predictions and reading are linear in targets and voxels, the
# decomposition takes the cube of the samples beside products that take their square.
THEORY = {
    ("ridge", "targets"): "1",
    ("ridge", "samples"): "2 to 3",
    ("ridge", "voxels"): "1",
    ("ridge, 10 alphas, gcv", "targets"): "1",
    ("ridge, 10 alphas, gcv", "samples"): "2 to 3",
    ("ridge, 10 alphas, gcv", "voxels"): "1",
    ("unit-ridge", "targets"): "1",
    ("unit-ridge", "voxels"): "1 to 2",
}


def _size(name: str) -> int:
    return int(sys.argv[sys.argv.index(f"--{name}") + 1])


def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n = _size("samples")
    factors = rng.standard_normal((n, 50), dtype=np.float32)
    X = factors @ rng.standard_normal((50, _size("voxels")), dtype=np.float32)
    X += 7 * rng.standard_normal(X.shape, dtype=np.float32)
    Y = factors @ rng.standard_normal((50, _size("targets")), dtype=np.float32)
    Y += rng.standard_normal(Y.shape, dtype=np.float32)
    return X, Y, X[:100].copy()


def _ridge(**settings: Any) -> Callable[[], Callable[[], Mapping[str, Any]]]:
    def case() -> Callable[[], Mapping[str, Any]]:
        from bids_recon.decoders.ridge import RidgeDecoder

        X, Y, new = _data()

        def timed() -> Mapping[str, Any]:
            RidgeDecoder(**settings).fit(X, Y).predict(new)
            return {}

        return timed

    return case


def _unit_ridge() -> Callable[[], Mapping[str, Any]]:
    from bids_recon.decoders.unit_ridge import UnitRidgeDecoder

    X, Y, new = _data()

    def timed() -> Mapping[str, Any]:
        UnitRidgeDecoder().fit(X, Y).predict(new)
        return {}

    return timed


CASES = {
    "ridge": _ridge(alphas=[4000.0]),
    "ridge, 10 alphas, gcv": _ridge(alphas=np.logspace(1, 6, 10), selection="gcv"),
    "unit-ridge": _unit_ridge,
}


def _points(case: str, quantity: str) -> tuple[list[int], list[Measurement]]:
    unit = case == "unit-ridge"
    sizes = (UNIT_GRIDS if unit else GRIDS)[quantity]
    sizes = sizes[:3] if QUICK else sizes
    found = []
    for size in sizes:
        chosen = {**BASE, **({"targets": UNIT_TARGETS} if unit else {}), quantity: size}
        arguments = [word for name, value in chosen.items() for word in (f"--{name}", str(value))]
        found.append(measure(__file__, case, repeats=1 if QUICK else 3, arguments=arguments))
    return sizes, found


def _plot(file: str, curves: Sequence[tuple[str, str, list[int], list[Measurement]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="constrained")
    for axis, quantity in zip(axes, GRIDS, strict=True):
        for case, varied, sizes, found in curves:
            if varied == quantity:
                axis.loglog(sizes, [one.seconds for one in found], "o-", label=case)
        axis.set_xlabel(quantity)
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(which="major", alpha=0.3)
    axes[0].set_ylabel("seconds, fit and predict")
    axes[2].legend(fontsize=8, loc="upper left")
    axes[2].set_ylim(top=30)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure every curve, print slopes, plot."""
    as_json = "--json" in sys.argv
    curves = []
    for case, quantity in THEORY:
        sizes, found = _points(case, quantity)
        curves.append((case, quantity, sizes, found))
        seconds = [one.seconds for one in found]
        slope = float(np.polyfit(np.log(sizes[-3:]), np.log(seconds[-3:]), 1)[0])
        if as_json:
            for size, one in zip(sizes, found, strict=True):
                line = {"name": f"{case}, {quantity} {size}", "seconds": one.seconds}
                line |= {"ratio": one.seconds / seconds[0], "peak_rss_mb": one.peak_rss_mb}
                print(json.dumps(line), flush=True)
        else:
            shown = ", ".join(f"{size:,}: {second:.2f}" for size, second in zip(sizes, seconds, strict=True))
            print(
                f"{case:<24}{quantity:<9} slope {slope:4.2f} (theory {THEORY[case, quantity]})  {shown} s",
                flush=True,
            )
    if "--plot" in sys.argv:
        _plot(sys.argv[sys.argv.index("--plot") + 1], curves)


if __name__ == "__main__" and not answer(CASES):
    main()
