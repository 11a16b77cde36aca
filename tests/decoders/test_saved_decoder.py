"""A decoder is fitted once and predicts elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_recon.decoders.parametric_inversion import ParametricInversion
from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.saved import read_decoder, save_decoder
from bids_recon.decoders.sparse import SparseDecoder
from bids_recon.decoders.unit_ridge import UnitRidgeDecoder
from bids_recon.errors import DataError, MissingInputError, UsageError


def data(n_targets: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 60)).astype(np.float32)
    Y = X[:, :6] @ rng.standard_normal((6, n_targets)) + rng.standard_normal((40, n_targets))
    return X, Y.astype(np.float32), np.repeat(np.arange(20), 2)


@pytest.mark.parametrize(
    ("decoder", "n_targets"),
    [
        (RidgeDecoder(), 4),
        (RidgeDecoder(alphas=(1.0, 100.0), alpha_per="target"), 500),
        (UnitRidgeDecoder(n_voxels_per_unit=9), 4),
        (SparseDecoder(n_iterations=20), 4),
        (ParametricInversion(noise_covariance="diagonal"), 4),
        (RescaledDecoder(RidgeDecoder(), max_out_of_fold=30), 4),
        (RescaledDecoder(UnitRidgeDecoder(), n_folds=3), 4),
        (RescaledDecoder(RidgeDecoder(), statistics="test"), 500),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_there_and_back(tmp_path: Path, decoder: Any, n_targets: int) -> None:
    X, Y, groups = data(n_targets)
    decoder.fit(X, Y, groups)
    facts, arrays = save_decoder(tmp_path / "sub-01.v1_decoder", decoder)
    again = read_decoder(tmp_path / "sub-01.v1_decoder")

    assert (facts.name, arrays.name) == ("sub-01.v1_decoder.json", "sub-01.v1_decoder.safetensors")
    assert type(again) is type(decoder)
    expected = decoder.predict(X)
    np.testing.assert_allclose(again.predict(X), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    # What went through JSON has lists for tuples.
    assert json.loads(json.dumps(again.summary())) == json.loads(json.dumps(decoder.summary()))
    assert json.loads(facts.read_text())["Decoder"]["name"] == decoder.name


def test_coefficients_stay_on_disk(tmp_path: Path) -> None:
    X, Y, groups = data(500)
    save_decoder(tmp_path / "d", RidgeDecoder().fit(X, Y, groups))
    assert isinstance(read_decoder(tmp_path / "d")._predictor.coefficients, np.memmap)


def test_other_decoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dict is not one of the decoders ridge"):
        save_decoder(tmp_path / "d", {})


def test_damage_is_named(tmp_path: Path) -> None:
    X, Y, groups = data()
    facts, arrays = save_decoder(tmp_path / "d", RidgeDecoder().fit(X, Y, groups))
    save_decoder(tmp_path / "other", ParametricInversion().fit(X, Y, groups))
    whole = facts.read_text()
    for damaged, words in (
        ("{}", "does not describe a decoder"),
        (whole.replace('"ridge"', '"oracle"'), "no decoder 'oracle'"),
        ((tmp_path / "other.json").read_text(), "lacks the array"),
    ):
        facts.write_text(damaged)
        with pytest.raises(DataError, match=words):
            read_decoder(tmp_path / "d")
    facts.write_text(whole)
    with pytest.raises(MissingInputError, match=r"e\.json: is missing"):
        read_decoder(tmp_path / "e")
    arrays.unlink()
    with pytest.raises(MissingInputError, match=r"d\.safetensors: is missing"):
        read_decoder(tmp_path / "d")
