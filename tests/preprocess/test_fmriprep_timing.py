"""When the volumes of a preprocessed series were recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_fmriprep import (
    FakeRun,
    fake_fmriprep,
    raw_run,
    write_image,
)

from bids_recon.errors import DataError
from bids_recon.preprocess.fmriprep import FmriprepRun, find_fmriprep


def _timed(tmp_path: Path, sidecar: dict[str, Any] | None, raw: dict[str, Any] | None = None) -> FmriprepRun:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(sidecar=sidecar, spaces=("T1w",)))
    return find_fmriprep(root, raw_run(tmp_path / "bids", metadata=raw))


def test_start_time_of_the_sidecar_counts(tmp_path: Path) -> None:
    sidecar = {"RepetitionTime": 2.0, "SliceTimingCorrected": True, "StartTime": 0.95}
    found = _timed(tmp_path, sidecar)
    assert (found.start_time, found.slice_timing_corrected) == (0.95, True)
    assert found.metadata == sidecar
    assert found.warnings == []


def test_a_start_time_of_zero_counts(tmp_path: Path) -> None:
    found = _timed(tmp_path, {"RepetitionTime": 2.0, "SliceTimingCorrected": True, "StartTime": 0})
    assert found.start_time == 0.0 and found.warnings == []


@pytest.mark.parametrize(
    ("slices", "middle"), [(None, 1.0), ([0.0, 1.0, 0.5, 1.5], 0.75), ([1.9, 0.1, 0.4], 1.0)]
)
def test_without_start_time_the_middle_of_the_volume_is_taken(
    tmp_path: Path, slices: list[float] | None, middle: float
) -> None:
    raw = {"RepetitionTime": 2.0} | ({"SliceTiming": slices} if slices else {})
    found = _timed(tmp_path, {"SliceTimingCorrected": True}, raw)
    assert found.start_time == middle and found.slice_timing_corrected
    assert any(f"the middle of the volume, {middle:g} s" in warning for warning in found.warnings)


def test_without_correction_volumes_begin_when_they_were_recorded(tmp_path: Path) -> None:
    sidecar = {"RepetitionTime": 2.0, "SliceTimingCorrected": False}
    found = _timed(tmp_path, sidecar, {"RepetitionTime": 2.0, "SliceTiming": [0.0, 1.0]})
    assert (found.start_time, found.slice_timing_corrected, found.warnings) == (0.0, False, [])


@pytest.mark.parametrize(
    ("boilerplate", "start", "warned"),
    [
        ("BOLD runs were slice-time\ncorrected using `3dTshift`.", 0.5, "the middle of the volume, 0.5 s"),
        ("Head-motion parameters were estimated.", 0.0, None),
        (None, 0.0, '{"SliceTimingCorrected": true, "StartTime": 0.5}'),
    ],
)
def test_before_20_2_4_the_boilerplate_tells(
    tmp_path: Path, boilerplate: str | None, start: float, warned: str | None
) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "20.2", FakeRun(sidecar={"RepetitionTime": 2.0}))
    if boilerplate is not None:
        (root / "logs").mkdir()
        (root / "logs" / "CITATION.md").write_text(boilerplate)
    metadata = {"RepetitionTime": 2.0, "SliceTiming": [0.0, 0.5, 1.0]}
    found = find_fmriprep(root, raw_run(tmp_path / "bids", metadata=metadata))
    assert found.start_time == start
    assert found.slice_timing_corrected == (start > 0)
    assert [warned in warning for warning in found.warnings if warned] == ([True] if warned else [])
    assert bool(found.warnings) == bool(warned)


@pytest.mark.parametrize(
    ("sidecar", "raw", "header", "expected", "warned"),
    [
        ({"RepetitionTime": 1.5}, {"RepetitionTime": 1.5}, 1.5, 1.5, False),
        ({"RepetitionTime": 1.5}, {}, 1.0, 1.5, True),
        ({"RepetitionTime": 1.5}, {}, 0.0, 1.5, False),
        (None, {"RepetitionTime": 1.5}, 1.0, 1.5, True),
        (None, {}, 1.25, 1.25, False),
    ],
)
def test_repetition_time(
    tmp_path: Path,
    sidecar: dict[str, Any] | None,
    raw: dict[str, Any],
    header: float,
    expected: float,
    warned: bool,
) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(sidecar=sidecar, header_tr=header))
    found = find_fmriprep(root, raw_run(tmp_path / "bids", metadata=raw))
    assert found.repetition_time == expected
    assert any("the header says 1 s" in warning for warning in found.warnings) == warned


def test_sidecars_nearer_to_the_root_are_inherited(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(sidecar={"StartTime": 0.25}))
    (root / "task-perception_bold.json").write_text('{"RepetitionTime": 1.5, "StartTime": 9}')
    found = find_fmriprep(root, raw_run(tmp_path / "bids"))
    assert (found.repetition_time, found.start_time) == (1.5, 0.25)


def test_an_unknown_repetition_time_is_an_error(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25", FakeRun(header_tr=0.0))
    with pytest.raises(DataError, match=r"repetition time is 0 s.*State RepetitionTime"):
        find_fmriprep(root, raw_run(tmp_path / "bids", metadata={}))


def test_a_single_volume_is_an_error(tmp_path: Path) -> None:
    root = fake_fmriprep(tmp_path / "fmriprep", "25")
    write_image(next(root.rglob("*run-1_desc-preproc_bold.nii.gz")), "func")
    with pytest.raises(DataError, match="is a single volume"):
        find_fmriprep(root, raw_run(tmp_path / "bids"))
