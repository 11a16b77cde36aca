"""`library` on a simulated person whose responses, delays and shared noise are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import DataError
from bids_recon.glm.hrf import LIBRARY, DoubleGamma, library_span
from bids_recon.glm.least_squares import lsa
from bids_recon.glm.library import LibraryFit, library_responses
from bids_recon.glm.library_hrf import most_probable, population, posterior
from bids_recon.glm.run_data import RunData, tuning_model, whole_model

TR, N_VOLUMES, N_VOXELS, N_TRIALS, N_RUNS = 2.0, 120, 300, 36, 4
RESPONSIVE = np.arange(N_VOXELS) % 2 == 0
PEAKS = np.array([hrf.time_to_peak for hrf in LIBRARY])


class Person:
    """Four runs of 36 trials, 48 pictures three times; every other voxel responds, each at its own delay."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        # Not a member of the library: narrower, with a smaller undershoot.
        self.hrf = DoubleGamma(5.5, 0.9, 15.0, 1.1, 0.12)
        self.delay = rng.uniform(-1.2, 1.8, N_VOXELS)
        pictures = np.concatenate([rng.permutation(48) for _ in range(3)]).reshape(N_RUNS, N_TRIALS)
        self.betas = rng.normal(1.2, 1.0, (48, N_VOXELS)) * RESPONSIVE
        mean = rng.uniform(800, 1200, N_VOXELS)
        weights = rng.normal(0, 0.7, (4, N_VOXELS))
        times = np.arange(N_VOLUMES) * TR
        self.truth = self.betas[pictures.ravel()]
        self.runs = []
        for run in range(N_RUNS):
            onsets = 4 + 6.1 * np.arange(N_TRIALS) + rng.uniform(-0.7, 0.7, N_TRIALS)
            change = np.empty((N_VOLUMES, N_VOXELS))
            for voxel, delay in enumerate(self.delay):
                regressors = self.hrf.block(times[:, None] - onsets - delay, 2.0) / self.hrf.peak(2.0)
                change[:, voxel] = regressors @ self.betas[pictures[run], voxel]
            change += (
                _noise(rng, N_VOXELS) + _noise(rng, 4) @ weights + np.linspace(-2, 2, N_VOLUMES)[:, None]
            )
            trials = pd.DataFrame(
                {"onset": onsets, "duration": 2.0, "stimulus_id": [f"p{number}" for number in pictures[run]]}
            )
            data = (mean * (1 + change / 100)).T.astype(np.float32)
            drift = np.linspace(-1, 1, N_VOLUMES)[:, None]
            self.runs.append(RunData(data, trials, TR, 0.0, drift, np.ones(N_TRIALS, dtype=bool)))

    def correlation(self, responses: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
        """Mean over responding voxels of the correlation with the truth."""
        A, B = (values[rows][:, RESPONSIVE] for values in (responses, self.truth))
        A, B = A - A.mean(axis=0), B - B.mean(axis=0)
        return float(np.mean((A * B).sum(axis=0) / np.sqrt((A**2).sum(axis=0) * (B**2).sum(axis=0))))


def _noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise with an autocorrelation of 0.3."""
    white = rng.normal(0, 1, (N_VOLUMES, n))
    for row in range(1, N_VOLUMES):
        white[row] += 0.3 * white[row - 1]
    return white


def _tested(runs: Sequence[RunData], names: Sequence[str]) -> list[RunData]:
    """Runs in which trials of some pictures are for testing."""
    return [replace(run, training=~run.trials["stimulus_id"].isin(names).to_numpy()) for run in runs]


@pytest.fixture(scope="module")
def person() -> Person:
    return Person()


@pytest.fixture(scope="module")
def fit(person: Person) -> LibraryFit:
    return library_responses(person.runs)


TEST_PICTURES = [f"p{number}" for number in range(6)]


@pytest.fixture(scope="module")
def blind_fit(person: Person) -> LibraryFit:
    return library_responses(_tested(person.runs, TEST_PICTURES))


def test_responses_are_nearer_to_the_truth_than_least_squares(person: Person, fit: LibraryFit) -> None:
    plain = np.vstack([lsa(run.timecourses.T, run.trials, TR, nuisance=run.nuisance) for run in person.runs])
    assert person.correlation(plain) < 0.55
    assert person.correlation(fit.responses) > 0.67
    assert fit.responses.shape == (N_RUNS * N_TRIALS, N_VOXELS)
    assert fit.warnings == []
    # In percent at the peak: slopes on the truth are about one, and so is the mean.
    slopes = [np.polyfit(person.truth[:, v], fit.responses[:, v], 1)[0] for v in np.flatnonzero(RESPONSIVE)]
    assert 0.8 < np.median(slopes) < 1.2
    assert abs(fit.responses[:, RESPONSIVE].mean() - person.truth[:, RESPONSIVE].mean()) < 0.15


def test_delays_are_found(person: Person, fit: LibraryFit) -> None:
    found = PEAKS[fit.hrf_index]
    assert np.corrcoef(found[RESPONSIVE], person.delay[RESPONSIVE])[0, 1] > 0.9
    error = found - (person.hrf.time_to_peak + person.delay)
    assert np.median(np.abs(error[RESPONSIVE])) < 0.6


def test_shared_noise_and_its_voxels_are_found(fit: LibraryFit) -> None:
    assert fit.noise_pool.sum() == N_VOXELS // 2
    assert RESPONSIVE[fit.noise_pool].mean() < 0.05
    assert 2 <= fit.n_noise_components <= 8
    assert 0.1 < fit.autocorrelation < 0.4
    assert fit.variance_explained[RESPONSIVE].mean() > fit.variance_explained[~RESPONSIVE].mean() + 15


def test_voxels_without_responses_are_shrunk_most(fit: LibraryFit) -> None:
    assert np.median(fit.fraction[RESPONSIVE]) > 0.35
    assert np.median(fit.fraction[~RESPONSIVE]) < 0.1


def test_shuffled_pictures_leave_nothing_to_predict(person: Person) -> None:
    rng = np.random.default_rng(5)
    runs = [
        replace(run, trials=run.trials.assign(stimulus_id=rng.permutation(run.trials["stimulus_id"])))
        for run in person.runs
    ]
    assert np.median(library_responses(runs).fraction[RESPONSIVE]) < 0.1


def test_the_same_again_and_in_other_parts(person: Person, fit: LibraryFit) -> None:
    again = library_responses(person.runs)
    np.testing.assert_array_equal(again.responses, fit.responses)
    out = np.zeros_like(fit.responses)
    parts = library_responses(person.runs, out=out, voxels_at_a_time=37)
    assert parts.responses is out
    assert (parts.hrf_index == fit.hrf_index).mean() > 0.995
    assert parts.n_noise_components == fit.n_noise_components
    same = parts.hrf_index == fit.hrf_index
    np.testing.assert_allclose(out[:, same], fit.responses[:, same], atol=5e-3)


def test_memory_maps_are_read(person: Person, fit: LibraryFit, tmp_path: Path) -> None:
    runs = []
    for number, run in enumerate(person.runs):
        np.save(tmp_path / f"{number}.npy", run.timecourses)
        mapped = np.load(tmp_path / f"{number}.npy", mmap_mode="r")
        runs.append(replace(run, timecourses=mapped))
    np.testing.assert_array_equal(library_responses(runs).responses, fit.responses)


def test_tuning_without_some_pictures_costs_little(
    person: Person, fit: LibraryFit, blind_fit: LibraryFit
) -> None:
    tested = np.concatenate([run.trials["stimulus_id"].isin(TEST_PICTURES) for run in person.runs])
    assert tested.sum() == 18
    for rows in (slice(None), tested):
        assert person.correlation(blind_fit.responses, rows) > person.correlation(fit.responses, rows) - 0.03


@pytest.mark.parametrize("amplitude", [2.0, 20.0])
def test_responses_to_test_trials_change_no_choice(
    person: Person, blind_fit: LibraryFit, amplitude: float
) -> None:
    rng = np.random.default_rng(7)
    changed = []
    for run in _tested(person.runs, TEST_PICTURES):
        onsets = run.trials["onset"].to_numpy()[~run.training]
        times = np.arange(N_VOLUMES) * TR
        data = run.timecourses.copy()
        for voxel in range(N_VOXELS):
            hrf = LIBRARY[rng.integers(len(LIBRARY))]
            added = (
                hrf.block(times[:, None] - onsets, 2.0)
                / hrf.peak(2.0)
                @ rng.normal(0, amplitude, len(onsets))
            )
            data[voxel] += data[voxel].mean() * added / 100
        changed.append(replace(run, timecourses=data))
    other = library_responses(changed)
    assert (other.hrf_index == blind_fit.hrf_index).mean() >= 0.99
    assert (other.noise_pool == blind_fit.noise_pool).mean() >= 0.99
    assert other.n_noise_components == blind_fit.n_noise_components
    same = other.hrf_index == blind_fit.hrf_index
    assert (np.abs(other.fraction / blind_fit.fraction - 1) < 0.02)[same].mean() >= 0.98
    # The change does reach the responses to the trials themselves.
    tested = np.concatenate([~run.training for run in changed])
    assert np.abs(other.responses - blind_fit.responses)[tested].mean() > amplitude / 4


def test_runs_with_test_trials_only_change_nothing_at_all(person: Person) -> None:
    test_run = replace(person.runs[3], training=np.zeros(N_TRIALS, dtype=bool))
    one = library_responses([*person.runs[:3], test_run])
    rng = np.random.default_rng(8)
    data = rng.normal(500, 100, test_run.timecourses.shape).astype(np.float32)
    data[5] = np.nan
    other = library_responses([*person.runs[:3], replace(test_run, timecourses=data)])
    np.testing.assert_array_equal(other.hrf_index, one.hrf_index)
    np.testing.assert_array_equal(other.noise_pool, one.noise_pool)
    np.testing.assert_array_equal(other.fraction, one.fraction)
    assert other.n_noise_components == one.n_noise_components
    # Not even training responses, which lie in other runs.
    np.testing.assert_array_equal(other.responses[: 3 * N_TRIALS], one.responses[: 3 * N_TRIALS])
    assert np.isnan(other.responses[3 * N_TRIALS :, 5]).all()
    assert np.isfinite(np.delete(other.responses, 5, axis=1)).all()


def test_without_repetitions_only_the_response_function_is_fitted(person: Person) -> None:
    runs = [
        replace(run, trials=run.trials.assign(stimulus_id=[f"{number}-{row}" for row in range(N_TRIALS)]))
        for number, run in enumerate(person.runs)
    ]
    alone = library_responses(runs)
    assert alone.n_noise_components == 0
    assert (alone.fraction == 1).all()
    assert any("No training picture was shown twice" in sentence for sentence in alone.warnings)
    assert np.corrcoef(PEAKS[alone.hrf_index][RESPONSIVE], person.delay[RESPONSIVE])[0, 1] > 0.7


def test_repetitions_in_one_run_serve_where_there_are_no_others(person: Person) -> None:
    run = person.runs[0]
    pictures = [f"p{number % 18}" for number in range(N_TRIALS)]
    # The same data; labels agree with nothing, so that shrinkage is strong, but all steps run.
    one = library_responses([replace(run, trials=run.trials.assign(stimulus_id=pictures))])
    assert one.responses.shape == (N_TRIALS, N_VOXELS)
    assert one.warnings == []
    assert np.median(one.fraction) < 0.3


def test_few_voxels_are_no_pool(person: Person) -> None:
    runs = [replace(run, timecourses=run.timecourses[:60]) for run in person.runs]
    few = library_responses(runs)
    assert few.n_noise_components == 0
    assert any("60 voxels" in sentence for sentence in few.warnings)


def test_voxels_without_a_signal_are_nan(person: Person, fit: LibraryFit) -> None:
    runs = []
    for number, run in enumerate(person.runs):
        data = run.timecourses.copy()
        data[10] = 0
        if number == 1:
            data[11, 7] = np.nan
        runs.append(replace(run, timecourses=data))
    found = library_responses(runs)
    assert np.isnan(found.responses[:, 10]).all()
    rows = np.repeat(np.arange(N_RUNS), N_TRIALS)
    np.testing.assert_array_equal(np.isnan(found.responses[:, 11]), rows == 1)
    others = np.delete(found.responses, [10, 11], axis=1)
    assert np.isfinite(others).all()
    assert np.corrcoef(others.ravel(), np.delete(fit.responses, [10, 11], axis=1).ravel())[0, 1] > 0.97
    assert not found.noise_pool[[10, 11]].any()


def test_runs_full_of_test_trials_tune_nothing(person: Person) -> None:
    rng = np.random.default_rng(9)
    crowded = replace(person.runs[0], training=rng.permutation(N_TRIALS) < 6)
    assert tuning_model(whole_model(crowded)) is None
    found = library_responses([crowded, *person.runs[1:]])
    assert found.warnings == [
        "Runs 1 (counted from 1) hold so many trials that are not for training that their training trials"
        " tuned nothing."
    ]
    with pytest.raises(DataError, match="no run has enough training trials"):
        library_responses([crowded])


def test_a_run_without_trials_and_one_that_starts_later_do_no_harm(person: Person, fit: LibraryFit) -> None:
    empty = replace(person.runs[0], trials=person.runs[0].trials[:0], training=np.zeros(0, dtype=bool))
    # The first four volumes are dropped: times are those of what is left.
    late = replace(
        person.runs[1],
        timecourses=person.runs[1].timecourses[:, 4:],
        nuisance=person.runs[1].nuisance[4:],
        start_time=4 * TR,
    )
    found = library_responses([person.runs[0], empty, late, *person.runs[2:]])
    assert found.responses.shape == fit.responses.shape
    assert person.correlation(found.responses) > person.correlation(fit.responses) - 0.02


def test_data_without_a_signal_are_refused(person: Person) -> None:
    runs = [replace(run, timecourses=np.zeros_like(run.timecourses)) for run in person.runs]
    with pytest.raises(DataError, match="no voxel has a positive, varying signal"):
        library_responses(runs)


def test_the_span_holds_the_library() -> None:
    times = np.arange(0, 40, 0.1)
    members = np.stack([hrf.block(times, 2.0) for hrf in LIBRARY], axis=1)
    span = np.linalg.qr(members @ library_span(2.0))[0]
    left = members - span @ (span.T @ members)
    assert (np.linalg.norm(left, axis=0) / np.linalg.norm(members, axis=0)).max() < 1e-3


def test_the_library_is_ordered_from_3_to_9_seconds() -> None:
    assert len(LIBRARY) == 20
    assert (np.diff(PEAKS) > 0).all()
    assert (PEAKS[0], PEAKS[-1]) == pytest.approx((3, 9), abs=0.02)


def test_the_population_is_a_prior_for_doubtful_voxels() -> None:
    # 90 voxels are sure of response 4, ten of none; one hesitates between 4 and 15.
    evidence = np.full((101, 20), -5.0, dtype=np.float32)
    evidence[:90, 4] = 20
    evidence[100, [4, 15]] = 10.0, 10.5
    frequency = population(evidence, np.ones(101, dtype=bool))
    assert frequency[0] == pytest.approx(0.09, abs=0.02)
    assert frequency.argmax() == 5
    assert most_probable(evidence, frequency)[100] == 4
    assert posterior(evidence, frequency)[95, 0] > 0.9


@pytest.mark.slow
@pytest.mark.shared
def test_reference_simulation_beats_glmsingle(shared: Path) -> None:
    import nibabel as nib

    from bids_recon.glm.nuisance import nuisance_matrix

    folder = shared / "data" / "glm-simulation"
    with np.load(folder / "truth.npz") as truth:
        order, betas = truth["order"], truth["betas"]
        responsive, delay = truth["responsive"], truth["hrf_delay_s"]
    runs = []
    for number in range(1, 7):
        stem = folder / "sub-01" / "func" / f"sub-01_task-view_run-{number:02d}"
        image = nib.load(f"{stem}_bold.nii.gz")
        data = np.asarray(image.dataobj, dtype=np.float32).reshape(-1, 150)
        trials = pd.read_csv(f"{stem}_events.tsv", sep="\t").rename(columns={"stim_file": "stimulus_id"})
        nuisance = nuisance_matrix(150, 2.0).to_numpy()
        runs.append(RunData(data, trials, 2.0, 0.0, nuisance, np.ones(len(trials), dtype=bool)))
    known = betas[:, order.ravel()].T

    def correlation(responses: np.ndarray) -> float:
        pairs = zip(responses[:, responsive].T, known[:, responsive].T, strict=True)
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))

    fit = library_responses(runs)
    # GLMsingle 1.2: 0.5571 (peers.json beside the data).
    assert correlation(fit.responses) >= 0.6
    assert np.corrcoef(PEAKS[fit.hrf_index][responsive], delay[responsive])[0, 1] >= 0.88
    blind = library_responses(_tested(runs, [f"image{number:03d}.png" for number in range(80, 100)]))
    assert correlation(blind.responses) >= correlation(fit.responses) - 0.01
