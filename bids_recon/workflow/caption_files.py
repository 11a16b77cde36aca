"""Captions of the pictures of a run: where they are, and whether they are complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from bids_recon.config import Settings
from bids_recon.dataset.captions import Captions, find_captions, read_all
from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.dataset.stimulus_spec import StimulusSpec
from bids_recon.errors import DataError
from bids_recon.methods.base import Method
from bids_recon.methods.registry import method_class

_SHOWN = 3


def caption_files(
    settings: Settings, spec: StimulusSpec, methods: Iterable[str], before: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Files of captions: those of the option, else of an earlier level, else of the data set's own folder.

    None where no method uses captions.

    Parameters
    ----------
    settings : Settings
    spec : StimulusSpec
        Names the folders of pictures.
    methods : iterable of str
    before : sequence of str
        Files that the participant level read. Where one of them is gone, the data set may have moved.

    Raises
    ------
    DataError
        When the data set's own file is a link out of the data set.
    """
    if not any(method_class(name).uses_captions for name in methods):
        return ()
    if settings.captions:
        return settings.captions
    if before and all(Path(file).is_file() for file in before):
        return tuple(Path(file) for file in before)
    roots = [*settings.stimuli, *(settings.bids_dir / root for root in spec.stimuli.roots)]
    found = find_captions(settings.bids_dir, roots)
    return () if found is None else (found,)


def with_captions(stimuli: StimulusSet, files: Sequence[Path]) -> StimulusSet:
    """The same pictures, each with its captions.

    Raises
    ------
    MissingInputError, DataError
        When a file is missing or cannot be understood.
    """
    if not files:
        return stimuli
    captions = _read(tuple(files), tuple(_state(file) for file in files))
    return StimulusSet(
        {
            name: replace(one, captions=captions.of(name, str(one.path or ""), one.image_id))
            for name, one in stimuli.stimuli.items()
        }
    )


@lru_cache(maxsize=1)
def _read(files: tuple[Path, ...], states: tuple[tuple[int, int] | None, ...]) -> Captions:
    """Read files, or take what was read of them: people share captions, and COCO's are large."""
    del states
    return read_all(files)


def _state(file: Path) -> tuple[int, int] | None:
    return (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else None


def check_captions(
    methods: Sequence[str], stimuli: StimulusSet, ids: Sequence[str], files: Sequence[Path]
) -> list[str]:
    """Look whether captions are there for methods that use them, and give warnings.

    Parameters
    ----------
    methods : sequence of str
    stimuli : StimulusSet
        With captions.
    ids : sequence of str
        Pictures that train or test.
    files : sequence of Path
        Where captions were read.

    Raises
    ------
    DataError
        When some of the pictures have captions and others none.
    """
    users = [name for name in methods if method_class(name).uses_captions]
    if not users or not ids:
        return []
    captions = stimuli.captions(ids)
    if captions is None or not any(captions):
        named = (
            f"{', '.join(map(str, files))} knows none of the pictures" if files else "There are no captions"
        )
        return [f"{named}: {', '.join(users)} decodes and draws without clip-text."]
    _demand(
        stimuli,
        ids,
        files,
        "Complete the captions, or take the file away: without any, pictures alone are used.",
    )
    return []


def check_fitted_captions(
    name: str, methods: Mapping[str, Method], stimuli: StimulusSet, ids: Iterable[str], files: Sequence[Path]
) -> list[str]:
    """Look whether captions are there where a method was fitted with them, and give warnings.

    Parameters
    ----------
    name : str
        Of the method.
    methods : dict of str to Method
        As fitted in each fold.
    stimuli, ids, files
        See `check_captions`.

    Raises
    ------
    DataError
        When a picture has no caption, and the method was fitted with captions.
    """
    if not method_class(name).uses_captions:
        return []
    if not any(method.encodes_captions for method in methods.values()):
        return [f"{name} decoded and draws without clip-text: there were no captions."]
    _demand(stimuli, ids, files, "Name the captions of these pictures with --captions.")
    return []


def _demand(stimuli: StimulusSet, ids: Iterable[str], files: Sequence[Path], remedy: str) -> None:
    distinct = list(dict.fromkeys(ids))
    captions = stimuli.captions(distinct) or [()] * len(distinct)
    bare = [name for name, some in zip(distinct, captions, strict=True) if not some]
    if bare:
        listed = ", ".join(bare[:_SHOWN]) + (" ..." if len(bare) > _SHOWN else "")
        raise DataError(
            f"{len(bare)} of {len(distinct)} pictures have no caption: {listed}",
            file=files[0] if files else None,
            remedy=remedy,
        )
