"""What `library` chooses with training trials, before any response is estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import DataError
from bids_recon.glm.library_design import RunDesign, Setting
from bids_recon.glm.library_hrf import evidence, most_probable, population, posterior
from bids_recon.glm.library_noise import (
    LEAST_POOL,
    MOST_COMPONENTS,
    autocorrelation,
    bright_voxels,
    choose_number,
    noise_components,
    noise_pool,
)
from bids_recon.glm.repeats import Repeats
from bids_recon.glm.run_data import RunModel

# Voxels on which autocorrelation and the number of components are found; more tell nothing new.
_ENOUGH_FOR_NOISE, _ENOUGH_FOR_NUMBER = 1000, 4000


@dataclass(frozen=True)
class Choices:
    """What was chosen.

    Attributes
    ----------
    hrf_index : ndarray (n_voxels,) int64
        Position in the library.
    pool : ndarray (n_voxels,) bool
        Voxels that noise components come from.
    n_components : int
        Noise components that whitening takes into account.
    autocorrelation : float
        Of what noise is left at successive volumes.
    designs : list of RunDesign
        Of the models, with all this.
    warnings : list of str
        Sentences.
    """

    hrf_index: NDArray[np.int64]
    pool: NDArray[np.bool_]
    n_components: int
    autocorrelation: float
    designs: list[RunDesign]
    warnings: list[str]


def choose(
    models: Sequence[RunModel], setting: Setting, repeats: Repeats, say: Callable[[str], None]
) -> Choices:
    """Choose responses and noise components.

    Parameters
    ----------
    models : sequence of RunModel
        Runs with training trials (`tuning_model`).
    setting : Setting
        Sizes and device.
    repeats : Repeats
        Among the models' trials; without any, no components are counted.
    say : callable
        Told the name of each step.

    Raises
    ------
    DataError
        When no voxel has a signal.
    """
    warnings: list[str] = []
    say("response functions")
    bright = bright_voxels(_baseline(models, setting))
    if not bright.any():
        raise DataError(
            "no voxel has a positive, varying signal in all runs with training trials",
            remedy="Check that the masks lie inside the brain and that the runs were not demeaned.",
        )
    none = [np.empty((model.run.n_volumes, 0)) for model in models]
    noise = autocorrelation(models, none, _some(bright, _ENOUGH_FOR_NOISE))
    designs = setting.designs(models, none, noise)
    found = _evidence(models, designs, setting)
    pool = noise_pool(found, bright)
    frequency = population(found, bright)
    if repeats.any and pool.sum() < LEAST_POOL:
        warnings.append(
            f"Only {int(bright.sum())} voxels have a signal: too few for a pool of noise; no noise components"
            " are removed."
        )
    if not repeats.any or pool.sum() < LEAST_POOL:
        return Choices(most_probable(found, frequency), pool, 0, noise, designs, warnings)

    say("noise components")
    room = min(design.freedom - len(model.rows) for model, design in zip(models, designs, strict=True))
    most = max(0, min(MOST_COMPONENTS, room - 1))
    components = [noise_components(model, pool, most, setting.voxels_at_a_time) for model in models]
    index = most_probable(found, frequency)
    responding = bright & ~pool & (posterior(found, frequency)[:, 0] < 0.5)
    tried = _some(responding if responding.any() else bright, _ENOUGH_FOR_NUMBER)
    number, _ = choose_number(models, designs, components, index, tried, repeats, setting)
    if number:
        say("response functions, without shared noise")
        components = [own[:, :number] for own in components]
        # The old ones are as large.
        del designs
        noise = autocorrelation(models, components, _some(pool, _ENOUGH_FOR_NOISE))
        designs = setting.designs(models, components, noise)
        found = _evidence(models, designs, setting)
        frequency = population(found, bright)
    return Choices(most_probable(found, frequency), pool, number, noise, designs, warnings)


def _baseline(models: Sequence[RunModel], setting: Setting) -> NDArray[np.float64]:
    """Mean over runs of the baseline (n_voxels,); NaN for voxels that lack a signal in one."""
    total = np.zeros(setting.n_voxels)
    for part in setting.slices():
        for model in models:
            total[part] += model.baselines(np.asarray(model.run.timecourses[part], dtype=np.float32))
    return total / len(models)


def _evidence(
    models: Sequence[RunModel], designs: Sequence[RunDesign], setting: Setting
) -> NDArray[np.float32]:
    found = np.empty((setting.n_voxels, designs[0].values.shape[0]), dtype=np.float32)
    for part in setting.slices():
        found[part] = evidence(models, designs, part, setting.device).cpu().numpy()
    return found


def _some(chosen: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Positions of at most so many of the chosen voxels, spread evenly."""
    rows = np.flatnonzero(chosen)
    return rows[:: -(-len(rows) // most)]
