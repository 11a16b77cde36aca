"""Ridge from 5,000 voxels to 20,000 targets: ours against scikit-learn, the published loop, and himalaya.

    python benchmarks/ridge.py [--json] [--quick]

Every case is fitted on 3,000 trials and predicts 300 in a process of its own. A rate is the operations of
the direct dual method (Gram matrix 2n²p, factor n³/3, dual coefficients 2n²t, predictions 2mnp + 2mnt) per
second, held against the fastest product of two float32 matrices that numpy and torch manage here. Several
cases do with fewer operations, so their rate can be above that of the product.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from measuring import Measurement, answer, measure

QUICK = "--quick" in sys.argv
N_TRIALS, N_VOXELS, N_TARGETS, N_NEW = (600, 1000, 4000, 60) if QUICK else (3000, 5000, 20_000, 300)
ALPHA = N_VOXELS * 1.2
ALPHAS = np.logspace(1, 6, 10)
TOKEN = 768

Timed = Callable[[], Mapping[str, Any]]


def data(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Responses and targets that share 150 latent factors, beside noise: training and new ones."""
    rng = np.random.default_rng(0)
    n = N_TRIALS + N_NEW
    factors = rng.standard_normal((n, 150), dtype=np.float32)
    X = factors @ rng.standard_normal((150, N_VOXELS), dtype=np.float32)
    X += 12 * rng.standard_normal(X.shape, dtype=np.float32)
    X = (X - X[:N_TRIALS].mean(axis=0)) / X[:N_TRIALS].std(axis=0, ddof=1)
    Y = factors @ rng.standard_normal((150, N_TARGETS), dtype=np.float32)
    for start in range(0, N_TARGETS, 2000):
        part = Y[:, start : start + 2000]
        part += 20 * rng.standard_normal(part.shape, dtype=np.float32)
        part /= part[:N_TRIALS].std(axis=0)
    X, Y = X.astype(dtype, copy=False), Y.astype(dtype, copy=False)
    return X[:N_TRIALS].copy(), Y[:N_TRIALS].copy(), X[N_TRIALS:].copy(), Y[N_TRIALS:].copy()


