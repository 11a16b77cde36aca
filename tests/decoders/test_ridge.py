"""Ridge: the same numbers as scikit-learn, and a penalty chosen across stimuli."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import check_estimator

from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.standardise import shuffle_responses
from bids_recon.errors import DataError, UsageError
from bids_recon.outputs.tensor_files import in_memory

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def planted(
    n_stimuli: int = 30,
    n_repeats: int = 2,
    n_voxels: int = 80,
    n_targets: int = 6,
    noise: float = 0.5,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Responses that depend linearly on latents, latents, and the stimulus of each trial."""
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((n_stimuli, n_targets)) * np.geomspace(3, 0.5, n_targets) + 2
    stimulus = np.repeat(np.arange(n_stimuli), n_repeats)
    signal = latents @ rng.standard_normal((n_targets, n_voxels)) + 5
    responses = signal[stimulus] + noise * signal.std() * rng.standard_normal((len(stimulus), n_voxels))
    return responses * rng.uniform(0.1, 10, n_voxels), latents[stimulus], stimulus


def reference(
    X: NDArray[Any], Y: NDArray[Any], alpha: float, weights: NDArray[Any], standardise: bool = True
) -> tuple[Ridge, NDArray[Any], NDArray[Any]]:
    mean = np.average(X, axis=0, weights=weights)
    scale = (
        np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights)) if standardise else np.ones(X.shape[1])
    )
    model = Ridge(alpha=alpha, solver="svd").fit((X - mean) / scale, Y, sample_weight=weights)
    return model, mean, scale


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("n_voxels", [20, 200], ids=["primal", "dual"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fixed_penalty_equals_scikit_learn(
    dtype: type, n_voxels: int, standardise: bool, device: str
) -> None:
    X, Y, stimulus = planted(n_voxels=n_voxels)
    new = planted(n_voxels=n_voxels, seed=0)[0][::3] * 1.1
    decoder = RidgeDecoder(alphas=[30.0], standardise=standardise, device=device)
    predicted = decoder.fit(X.astype(dtype), Y.astype(dtype), stimulus).predict(new.astype(dtype))
    model, mean, scale = reference(X, Y, 30.0, np.ones(len(X)), standardise)
    expected = model.predict((new - mean) / scale)

    assert predicted.dtype == dtype
    assert np.linalg.norm(predicted - expected) < 1e-5 * np.linalg.norm(expected)
    np.testing.assert_allclose(
        decoder.coef_, model.coef_ / scale, rtol=0, atol=1e-5 * np.abs(model.coef_ / scale).max()
    )
    np.testing.assert_allclose(decoder.intercept_ + decoder.coef_ @ new[0], predicted[0], rtol=1e-3)


def test_trials_of_a_stimulus_share_its_weight() -> None:
    X, Y, _ = planted(n_repeats=1)
    stimulus = np.arange(len(X))
    often = np.concatenate([stimulus, np.repeat(stimulus[:5], 7)])
    decoder = RidgeDecoder(alphas=[30.0]).fit(X[often], Y[often], often)
    counts = np.bincount(often)[often]
    weights = 1 / counts * len(often) / len(stimulus)
    model, _, scale = reference(X[often], Y[often], 30.0, weights)
    np.testing.assert_allclose(decoder.coef_, model.coef_ / scale, rtol=1e-8, atol=1e-10)

    alike = RidgeDecoder(alphas=[30.0], balance_stimuli=False).fit(X[often], Y[often], often)
    model, _, scale = reference(X[often], Y[often], 30.0, np.ones(len(often)))
    np.testing.assert_allclose(alike.coef_, model.coef_ / scale, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n_targets", [6, 90], ids=["few", "more-than-trials"])
def test_cross_validation_equals_a_plain_loop(n_targets: int) -> None:
    X, Y, stimulus = planted(n_stimuli=17, n_repeats=3, noise=2.0)
    if n_targets > 6:
        Y = Y @ np.random.default_rng(1).standard_normal((6, n_targets))
    keep = np.ones(len(X), dtype=bool)
    keep[[0, 1, 7]] = False
    X, Y, stimulus = X[keep], Y[keep], stimulus[keep]
    alphas = np.logspace(0, 5, 11)
    weights = 1 / np.bincount(stimulus)[stimulus]
    error, baseline = np.zeros(len(alphas)), 0.0
    for fold in range(5):
        out = stimulus % 5 == fold
        scaled = weights[~out] * len(X) / weights.sum()
        centre = np.average(Y[~out], axis=0, weights=scaled)
        baseline += weights[out] @ ((Y[out] - centre) ** 2).sum(axis=1)
        for position, alpha in enumerate(alphas):
            model, mean, scale = reference(X[~out], Y[~out], alpha, scaled)
            residual = Y[out] - model.predict((X[out] - mean) / scale)
            error[position] += weights[out] @ (residual**2).sum(axis=1)

    names = np.array([f"picture{code:02d}" for code in stimulus], dtype=object)
    decoder = RidgeDecoder(alphas=alphas).fit(X, Y, names)
    np.testing.assert_allclose(decoder.explained_variance_, 1 - error / baseline, rtol=1e-6, atol=1e-9)
    assert decoder.alpha_ == alphas[np.argmin(error)]
    assert alphas[0] < decoder.alpha_ < alphas[-1]


def test_planted_latents_are_recovered() -> None:
    X, Y, stimulus = planted(n_stimuli=60, noise=0.05)
    test = stimulus >= 50
    predicted = RidgeDecoder().fit(X[~test], Y[~test], stimulus[~test]).predict(X[test])

    for target in range(Y.shape[1]):
        assert np.corrcoef(predicted[:, target], Y[test, target])[0, 1] > 0.97
    np.testing.assert_allclose(predicted.mean(axis=0), Y[test].mean(axis=0), atol=0.3)


def test_shuffled_responses_predict_nothing() -> None:
    rng = np.random.default_rng(3)
    X, Y, stimulus = planted(n_stimuli=60, noise=0.05)
    test = stimulus >= 50
    explained = []
    for _ in range(10):
        decoder = RidgeDecoder().fit(shuffle_responses(X[~test], rng), Y[~test], stimulus[~test])
        residual = Y[test] - decoder.predict(X[test])
        explained.append(1 - (residual**2).sum() / ((Y[test] - Y[~test].mean(axis=0)) ** 2).sum())
    assert np.mean(explained) < 0.05


def test_repeats_of_a_picture_stay_in_one_fold() -> None:
    # Noise that repeats of a picture share can be learnt by heart, which only pays when folds split repeats.
    rng = np.random.default_rng(0)
    stimulus = np.repeat(np.arange(20), 4)
    X = rng.standard_normal((20, 100))[stimulus] + 0.1 * rng.standard_normal((80, 100))
    Y = rng.standard_normal((20, 5))[stimulus]
    grouped, split = RidgeDecoder().fit(X, Y, stimulus), RidgeDecoder().fit(X, Y)

    assert split.explained_variance_.max() > 0.9
    assert grouped.explained_variance_.max() < 0.05
    assert "hardly predict" in grouped.summary()["warning"] or grouped.alpha_ > 1e2 * split.alpha_


def test_constant_voxels_get_no_weight() -> None:
    X, Y, stimulus = planted()
    X[:, 3], X[:, 10] = 0.0, 1234.567
    decoder = RidgeDecoder().fit(X.astype(np.float32), Y, stimulus)
    without = RidgeDecoder().fit(np.delete(X, [3, 10], axis=1).astype(np.float32), Y, stimulus)

    assert (decoder.coef_[:, [3, 10]] == 0).all()
    assert decoder.summary()["n_constant_voxels"] == 2
    np.testing.assert_allclose(np.delete(decoder.coef_, [3, 10], axis=1), without.coef_, rtol=1e-4, atol=1e-6)


def test_one_stimulus_is_reported() -> None:
    X, Y, _ = planted(n_stimuli=1, n_repeats=6)
    decoder = RidgeDecoder(alphas=[1.0, 10.0, 100.0]).fit(X, Y, np.zeros(6))

    assert decoder.alpha_ == 10.0
    assert "one training stimulus" in decoder.summary()["warning"]
    np.testing.assert_allclose(decoder.predict(X + 1), Y)


def test_fewer_stimuli_than_folds() -> None:
    X, Y, stimulus = planted(n_stimuli=3, n_repeats=4)
    summary = RidgeDecoder(n_folds=5).fit(X, Y, stimulus).summary()

    assert (summary["n_folds"], summary["n_stimuli"]) == (3, 3)
    two = RidgeDecoder(alphas=[1.0, 10.0, 100.0]).fit(X[:8], Y[:8], stimulus[:8])
    assert two.alpha_ == 10.0
    assert "do not tell penalties apart" in two.summary()["warning"]


def test_one_trial_can_be_predicted() -> None:
    X, Y, stimulus = planted()
    decoder = RidgeDecoder().fit(X, Y, stimulus)
    np.testing.assert_allclose(decoder.predict(X[4:5]), decoder.predict(X)[4:5], rtol=1e-10)


@pytest.mark.parametrize("n_targets", [6, 300], ids=["primal", "dual"])
def test_state_rebuilds_the_decoder(n_targets: int) -> None:
    X, Y, stimulus = planted()
    Y = Y @ np.random.default_rng(0).standard_normal((Y.shape[1], n_targets))
    decoder = RidgeDecoder(n_folds=4).fit(X, Y, stimulus)
    state = in_memory(decoder.state())
    rebuilt = RidgeDecoder.from_state(state, decoder.get_params() | {"unrelated": 1})

    assert ("dual_coef" in state) == (n_targets > 6)
    np.testing.assert_allclose(rebuilt.predict(X), decoder.predict(X), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rebuilt.coef_, decoder.coef_, rtol=1e-9, atol=1e-12)
    assert rebuilt.summary() == decoder.summary()
    for name, array in in_memory(rebuilt.state()).items():
        np.testing.assert_array_equal(array, state[name])
    with pytest.raises(DataError, match="a saved decoder does not hold"):
        rebuilt.leave_out_predictions([0])
    with pytest.raises(DataError, match="lacks the array 'primal_coef'"):
        RidgeDecoder.from_state({}, {})


@pytest.mark.parametrize("settings", [{"alphas": [0.0, 1.0]}, {"alphas": []}, {"n_folds": 1}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    X, Y, stimulus = planted()
    with pytest.raises(UsageError, match=r"penalties|two folds"):
        RidgeDecoder(**settings).fit(X, Y, stimulus)


def test_groups_of_another_length_are_refused() -> None:
    X, Y, stimulus = planted()
    with pytest.raises(ValueError, match="groups has shape"):
        RidgeDecoder().fit(X, Y, stimulus[:-1])


@pytest.mark.filterwarnings("ignore")
def test_conventions_of_scikit_learn() -> None:
    results = check_estimator(RidgeDecoder(), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 40
