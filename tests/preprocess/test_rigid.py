"""Rigid movements as six numbers and as matrices."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.preprocess.rigid import matrices, mean_displacement, parameters
from bids_recon.simulate.motion import motion_matrix

CENTRE = np.array([5.0, -18.0, 30.0])


def test_matrices_are_those_of_the_simulation() -> None:
    position = np.array([1.0, -2.0, 0.5, 0.1, -0.2, 0.3])
    np.testing.assert_allclose(matrices(position, np.zeros(3)), motion_matrix(position), atol=1e-12)


def test_the_centre_moves_by_the_translation_alone() -> None:
    matrix = matrices([1.0, -2.0, 0.5, 0.1, -0.2, 0.3], CENTRE)
    np.testing.assert_allclose(matrix @ [*CENTRE, 1], [6, -20, 30.5, 1], atol=1e-12)


def test_rotation_about_x_comes_first() -> None:
    quarter = np.pi / 2
    matrix = matrices([0, 0, 0, quarter, 0, quarter], np.zeros(3))
    # y goes to z, which the rotation about z leaves where it is.
    np.testing.assert_allclose(matrix[:3, :3] @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(matrix[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize("shape", [(6,), (7, 6), (2, 3, 6)])
def test_there_and_back(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).uniform(-1.2, 1.2, shape)
    found = matrices(values, CENTRE)
    assert found.shape == (*shape[:-1], 4, 4)
    np.testing.assert_allclose(parameters(found, CENTRE), values, atol=1e-12)


def test_mean_displacement_of_a_rotation() -> None:
    turned = matrices([0, 0, 0, 0, 0, 0.2], np.zeros(3))
    points = np.array([[50.0, 0, 3], [0, 30.0, -7]])
    # A chord of 2 r sin(angle / 2).
    assert mean_displacement(turned, np.eye(4), points) == pytest.approx(2 * 40 * np.sin(0.1))


def test_mean_displacement_of_many_is_that_of_each() -> None:
    rng = np.random.default_rng(1)
    some = matrices(rng.normal(0, 0.3, (4, 6)), CENTRE)
    points = rng.normal(0, 40, (50, 3))
    found = mean_displacement(some, some[2], points)
    assert found.shape == (4,)
    assert found[2] == 0
    assert found[1] == pytest.approx(mean_displacement(some[1], some[2], points))
    assert found[1] == pytest.approx(
        mean_displacement(
            some[2] @ np.linalg.inv(some[1]), np.eye(4), (np.c_[points, np.ones(50)] @ some[1].T)[:, :3]
        )
    )
