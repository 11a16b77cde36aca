"""The descent against its formula written out by hand, and its blur against scipy's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_recon.methods.momentum_descent import (
    ICNN_GENERATOR,
    ICNN_PIXELS,
    PAPER,
    DescentSettings,
    blur,
    descend,
)

CENTRES = torch.tensor([3.0, -40.0, 0.5], dtype=torch.float64)


def bowls(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """A bowl for each picture, uneven along its columns, of a size of its own."""
    columns = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    return 10.0**rows * ((x - CENTRES[rows, None, None, None]).square() * columns).sum(dim=(1, 2, 3))


def bowl_gradient(x: np.ndarray, row: int) -> np.ndarray:
    return 10.0**row * 2 * (x - CENTRES[row].item()) * np.arange(1, x.shape[-1] + 1)


def start(n: int = 3) -> torch.Tensor:
    return torch.zeros(n, 2, 4, 5, dtype=torch.float64)


def by_hand(settings: DescentSettings, row: int, low: float, high: float) -> np.ndarray:
    x = np.zeros((2, 4, 5))
    velocity = np.zeros_like(x)
    for t in range(settings.iterations):
        share = t / settings.iterations
        rate, decay = (a + share * (b - a) for a, b in (settings.rate, settings.decay))
        gradient = bowl_gradient(x, row)
        gradient /= np.abs(gradient).mean()
        if settings.rate_scales == "gradient":
            velocity = settings.momentum * velocity - rate * gradient
            x = x + velocity
        else:
            velocity = settings.momentum * velocity + gradient
            x = x - rate * velocity
        x = (1 - decay) * x
        if settings.blur is not None:
            sigma = settings.blur[0] + share * (settings.blur[1] - settings.blur[0])
            x = np.stack([ndimage.gaussian_filter(channel, sigma) for channel in x])
        x = np.clip(x, low, high)
    return x


@pytest.mark.parametrize(
    "settings", [PAPER, ICNN_PIXELS, ICNN_GENERATOR, replace(PAPER, momentum=0.5, rate=(0.1, 0.3))]
)
def test_pictures_move_as_the_formula_says_each_by_its_own_gradient(settings: DescentSettings) -> None:
    settings = replace(settings, iterations=12)
    low, high = -7.0, 2.0
    found = descend(bowls, start(), settings, lower=low, upper=torch.tensor(high))
    for row in range(3):
        np.testing.assert_allclose(found.solution[row].numpy(), by_hand(settings, row, low, high), atol=1e-10)
    # Otherwise the bounds would not have been seen.
    assert found.solution.max() == pytest.approx(high, abs=0.05)


def test_what_the_paper_and_the_programs_published() -> None:
    assert (PAPER.iterations, PAPER.rate, PAPER.momentum) == (200, (2.0, 0.0), 0.9)
    assert (PAPER.decay, PAPER.blur, PAPER.rate_scales) == ((0.0, 0.0), None, "gradient")
    assert (ICNN_PIXELS.decay, ICNN_PIXELS.blur) == ((0.2, 1e-10), (2.0, 0.5))
    assert (ICNN_GENERATOR.decay, ICNN_GENERATOR.blur) == ((0.01, 0.01), None)


def test_losses_are_those_of_the_pictures_that_on_step_sees() -> None:
    seen: dict[int, torch.Tensor] = {}
    found = descend(bowls, start(), replace(PAPER, iterations=6, rate=(0.1, 0.0)), on_step=seen.__setitem__)
    assert list(seen) == [1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(seen[6], found.solution)
    rows = torch.arange(3)
    expected = [bowls(x, rows) for x in (start(), *seen.values())]
    torch.testing.assert_close(found.losses, torch.stack(expected, dim=1))
    assert (found.losses[:2, 6] < found.losses[:2, 0]).all()
    assert found.n_iterations.tolist() == [6, 6, 6]
    assert found.n_evaluations == 3 * 7


@pytest.mark.parametrize("at_once", [1, 2])
def test_parts_of_a_batch_are_what_the_batch_is(at_once: int) -> None:
    settings = replace(ICNN_PIXELS, iterations=8)
    whole = descend(bowls, start(), settings)
    parts = descend(bowls, start(), settings, at_once=at_once)
    torch.testing.assert_close(parts.solution, whole.solution)
    torch.testing.assert_close(parts.losses, whole.losses)


def test_a_picture_whose_loss_is_lost_stops_and_leaves_the_others_alone() -> None:
    def broken(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        losses = bowls(x, rows)
        # Picture 1 is lost as soon as it comes close to its bowl, picture 2 from the start.
        lost = ((rows == 1) & (x.amin(dim=(1, 2, 3)) < -6)) | (rows == 2)
        return torch.where(lost, torch.nan, losses)

    settings = replace(PAPER, iterations=10)
    whole, found = descend(bowls, start(), settings), descend(broken, start(), settings)
    torch.testing.assert_close(found.solution[0], whole.solution[0])
    torch.testing.assert_close(found.losses[0], whole.losses[0])
    assert 0 < found.n_iterations[1] < 10
    assert -6 <= found.solution[1].min() < 0
    assert found.losses[1, -1] == bowls(found.solution, torch.arange(3))[1]
    assert found.losses[1].isfinite().all()
    assert (found.solution[2] == 0).all()
    assert found.losses[2].isnan().all()


@pytest.mark.parametrize("deviation", [0.0, 0.5, 2.0, 3.3])
def test_blur_is_scipys(deviation: float) -> None:
    pictures = np.random.default_rng(0).standard_normal((2, 3, 9, 24))
    expected = ndimage.gaussian_filter(pictures, (0, 0, deviation, deviation))
    np.testing.assert_allclose(blur(torch.from_numpy(pictures), deviation).numpy(), expected, atol=1e-12)


def test_an_unknown_use_of_the_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="the rate scales"):
        descend(bowls, start(), replace(PAPER, rate_scales="both"))
