"""One statmap of single-trial responses and the files that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.inheritance import entities_of
from bids_recon.errors import DataError, MissingInputError, UsageError
from bids_recon.outputs.reading import read_json
from bids_recon.preprocess.series import iterate_volumes, open_series
from bids_recon.rois.grids import describe_grid, read_volume, same_grid

DESC = "SingletrialBetas"

# Columns of Trials that a file name may state, in the order in which they are put in front.
_FROM_NAME = (("subject", "sub"), ("session", "ses"), ("task", "task"), ("run", "run"))
# Columns of Trials in which "" is a value, stored as n/a.
MAY_BE_EMPTY = ("session", "run", "set")
# What a mask's name may state beyond the entities of its statmap.
_OF_MASKS = frozenset({"label", "desc", "hemi"})


@dataclass(frozen=True)
class BetaFiles:
    """A statmap (x, y, z, n_trials), its trials table and its masks.

    Attributes
    ----------
    statmap : Path
        The image.
    """

    statmap: Path

    @property
    def entities(self) -> dict[str, str]:
        """Entities in the name of the statmap, by short key."""
        return entities_of(self.statmap)

    @property
    def trials(self) -> Path:
        """The trials table beside the statmap."""
        stem = self.statmap.name.split(".", 1)[0].removesuffix("_statmap")
        return self.statmap.with_name(stem.replace("_stat-effect", "") + "_trials.tsv")

    def read_trials(self) -> pd.DataFrame:
        """Trials as text, one row a volume, completed with what the file name states.

        Raises
        ------
        MissingInputError
            When there is no table.
        DataError
            When it is not a table.
        """
        if not self.trials.is_file():
            raise MissingInputError(
                "there is no such file, so that nobody knows which stimulus a response belongs to",
                file=self.trials,
                remedy=f"Put a table with one row for each volume of {self.statmap.name} there.",
            )
        try:
            table = pd.read_csv(
                self.trials, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig"
            ).fillna("n/a")
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise _not_a_table(self.trials, str(error)) from error
        if not isinstance(table.index, pd.RangeIndex):
            raise _not_a_table(self.trials, "its rows have more cells than its header")
        if table.empty:
            raise _not_a_table(self.trials, "it has no rows")
        for position, (column, key) in enumerate(_FROM_NAME):
            if column not in table:
                table.insert(position, column, self.entities.get(key, ""))
        for column in MAY_BE_EMPTY:
            if column in table:
                table[column] = table[column].replace("n/a", "")
        return table

    def open(self, n_trials: int) -> nib.Nifti1Image:
        """Open the statmap, an image of four dimensions with `n_trials` volumes.

        Raises
        ------
        DataError
            When it has not four dimensions or another number of volumes.
        """
        image = open_series(self.statmap)
        if image.ndim != 4:
            raise DataError(
                f"has {image.ndim} dimensions {image.shape}",
                file=self.statmap,
                remedy="Responses are an image of four dimensions with one volume a trial.",
            )
        if image.shape[3] != n_trials:
            raise DataError(
                f"has {image.shape[3]} volumes, but {self.trials} has {n_trials} rows",
                file=self.statmap,
                remedy="Give one row of the table for each volume.",
            )
        return image

    def read_rois(self, image: nib.Nifti1Image) -> tuple[dict[str, NDArray[np.bool_]], dict[str, list[str]]]:
        """Masks (x, y, z) of the regions and the files they were made from, by name.

        The hemispheres of a region are joined. Files are those that the sidecar lists, or the mask itself.

        Raises
        ------
        DataError
            When a mask is damaged or lies on another grid.
        """
        rois: dict[str, NDArray[np.bool_]] = {}
        sources: dict[str, list[str]] = {}
        for file in self._masks():
            if (short := entities_of(file).get("label")) is None:
                continue
            sidecar = _read_sidecar(file)
            name = str(sidecar.get("ROI") or short)
            mask = self._read_mask(file, image)
            rois[name] = rois[name] | mask if name in rois else mask
            listed = sidecar.get("Sources")
            sources.setdefault(name, []).extend(listed if isinstance(listed, list) else [str(file)])
        return rois, sources

    def voxel_indices(self, image: nib.Nifti1Image, rois: dict[str, NDArray[np.bool_]]) -> NDArray[np.int64]:
        """Flat positions (C order) of the voxels that have responses.

        Those of `desc-brain_mask`; without one, those of the regions; without any, those that are not zero in
        all volumes.
        """
        brain = [
            self._read_mask(file, image)
            for file in self._masks()
            if "label" not in entities_of(file) and entities_of(file).get("desc") == "brain"
        ]
        masks = brain or list(rois.values())
        if masks:
            return np.flatnonzero(np.logical_or.reduce(masks)).astype(np.int64)
        some = np.zeros(int(np.prod(image.shape[:3])), dtype=bool)
        for volume in iterate_volumes(open_series(self.statmap), self.statmap):
            some |= volume != 0
        return np.flatnonzero(some.reshape(image.shape[:3], order="F")).astype(np.int64)

    def _masks(self) -> list[Path]:
        """Masks beside the statmap whose names contradict nothing in its name, and are of its space."""
        mine = self.entities
        found = []
        for file in sorted(
            [*self.statmap.parent.glob("*_mask.nii.gz"), *self.statmap.parent.glob("*_mask.nii")]
        ):
            stated = {key: value for key, value in entities_of(file).items() if key not in _OF_MASKS}
            if stated.get("space") == mine.get("space") and stated.items() <= mine.items():
                found.append(file)
        return found

    def _read_mask(self, file: Path, image: nib.Nifti1Image) -> NDArray[np.bool_]:
        volume = read_volume(file)
        if not same_grid(volume, image):
            raise DataError(
                f"has the grid {describe_grid(volume)}, but {self.statmap} has {describe_grid(image)},"
                " or they lie at different places",
                file=file,
                remedy="Resample the mask to the grid of the responses.",
            )
        return volume.data > 0


def find_beta_files(
    root: Path, subject: str, sessions: Sequence[str] | None = None, tasks: Sequence[str] | None = None
) -> list[BetaFiles]:
    """Statmaps with the single-trial responses of one person, in the order of their names.

    Parameters
    ----------
    root : Path
        Root of the derivatives.
    subject : str
        With or without `sub-`.
    sessions, tasks : sequence of str, optional
        Labels to keep, with or without prefix; all when left out.
    """
    wanted = {
        "ses": None if sessions is None else {label.removeprefix("ses-") for label in sessions},
        "task": None if tasks is None else {label.removeprefix("task-") for label in tasks},
    }
    folder = root / f"sub-{subject.removeprefix('sub-')}"
    pattern = f"*_stat-effect_desc-{DESC}_statmap.nii"
    found = [
        file
        for place in ("func", "ses-*/func")
        for extension in ("", ".gz")
        for file in folder.glob(f"{place}/{pattern}{extension}")
    ]
    return [
        BetaFiles(file)
        for file in sorted(found)
        if all(labels is None or entities_of(file).get(key) in labels for key, labels in wanted.items())
    ]


def beta_files_of_one_space(
    root: Path,
    subject: str,
    sessions: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    space: str | None = None,
) -> list[BetaFiles]:
    """Statmaps of one person that can be read together; at least one.

    Parameters
    ----------
    root, subject, sessions, tasks
        See `find_beta_files`.
    space : str, optional
        Space to read; "" for statmaps without a space in their name. Needed when there are several.

    Raises
    ------
    MissingInputError
        When there is no statmap.
    UsageError
        When there are several spaces and none was chosen.
    """
    files = find_beta_files(root, subject, sessions, tasks)
    spaces = sorted({one.entities.get("space", "") for one in files})
    if space is not None:
        files = [one for one in files if one.entities.get("space", "") == space]
    elif len(spaces) > 1:
        raise UsageError(
            f"sub-{subject.removeprefix('sub-')} has responses in several spaces:"
            f" {', '.join(name or 'none in the file name' for name in spaces)}",
            file=root,
            remedy="Keep those of one space in the folder.",
        )
    if not files:
        raise MissingInputError(
            f"has no single-trial responses (*_stat-effect_desc-{DESC}_statmap.nii.gz) of"
            f" sub-{subject.removeprefix('sub-')}"
            + (f" in space {space!r}; there is {', '.join(map(repr, spaces))}" if spaces else ""),
            file=root,
            remedy="Check folder, participant, sessions and tasks.",
        )
    return files


def _read_sidecar(file: Path) -> dict[str, Any]:
    sidecar = file.with_name(file.name.split(".", 1)[0] + ".json")
    if not sidecar.is_file():
        return {}
    return read_json(sidecar, remedy="Correct or delete it.")


def _not_a_table(file: Path, reason: str) -> DataError:
    return DataError(
        f"cannot be read as a table ({reason.strip().rstrip('.')})",
        file=file,
        remedy="It must be tab-separated, with a header.",
    )
