"""Which picture the participants of NSD saw when, and which pictures train and test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
from numpy.typing import NDArray

from bids_recon.dataset.nsd_layout import COMPLETED, TASK, NsdRelease, session_label
from bids_recon.dataset.stimuli import Stimulus, StimulusSet
from bids_recon.dataset.stimulus_spec import StimulusSpec
from bids_recon.dataset.trials import FILE_COLUMN
from bids_recon.errors import DataError, MissingInputError, NothingSelectedError

# The paper's sessions. Shared pictures that were shown by then are the test set, whatever else is read,
# so that scores compare.
LAST_OF_PAPER = 37
# Design of the experiment: trials of 4 s, with the picture in the first 3.
TRIAL_SECONDS = 4.0
PICTURE_SECONDS = 3.0
BRICK = "imgBrick"
_STEM = "nsd"
_VARIABLES = {"masterordering": 2, "subjectim": 2, "sharedix": 2, "stimpattern": 3}


@dataclass(frozen=True)
class NsdDesign:
    """The design of the experiment, alike for everyone but for the pictures.

    Attributes
    ----------
    order : ndarray (n_trials,) int64
        Which of a person's pictures each trial shows, from 0.
    pictures : ndarray (n_people, n_pictures) int64
        Number of each person's pictures among all pictures of NSD, from 1.
    shared : ndarray (n_shared,) int64
        Numbers of the pictures that everyone saw, from 1.
    places : ndarray (n_trials, 3) int64
        Session, run and slot of each trial, from 0; a slot without picture has no trial.
    n_sessions : int
    """

    order: NDArray[np.int64]
    pictures: NDArray[np.int64]
    shared: NDArray[np.int64]
    places: NDArray[np.int64]
    n_sessions: int


def read_design(file: Path) -> NsdDesign:
    """Read `nsd_expdesign.mat`.

    Raises
    ------
    MissingInputError
        When it is not there.
    DataError
        When it is damaged or its parts do not fit together.
    """
    if not file.is_file():
        raise MissingInputError("there is no such file", file=file)
    try:
        content = scipy.io.loadmat(file, variable_names=list(_VARIABLES))
    # Damaged files end in errors of MATLAB's format, of zlib, and of numpy.
    except Exception as error:
        raise _damaged(file, f"cannot be read as MATLAB's version 5 ({error})") from error
    for name, n_dimensions in _VARIABLES.items():
        if name not in content or content[name].ndim != n_dimensions:
            raise _damaged(file, f"lacks '{name}', or it is no array of {n_dimensions} dimensions")
    order = content["masterordering"].ravel().astype(np.int64) - 1
    pictures = content["subjectim"].astype(np.int64)
    slots = content["stimpattern"] != 0
    places = np.argwhere(slots).astype(np.int64)
    if len(places) != len(order):
        raise _damaged(file, f"orders {len(order)} trials, and its sessions have {len(places)}")
    if len(order) and not 0 <= order.min() <= order.max() < pictures.shape[1]:
        raise _damaged(file, f"orders more pictures than the {pictures.shape[1]} of a person")
    return NsdDesign(order, pictures, content["sharedix"].ravel().astype(np.int64), places, len(slots))


def choose_sessions(
    release: NsdRelease, design: NsdDesign, subject: str, spec: StimulusSpec, labels: Sequence[str] = ()
) -> list[int]:
    """Sessions to read: those that the person completed and the spec speaks of, or those asked for.

    Parameters
    ----------
    release, design
    subject : str
        Label, such as `01`.
    spec : StimulusSpec
    labels : sequence of str
        Labels asked for, such as `nsd01`; empty for all.

    Returns
    -------
    list of int
        Increasing, from 1.

    Raises
    ------
    NothingSelectedError
        When a session asked for does not exist or is not of the spec.
    MissingInputError
        When there are no responses of a session.
    """
    completed = range(1, min(COMPLETED[subject], design.n_sessions) + 1)
    numbers = {session_label(number): number for number in completed}
    known = {label: n for label, n in numbers.items() if spec.rule_for(task=TASK, session=label) is not None}
    folder = release.beta_folder(subject)
    if unknown := [label for label in labels if label not in known]:
        raise NothingSelectedError(
            f"sub-{subject} has no session {', '.join(unknown)} that {spec.name} speaks of",
            file=folder,
            remedy=f"There are {_in_words(known.values())}.",
        )
    wanted = sorted(known[label] for label in (labels or known))
    absent = [number for number in wanted if release.beta_file(subject, number) is None]
    if absent:
        here = [number for number in wanted if number not in absent]
        remedy = "Fetch them from https://naturalscenesdataset.org."
        if here:
            remedy += f" Or read the others alone, with --session-label: {_in_words(here)}."
        raise MissingInputError(
            f"sub-{subject}: {len(absent)} of {len(wanted)} sessions have no responses: {_in_words(absent)}",
            file=folder,
            remedy=remedy,
        )
    return wanted


def nsd_trials(
    design: NsdDesign, coco_ids: pd.Series[str], subject: str, sessions: Sequence[int]
) -> pd.DataFrame:
    """Trials of a person in some sessions, in the order of the responses.

    Runs and onsets are those of the design: slot k of a run begins at 4 k s. What the clock said, some
    milliseconds apart, is in `responses.tsv` of the release and not read.

    Parameters
    ----------
    design : NsdDesign
    coco_ids : Series
        See `read_coco_ids`.
    subject : str
        Label, such as `01`.
    sessions : sequence of int
        Numbers from 1; whole sessions are given, in increasing order.

    Returns
    -------
    DataFrame
        TRIAL_COLUMNS, `stim_file` (empty) and, as text: `coco_id`; `shared1000`, whether everyone saw the
        picture; `repeat`, which presentation it is, from 1, counted over the whole experiment; `nsd_set`:
        `train`, `shared`, or `late` for shared pictures first shown after session 37. `set` is empty.

    Raises
    ------
    DataError
        When the table of pictures lacks one that was shown.
    """
    table = pd.DataFrame(design.places + 1, columns=["session", "run", "slot"])
    table["picture"] = design.pictures[int(subject) - 1, design.order]
    by_picture = table.groupby("picture")
    table["repeat"] = by_picture.cumcount() + 1
    shared = table["picture"].isin(design.shared)
    late = by_picture["session"].transform("min") > LAST_OF_PAPER
    table["nsd_set"] = np.where(shared, np.where(late, "late", "shared"), "train")
    table["shared1000"] = np.where(shared, "true", "false")
    table = table[table["session"].isin(list(sessions))].reset_index(drop=True)
    trials = pd.DataFrame(index=table.index)
    trials["subject"] = subject
    trials["session"] = table["session"].map(session_label)
    trials["task"] = TASK
    trials["run"] = table["run"].map("{:02d}".format)
    trials["onset"] = TRIAL_SECONDS * (table["slot"] - 1)
    trials["duration"] = PICTURE_SECONDS
    trials["stimulus_id"] = table["picture"].map(stimulus_id)
    trials["trial_index"] = np.arange(len(table), dtype=np.int64)
    trials["kind"] = "perception"
    trials["set"] = ""
    trials[FILE_COLUMN] = ""
    trials["coco_id"] = _known_ids(coco_ids, table["picture"])
    for column in ("shared1000", "repeat", "nsd_set"):
        trials[column] = table[column].astype(str)
    return trials


def stimulus_id(number: int) -> str:
    """Name of a picture from its number, from 1: `nsd02951`, as files of the release are called."""
    return f"{_STEM}{number:05d}"


def read_coco_ids(release: NsdRelease, design: NsdDesign) -> pd.Series[str]:
    """COCO's id of each picture, by stimulus id, from `nsd_stim_info_merged.csv`.

    Raises
    ------
    MissingInputError
        When the table is not there.
    DataError
        When it is damaged, or other pictures are shared than in the design.
    """
    file = release.picture_table
    if not file.is_file():
        raise MissingInputError(
            "there is no such file, by which pictures are found in COCO",
            file=file,
            remedy="Fetch it from https://naturalscenesdataset.org.",
        )
    try:
        table = pd.read_csv(file, usecols=["nsdId", "cocoId", "shared1000"])
        numbers = table["nsdId"].astype("int64") + 1
        shared = set(numbers[table["shared1000"].astype(bool)])
        ids = table["cocoId"].astype("int64").astype(str)
    except ValueError as error:
        raise _damaged(file, f"cannot be read as the table of pictures ({error})") from error
    if shared != set(design.shared):
        raise _damaged(file, f"has other shared pictures than {release.design.name}")
    ids.index = pd.Index(numbers.map(stimulus_id), name="stimulus_id")
    return ids.rename("coco_id")


def nsd_stimuli(release: NsdRelease, ids: Iterable[str], coco_ids: pd.Series[str]) -> StimulusSet:
    """Pictures by stimulus id, in the order given; each is read when it is asked for.

    Captions are found by COCO's id (see `read_coco_ids`).
    """
    file = release.pictures
    return StimulusSet(
        {
            name: Stimulus(
                name,
                wanted=str(file),
                brick=(file, BRICK, int(name.removeprefix(_STEM)) - 1),
                image_id=str(coco_ids[name]),
            )
            for name in dict.fromkeys(ids)
        }
    )


def _known_ids(coco_ids: pd.Series[str], pictures: pd.Series[int]) -> pd.Series[str]:
    names = pictures.map(stimulus_id)
    found = names.map(coco_ids)
    if found.isna().any():
        raise DataError(
            f"the table of pictures of NSD lacks {names[found.isna()].iloc[0]}, which was shown",
            remedy="Fetch nsd_stim_info_merged.csv again.",
        )
    return found


def _in_words(sessions: Iterable[int]) -> str:
    """Labels of increasing sessions, consecutive ones together: `nsd01 to nsd03, nsd07`."""
    stretches: list[list[int]] = []
    for number in sessions:
        if stretches and number == stretches[-1][-1] + 1:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    words = (
        session_label(one[0]) + (f" to {session_label(one[-1])}" if len(one) > 1 else "") for one in stretches
    )
    return ", ".join(words)


def _damaged(file: Path, problem: str) -> DataError:
    return DataError(problem, file=file, remedy="Fetch it again from https://naturalscenesdataset.org.")