def accuracy(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean correlation over every hundredth target, which takes no time worth counting."""
    A, B = (values[:, ::100] - values[:, ::100].mean(axis=0) for values in (predicted, truth))
    r = (A * B).sum(axis=0) / np.sqrt((A**2).sum(axis=0) * (B**2).sum(axis=0))
    return {"r": float(r.mean())}


def _case(
    predict: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, float]],
    dtype: type = np.float32,
) -> Callable[[], Timed]:
    """A case from a function that fits, predicts and tells the penalty."""

    def case() -> Timed:
        X, Y, new, truth = data(dtype)

        def timed() -> Mapping[str, Any]:
            predicted, alpha = predict(X, Y, new)
            return {"alpha": alpha, **accuracy(predicted, truth)}

        return timed

    return case


def _ours(**settings: Any) -> Callable[[], Timed]:
    def predict(X: np.ndarray, Y: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
        from bids_recon.decoders.ridge import RidgeDecoder

        decoder = RidgeDecoder(standardise=False, balance_stimuli=False, **settings).fit(X, Y)
        return decoder.predict(new), float(np.median(decoder.alpha_))

    return _case(predict)


def _with_dual_coefficients(X: np.ndarray, Y: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
    """The dual coefficients of every target are formed, as a decoder that is saved needs them."""
    import torch

    from bids_recon.decoders.ridge import RidgeDecoder

    decoder = RidgeDecoder([ALPHA], standardise=False, balance_stimuli=False).fit(X, Y)
    factor = decoder._predictor.factor
    weighed, centre = factor.weigh(torch.from_numpy(Y))
    coefficients = factor.dual_coefficients(weighed, ALPHA)
    left = torch.from_numpy(new - decoder.x_mean_) @ factor.design.T
    return (left @ coefficients + centre).numpy(), ALPHA


def _scikit_learn(X: np.ndarray, Y: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=ALPHA).fit(X, Y).predict(new), ALPHA


def _token_loop(X: np.ndarray, Y: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
    """The published way of Brain-Diffuser: a scikit-learn ridge for each token of 768 targets."""
    predicted = np.empty((N_NEW, N_TARGETS), dtype=np.float32)
    for start in range(0, N_TARGETS, TOKEN):
        part = slice(start, start + TOKEN)
        predicted[:, part] = _scikit_learn(X, Y[:, part], new)[0]
    return predicted, ALPHA


def _ridge_cv(X: np.ndarray, Y: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(ALPHAS).fit(X, Y)
    return model.predict(new), float(model.alpha_)


def _himalaya(backend: str) -> Callable[[], Timed]:
    def predict(X: np.ndarray, Y: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
        from himalaya.backend import set_backend
        from himalaya.kernel_ridge import KernelRidgeCV

        set_backend(backend)
        batches = {"n_targets_batch": 4000, "n_alphas_batch": 5}
        model = KernelRidgeCV(ALPHAS, kernel="linear", cv=5, solver_params=batches).fit(X, Y)
        return np.asarray(model.predict(new)), float(np.median(np.asarray(model.best_alphas_)))

    return _case(predict)


def product_rate() -> Timed:
    """The fastest product of two float32 matrices."""
    import time

    import torch

    side = 1500 if QUICK else 4000
    A = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    tensor = torch.from_numpy(A)

    def timed() -> Mapping[str, Any]:
        rates = {"numpy": 0.0, "torch": 0.0}
        for _ in range(5):
            for name, multiply in (("numpy", lambda: A @ A), ("torch", lambda: tensor @ tensor)):
                start = time.perf_counter()
                multiply()
                rates[name] = max(rates[name], 2 * side**3 / (time.perf_counter() - start) / 1e9)
        return {f"gflops_{name}": rate for name, rate in rates.items()}

    return timed


CASES = {
    "matrix product": product_rate,
    "ours, one alpha": _ours(alphas=[ALPHA]),
    "ours, one alpha, dual coefficients formed": _case(_with_dual_coefficients),
    "scikit-learn Ridge, float32": _case(_scikit_learn),
    "scikit-learn Ridge, float64": _case(_scikit_learn, np.float64),
    "scikit-learn Ridge for each token": _case(_token_loop),
    "ours, 10 alphas, gcv": _ours(alphas=ALPHAS, selection="gcv"),
    "ours, 10 alphas, leave-one-out": _ours(alphas=ALPHAS, selection="leave-out"),
    "ours, 10 alphas, 5 folds": _ours(alphas=ALPHAS),
    "ours, 10 alphas, gcv, per target": _ours(alphas=ALPHAS, selection="gcv", alpha_per="target"),
    "himalaya KernelRidgeCV, torch": _himalaya("torch"),
    "himalaya KernelRidgeCV, numpy": _himalaya("numpy"),
    "scikit-learn RidgeCV": _case(_ridge_cv),
}
OPERATIONS = (
    2 * N_TRIALS**2 * N_VOXELS
    + N_TRIALS**3 / 3
    + 2 * N_TRIALS**2 * N_TARGETS
    + 2 * N_NEW * N_TRIALS * (N_VOXELS + N_TARGETS)
)
INPUT_MB = 4 * (N_TRIALS + N_NEW) * (N_VOXELS + N_TARGETS) / 1e6


def main() -> None:
    """Run every case and hold it against ours: with one alpha, or with 10 chosen from by gcv."""
    arguments = ["--quick"] if QUICK else []
    as_json = "--json" in sys.argv
    found: dict[str, Measurement] = {}
    for name in CASES:
        one = measure(__file__, name, repeats=3 if name.startswith("ours") else 1, arguments=arguments)
        found[name] = one
        if name == "matrix product":
            product = max(one.facts.values())
            if not as_json:
                print(f"matrix product: {dict(one.facts)}; inputs {INPUT_MB:.0f} MB")
                print(f"{'case':<44}{'seconds':>9}{'times':>7}{'rate':>7}{'peak MB':>9}{'alpha':>9}{'r':>9}")
            continue
        reference = found[
            "ours, 10 alphas, gcv" if "10 alphas" in name or "CV" in name else "ours, one alpha"
        ]
        ratio, rate = one.seconds / reference.seconds, OPERATIONS / one.seconds / 1e9 / product
        if as_json:
            line = {"name": name, "seconds": one.seconds, "ratio": ratio, "peak_rss_mb": one.peak_rss_mb}
            print(json.dumps({**line, "share_of_product_rate": rate, **one.facts}), flush=True)
        else:
            numbers = f"{one.seconds:>9.2f}{ratio:>7.2f}{rate:>7.2f}{one.peak_rss_mb:>9.0f}"
            print(f"{name:<44}{numbers}{one.facts['alpha']:>9.0f}{one.facts['r']:>9.4f}", flush=True)
    choice = found["ours, 10 alphas, gcv"].seconds / found["ours, one alpha"].seconds
    if not as_json:
        print(f"choosing among 10 alphas by gcv costs {choice:.2f} times one alpha")


if __name__ == "__main__" and not answer(CASES):
    main()
