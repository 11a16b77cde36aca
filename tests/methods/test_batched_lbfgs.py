"""The batched L-BFGS on functions whose minima are known."""

from __future__ import annotations

import pytest
import torch

from bids_recon.methods.batched_lbfgs import minimise_lbfgs
from bids_recon.methods.picture_objective import Objective

CONDITIONS = (1.0, 10.0, 50.0, 250.0)


class Quadratics:
    """½ (x - c)ᵀ A (x - c) with a centre and a conditioning for each picture."""

    def __init__(self, conditions: tuple[float, ...] = CONDITIONS, size: int = 20) -> None:
        generator = torch.Generator().manual_seed(0)
        n = len(conditions)
        axes = torch.linalg.qr(torch.randn(n, size, size, generator=generator, dtype=torch.float64))[0]
        spread = torch.linspace(0, 1, size, dtype=torch.float64)
        values = torch.tensor(conditions, dtype=torch.float64)[:, None] ** spread
        self.matrices = axes @ (values[:, :, None] * axes.mT)
        self.centres = torch.randn(n, size, generator=generator, dtype=torch.float64)
        self.seen: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        self.seen.append(rows)
        away = x - self.centres[rows].to(x)
        return 0.5 * torch.einsum("bi,bij,bj->b", away, self.matrices[rows].to(x), away)

    def start(self) -> torch.Tensor:
        return torch.zeros_like(self.centres)


