"""Fit, decode and score on responses with planted latents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bids_recon.dataset.splits import make_split, parse_split
from bids_recon.dataset.stimuli import Stimulus, StimulusSet
from bids_recon.errors import DataError
from bids_recon.glm.responses import Responses
from bids_recon.methods.base import MethodOptions
from bids_recon.outputs import scratch
from bids_recon.outputs.tensor_files import in_memory
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow import decoding, encoding
from bids_recon.workflow.decoding import (
    Decoded,
    DecodingPlan,
    decode,
    decode_region,
    rebuild_methods,
)
from bids_recon.workflow.encoding import encode
from bids_recon.workflow.scoring import TrueLatents, score
from bids_recon.workflow.training_means import averaged_like, trials_per_sample, with_mean_training

N_TRAIN, N_TEST, REPEATS, N_VOXELS = 30, 6, 3, 60
SIZE = 8


class Patterns(StimulusSet):
    """Smooth grey pictures, made from the number in the id."""

    def __init__(self, ids: list[str]) -> None:
        stimuli = {}
        for name in ids:
            coarse = np.random.default_rng(int(name[1:])).integers(0, 255, (4, 4), dtype=np.uint8)
            stimuli[name] = Stimulus(name, pattern=np.kron(coarse, np.ones((2, 2), dtype=np.uint8)))
        super().__init__(stimuli)


def latents(decoded: Decoded) -> np.ndarray:
    """Latents of the first fold."""
    return decoded.folds[0].predicted["eigenimage"]


@pytest.fixture
def experiment() -> tuple[Responses, DecodingPlan]:
    train, test = [f"p{n}" for n in range(N_TRAIN)], [f"p{100 + n}" for n in range(N_TEST)]
    shown = train + test * REPEATS
    sessions = ["train"] * N_TRAIN + ["test"] * (N_TEST * REPEATS)
    trials = pd.DataFrame({"stimulus_id": shown, "session": sessions, "task": "view", "run": "1"})
    trials = trials.assign(
        subject="01", kind="perception", set="", stim_file="", trial_index=range(len(shown))
    )
    stimuli = Patterns(train + test)
    pixels = np.stack([stimuli.image(name).mean(axis=2).ravel() for name in shown])
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((pixels.shape[1], N_VOXELS))
    weights[:, N_VOXELS // 2 :] = 0
    data = (pixels / 255) @ weights + 0.2 * rng.standard_normal((len(shown), N_VOXELS))
    grid = VoxelSelection((N_VOXELS, 1, 1), np.eye(4), np.arange(N_VOXELS), {})
    trials, split = make_split(trials, parse_split("session:train=train,test=test"))
    options = MethodOptions(extra={"image_size": SIZE})
    plan = DecodingPlan("eigenimage", options, split, stimuli, zscore="all", n_shuffles=5)
    return Responses(data.astype(np.float32), trials, grid), plan


def test_planted_pictures_are_decoded_and_shuffled_ones_are_not(experiment):
    responses, plan = experiment
    decoded, methods = decode(responses, plan)
    assert decoded.items["n_trials"].tolist() == [REPEATS] * N_TEST
    scores = score(decoded, methods, plan.stimuli, seed=0)
    table = scores.metrics.set_index(["metric", "protocol"])
    assert table.loc[("two-way-a", "pixels-1"), "value"] > 0.9
    assert table.loc[("latent-correlation", "latents-1"), "value"] > 0.8
    assert abs(table.loc[("latent-correlation", "latents-1"), "floor"]) < 0.25
    assert table.loc[("two-way-a", "latents-1"), "ceiling"] == 1.0
    assert scores.reconstructed is not None and scores.reconstructed.shape == (N_TEST, SIZE, SIZE, 3)


def test_voxels_without_signal_are_at_chance(experiment):
    responses, plan = experiment
    _, methods = decode(responses, plan)
    blind = np.arange(N_VOXELS) >= N_VOXELS // 2
    decoded = decode_region(responses.restrict(blind), plan, methods, 2)
    scores = score(decoded, methods, plan.stimuli, seed=0, pictures=False).metrics.set_index("metric")
    assert abs(scores.loc["latent-correlation", "value"]) < 0.5
    assert 0.1 < scores.loc["two-way-a", "value"] < 0.9
    assert scores.loc["two-way-a", "n_items"] == N_TEST


def test_test_trials_change_nothing_that_is_fitted(experiment):
    responses, plan = experiment
    before, _ = decode(responses, plan)
    changed = responses.data.copy()
    changed[N_TRAIN:] = 1000.0 * np.random.default_rng(0).standard_normal(changed[N_TRAIN:].shape)
    after, _ = decode(replace(responses, data=changed), plan)
    for space, decoder in before.folds[0].decoders.items():
        again = in_memory(after.folds[0].decoders[space].state())
        for name, array in in_memory(decoder.state()).items():
            np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(latents(before), latents(after))


def test_an_item_does_not_depend_on_the_other_test_items(experiment):
    responses, plan = experiment
    whole, _ = decode(responses, plan)
    trials = responses.trials
    one = responses.take(((trials["session"] == "train") | (trials["stimulus_id"] == "p102")).to_numpy())
    _, split = make_split(one.trials.drop(columns="set"), parse_split("session:train=train,test=test"))
    alone, _ = decode(one, replace(plan, split=split))
    row = whole.items.index[whole.items["stimulus_id"] == "p102"][0]
    np.testing.assert_allclose(latents(alone)[0], latents(whole)[row], rtol=1e-4, atol=1e-3)


def test_single_trials(experiment):
    responses, plan = experiment
    decoded, methods = decode(responses, replace(plan, average_trials=False))
    assert len(decoded.items) == N_TEST * REPEATS
    assert sorted(decoded.items["trial_index"]) == list(range(N_TRAIN, N_TRAIN + N_TEST * REPEATS))
    scores = score(decoded, methods, plan.stimuli, seed=0)
    assert scores.metrics["n_items"].max() == N_TEST * REPEATS


def test_folds_score_each_picture_once_in_its_own_space(experiment):
    responses, plan = experiment
    trials, split = make_split(responses.trials.drop(columns="set"), parse_split("kfold:5"))
    decoded, methods = decode(replace(responses, trials=trials), replace(plan, split=split, n_shuffles=2))
    assert sorted(decoded.items["stimulus_id"]) == sorted(plan.stimuli.ids)
    assert len({fold.identity for fold in decoded.folds}) == 5
    metrics = score(decoded, methods, plan.stimuli, seed=0).metrics
    in_latents = metrics[metrics["protocol"] == "latents-1"].set_index("metric")
    # Definitions that compare predictions with one another have no meaning between spaces.
    assert set(in_latents.index) == {"latent-correlation", "two-way-a"}
    assert in_latents.loc["two-way-a", "value"] > 0.9


def test_saved_spaces_render_the_same(experiment):
    responses, plan = experiment
    decoded, methods = decode(responses, plan)
    again = rebuild_methods(decoded, plan.method, plan.options)
    first = score(decoded, methods, plan.stimuli, seed=0)
    second = score(decoded, again, plan.stimuli, seed=0)
    np.testing.assert_array_equal(first.reconstructed, second.reconstructed)
    pd.testing.assert_frame_equal(first.metrics, second.metrics)


def test_people_are_shuffled_differently_and_reproducibly(experiment):
    responses, plan = experiment
    first, _ = decode(responses, plan)
    again, _ = decode(responses, plan)
    other, _ = decode(replace(responses, trials=responses.trials.assign(subject="02")), plan)
    np.testing.assert_array_equal(first.folds[0].floor["eigenimage"], again.folds[0].floor["eigenimage"])
    np.testing.assert_array_equal(latents(first), latents(other))
    assert not np.array_equal(first.folds[0].floor["eigenimage"], other.folds[0].floor["eigenimage"])


def test_fold_without_test_trials_is_an_error(experiment):
    responses, plan = experiment
    only_training = responses.take(np.arange(N_TRAIN))
    with pytest.raises(DataError, match="no test trials"):
        decode(only_training, plan)


def test_training_pictures_are_encoded_once_for_all_regions(experiment):
    responses, plan = experiment
    read: list[str] = []

    class Counted(Patterns):
        def image(self, stimulus_id: str) -> np.ndarray:
            read.append(stimulus_id)
            return super().image(stimulus_id)

    plan = replace(plan, stimuli=Counted(list(plan.split.stimuli)))
    _, methods = decode(responses, plan)
    once = len(read)
    region = np.arange(N_VOXELS) < 20
    first = decode_region(responses.restrict(region), plan, methods, 2)
    assert len(read) == once
    fresh = decode_region(responses.restrict(region), replace(plan, encoded={}), methods, 2)
    assert len(read) > once
    np.testing.assert_array_equal(latents(first), latents(fresh))


def test_test_pictures_are_encoded_once_for_all_regions(experiment):
    responses, plan = experiment
    decoded, methods = decode(responses, plan)
    read: list[str] = []

    class Counted(Patterns):
        def image(self, stimulus_id: str) -> np.ndarray:
            read.append(stimulus_id)
            return super().image(stimulus_id)

    stimuli = Counted(list(plan.split.stimuli))
    truths = TrueLatents(methods, stimuli)
    tables = [
        score(decoded, methods, stimuli, seed=0, pictures=False, truths=truths).metrics for _ in range(3)
    ]
    assert sorted(read) == sorted(plan.split.test_sets["test"])
    pd.testing.assert_frame_equal(tables[0], tables[2])
    pd.testing.assert_frame_equal(
        tables[0], score(decoded, methods, plan.stimuli, seed=0, pictures=False).metrics
    )


def test_latents_of_other_weights_are_refused(experiment):
    responses, plan = experiment
    decoded, _ = decode(responses, replace(plan, n_shuffles=1))
    other = Decoded(tuple(replace(fold, identity="eigenimage:of-other-weights") for fold in decoded.folds))
    with pytest.raises(DataError, match="weights or options have changed"):
        rebuild_methods(other, plan.method, plan.options)
    rebuilt = rebuild_methods(decoded, plan.method, plan.options)
    assert set(rebuilt) == {fold.name for fold in decoded.folds}


@pytest.mark.parametrize(("room", "n_encoded"), [(2**35, 1), (0, 4)])
def test_latents_on_the_disk_serve_all_regions_where_there_is_room(
    experiment, tmp_path, monkeypatch, room, n_encoded
):
    responses, plan = experiment
    plan = replace(plan, scratch=tmp_path, n_shuffles=1)
    encoded = []

    def counted(method, space, images, folder, captions=None):
        encoded.append(space)
        return encode(method, space, images, folder, captions)

    monkeypatch.setattr(encoding, "TOGETHER", 0)
    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(decoding, "KEPT_ON_DISK", room)
    monkeypatch.setattr(decoding, "encode", counted)
    whole, methods = decode(responses, plan)
    parts = [decode_region(responses, plan, methods, 1) for _ in range(3)]
    assert len(encoded) == n_encoded
    for part in parts:
        np.testing.assert_allclose(latents(part), latents(whole), rtol=1e-4, atol=1e-3)


def test_means_of_training_trials_are_samples(experiment):
    responses, plan = experiment
    # The first ten training pictures were shown three times, the second and third time with more noise.
    again = np.tile(np.arange(10), 2)
    rng = np.random.default_rng(5)
    noisy = responses.data[again] + rng.normal(0, 3, (20, N_VOXELS)).astype(np.float32)
    trials = pd.concat([responses.trials, responses.trials.iloc[again]], ignore_index=True)
    more = Responses(np.concatenate([responses.data, noisy]), trials, responses.voxels)
    (fold,) = plan.split.folds
    assert trials_per_sample(trials, fold) == pytest.approx((N_TRAIN + 20) / N_TRAIN)
    means = with_mean_training(more, fold)
    assert means.trials["stimulus_id"].tolist() == responses.trials["stimulus_id"].tolist()
    expected = (responses.data[:10] + noisy[:10] + noisy[10:]) / 3
    np.testing.assert_allclose(means.data[:10], expected, rtol=1e-5)
    np.testing.assert_array_equal(means.data[10:], responses.data[10:])
    # Decoding means is decoding what they are, but for what rescaling knows of their noise.
    averaged, _ = decode(more, replace(plan, average_training=True))
    by_hand, _ = decode(means, plan)
    np.testing.assert_allclose(latents(averaged), latents(by_hand), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(averaged_like(np.array([1, 3, 6]), 3.0), [1, 1, 2])
