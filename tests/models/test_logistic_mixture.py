"""Mixtures of logistics: planted components, their shares, scales and the dependence of colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_recon.models.logistic_mixture import expected_pictures, sample_pictures

SHARP = -7.0


def parameters(
    logits: list[float],
    means: list[list[float]],
    log_scales: list[list[float]],
    coefficients: list[list[float]],
    side: int = 64,
) -> Tensor:
    """The same mixture for all pixels; means, scales and coefficients by colour, then by component."""
    rest = [
        torch.cat([torch.tensor(m), torch.tensor(s), torch.tensor(c).atanh()])
        for m, s, c in zip(means, log_scales, coefficients, strict=True)
    ]
    numbers = torch.cat([torch.tensor(logits), *rest]).float()
    return numbers.expand(1, side, side, len(numbers)).contiguous()


def one(means: tuple[float, ...], log_scale: float, coefficients: tuple[float, ...]) -> Tensor:
    return parameters([0.0], [[m] for m in means], [[log_scale]] * 3, [[c] for c in coefficients])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_colours_depend_on_those_before() -> None:
    given = one((-0.2, 0.1, 0.3), SHARP, (0.5, 0.25, -0.75))
    red, green = -0.2, 0.1 + 0.5 * -0.2
    blue = 0.3 + 0.25 * red - 0.75 * green
    levels = np.array([(level + 1) * 127.5 for level in (red, green, blue)])
    pictures = expected_pictures(given)
    assert pictures.dtype == torch.uint8
    assert pictures.shape == (1, 64, 64, 3)
    np.testing.assert_array_equal(pictures[0, 5, 7].numpy(), np.rint(levels))
    sampled = sample_pictures(given, generator()).double().mean((0, 1, 2)).numpy()
    # Fractions are cut off.
    np.testing.assert_allclose(sampled, levels - 0.5, atol=0.5)


def test_a_colour_is_clipped_before_the_next_depends_on_it() -> None:
    given = one((3.0, -0.9, -3.0), SHARP, (0.5, 0.0, 0.0))
    expected = [255, round((-0.9 + 0.5 + 1) * 127.5), 0]
    for pictures in (expected_pictures(given), sample_pictures(given, generator())):
        assert abs(pictures[0].int() - torch.tensor(expected)).max() <= 1
        assert pictures[0, 3, 3, 0] == 255
        assert pictures[0, 3, 3, 2] == 0


def test_components_have_their_shares_and_are_chosen_for_a_whole_pixel() -> None:
    shares = torch.tensor([0.25, 0.75])
    given = parameters(shares.log().tolist(), [[-1.0, 1.0]] * 3, [[SHARP] * 2] * 3, [[0.0] * 2] * 3)
    pictures = sample_pictures(given, generator())
    white = pictures > 127
    assert (white == white[..., :1]).all()
    # 4096 pixels: the standard error is 0.007.
    assert white.double().mean().item() == pytest.approx(0.75, abs=0.03)
    assert (expected_pictures(given) == round((0.75 - 0.25 + 1) * 127.5)).all()


def test_levels_have_the_quartiles_of_a_logistic() -> None:
    pictures = sample_pictures(one((0.1, 0.0, -0.1), np.log(0.05), (0.0, 0.0, 0.0)), generator())
    for colour, mean in enumerate((0.1, 0.0, -0.1)):
        found = np.percentile((pictures[..., colour].numpy() + 0.5) / 127.5 - 1, [25, 50, 75])
        np.testing.assert_allclose(found, mean + 0.05 * np.log(3) * np.array([-1, 0, 1]), atol=0.008)


def test_scales_have_a_lowest_value() -> None:
    given = one((0.2, 0.2, 0.2), -30.0, (0.0, 0.0, 0.0))
    torch.testing.assert_close(
        sample_pictures(given, generator()),
        sample_pictures(one((0.2, 0.2, 0.2), SHARP, (0.0, 0.0, 0.0)), generator()),
    )


def test_the_expectation_is_the_mean_of_many_samples() -> None:
    draw = generator(5)
    numbers = torch.rand(1, 4, 4, 100, generator=draw) * 0.8 - 0.4
    for colour in range(3):
        # Scales narrow enough for clipping to be rare.
        numbers[..., 10 + 30 * colour + 10 : 10 + 30 * colour + 20] = -4.0
    n = 2000
    sampled = sample_pictures(numbers.expand(n, -1, -1, -1), draw).double().mean(0)
    found = expected_pictures(numbers)[0].double()
    # Deviations are some 30 grey levels, so that errors are some 0.7.
    assert abs(sampled + 0.5 - found).max() < 3
    assert abs((sampled + 0.5 - found).mean()) < 0.3


def test_seeds_give_other_pictures_and_the_same_again() -> None:
    given = one((0.0, 0.0, 0.0), np.log(0.1), (0.2, 0.2, 0.2))
    first, again, other = (sample_pictures(given, generator(seed)) for seed in (3, 3, 4))
    torch.testing.assert_close(first, again)
    assert (first != other).double().mean() > 0.8