def rosenbrock(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Valleys that are narrower the later the picture."""
    steepness = 10.0**rows
    return (1 - x[:, 0]).square() + steepness * (x[:, 1] - x[:, 0].square()).square()


def rosenbrock_start() -> torch.Tensor:
    return torch.tensor([[-1.2, 1.0]], dtype=torch.float64).repeat(4, 1)


def one_by_one(objective: Objective, start: torch.Tensor, **settings: float) -> list[torch.Tensor]:
    """Solutions of single runs."""
    found = []
    for row in range(len(start)):

        def alone(x: torch.Tensor, rows: torch.Tensor, row: int = row) -> torch.Tensor:
            return objective(x, rows + row)

        found.append(minimise_lbfgs(alone, start[row : row + 1], **settings).solution[0])
    return found


def test_quadratics_of_any_conditioning_reach_their_centres_when_each_is_ready() -> None:
    quadratics = Quadratics()
    found = minimise_lbfgs(quadratics, quadratics.start(), iterations=200, tolerance=1e-12)
    torch.testing.assert_close(found.solution, quadratics.centres, atol=1e-6, rtol=0)
    # The better the conditioning, the fewer iterations; pictures that are done are not evaluated.
    made = found.n_iterations.tolist()
    assert made == sorted(made)
    assert made[0] <= 3
    assert made[3] > 40
    assert quadratics.seen[0].tolist() == [0, 1, 2, 3]
    assert quadratics.seen[-1].tolist() == [3]
    assert found.n_evaluations == sum(len(rows) for rows in quadratics.seen)
    assert found.n_evaluations < 2 * sum(made)


def test_losses_fall_and_the_last_is_carried_on() -> None:
    quadratics = Quadratics()
    seen: dict[int, torch.Tensor] = {}
    found = minimise_lbfgs(quadratics, quadratics.start(), iterations=30, on_step=seen.__setitem__)
    assert found.losses.shape == (4, 31)
    assert (found.losses.diff(dim=1) <= 0).all()
    rows = torch.arange(4)
    assert list(seen) == list(range(1, 31))
    for iteration, x in seen.items():
        torch.testing.assert_close(quadratics(x, rows), found.losses[:, iteration])
    torch.testing.assert_close(seen[30], found.solution)
    done = int(found.n_iterations[0])
    assert done < 10
    assert (found.losses[0, done:] == found.losses[0, done]).all()


def test_narrow_valleys_are_followed_to_their_end() -> None:
    found = minimise_lbfgs(rosenbrock, rosenbrock_start(), iterations=200, tolerance=0.0)
    torch.testing.assert_close(found.solution, torch.ones(4, 2, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("iterations", [5, 25])
@pytest.mark.parametrize("at_once", [None, 1, 3])
def test_a_batch_finds_what_single_runs_find(iterations: int, at_once: int | None) -> None:
    quadratics = Quadratics()
    for objective, start in ((quadratics, quadratics.start()), (rosenbrock, rosenbrock_start())):
        batch = minimise_lbfgs(objective, start, iterations=iterations, at_once=at_once)
        singles = one_by_one(objective, start, iterations=iterations)
        torch.testing.assert_close(batch.solution, torch.stack(singles), atol=1e-5, rtol=0)


def test_float32_and_any_shape() -> None:
    quadratics = Quadratics(CONDITIONS[:3])

    def shaped(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        assert x.shape[1:] == (4, 5)
        return quadratics(x.flatten(1), rows)

    found = minimise_lbfgs(shaped, torch.zeros(3, 4, 5), iterations=100)
    assert found.solution.dtype == torch.float32
    torch.testing.assert_close(found.solution.flatten(1), quadratics.centres.float(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_factor_of_the_loss_changes_nothing(scale: float) -> None:
    quadratics = Quadratics()
    plain = minimise_lbfgs(quadratics, quadratics.start(), iterations=10)
    scaled = minimise_lbfgs(lambda x, rows: scale * quadratics(x, rows), quadratics.start(), iterations=10)
    torch.testing.assert_close(scaled.solution, plain.solution, atol=1e-6, rtol=0)


def gradients(objective: Objective, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(objective(leaf, torch.arange(len(x))).sum(), leaf)[0]


def test_bounds_are_kept_and_the_best_point_within_them_is_found() -> None:
    quadratics = Quadratics((3.0, 30.0, 300.0), size=40)
    lower, upper = torch.full((3, 40), -0.5, dtype=torch.float64), 0.4
    lower[1] = -0.1
    seen: list[torch.Tensor] = []

    def watched(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        assert ((x >= lower[rows]) & (x <= upper)).all()
        seen.append(rows)
        return quadratics(x, rows)

    found = minimise_lbfgs(watched, quadratics.start(), lower=lower, upper=upper, iterations=300, tolerance=0)
    x, slopes = found.solution, gradients(quadratics, found.solution)
    low, high = x == lower, x == upper
    # Karush-Kuhn-Tucker: level inside, downhill only to the outside at a bound.
    assert slopes[~low & ~high].abs().max() < 1e-5
    assert slopes[low].min() >= 0
    assert slopes[high].max() <= 0
    assert low.any(dim=1).all()
    assert high.any(dim=1).all()
    assert (~low & ~high).any(dim=1).all()


def test_a_start_outside_the_bounds_is_taken_inside() -> None:
    found = minimise_lbfgs(
        lambda x, rows: x.square().sum(dim=1), torch.tensor([[5.0, -9.0]]), lower=-2.0, iterations=1
    )
    assert found.losses[0, 0] == 29


def test_only_an_upper_bound() -> None:
    found = minimise_lbfgs(lambda x, rows: (x - 2).square().sum(dim=1), torch.zeros(2, 3), upper=1.0)
    assert (found.solution == 1).all()


def test_a_loss_that_is_not_finite_leaves_the_others_alone() -> None:
    quadratics = Quadratics()

    def broken(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.where(rows == 2, torch.nan, 1) * quadratics(x, rows)

    whole = minimise_lbfgs(quadratics, quadratics.start(), iterations=20)
    found = minimise_lbfgs(broken, quadratics.start(), iterations=20)
    sound = [0, 1, 3]
    torch.testing.assert_close(found.solution[sound], whole.solution[sound])
    torch.testing.assert_close(found.losses[sound], whole.losses[sound])
    assert (found.solution[2] == 0).all()
    assert found.n_iterations[2] == 0
    assert found.losses[2].isnan().all()


def test_steps_into_where_the_loss_is_not_finite_are_taken_back() -> None:
    # log(x) has no value left of zero, where the first steps from 0.5 would lead.
    def barrier(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (x - 1e-3 * (rows[:, None] + 1) * x.log()).sum(dim=1)

    found = minimise_lbfgs(barrier, torch.full((2, 1), 0.5, dtype=torch.float64), tolerance=0.0)
    torch.testing.assert_close(found.solution[:, 0], torch.tensor([1e-3, 2e-3], dtype=torch.float64))


def test_a_picture_that_falls_off_an_edge_keeps_its_last_good_value() -> None:
    # Downhill leads to where there is no loss: one picture stops before it, the other has no edge.
    def edge(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        losses = (x - 3).square().sum(dim=1)
        return torch.where((rows == 0) & (x.amax(dim=1) > 1), torch.inf, losses)

    found = minimise_lbfgs(edge, torch.zeros(2, 2, dtype=torch.float64))
    assert found.losses.isfinite().all()
    assert found.losses[0, -1] < found.losses[0, 0]
    assert found.solution[0].max() <= 1
    torch.testing.assert_close(found.solution[1], torch.full((2,), 3.0, dtype=torch.float64))


def test_kinks_do_not_stop_the_descent() -> None:
    # |x| has no curvature to learn from on either side of its kinks.
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    found = minimise_lbfgs(
        lambda x, rows: (weights * (x - rows[:, None]).abs()).sum(dim=1),
        torch.full((2, 3), 4.3, dtype=torch.float64),
        iterations=60,
    )
    assert (found.losses[:, -1] < 1e-3 * found.losses[:, 0]).all()
