"""Decoders of single units against their peers, on the size of a Kamitani data set.

    python benchmarks/feature_decoding.py [--quick] [--json]

1,200 trials of 4,500 voxels, 500 voxels for each unit, 1,000 and 4,000 units. Ratios are those of time per
unit. `unit-ridge` is compared with FastL2LiR in its own precision, `sparse` with a direct loop over its
equations: the published code of the sparse regression cannot be installed from a registry. It took 6.1 s per
unit on this size on a quiet machine with two cores.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from measuring import Measurement, answer, measure, report

QUICK = "--quick" in sys.argv
N_TRIALS, N_TEST, N_VOXELS, N_CHOSEN = (300, 50, 800, 100) if QUICK else (1200, 50, 4500, 500)
N_UNITS = 100 if QUICK else 1000
# A layer of more units: what all units share, the Gram matrix above all, then weighs little.
N_LAYER_UNITS = 400 if QUICK else 4000
N_SPARSE_UNITS = 4 if QUICK else 8
N_DIRECT_UNITS = 2 if QUICK else 1
N_ITERATIONS = 20 if QUICK else 200
ALPHA = 100.0
PUBLISHED_SECONDS = 6.1

Case = Callable[[], Callable[[], Mapping[str, Any]]]


def simulated(n_units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Responses and units that share latent factors, both with noise, in single precision; training, test."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((N_TRIALS + N_TEST, 150))
    X = factors @ rng.standard_normal((150, N_VOXELS)) / 12 * 0.7
    X += rng.standard_normal(X.shape)
    Y = factors @ rng.standard_normal((150, max(N_UNITS, n_units)))[:, :n_units] / 12
    Y += 0.7 * rng.standard_normal(Y.shape)
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    return X[:N_TRIALS], Y[:N_TRIALS], X[N_TRIALS:], Y[N_TRIALS:]


def accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean correlation of units over test trials."""
    scaled = [(values - values.mean(axis=0)) / values.std(axis=0) for values in (predicted, truth)]
    return float(np.mean(scaled[0] * scaled[1]))


