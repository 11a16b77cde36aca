"""Preprocessed runs in a folder of fMRIPrep, of 2018 to 25.x, with the holes of real data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_recon.dataset.annex import is_fetched, not_fetched
from bids_recon.dataset.inheritance import inherited_metadata
from bids_recon.dataset.layout import BoldRun
from bids_recon.preprocess.fmriprep_anatomy import FmriprepAnatomy, anatomical_transforms
from bids_recon.preprocess.fmriprep_files import (
    NATIVE,
    DerivedFile,
    bold_series,
    confounds_tables,
    only,
    parse_space,
    references_in,
    run_files,
    series_in,
    space_label,
)
from bids_recon.preprocess.fmriprep_missing import nothing_in_space, nothing_of_run
from bids_recon.preprocess.fmriprep_origin import Origin, generation_of, read_origin
from bids_recon.preprocess.fmriprep_timing import series_timing

__all__ = [
    "FmriprepAnatomy",
    "FmriprepRun",
    "Resampling",
    "anatomical_transforms",
    "find_fmriprep",
    "list_spaces",
]


@dataclass(frozen=True)
class Resampling:
    """How to make a series that fMRIPrep did not write, with one interpolation.

    A point of the wanted space goes through `to_reference`, file by file, and then through the transform of
    each volume in `motion`; there the raw series is read.

    Attributes
    ----------
    bold : Path
        Raw series.
    motion : Path
        ITK transforms, one a volume, from the run's reference to where it is found in the volume.
    boldref : Path
        The run's reference; its grid where the space is the run's own.
    to_reference : tuple of Path
        ITK transforms from points of the wanted space to points of the run's reference, in the order of
        their application; empty for the run's own space.
    """

    bold: Path
    motion: Path
    boldref: Path
    to_reference: tuple[Path, ...]

    @property
    def description(self) -> str:
        """What is done, in words."""
        names = ", ".join(path.name for path in (self.motion, *reversed(self.to_reference)))
        return f"{self.bold.name} is resampled once, through {names}."


@dataclass(frozen=True)
class FmriprepRun:
    """What fMRIPrep left of one run.

    Attributes
    ----------
    bold : Path
        Preprocessed series; the raw one where `resample` says how to make the preprocessed one.
    mask, confounds, boldref : Path or None
        Brain mask and reference volume in the space of the series; confounds table.
    to_anatomy : Path or None
        ITK transform `from-boldref_to-T1w`: it maps points of the anatomy to points of the run's reference.
    motion : Path or None
        ITK transforms `from-orig_to-boldref`, one a volume: they map points of the run's reference to where
        they are found in the volume.
    space : str or None
        As `--output-spaces` names it, such as `T1w` or `MNI152NLin2009cAsym:res-2`; None for the run's own.
    metadata : dict
        Sidecar of `bold`, inherited.
    repetition_time, start_time : float
        In s; `start_time` is that of the first volume.
    slice_timing_corrected : bool
        Whether all slices of a volume are of one time.
    generation : str
        Of the names: `2018`, `20.2`, `22`, `25` or `26`.
    resample : Resampling or None
        What the caller has to do where there is no series in the space.
    warnings : list of str
    """

    bold: Path
    mask: Path | None
    confounds: Path | None
    boldref: Path | None
    to_anatomy: Path | None
    motion: Path | None
    space: str | None
    metadata: dict[str, Any]
    repetition_time: float
    start_time: float
    slice_timing_corrected: bool
    generation: str
    resample: Resampling | None = None
    warnings: list[str] = field(default_factory=list)


def list_spaces(root: Path, run: BoldRun) -> list[str]:
    """Spaces in which there is a preprocessed series of a run, the preferred one first; `func` is its own."""
    return list(dict.fromkeys(file.space for file in bold_series(run_files(root, run), run)))


def find_fmriprep(root: Path, run: BoldRun, *, space: str | None = None) -> FmriprepRun:
    """Find what fMRIPrep made of a run.

    Parameters
    ----------
    root : Path
        Output folder of fMRIPrep, with `sub-<label>` folders; a `dataset_description.json` may be missing.
    run : BoldRun
        The raw run. Its BOLD file need not be here, unless the space has to be resampled.
    space : str, optional
        As fMRIPrep's `--output-spaces` takes it: `func` (the run's own), `T1w`, `MNI152NLin2009cAsym:res-2`.
        By default the first there is of: the run's own, T1w, MNI, others.

    Returns
    -------
    FmriprepRun
        With `resample` set where there is no series in the space, but all that is needed to make it.

    Raises
    ------
    MissingInputError
        When something is missing; the message says with which options fMRIPrep writes it, or how to fetch it.
    DataError
        When several files would do, or a sidecar is damaged.
    UsageError
        When the space cannot be understood.
    """
    origin = read_origin(root)
    files = run_files(root, run)
    if not files:
        raise nothing_of_run(root, run, origin)
    series = bold_series(files, run)
    chosen = series_in(series, space)
    resample = None
    if chosen:
        bold, actual, inputs = chosen.path, chosen.space, [chosen.path]
    else:
        resample, lacking = _resampling(root, run, files, space or NATIVE)
        if resample is None:
            spaces = list(dict.fromkeys(file.space for file in series))
            raise nothing_in_space(root, run, files, spaces, space, lacking)
        bold, actual = resample.bold, space_label(*parse_space(space or NATIVE))
        inputs = [bold, resample.motion, resample.boldref, *resample.to_reference]
    mask = _path([file for file in files if file.is_mask and file.space == actual])
    confounds = _path(confounds_tables(files))
    if away := [path for path in (*inputs, mask, confounds) if path is not None and not is_fetched(path)]:
        raise not_fetched(away)

    # A raw series is not corrected, whatever its sidecar leaves open.
    metadata = {"SliceTimingCorrected": False, **run.metadata} if resample else inherited_metadata(root, bold)
    timing = series_timing(root, bold, metadata, run)
    warnings = [
        *_origin_warnings(root, origin),
        *_gap_warnings(run, mask, confounds, actual),
        *(_distortion_warnings(run, files) if resample else []),
        *timing.warnings,
    ]
    if chosen and space is None and actual != NATIVE and _resampling(root, run, files, NATIVE)[0]:
        warnings.append(
            f"{run.name}: fMRIPrep's series in {actual} is used; with --space {NATIVE} the raw series is"
            " resampled once, in the run's own space."
        )
    return FmriprepRun(
        bold=bold,
        mask=mask,
        confounds=confounds,
        boldref=_path(references_in(files, actual)),
        to_anatomy=_path([file for file in files if file.is_to_anatomy]),
        motion=_path([file for file in files if file.is_motion]),
        space=None if actual == NATIVE else actual,
        metadata=metadata,
        repetition_time=timing.repetition_time,
        start_time=timing.start_time,
        slice_timing_corrected=timing.slice_timing_corrected,
        generation=generation_of(origin, files),
        resample=resample,
        warnings=warnings,
    )


def _path(files: Sequence[DerivedFile]) -> Path | None:
    found = only(files)
    return found.path if found else None


def _resampling(
    root: Path, run: BoldRun, files: Sequence[DerivedFile], space: str
) -> tuple[Resampling | None, list[str]]:
    """How to resample the raw series to a space; or None, and what is missing for it."""
    name, details = parse_space(space)
    motion = _path([file for file in files if file.is_motion])
    boldref = _path(references_in(files, NATIVE))
    steps: dict[str, Path | None] = {}
    if name not in (NATIVE, "T1w"):
        template = "+".join([name, *([details["cohort"]] if "cohort" in details else [])])
        anatomy = anatomical_transforms(root, run.subject, template, session=run.session)
        steps[f"anat/*_from-T1w_to-{template}_mode-image_xfm.h5"] = anatomy.to_template
    if name != NATIVE:
        steps["*_from-boldref_to-T1w_*_xfm.txt"] = _path([file for file in files if file.is_to_anatomy])
    needed = {
        "the raw BOLD series": run.bold,
        "*_from-orig_to-boldref_*_xfm.txt": motion,
        "*_boldref.nii.gz": boldref,
        **steps,
    }
    lacking = [what for what, path in needed.items() if path is None]
    if run.bold is None or motion is None or boldref is None or lacking:
        return None, lacking
    return Resampling(run.bold, motion, boldref, tuple(path for path in steps.values() if path)), []


def _origin_warnings(root: Path, origin: Origin) -> list[str]:
    if not origin.described:
        return [f"{root}: there is no dataset_description.json; its files are read as fMRIPrep's."]
    if origin.name and "fmriprep" not in origin.name.casefold():
        return [f"{root}: was made by {origin.name}; its files are read as fMRIPrep's."]
    return []


def _gap_warnings(run: BoldRun, mask: Path | None, confounds: Path | None, space: str) -> list[str]:
    warnings = []
    if mask is None:
        warnings.append(f"{run.name}: fMRIPrep's folder has no brain mask in the space {space}.")
    if confounds is None:
        warnings.append(f"{run.name}: fMRIPrep's folder has no confounds table.")
    return warnings


def _distortion_warnings(run: BoldRun, files: Sequence[DerivedFile]) -> list[str]:
    if not (maps := sorted({file.field_map for file in files if file.field_map})):
        return []
    return [
        f"{run.name}: fMRIPrep corrected distortions with the field map {', '.join(maps)}; the series that is"
        " resampled here keeps them. Run fMRIPrep with --level full to have them corrected."
    ]
