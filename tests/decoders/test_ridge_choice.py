"""The penalty of the ridge: held-out errors equal those of plain loops that fit again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV

from bids_recon.decoders import ridge_selection
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.ridge_selection import compact_targets
from bids_recon.decoders.targets import RepeatedRows
from bids_recon.errors import UsageError

ALPHAS = np.logspace(-1, 5, 9)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def planted(
    n_voxels: int = 70, n_targets: int = 5, repeats: int = 1, n_stimuli: int = 40, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((n_stimuli, n_targets)) * np.geomspace(2, 0.3, n_targets) + 1
    stimulus = rng.permutation(np.repeat(np.arange(n_stimuli), repeats))
    signal = latents @ rng.standard_normal((n_targets, n_voxels))
    X = signal[stimulus] + 2.0 * signal.std() * rng.standard_normal((len(stimulus), n_voxels))
    noise = rng.uniform(0.1, 6, n_targets) * rng.standard_normal((n_stimuli, n_targets))
    return X, (latents + noise)[stimulus], stimulus


def by_brute_force(
    X: NDArray[Any], Y: NDArray[Any], stimulus: NDArray[Any], weights: NDArray[Any]
) -> NDArray[np.float64]:
    """Explained variance (n_alphas, n_targets) when each stimulus is left out of a fit of its own."""
    mean = np.average(X, axis=0, weights=weights)
    X = (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
    errors, baseline = np.zeros((len(ALPHAS), Y.shape[1])), np.zeros(Y.shape[1])
    for code in np.unique(stimulus):
        out = stimulus == code
        centre = np.average(Y[~out], axis=0, weights=weights[~out])
        baseline += weights[out] @ (Y[out] - centre) ** 2
        for row, alpha in enumerate(ALPHAS):
            model = Ridge(alpha=alpha, solver="svd").fit(X[~out], Y[~out], sample_weight=weights[~out])
            errors[row] += weights[out] @ (Y[out] - model.predict(X[out])) ** 2
    return 1 - errors / baseline


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("n_voxels", [20, 150], ids=["primal", "dual"])
def test_leave_out_equals_brute_force(n_voxels: int, repeats: int, device: str) -> None:
    X, Y, stimulus = planted(n_voxels, repeats=repeats)
    if repeats > 1:
        # Unequal numbers of repeats: weights differ.
        X, Y, stimulus = X[7:], Y[7:], stimulus[7:]
    weights = 1 / np.bincount(stimulus)[stimulus]
    weights *= len(X) / weights.sum()
    expected = by_brute_force(X, Y, stimulus, weights)
    settings: dict[str, Any] = {"alphas": ALPHAS, "selection": "leave-out", "device": device}
    each = RidgeDecoder(alpha_per="target", **settings).fit(X, Y, stimulus)
    np.testing.assert_allclose(each.explained_variance_, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(each.alpha_, ALPHAS[expected.argmax(axis=0)])
    assert len(set(each.alpha_)) > 1


def test_one_penalty_pools_the_errors_of_all_targets() -> None:
    X, Y, stimulus = planted()
    for selection in ("leave-out", "gcv", "k-fold"):
        each = RidgeDecoder(ALPHAS, selection, "target").fit(X, Y, stimulus)
        one = RidgeDecoder(ALPHAS, selection).fit(X, Y, stimulus)
        baseline = (
            ((Y - Y.mean(axis=0)) ** 2).sum(axis=0)
            if selection != "k-fold"
            else sum(
                ((Y[stimulus % 5 == f] - Y[stimulus % 5 != f].mean(axis=0)) ** 2).sum(axis=0)
                for f in range(5)
            )
        )
        pooled = 1 - ((1 - each.explained_variance_) * baseline).sum(axis=1) / baseline.sum()
        np.testing.assert_allclose(one.explained_variance_, pooled, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n_voxels", [20, 150], ids=["primal", "dual"])
def test_generalised_cross_validation_equals_the_formula(n_voxels: int) -> None:
    X, Y, _ = planted(n_voxels)
    A = (X - X.mean(axis=0)) / X.std(axis=0)
    centred, n = Y - Y.mean(axis=0), len(Y)
    expected = []
    for alpha in ALPHAS:
        S = A @ np.linalg.solve(A.T @ A + alpha * np.eye(n_voxels), A.T) + 1 / n
        residual = Y - S @ Y
        expected.append((residual**2).sum(axis=0) / (1 - np.trace(S) / n) ** 2)
    baseline = (centred**2).sum(axis=0) / (1 - 1 / n) ** 2
    decoder = RidgeDecoder(ALPHAS, "gcv", "target").fit(X, Y)
    np.testing.assert_allclose(decoder.explained_variance_, 1 - expected / baseline, rtol=1e-6, atol=1e-8)


def test_scikit_learn_chooses_the_same_penalties() -> None:
    X, Y, _ = planted(150, n_stimuli=60)
    A = (X - X.mean(axis=0)) / X.std(axis=0)
    theirs = RidgeCV(ALPHAS, alpha_per_target=True).fit(A, Y)
    ours = RidgeDecoder(ALPHAS, "leave-out", "target").fit(X, Y)
    np.testing.assert_allclose(ours.alpha_, theirs.alpha_)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(A), rtol=1e-8, atol=1e-8)
    assert RidgeDecoder(ALPHAS, "leave-out").fit(X, Y).alpha_ == pytest.approx(
        RidgeCV(ALPHAS).fit(A, Y).alpha_
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("selection", ["k-fold", "leave-out", "gcv"])
def test_each_target_is_predicted_with_its_own_penalty(selection: str, dtype: type) -> None:
    X, Y, stimulus = planted(n_targets=8)
    X, Y = X.astype(dtype), Y.astype(dtype)
    decoder = RidgeDecoder(ALPHAS, selection, "target").fit(X, Y, stimulus)
    assert len(set(decoder.alpha_)) > 2
    predicted = decoder.predict(X[:9])
    for target, alpha in enumerate(decoder.alpha_):
        alone = RidgeDecoder([alpha]).fit(X, Y[:, target], stimulus)
        np.testing.assert_allclose(predicted[:, target], alone.predict(X[:9]), rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(decoder.coef_[target], alone.coef_[0], rtol=1e-3, atol=1e-5)


def test_penalty_per_token() -> None:
    X, Y, stimulus = planted(n_targets=6)
    tokens = np.array(["b", "a", "b", "a", "c", "c"])
    decoder = RidgeDecoder(ALPHAS, "leave-out", "group", tokens).fit(X, Y, stimulus)
    for token, column in zip("abc", decoder.explained_variance_.T, strict=True):
        own = tokens == token
        alone = RidgeDecoder(ALPHAS, "leave-out").fit(X, Y[:, own], stimulus)
        np.testing.assert_allclose(column, alone.explained_variance_, rtol=1e-8, atol=1e-10)
        assert (decoder.alpha_[own] == alone.alpha_).all()
    counts = decoder.summary()["targets_by_alpha"]
    assert sum(counts.values()) == 6


def test_many_targets_are_pooled_without_bias() -> None:
    X, Y, stimulus = planted(n_voxels=120, n_targets=4, n_stimuli=80)
    wide = Y @ np.random.default_rng(1).standard_normal((4, 30_000))
    wide += 3 * np.random.default_rng(2).standard_normal((80, 30_000))
    exact = RidgeDecoder(ALPHAS, "leave-out", "target").fit(X, wide, stimulus)
    baseline = ((wide - wide.mean(axis=0)) ** 2).sum(axis=0)
    pooled = 1 - ((1 - exact.explained_variance_) * baseline).sum(axis=1) / baseline.sum()
    sketched = [RidgeDecoder(ALPHAS, "leave-out", seed=seed).fit(X, wide, stimulus) for seed in range(4)]
    for decoder in sketched:
        np.testing.assert_allclose(1 - decoder.explained_variance_, 1 - pooled, rtol=0.05)
        assert decoder.alpha_ == ALPHAS[pooled.argmax()]
    different = sketched[0].explained_variance_ != sketched[1].explained_variance_
    assert different.any()


def test_pooled_targets_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    Y = np.random.default_rng(0).standard_normal((6, 3000)).astype(np.float32)
    monkeypatch.setattr(ridge_selection, "SKETCH", 128)
    whole = compact_targets(Y, 5, np.dtype(np.float32))
    monkeypatch.setattr("bids_recon.decoders.targets.CHUNK_BYTES", 6 * 4 * 256)
    in_parts = compact_targets(Y, 5, np.dtype(np.float32))
    rows = np.array([0, 3, 3])
    repeated = compact_targets(RepeatedRows(Y, rows), 5, np.dtype(np.float32))

    assert whole.shape == (6, 128)
    np.testing.assert_allclose(in_parts, whole, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(repeated, whole[rows], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((whole**2).sum(), (Y**2).sum(), rtol=0.2)


def test_noise_gets_a_large_penalty() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((60, 200)), rng.standard_normal((60, 30))
    for selection in ("leave-out", "gcv"):
        decoder = RidgeDecoder(np.logspace(0, 7, 8), selection).fit(X, Y)
        assert decoder.explained_variance_.max() < 0.02
        assert decoder.alpha_ >= 1e3
        # Small penalties would have been far worse than the mean.
        assert decoder.explained_variance_[0] < -0.3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"selection": "luck"}, "selection of penalties"),
        ({"alpha_per": "voxel"}, "chosen per one of"),
        ({"alpha_per": "group"}, "target_groups"),
        ({"device": "abacus"}, "the device is one of"),
    ],
)
def test_settings_that_do_not_exist_are_refused(settings: dict[str, Any], words: str) -> None:
    X, Y, _ = planted()
    with pytest.raises(UsageError, match=words):
        RidgeDecoder(**settings).fit(X, Y)


def test_labels_of_groups_have_to_fit() -> None:
    X, Y, _ = planted()
    with pytest.raises(ValueError, match="target_groups has 2 labels, but there are 5 targets"):
        RidgeDecoder(alpha_per="group", target_groups=[0, 1]).fit(X, Y)
