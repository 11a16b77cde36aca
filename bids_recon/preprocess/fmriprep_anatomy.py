"""What fMRIPrep found out about a participant's anatomy: T1w, tissues, and the way to a template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bids_recon.errors import DataError
from bids_recon.preprocess.fmriprep_files import DerivedFile, described_file

_IMAGES = frozenset({".nii.gz", ".nii"})


@dataclass(frozen=True)
class FmriprepAnatomy:
    """Anatomical files of a participant; None for what is not there.

    Attributes
    ----------
    t1w, brain_mask : Path or None
        Preprocessed T1w and its mask, in T1w space.
    gray_matter, white_matter, csf : Path or None
        Probabilities of the tissues, in T1w space.
    to_template, from_template : Path or None
        ITK transforms, named as by fMRIPrep: `from-T1w_to-<template>` resamples the T1w to the template, as
        it maps points of the template to points of the T1w; and the other way round.
    """

    t1w: Path | None
    brain_mask: Path | None
    gray_matter: Path | None
    white_matter: Path | None
    csf: Path | None
    to_template: Path | None
    from_template: Path | None


def anatomical_transforms(
    root: Path, subject: str, template: str = "MNI152NLin2009cAsym", *, session: str = ""
) -> FmriprepAnatomy:
    """Find the anatomical files of a participant, of the participant or of one session.

    fMRIPrep puts them into the folder of a session when only that session has a T1w, or when it works on
    sessions apart (25.2).

    Parameters
    ----------
    root : Path
        Output folder of fMRIPrep.
    subject : str
        Label without `sub-`.
    template : str
        As TemplateFlow names it.
    session : str
        Label of the session to prefer.

    Returns
    -------
    FmriprepAnatomy
        Files whose content was not fetched count.

    Raises
    ------
    DataError
        When several sessions, or several files of one folder, would do.
    """
    files = _anatomical_files(root / f"sub-{subject}", session)
    own = [file for file in files if "space" not in file.entities]

    def image(suffix: str, old: str, **entities: str) -> Path | None:
        """An image in T1w space, by its name since 1.2 and by that of 2018."""
        named = [file for file in own if file.suffix == suffix and entities.items() <= file.entities.items()]
        return _one([f for f in named or _named(own, old) if f.extension in _IMAGES])

    def tissue(name: str) -> Path | None:
        return image("probseg", f"_T1w_class-{name}_probtissue", label=name)

    return FmriprepAnatomy(
        t1w=image("T1w", "_T1w_preproc", desc="preproc"),
        brain_mask=image("mask", "_T1w_brainmask", desc="brain"),
        gray_matter=tissue("GM"),
        white_matter=tissue("WM"),
        csf=tissue("CSF"),
        to_template=_transform(files, ("T1w", "anat"), (template,), f"_T1w_target-{template}_warp"),
        from_template=_transform(
            files, (template,), ("T1w", "anat"), f"_T1w_space-{template}_target-T1w_warp"
        ),
    )


def _anatomical_files(subject: Path, session: str) -> list[DerivedFile]:
    """Files of the first `anat` folder that holds a preprocessed T1w or a transform."""
    own = subject / f"ses-{session}" / "anat"
    of_sessions = [own] if session and _holds_anatomy(own) else sorted(subject.glob("ses-*/anat"))
    for folders in ([subject / "anat"], of_sessions):
        good = [folder for folder in folders if _holds_anatomy(folder)]
        if len(good) > 1:
            names = ", ".join(folder.parent.name for folder in good)
            raise DataError(
                f"{len(good)} sessions have an anatomy of their own: {names}",
                file=subject,
                remedy="Have fMRIPrep make one anatomy of them (its option --subject-anatomical-reference).",
            )
        if good:
            return [described_file(path) for path in sorted(good[0].iterdir())]
    return []


def _holds_anatomy(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    files = [described_file(path) for path in folder.iterdir()]
    return any(
        file.entities.get("desc") == "preproc" or file.suffix in {"preproc", "xfm", "warp"} for file in files
    )


def _named(files: list[DerivedFile], ending: str) -> list[DerivedFile]:
    return [file for file in files if file.path.name.split(".", 1)[0].endswith(ending)]


def _transform(
    files: list[DerivedFile], origins: tuple[str, ...], targets: tuple[str, ...], old: str
) -> Path | None:
    named = [
        file
        for file in files
        if file.suffix == "xfm"
        and file.entities.get("from") in origins
        and file.entities.get("to") in targets
    ]
    return _one([file for file in named or _named(files, old) if file.extension == ".h5"])


def _one(files: list[DerivedFile]) -> Path | None:
    if len(files) > 1:
        raise DataError(
            f"{len(files)} files would do: {', '.join(file.path.name for file in files)}",
            file=files[0].path.parent,
            remedy="Take away all but one.",
        )
    return files[0].path if files else None
