"""Single-trial responses with a response function, a model of noise and shrinkage fitted to the person.

The steps are those of GLMsingle (Prince, Charest, Kurzawski, Pyles, Tarr & Kay, "Improving the accuracy of
single-trial fMRI response estimates using GLMsingle", eLife 11:e77599, 2022), written from the paper:

1. each voxel gets a response out of a library of twenty (`library_hrf`),
2. noise that voxels share is taken into account, as much as helps (`library_noise`),
3. single trials are drawn towards the voxel's mean response, as far as helps (`shrinkage`).

Each of the three modules says what it does otherwise, and why. Noise is whitened with one autoregressive
coefficient besides, and responses are chosen a second time when shared noise is known.

**Training trials alone tune anything.** Runs without training trials are not looked at before all choices are
made. In runs that mix both, the space that the library's responses to the other trials span is projected out
until then, so that those responses change no choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bids_recon.errors import DataError
from bids_recon.glm.library_choices import choose
from bids_recon.glm.library_design import RunDesign, Setting, read_change, stack
from bids_recon.glm.library_noise import noise_components
from bids_recon.glm.repeats import Repeats, find_repeats
from bids_recon.glm.run_data import RunData, RunModel, tuning_model, whole_model
from bids_recon.glm.shrinkage import Shrinkage, fit_shrinkage, responses_of_run


@dataclass(frozen=True)
class LibraryFit:
    """Responses of all runs and what was chosen for them.

    Attributes
    ----------
    responses : ndarray or memory map (n_trials, n_voxels) float32
        Percent signal change at the peak; trials in the order of the runs. NaN where a voxel has no signal in
        the run.
    hrf_index : ndarray (n_voxels,) int16
        Position in `hrf.LIBRARY`.
    fraction : ndarray (n_voxels,) float32
        Length of the differences between trials, relative to that without a penalty (`shrinkage`), in the
        model in which choices are made; small where that model has to leave out test trials.
    n_noise_components : int
        Taken into account in every run.
    noise_pool : ndarray (n_voxels,) bool
        Voxels that the components come from.
    variance_explained : ndarray (n_voxels,) float32
        Percent of the variance of training data, without confounds, that single-trial responses explain.
    autocorrelation : float
        Of noise at successive volumes.
    warnings : list of str
        Sentences.
    """

    responses: NDArray[np.float32]
    hrf_index: NDArray[np.int16]
    fraction: NDArray[np.float32]
    n_noise_components: int
    noise_pool: NDArray[np.bool_]
    variance_explained: NDArray[np.float32]
    autocorrelation: float
    warnings: list[str]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch and BLAS work with one thread: products are small, and threads would wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def library_responses(
    runs: Sequence[RunData],
    *,
    out: NDArray[np.float32] | None = None,
    device: str = "cpu",
    voxels_at_a_time: int = 512,
    progress: Callable[[str], None] | None = None,
) -> LibraryFit:
    """Estimate the response of every trial of all runs of a person. On a CPU, one core is used.

    Parameters
    ----------
    runs : sequence of RunData
        All of the same voxels.
    out : ndarray or memory map (n_trials, n_voxels) float32, optional
        Filled instead of a new array.
    device : str
        Of torch: `cpu` or `cuda`.
    voxels_at_a_time : int
        Bounds memory; a few thousand make a GPU faster.
    progress : callable, optional
        Told the name of each step.

    Raises
    ------
    DataError
        When there are no training trials that can tune, a response lies outside its run, or confounds leave
        nothing of a run.
    """
    say = progress or (lambda _: None)
    if len({run.n_voxels for run in runs}) != 1:
        raise ValueError("the runs have not the same voxels")
    wholes = [whole_model(run) for run in runs]
    tunings = [tuning_model(whole) for whole in wholes]
    models = [model for model in tunings if model is not None]
    if not models:
        raise DataError(
            "no run has enough training trials to fit the response function on",
            remedy="Give training pictures runs of their own, or choose --glm lsa or lss.",
        )
    where = torch.device(device)
    setting = Setting(runs[0].n_voxels, voxels_at_a_time, _typical_duration(runs), where)
    repeats = _repeats(models, where)
    choices = choose(models, setting, repeats, say)

    say("responses")
    tuned = iter(choices.designs)
    designs = []
    for whole, tuning in zip(wholes, tunings, strict=True):
        design = None if tuning is None else next(tuned)
        if tuning is whole and design is not None:
            designs.append(design)
        else:
            own = noise_components(whole, choices.pool, choices.n_components, voxels_at_a_time)
            designs += setting.designs([whole], [own], choices.autocorrelation)
    if out is None:
        out = np.empty((sum(len(run.trials) for run in runs), setting.n_voxels), dtype=np.float32)
    fraction, explained = np.empty((2, setting.n_voxels), dtype=np.float32)
    for part in setting.slices():
        changes = [read_change(whole, part, where) for whole in wholes]
        trained = [
            change if tuning is whole else read_change(tuning, part, where)
            for change, whole, tuning in zip(changes, wholes, tunings, strict=True)
            if tuning is not None
        ]
        index = choices.hrf_index[part]
        responses = np.empty((len(out), len(index)), dtype=np.float32)
        for hrf in np.unique(index):
            voxels = np.flatnonzero(index == hrf)
            shrinkage, share = _tune([one[voxels] for one in trained], choices.designs, int(hrf), repeats)
            fraction[part][voxels], explained[part][voxels] = shrinkage.fraction.cpu(), share.cpu()
            found = _respond([one[voxels] for one in changes], designs, int(hrf), shrinkage)
            responses[:, voxels] = found.cpu().numpy()
        out[:, part] = responses
    return LibraryFit(
        responses=out,
        hrf_index=choices.hrf_index.astype(np.int16),
        fraction=fraction,
        n_noise_components=choices.n_components,
        noise_pool=choices.pool,
        variance_explained=explained,
        autocorrelation=choices.autocorrelation,
        warnings=[*_left_out(tunings, runs), *_without_repeats(repeats), *choices.warnings],
    )


def _tune(
    changes: Sequence[torch.Tensor], designs: Sequence[RunDesign], hrf: int, repeats: Repeats
) -> tuple[Shrinkage, torch.Tensor]:
    """Shrinkage of voxels with one response, and the variance that responses explain in percent."""
    own = stack(designs, hrf)
    along = own.along(changes)
    energy = torch.stack([design.energy(change) for change, design in zip(changes, designs, strict=True)])
    share = 100 * (along**2).sum(dim=(0, 1)) / energy.sum(dim=0).clamp_min(1e-20)
    return fit_shrinkage(along, own, repeats), share


def _respond(
    changes: Sequence[torch.Tensor], designs: Sequence[RunDesign], hrf: int, shrinkage: Shrinkage
) -> torch.Tensor:
    """Responses (n_trials, n_voxels) of all runs; NaN in runs in which a voxel has no signal."""
    found = []
    for change, design in zip(changes, designs, strict=True):
        drawn = responses_of_run(design.project[hrf].T @ change.T, design, hrf, shrinkage)
        drawn[:, ~change.any(dim=1)] = torch.nan
        found.append(drawn)
    return torch.cat(found)


def _typical_duration(runs: Sequence[RunData]) -> float:
    """Median duration of all trials of all runs, s."""
    return float(np.median(np.concatenate([run.trials["duration"].to_numpy(float) for run in runs])))


def _repeats(models: Sequence[RunModel], device: torch.device) -> Repeats:
    """Repetitions among the modelled trials, at their places in a `Stack`."""
    names = np.full((len(models), max(len(model.rows) for model in models)), None, dtype=object)
    for row, model in zip(names, models, strict=True):
        row[: len(model.rows)] = model.run.trials["stimulus_id"].to_numpy(dtype=object)[model.rows]
    return find_repeats(names, device)


def _left_out(tunings: Sequence[RunModel | None], runs: Sequence[RunData]) -> list[str]:
    """A sentence on runs with training trials that could not be used to tune."""
    lost = [
        str(number + 1)
        for number, (tuning, run) in enumerate(zip(tunings, runs, strict=True))
        if tuning is None and run.training.any()
    ]
    if not lost:
        return []
    return [
        f"Runs {', '.join(lost)} (counted from 1) hold so many trials that are not for training that their"
        " training trials tuned nothing."
    ]


def _without_repeats(repeats: Repeats) -> list[str]:
    if repeats.any:
        return []
    return [
        "No training picture was shown twice: only the response function is fitted; no noise components are"
        " taken into account and responses are not shrunk."
    ]