def standardised(n_units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The simulation, z-scored with means and deviations of training trials."""
    X, Y, X_test, Y_test = simulated(n_units)
    x_mean, x_scale, y_mean, y_scale = X.mean(0), X.std(0, ddof=1), Y.mean(0), Y.std(0, ddof=1)
    scaled = [(X - x_mean) / x_scale, (Y - y_mean) / y_scale]
    return *scaled, (X_test - x_mean) / x_scale, (Y_test - y_mean) / y_scale


def decoder_case(make: Callable[[], Any], n_units: int, dtype: type = np.float32) -> Case:
    def case() -> Callable[[], Mapping[str, Any]]:
        X, Y, X_test, Y_test = simulated(n_units)
        X, X_test = X.astype(dtype), X_test.astype(dtype)
        decoder = make()
        return lambda: {"r": accuracy(decoder.fit(X, Y).predict(X_test), Y_test)}

    return case


def unit_ridge() -> Any:
    from bids_recon.decoders.unit_ridge import UnitRidgeDecoder

    return UnitRidgeDecoder(ALPHA, N_CHOSEN, device="cpu")


def sparse() -> Any:
    from bids_recon.decoders.sparse import SparseDecoder

    return SparseDecoder(N_ITERATIONS, N_CHOSEN, device="cpu")


def fast_l2_lir(dtype: type) -> Case:
    def case() -> Callable[[], Mapping[str, Any]]:
        from fastl2lir import fastl2lir as peer

        # With numpy 2.4 its assignment of one-element arrays to numbers fails: give it vectors.
        linalg = types.SimpleNamespace(solve=lambda A, b: np.linalg.solve(A, b)[:, 0])
        peer.np = types.SimpleNamespace(**(vars(np) | {"linalg": linalg}))
        peer.tqdm = lambda iterable: iterable
        X, Y, X_test, Y_test = standardised(N_UNITS)
        X, Y = X.astype(dtype), Y.astype(dtype)

        def fit() -> Mapping[str, Any]:
            model = peer.FastL2LiR().fit(X, Y, ALPHA, N_CHOSEN, dtype=dtype)
            return {"r": accuracy(model.predict(X_test, dtype=dtype), Y_test)}

        return fit

    return case


def direct_loop() -> Callable[[], Mapping[str, Any]]:
    """The equations of the sparse regression as they stand, one unit after the other."""
    X, Y, X_test, Y_test = standardised(N_DIRECT_UNITS)
    X, Y = X.astype(np.float64), Y.astype(np.float64)

    def fit() -> Mapping[str, Any]:
        predicted = np.zeros(Y_test.shape)
        for unit in range(Y.shape[1]):
            alive = np.argsort(-np.abs(X.T @ Y[:, unit]))[:N_CHOSEN]
            A = X[:, alive]
            gram, precision, noise = A.T @ A, np.ones(len(alive)), 1.0
            for _ in range(N_ITERATIONS):
                covariance = np.linalg.inv(noise * gram + np.diag(precision))
                mean = noise * covariance @ (A.T @ Y[:, unit])
                gamma = 1 - precision * np.diag(covariance)
                precision = gamma / mean**2
                noise = (len(A) - gamma.sum()) / ((Y[:, unit] - A @ mean) ** 2).sum()
                stays = precision <= 1e3 * noise * np.diag(gram)
                alive, precision, mean = alive[stays], precision[stays], mean[stays]
                A, gram = A[:, stays], gram[np.ix_(stays, stays)]
            predicted[:, unit] = X_test[:, alive] @ mean
        return {"r": accuracy(predicted, Y_test)}

    return fit


CASES: dict[str, Case] = {
    "unit-ridge float32": decoder_case(unit_ridge, N_UNITS),
    "unit-ridge float32, more units": decoder_case(unit_ridge, N_LAYER_UNITS),
    "unit-ridge float64": decoder_case(unit_ridge, N_UNITS, np.float64),
    "fastl2lir float32": fast_l2_lir(np.float32),
    "fastl2lir float64": fast_l2_lir(np.float64),
    "sparse": decoder_case(sparse, N_SPARSE_UNITS),
    "direct loop": direct_loop,
}
UNITS = dict.fromkeys(CASES, N_UNITS) | {
    "unit-ridge float32, more units": N_LAYER_UNITS,
    "sparse": N_SPARSE_UNITS,
    "direct loop": N_DIRECT_UNITS,
}


def compare(cases: list[tuple[str, int]], rounds: int) -> list[Measurement]:
    """Seconds per unit of cases with their numbers of threads: the fastest of some rounds, each in turn."""
    arguments = ["--quick"] if QUICK else []
    measured = [
        [measure(__file__, *case, repeats=2, arguments=arguments) for case in cases] for _ in range(rounds)
    ]
    best = [min(runs, key=lambda run: run.seconds) for runs in zip(*measured, strict=True)]
    return [
        replace(run, name=f"{run.name}, {threads} thread(s)", seconds=run.seconds / UNITS[run.name])
        for run, (_, threads) in zip(best, cases, strict=True)
    ]


def main() -> None:
    as_json, rounds = "--json" in sys.argv, 1 if QUICK else 2
    n = os.cpu_count() or 1
    ridge = compare(
        [
            ("unit-ridge float32", n),
            ("unit-ridge float32, more units", n),
            ("unit-ridge float32", 1),
            ("unit-ridge float64", n),
            ("fastl2lir float64", n),
            ("fastl2lir float32", n),
        ],
        rounds,
    )
    report(ridge, baseline=ridge[4], as_json=as_json)
    bayes = compare([("sparse", n), ("sparse", 1), ("direct loop", n)], rounds)
    if not QUICK:
        bayes = [
            replace(run, facts={**run.facts, "ratio_to_published": PUBLISHED_SECONDS / run.seconds})
            for run in bayes
        ]
    report(bayes, baseline=bayes[-1], as_json=as_json)


if __name__ == "__main__" and not answer(CASES):
    main()
