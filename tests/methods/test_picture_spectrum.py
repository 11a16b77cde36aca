"""Pictures as sums of waves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import idctn

from bids_recon.methods.picture_spectrum import FALL, picture_waves

CPU = torch.device("cpu")


def amplitudes(n: int, size: int) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "fall"), [(8, FALL), (9, 0.5), (32, 1.0)])
def test_pictures_are_inverse_cosine_transforms_of_weighted_amplitudes(size: int, fall: float) -> None:
    given = amplitudes(2, size)
    frequency = np.arange(size)
    weights = (1 + np.hypot(frequency[:, None], frequency)) ** -fall
    expected = idctn(given.double().numpy() * weights, type=2, norm="ortho", axes=(2, 3))
    found = picture_waves(size, CPU, fall)(given)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_no_amplitude_is_no_picture() -> None:
    assert (picture_waves(16, CPU)(torch.zeros(2, 3, 16, 16)) == 0).all()


def test_without_a_fall_waves_are_orthonormal() -> None:
    given = amplitudes(3, 16)
    drawn = picture_waves(16, CPU, fall=0)(given)
    torch.testing.assert_close(drawn.flatten(1).norm(dim=1), given.flatten(1).norm(dim=1))


def test_fine_waves_are_weak() -> None:
    draw, sizes = picture_waves(32, CPU), {}
    for place in ((0, 0), (0, 1), (1, 0), (3, 4), (31, 31)):
        given = torch.zeros(1, 3, 32, 32)
        given[0, 1, *place] = 1
        drawn = draw(given)
        assert (drawn[0, [0, 2]] == 0).all()
        sizes[place] = float(drawn.norm())
    assert sizes[0, 0] == pytest.approx(1)
    assert sizes[0, 1] == sizes[1, 0] == pytest.approx(2**-1.5)
    assert sizes[3, 4] == pytest.approx(6**-1.5)
    assert sizes[31, 31] == pytest.approx((1 + 31 * 2**0.5) ** -1.5)


def test_the_first_amplitude_is_the_mean_colour() -> None:
    given = torch.zeros(1, 3, 8, 8)
    given[0, :, 0, 0] = torch.tensor([8.0, -4.0, 2.0])
    drawn = picture_waves(8, CPU)(given)
    torch.testing.assert_close(drawn, torch.tensor([1.0, -0.5, 0.25])[:, None, None].expand(1, 3, 8, 8))
