"""Strength of weights: planted ones, streamed ones, and which region drives which latent space."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_recon.analysis import roi_weights
from bids_recon.analysis.roi_weights import (
    has_weights,
    mean_over_people,
    region_weights,
    strength_percentiles,
    weight_strength,
)
from bids_recon.decoders import targets
from bids_recon.decoders.parametric_inversion import ParametricInversion
from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.targets import RepeatedRows
from bids_recon.decoders.unit_ridge import UnitRidgeDecoder
from bids_recon.decoders.unit_weights import UnitWeights
from bids_recon.outputs.tensor_files import in_memory

N_TRIALS, N_VOXELS, N_TARGETS = 80, 12, 30


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses without noise of latents, and the weights that lead from the former to the latter."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((N_VOXELS, N_TARGETS)) * np.linspace(0.2, 3, N_VOXELS)[:, None]
    X = rng.standard_normal((N_TRIALS, N_VOXELS))
    return X, X @ weights, weights


def test_planted_weights_are_recovered(data):
    X, Y, weights = data
    decoder = RidgeDecoder(alphas=[1e-8], standardise=False, device="cpu").fit(X, Y)
    np.testing.assert_allclose(weight_strength(decoder), np.abs(weights).sum(axis=1), rtol=1e-6)


def test_units_of_planted_weights():
    stored = UnitWeights(
        np.array([0, 2, 3]),
        np.array([0, 2, 2], dtype=np.int32),
        np.array([1.5, -2.0, 4.0], dtype=np.float32),
        np.zeros(2, dtype=np.float32),
        np.zeros(4),
    )
    decoder = UnitRidgeDecoder()
    decoder.weights_ = stored
    np.testing.assert_array_equal(weight_strength(decoder), [1.5, 0, 6, 0])


@pytest.mark.parametrize("n_targets", [30, 300])
def test_streamed_strengths_are_those_of_all_weights(data, monkeypatch, n_targets):
    """Few targets are stored as primal coefficients, many as dual ones."""
    X = data[0][:20].astype(np.float32)
    wide = np.hstack([X, X[::-1], X**2, X**3])
    rng = np.random.default_rng(1)
    Y = RepeatedRows(rng.standard_normal((20, n_targets)).astype(np.float32), np.arange(20))
    decoder = RidgeDecoder(alphas=[10.0], device="cpu").fit(wide, Y)
    whole = np.abs(decoder.coef_.astype(np.float64)).sum(axis=0)
    saved = RidgeDecoder.from_state(in_memory(decoder.state()), decoder.get_params())
    seen: list[int] = []
    monkeypatch.setattr(targets, "CHUNK_BYTES", 4 * wide.shape[1] * 7)
    given = RidgeDecoder.coefficients

    def coefficients(self: RidgeDecoder, part: slice) -> np.ndarray:
        seen.append(part.stop - part.start)
        return given(self, part)

    monkeypatch.setattr(RidgeDecoder, "coefficients", coefficients)
    for one in (decoder, saved):
        np.testing.assert_allclose(weight_strength(one), whole, rtol=1e-5)
    assert max(seen) <= 7 and sum(seen) == 2 * n_targets


def test_blocks_of_unit_weights_add_up(data, monkeypatch):
    X, Y, _ = data
    decoder = UnitRidgeDecoder(n_voxels_per_unit=5, device="cpu").fit(X, Y)
    monkeypatch.setattr(roi_weights, "BLOCK", 7)
    np.testing.assert_allclose(weight_strength(decoder), np.abs(decoder.coef_).sum(axis=0), rtol=1e-12)


def test_a_rescaled_decoder_counts_with_the_regression_inside(data):
    X, Y, _ = data
    plain = RidgeDecoder(alphas=[5.0], device="cpu")
    rescaled = RescaledDecoder(plain).fit(X, Y)
    np.testing.assert_allclose(weight_strength(rescaled), weight_strength(plain.fit(X, Y)), rtol=1e-10)


def test_a_decoder_without_weights_is_refused():
    assert has_weights(RidgeDecoder())
    assert not has_weights(ParametricInversion())
    with pytest.raises(ValueError, match="ParametricInversion has no regression weights"):
        weight_strength(ParametricInversion())


def test_percentiles_by_hand():
    np.testing.assert_allclose(strength_percentiles(np.array([3.0, 1.0, 1.0, 9.0])), [62.5, 25, 25, 87.5])
    rng = np.random.default_rng(0)
    assert strength_percentiles(rng.random(1001)).mean() == pytest.approx(50)


def test_regions_by_hand():
    percentiles = {"clip": np.array([80.0, 60, 10, 50]), "vdvae": np.array([40.0, 60, 90, 50])}
    regions = {
        "A": np.array([True, True, False, False]),
        "B": np.array([False, False, True, False]),
        "none": np.zeros(4, dtype=bool),
        "all": np.ones(4, dtype=bool),
    }
    table = region_weights(percentiles, regions).set_index(["roi", "space"])
    assert (table["baseline"] == "vdvae").all(), "the paper's baseline, wherever it stands"
    assert table.loc[("A", "clip"), "percentile"] == 70
    assert table.loc[("A", "clip"), "difference"] == pytest.approx((70 - 50) / 50)
    assert table.loc[("B", "clip"), "difference"] == pytest.approx((10 - 90) / 90)
    assert np.isnan(table.loc[("A", "vdvae"), "difference"])
    assert table.loc[("none", "clip"), "note"] == "no voxel"
    assert np.isnan(table.loc[("none", "clip"), "percentile"])
    assert table.loc[("B", "clip"), "note"] == "fewer than 20 voxels"
    assert table.loc[("all", "clip"), "note"].startswith("all voxels")
    assert table.loc[("A", "clip"), "n_voxels"] == 2


def test_without_vdvae_the_first_space_is_the_baseline():
    table = region_weights({"z1": np.array([30.0]), "z2": np.array([60.0])}, {"A": np.array([True])})
    assert table["baseline"].unique().tolist() == ["z1"]
    assert table["difference"].tolist()[1] == 1.0


def test_each_region_counts_for_the_space_that_it_drives():
    rng = np.random.default_rng(2)
    n_each, n_trials = 40, 300
    X = rng.standard_normal((n_trials, 2 * n_each))
    in_a = np.arange(2 * n_each) < n_each
    noise = 0.5 * rng.standard_normal((2, n_trials, 25))
    spaces = {
        "z1": X[:, in_a] @ rng.standard_normal((n_each, 25)) + noise[0],
        "z2": X[:, ~in_a] @ rng.standard_normal((n_each, 25)) + noise[1],
    }
    percentiles = {
        name: strength_percentiles(weight_strength(RidgeDecoder(alphas=[10.0], device="cpu").fit(X, Y)))
        for name, Y in spaces.items()
    }
    table = region_weights(percentiles, {"A": in_a, "B": ~in_a}).set_index(["roi", "space"])
    # All voxels of the region that drives a space are above all others: means are 75 and 25.
    assert table.loc[("A", "z1"), "percentile"] == 75 and table.loc[("A", "z2"), "percentile"] == 25
    assert table.loc[("A", "z2"), "difference"] == pytest.approx(-2 / 3)
    assert table.loc[("B", "z2"), "difference"] == pytest.approx(2)


def test_means_over_people_by_hand():
    def table(value: float, n_voxels: int) -> pd.DataFrame:
        row = ("A", n_voxels, "clip", "vdvae", 100 * value, value, "")
        return pd.DataFrame([row], columns=list(roi_weights.WEIGHT_COLUMNS))

    empty = table(np.nan, 0)
    mean = mean_over_people({"01": table(0.1, 30), "02": table(0.3, 40), "03": empty}).iloc[0]
    assert mean["n_people"] == 2 and mean["n_voxels"] == 35
    assert mean["difference"] == pytest.approx(0.2)
    # Deviation with n - 1 is 0.1414, divided by the root of 2.
    assert mean["difference_sem"] == pytest.approx(0.1)
    assert mean["percentile_sem"] == pytest.approx(10)
    assert mean["note"] == "fewer than 20 voxels in 1 of 3 people"
    alone = mean_over_people({"01": table(0.1, 30)}).iloc[0]
    assert np.isnan(alone["difference_sem"]) and alone["note"] == ""
