"""From the trials' stimulus ids to the pictures' files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.stimuli import Stimulus, StimulusSet, locate
from bids_recon.dataset.stimulus_spec import StimulusSpec
from bids_recon.errors import DataError


def find_stimuli(
    trials: pd.DataFrame, spec: StimulusSpec, bids_dir: Path, folders: Sequence[Path] = ()
) -> StimulusSet:
    """Look up the picture of every stimulus of some trials.

    Parameters
    ----------
    trials : DataFrame
        Columns `stimulus_id`, `task`, `session`, `stim_file` where events name files, and columns of
        attributes (`StimulusFiles.attribute_columns`) where they have them.
    spec : StimulusSpec
    bids_dir : Path
    folders : sequence of Path
        Folders named by the user, searched before those of the data set.

    Returns
    -------
    StimulusSet
        In order of first presentation. Pictures that are not found are in `missing()`.

    Raises
    ------
    DataError
        When a path leads out of the data set, or several pictures could be meant.
    """
    columns = [name for name in ("stimulus_id", "task", "session", "stim_file") if name in trials]
    shown = trials.loc[trials["stimulus_id"] != "", columns].drop_duplicates("stimulus_id")
    return look_up(shown, spec, bids_dir, folders, _attributes(trials, spec))


def look_up(
    shown: pd.DataFrame,
    spec: StimulusSpec,
    bids_dir: Path,
    folders: Sequence[Path] = (),
    attributes: Mapping[str, Mapping[str, str]] | None = None,
) -> StimulusSet:
    """Look up pictures from a table with one row a stimulus (see `find_stimuli`).

    `attributes` are those known from elsewhere, by stimulus id; they count before those that an id names.
    """
    known = attributes or {}
    roots = [*folders, *(bids_dir / root for root in spec.stimuli.roots)]
    stimuli: dict[str, Stimulus] = {}
    for row in shown.to_dict("records"):
        name = str(row["stimulus_id"])
        category = spec.stimuli.category_of(name) or ""
        told = {**spec.stimuli.attributes_of(name), **known.get(name, {})}
        rule = spec.rule_for(task=str(row.get("task", "")), session=str(row.get("session", "")))
        if rule is not None and rule.parse == "bits":
            assert rule.bits_shape is not None
            pattern = _pattern(name, rule.bits_shape)
            stimuli[name] = Stimulus(name, pattern=pattern, category=category, attributes=told)
            continue
        file = str(row.get("stim_file", "") or "")
        candidates = [*_as_named(file, spec.stimuli.roots), *spec.stimuli.candidates(name)]
        if rule is not None and rule.target == "category":
            # The id is the beginning of a picture's name, never the whole of it.
            candidates = [candidate for candidate in candidates if "*" in candidate]
        stimuli[name] = Stimulus(
            name,
            path=locate(candidates, roots, bids_dir),
            wanted=str(roots[0] / candidates[0]) if roots and candidates else name,
            category=category,
            attributes=told,
        )
    return StimulusSet(stimuli)


def _attributes(trials: pd.DataFrame, spec: StimulusSpec) -> dict[str, dict[str, str]]:
    """Attributes that events give to pictures, by stimulus id and name.

    A column that says different things of one picture does not describe pictures, and is left out.
    """
    told: dict[str, dict[str, str]] = {}
    for name in spec.stimuli.attribute_columns:
        if name not in trials:
            continue
        cells = trials.loc[(trials["stimulus_id"] != "") & ~trials[name].isin(spec.na), ["stimulus_id", name]]
        cells = cells.drop_duplicates()
        if cells["stimulus_id"].is_unique:
            for stimulus_id, value in zip(cells["stimulus_id"], cells[name], strict=True):
                told.setdefault(str(stimulus_id), {})[name] = str(value)
    return told


def _as_named(file: str, roots: Iterable[str]) -> list[str]:
    """A file that events name, relative to its root: `stim_file` is written with and without `stimuli/`."""
    if not file or file == "n/a":
        return []
    path = PurePosixPath(file.replace("\\", "/"))
    inner = [str(path.relative_to(root)) for root in roots if path.is_relative_to(root)]
    return [*inner, str(path)]


def _pattern(bits: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if len(bits) != shape[0] * shape[1] or set(bits) - {"0", "1"}:
        raise DataError(f"'{bits[:20]}' is not a picture of {shape[0]} x {shape[1]} zeros and ones")
    return np.array([255 * int(bit) for bit in bits], dtype=np.uint8).reshape(shape)
