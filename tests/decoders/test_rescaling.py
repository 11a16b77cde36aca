"""Decoded latents spread as true ones do, without a look at the test trials."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_recon.decoders.out_of_fold import refit_predictions, some_stimuli
from bids_recon.decoders.parametric_inversion import ParametricInversion
from bids_recon.decoders.prediction_moments import PredictionMoments, prediction_moments
from bids_recon.decoders.registry import DECODERS, decoder_class, describe_decoder, load_decoder
from bids_recon.decoders.rescaling import RescaledDecoder, rescale, rescale_by_test_statistics
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.targets import RepeatedRows
from bids_recon.errors import DataError, UsageError

ALPHAS = np.logspace(1, 6, 11)


@dataclass
class Experiment:
    """Responses to pictures whose latents are known."""

    X: NDArray[np.float32]
    Y: NDArray[np.float32]
    stimulus: NDArray[np.int64]
    new_responses: NDArray[np.float32]
    new_latents: NDArray[np.float32]


def experiment(
    n_stimuli: int = 400,
    n_repeats: int = 1,
    n_test_repeats: int = 35,
    n_latents: int = 20,
    noise: float = 3.0,
    n_test: int = 1000,
    n_voxels: int = 200,
    seed: int = 0,
) -> Experiment:
    """Latents of uneven variance, a linear code of them, test responses averaged over repeats."""
    rng = np.random.default_rng(seed)
    deviation = np.geomspace(4, 0.5, n_latents)
    code = rng.standard_normal((n_latents, n_voxels)) / np.sqrt(deviation)[:, None]
    shared = 0.2 * rng.standard_normal((10, n_voxels))

    def latents(n: int) -> NDArray[np.float64]:
        return deviation * rng.standard_normal((n, n_latents)) + 3

    def responses(Y: NDArray[np.float64], averaged: int) -> NDArray[np.float32]:
        white = rng.standard_normal((len(Y), n_voxels)) + rng.standard_normal((len(Y), 10)) @ shared
        signal = (Y - 3) @ code
        return (signal / np.sqrt((deviation).sum()) + noise * white / np.sqrt(averaged)).astype(np.float32)

    stimulus = np.repeat(np.arange(n_stimuli), n_repeats)
    Y, test_Y = latents(n_stimuli)[stimulus], latents(n_test)
    return Experiment(
        responses(Y, 1),
        Y.astype(np.float32),
        stimulus,
        responses(test_Y, n_test_repeats),
        test_Y.astype(np.float32),
    )


def deviation_ratios(
    predicted: NDArray[np.floating], truth: NDArray[np.floating]
) -> tuple[float, NDArray[np.float64]]:
    """Deviation of predictions over that of true latents, pooled over latents, and of each."""
    variances, true = predicted.var(axis=0, dtype=np.float64), truth.var(axis=0, dtype=np.float64)
    return float(np.sqrt(variances.sum() / true.sum())), np.sqrt(variances / true)


@pytest.mark.parametrize(
    ("n_repeats", "n_test_repeats", "loosest"),
    [(3, 3, 0.1), (1, 35, 0.3), (5, 24, 0.15)],
    ids=["same-repeats", "single-against-averaged", "some-against-averaged"],
)
def test_decoded_latents_spread_as_true_ones(n_repeats: int, n_test_repeats: int, loosest: float) -> None:
    n_stimuli = 600 if n_repeats == 1 else 400
    data = experiment(n_stimuli=n_stimuli, n_repeats=n_repeats, n_test_repeats=n_test_repeats)
    decoder = RescaledDecoder(RidgeDecoder(alphas=ALPHAS)).fit(data.X, data.Y, data.stimulus)
    predicted = decoder.predict(data.new_responses, n_trials=n_test_repeats)
    pooled, each = deviation_ratios(predicted, data.new_latents)

    assert abs(pooled - 1) < 0.1
    assert np.abs(each - 1).max() < loosest
    shift = (predicted.mean(axis=0) - data.new_latents.mean(axis=0)) / data.new_latents.std(axis=0)
    assert abs(shift.mean()) < 0.1
    assert np.abs(shift).max() < 0.3

    shrunk = deviation_ratios(decoder.decoder_.predict(data.new_responses), data.new_latents)
    assert shrunk[0] < 0.8
    assert np.median(shrunk[1]) < 0.6
    if n_test_repeats != n_repeats:
        # The level of averaging is what makes the difference: as if test trials were single ones.
        assert deviation_ratios(decoder.predict(data.new_responses), data.new_latents)[0] < 0.85


@pytest.mark.parametrize("n_latents", [100, 900], ids=["fewer-than-trials", "more-than-trials"])
def test_many_latents_from_single_trials(n_latents: int) -> None:
    data = experiment(n_latents=n_latents, n_stimuli=500, noise=1.5)
    decoder = RescaledDecoder(RidgeDecoder(alphas=ALPHAS)).fit(data.X, data.Y)
    predicted = decoder.predict(data.new_responses, n_trials=35)
    pooled, each = deviation_ratios(predicted, data.new_latents)

    assert abs(pooled - 1) < 0.15
    # Not one latent explodes.
    assert each.max() < 2
    assert decoder.summary()["noise_measured"] == "linear model of the signal"


def random_effects(
    counts: NDArray[np.int64], signal: float, noise: float, n_latents: int = 400
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    stimulus = np.repeat(np.arange(len(counts)), counts)
    means = 5 + signal * rng.standard_normal((len(counts), n_latents))
    return means[stimulus] + noise * rng.standard_normal((len(stimulus), n_latents)), stimulus


def test_variance_components_with_unequal_repeats() -> None:
    P, stimulus = random_effects(np.tile([1, 2, 3, 6], 50), signal=1.5, noise=2.0)
    moments = prediction_moments(P, np.zeros_like(P), stimulus)

    assert moments.from_repeats
    assert moments.signal_variance.mean() == pytest.approx(2.25, rel=0.03)
    assert moments.noise_variance.mean() == pytest.approx(4.0, rel=0.02)
    assert moments.mean.mean() == pytest.approx(5.0, abs=0.02)


def test_deviation_at_the_number_of_repeats_is_that_of_averages() -> None:
    P, stimulus = random_effects(np.full(200, 4), signal=1.0, noise=2.0)
    averaged = P.reshape(200, 4, -1).mean(axis=1)
    moments = prediction_moments(P, np.zeros_like(P), stimulus)
    np.testing.assert_allclose(moments.deviation(4), averaged.std(axis=0, ddof=1), rtol=1e-10)
    np.testing.assert_allclose(moments.mean, averaged.mean(axis=0), rtol=1e-10)


def test_noise_of_single_trials_is_found_by_the_true_latents() -> None:
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((600, 60)) * np.geomspace(3, 0.3, 60)
    signal = Y @ rng.standard_normal((60, 60)) / 10
    noise = np.geomspace(0.5, 4, 60)
    P = signal + noise * rng.standard_normal(signal.shape)
    moments = prediction_moments(P, Y, np.arange(600))

    assert not moments.from_repeats
    np.testing.assert_allclose(moments.noise_variance, noise**2, rtol=0.3)
    assert np.mean(moments.noise_variance / noise**2) == pytest.approx(1, abs=0.05)


def test_signal_that_is_not_linear_counts_as_noise() -> None:
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((600, 20))
    P = Y**2 + 0.1 * rng.standard_normal(Y.shape)
    moments = prediction_moments(P, Y, np.arange(600))
    np.testing.assert_allclose(moments.noise_variance, P.var(axis=0), rtol=0.1)


def test_predictions_without_signal_do_not_explode() -> None:
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((100, 6)) + 2
    P = np.zeros((100, 6), dtype=np.float32)
    P[:, 1] = rng.standard_normal(100)
    P[:, 2] = 1e-12 * rng.standard_normal(100)
    Y[:, 3] = 7.0
    moments = prediction_moments(P, Y, np.arange(100))
    assert moments.deviation(1e9)[1] > 0.09

    new = np.zeros((3, 6), dtype=np.float32)
    new[1] = 1.0
    new[:, 3] = [1, 2, 3]
    rescaled = rescale(new, 35, moments)
    assert np.isfinite(rescaled).all()
    np.testing.assert_allclose(rescaled[:, 3], 7.0)
    np.testing.assert_allclose(rescaled[0, [0, 4, 5]], moments.target_mean[[0, 4, 5]], rtol=1e-6)
    assert np.abs(rescaled[1] - moments.target_mean).max() <= 100 * 1.001


def test_one_picture_is_rescaled_as_within_fifty() -> None:
    data = experiment(n_test=50)
    decoder = RescaledDecoder(RidgeDecoder(alphas=ALPHAS)).fit(data.X, data.Y)
    together = decoder.predict(data.new_responses, n_trials=np.full(50, 35))
    for item in (0, 17, 49):
        alone = decoder.predict(data.new_responses[item : item + 1], n_trials=35)
        np.testing.assert_allclose(alone[0], together[item], rtol=1e-6, atol=1e-5)


def test_each_item_has_its_own_number_of_trials() -> None:
    data = experiment(n_stimuli=100, n_repeats=3, n_test=4)
    decoder = RescaledDecoder(RidgeDecoder(alphas=ALPHAS)).fit(data.X, data.Y, data.stimulus)
    mixed = decoder.predict(data.new_responses, n_trials=[1, 35, 1, 5])
    for number, items in {1: [0, 2], 35: [1], 5: [3]}.items():
        np.testing.assert_allclose(
            mixed[items], decoder.predict(data.new_responses, n_trials=number)[items], rtol=1e-5
        )
    with pytest.raises(ValueError, match="one trial at least"):
        decoder.predict(data.new_responses, n_trials=0)


def test_no_item_depends_on_the_others() -> None:
    data = experiment(n_stimuli=100)
    decoder = RescaledDecoder(RidgeDecoder(alphas=ALPHAS)).fit(data.X, data.Y)
    before = {name: array.copy() for name, array in decoder.moments_.state().items()}
    first = decoder.predict(data.new_responses[:1], n_trials=35)
    changed = data.new_responses.copy()
    changed[1:] *= -100
    np.testing.assert_allclose(decoder.predict(changed, n_trials=35)[:1], first, rtol=1e-5, atol=1e-5)
    for name, array in decoder.moments_.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_published_rescaling_is_the_plain_formula() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.standard_normal((20, 5)).astype(np.float32)
    predicted[:, 4] = 3.0
    mean, std = np.arange(5.0), np.arange(1.0, 6.0)
    rescaled = rescale_by_test_statistics(predicted, mean, std)
    z = (predicted[:, :4] - np.mean(predicted[:, :4], axis=0)) / np.std(predicted[:, :4], axis=0)

    np.testing.assert_allclose(rescaled[:, :4], z * std[:4] + mean[:4], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rescaled[:, 4], mean[4])
    with pytest.raises(DataError, match=r"only one.*--legacy-test-statistics"):
        rescale_by_test_statistics(predicted[:1], mean, std)


def test_published_rescaling_through_the_decoder() -> None:
    data = experiment(n_stimuli=100, n_repeats=2, n_test=60)
    decoder = RescaledDecoder(RidgeDecoder(alphas=ALPHAS), statistics="test").fit(
        data.X, data.Y, data.stimulus
    )
    predicted = decoder.predict(data.new_responses)
    latents = data.Y[::2].astype(np.float64)

    np.testing.assert_allclose(predicted.mean(axis=0), latents.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(predicted.std(axis=0), latents.std(axis=0), rtol=1e-4)
    with pytest.raises(DataError, match="only one"):
        decoder.predict(data.new_responses[:1])


class WithoutLeaveOut(RidgeDecoder):
    """A decoder that must be fitted again for predictions out of fold."""

    leave_out = property()


def test_refits_stand_in_for_leaving_out() -> None:
    data = experiment(n_repeats=3, n_test_repeats=3, n_stimuli=200)
    inside = WithoutLeaveOut(alphas=ALPHAS)
    decoder = RescaledDecoder(inside, n_folds=10).fit(data.X, data.Y, data.stimulus)
    assert decoder.summary()["out_of_fold_predictions"] == "10 folds"
    pooled, _ = deviation_ratios(decoder.predict(data.new_responses, n_trials=3), data.new_latents)
    assert abs(pooled - 1) < 0.1


def test_refits_hold_out_whole_stimuli() -> None:
    data = experiment(n_stimuli=12, n_repeats=2)
    rows = np.array([0, 1, 6, 23])
    inside = RidgeDecoder(alphas=[30.0])
    predicted = refit_predictions(inside, data.X, data.Y, data.stimulus, rows, 4)
    others = data.stimulus % 4 != 3
    expected = RidgeDecoder(alphas=[30.0]).fit(data.X[others], data.Y[others], data.stimulus[others])
    np.testing.assert_allclose(predicted[2:], expected.predict(data.X[[6, 23]]), rtol=1e-4, atol=1e-4)


def test_whole_stimuli_are_drawn() -> None:
    stimulus = np.random.default_rng(1).permutation(np.repeat(np.arange(50), 4))
    rows = some_stimuli(stimulus, 83, np.random.default_rng(0))

    assert len(rows) == 80
    assert (np.bincount(stimulus[rows], minlength=50)[np.unique(stimulus[rows])] == 4).all()
    np.testing.assert_array_equal(rows, some_stimuli(stimulus, 83, np.random.default_rng(0)))
    assert not np.array_equal(rows, some_stimuli(stimulus, 83, np.random.default_rng(1)))
    np.testing.assert_array_equal(some_stimuli(stimulus, 200, np.random.default_rng(0)), np.arange(200))


def test_few_of_many_trials_give_like_moments() -> None:
    data = experiment(n_stimuli=400, n_repeats=3, n_test_repeats=3)
    decoder = RescaledDecoder(RidgeDecoder(alphas=ALPHAS), max_out_of_fold=450)
    decoder.fit(data.X, data.Y, data.stimulus)
    pooled, _ = deviation_ratios(decoder.predict(data.new_responses, n_trials=3), data.new_latents)

    assert decoder.moments_.n_stimuli == 150
    assert abs(pooled - 1) < 0.1
    np.testing.assert_allclose(decoder.moments_.target_std, data.Y[::3].std(axis=0), rtol=1e-5)


def test_latents_on_disk(tmp_path: Path) -> None:
    data = experiment(n_stimuli=60, n_repeats=3, n_test=5)
    np.save(tmp_path / "latents.npy", data.Y[::3])
    mapped = np.load(tmp_path / "latents.npy", mmap_mode="r")
    plain = RescaledDecoder(WithoutLeaveOut(alphas=ALPHAS)).fit(data.X, data.Y, data.stimulus)
    streamed = RescaledDecoder(WithoutLeaveOut(alphas=ALPHAS))
    streamed.fit(data.X, RepeatedRows(mapped, data.stimulus), data.stimulus)
    np.testing.assert_allclose(
        streamed.predict(data.new_responses, 35), plain.predict(data.new_responses, 35), rtol=1e-4
    )


def test_one_latent_as_a_vector() -> None:
    data = experiment(n_stimuli=60, n_repeats=3, n_test=5)
    decoder = RescaledDecoder(RidgeDecoder(alphas=ALPHAS)).fit(data.X, data.Y[:, 0], data.stimulus)
    assert decoder.predict(data.new_responses).shape == (5,)


@pytest.mark.parametrize("statistics", ["out-of-fold", "test"])
def test_state_rebuilds_the_decoder(statistics: str) -> None:
    data = experiment(n_stimuli=60, n_repeats=3, n_test=5)
    inside = ParametricInversion(eigenvalue_floor=1e-6)
    decoder = RescaledDecoder(inside, statistics=statistics, n_folds=4).fit(data.X, data.Y, data.stimulus)
    described = json.loads(json.dumps(describe_decoder(decoder)))
    state: dict[str, Any] = decoder.state()
    rebuilt = load_decoder(described, state)

    assert described["params"]["decoder"]["name"] == "parametric-inversion"
    np.testing.assert_array_equal(
        rebuilt.predict(data.new_responses, 7), decoder.predict(data.new_responses, 7)
    )
    assert rebuilt.summary() == decoder.summary()
    assert rebuilt.get_params()["decoder__eigenvalue_floor"] == 1e-6
    json.dumps(rebuilt.summary())
    with pytest.raises(DataError, match="lacks"):
        RescaledDecoder.from_state({}, described["params"])
    with pytest.raises(DataError, match="lacks"):
        RescaledDecoder.from_state(state, {})
    with pytest.raises(DataError, match="lack the array"):
        PredictionMoments.from_state({})


def test_settings_that_make_no_sense_are_refused() -> None:
    data = experiment(n_stimuli=20)
    with pytest.raises(UsageError, match="'median'"):
        RescaledDecoder(RidgeDecoder(), statistics="median").fit(data.X, data.Y)
    with pytest.raises(UsageError, match="two folds"):
        RescaledDecoder(RidgeDecoder(), n_folds=1).fit(data.X, data.Y)
    with pytest.raises(DataError, match=r"2 training stimuli.*without rescaling"):
        RescaledDecoder(RidgeDecoder(alphas=[1.0])).fit(data.X, data.Y, np.arange(20) % 2)
    with pytest.raises(UsageError, match="no decoder 'lasso'"):
        load_decoder({"name": "lasso", "params": {}}, {})
    with pytest.raises(ValueError, match="do not fit"):
        prediction_moments(data.Y, data.Y, np.arange(19))


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_are_found_by_name(name: str) -> None:
    assert decoder_class(name).name == name
