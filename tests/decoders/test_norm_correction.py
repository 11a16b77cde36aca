"""Norm correction of feature layers, by hand-made values."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.decoders.norm_correction import correct_feature_norm, feature_norm, reference_feature_norm
from bids_recon.errors import DataError


def test_norm_of_a_convolutional_layer_by_hand() -> None:
    # Deviations (n - 1): sqrt(20 / 3) for 1, 3, 5, 7 and 0 for a constant channel; their mean.
    features = np.array([[[[1.0, 3.0], [5.0, 7.0]], [[4.0, 4.0], [4.0, 4.0]]]])
    np.testing.assert_allclose(feature_norm(features), [np.sqrt(20 / 3) / 2])


def test_norm_of_a_fully_connected_layer_by_hand() -> None:
    features = np.array([[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 2.0, 6.0]], dtype=np.float32)
    np.testing.assert_allclose(feature_norm(features), [np.sqrt(20 / 3), 2.0])
    np.testing.assert_allclose(feature_norm(features.reshape(2, 4, 1, 1)), [np.sqrt(20 / 3), 2.0])
    np.testing.assert_allclose(feature_norm(features, np.array([1.0, 3.0, 5.0, 7.0])), [0.0, np.sqrt(8 / 3)])


def test_reference_is_the_mean_over_pictures() -> None:
    features = np.array([[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 2.0, 6.0]])
    assert reference_feature_norm(features) == pytest.approx((np.sqrt(20 / 3) + 2) / 2)


@pytest.mark.parametrize("shape", [(40, 3, 4, 5), (40, 60)])
def test_corrected_features_have_the_norm_of_true_ones(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    true = (10 * rng.standard_normal(shape) + rng.standard_normal(shape[1:]) * 5).astype(np.float32)
    mean = true.mean(axis=0)
    reference = reference_feature_norm(true, mean)
    shrunk = mean + 0.2 * (true - mean)
    corrected = correct_feature_norm(shrunk, mean, reference)

    assert corrected.dtype == np.float32
    assert corrected.shape == shape
    np.testing.assert_allclose(feature_norm(corrected, mean), reference, rtol=1e-4)
    # The right direction comes back, but for what the norm of an item differs from the mean norm.
    share = (feature_norm(true, mean) / reference).reshape((-1,) + (1,) * (len(shape) - 1))
    np.testing.assert_allclose((corrected - mean) * share, true - mean, atol=1e-3)


def test_published_form_multiplies_the_features() -> None:
    features = np.array([[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 2.0, 6.0]])
    corrected = correct_feature_norm(features, None, 4.0)
    np.testing.assert_allclose(corrected, features * [[4 / np.sqrt(20 / 3)], [2.0]])


def test_items_do_not_depend_on_one_another() -> None:
    rng = np.random.default_rng(0)
    features, mean = rng.standard_normal((40, 3, 4, 4)), rng.standard_normal((3, 4, 4))
    together = correct_feature_norm(features, mean, 2.5)
    np.testing.assert_array_equal(correct_feature_norm(features[33:34], mean, 2.5), together[33:34])


def test_items_without_spread_stay() -> None:
    mean = np.arange(6.0)
    predicted = np.stack([mean, mean + 3.0])
    np.testing.assert_array_equal(correct_feature_norm(predicted, mean, 5.0), predicted)


def test_what_is_not_a_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="height, width"):
        feature_norm(np.zeros((2, 3, 4)))
    with pytest.raises(DataError, match="one unit"):
        feature_norm(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="reshape"):
        correct_feature_norm(np.ones((2, 6)), np.ones(5), 1.0)
