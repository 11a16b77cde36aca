"""The release of NSD as a data set: what plans and levels read of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_recon.config import Settings
from bids_recon.dataset.nsd_layout import NsdRelease
from bids_recon.dataset.stimulus_spec import load_stimulus_spec
from bids_recon.errors import InvalidBidsError, MissingInputError, NothingSelectedError, UsageError
from bids_recon.simulate.nsd import write_nsd
from bids_recon.workflow.nsd_source import (
    nsd_pictures,
    nsd_release,
    nsd_responses,
    nsd_voxels,
    read_nsd_source,
    source_description,
)


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nsd")
    return write_nsd(folder, subjects=("01",), n_sessions=5, trials_per_session=6, size=8, described=False)


@pytest.fixture
def settings(miniature, tmp_path):
    root = miniature.release.root
    return Settings(bids_dir=root, output_dir=tmp_path, derivatives={"nsd": root})


def test_release_is_that_of_the_option_or_of_the_folder(settings, tmp_path):
    assert nsd_release(settings) == NsdRelease(settings.bids_dir)
    assert nsd_release(replace(settings, derivatives={})) == NsdRelease(settings.bids_dir)
    elsewhere = replace(settings, bids_dir=tmp_path)
    assert nsd_release(elsewhere) == NsdRelease(settings.bids_dir)
    assert nsd_release(replace(elsewhere, derivatives={})) is None
    with pytest.raises(MissingInputError, match="this is not NSD"):
        nsd_release(replace(settings, derivatives={"nsd": tmp_path}))


def test_release_needs_no_description(settings, tmp_path):
    assert source_description(settings)["Name"] == "Natural Scenes Dataset"
    (tmp_path / "any").touch()
    with pytest.raises(InvalidBidsError):
        source_description(replace(settings, bids_dir=tmp_path))
    described = write_nsd(tmp_path / "mini", subjects=(), n_sessions=5, trials_per_session=3, size=4)
    file = described.release.root / "dataset_description.json"
    assert source_description(replace(settings, bids_dir=file.parent)) == json.loads(file.read_text())
    assert json.loads(file.read_text())["Simulated"] is True


def test_from_files_to_responses_and_pictures(miniature, settings):
    source = read_nsd_source(settings, "01", load_stimulus_spec("nsd37"))
    assert len(source.trials) == 30
    assert source.stimuli.ids == tuple(dict.fromkeys(source.trials["stimulus_id"]))
    voxels, warnings = nsd_voxels(settings, "01", source.masks)
    assert warnings == []
    assert voxels.sources["V1"] == ["bids:raw:nsddata/ppdata/subj01/func1pt8mm/roi/prf-visualrois.nii.gz"]
    responses, warnings = nsd_responses(settings, "01", source.trials, voxels)
    assert warnings == []
    assert responses.data.shape == (30, voxels.n_voxels)
    group = nsd_pictures(settings, source.stimuli.ids[:3])
    for name in group.ids:
        assert group.stimuli[name] == source.stimuli.stimuli[name]
        number = int(name.removeprefix("nsd"))
        np.testing.assert_array_equal(group.image(name), miniature.pictures[number - 1])


def test_roi_and_sessions_are_those_asked_for(settings):
    spec = load_stimulus_spec("nsd40")
    asked = replace(settings, roi=("V1", "reliable:5"), session_label=("nsd02",), task_id=("nsdcore",))
    source = read_nsd_source(asked, "01", spec)
    assert set(source.trials["session"]) == {"nsd02"}
    assert list(nsd_voxels(asked, "01", source.masks)[0].rois) == ["V1"]


@pytest.mark.parametrize(
    ("changed", "subject", "error", "message"),
    [
        ({"task_id": ("rest",)}, "01", NothingSelectedError, "of the task nsdcore only"),
        ({"roi": ("atlas:glasser",)}, "01", UsageError, "needs BOLD"),
        ({}, "09", NothingSelectedError, "no participant 09"),
        ({"derivatives": {"nsd": Path(), "betas": Path()}}, "01", UsageError, "both give responses"),
    ],
)
def test_what_nsd_does_not_have_is_refused(settings, changed, subject, error, message):
    if "derivatives" in changed:
        changed = {"derivatives": dict.fromkeys(changed["derivatives"], settings.bids_dir)}
    with pytest.raises(error, match=message):
        read_nsd_source(replace(settings, **changed), subject, load_stimulus_spec("nsd37"))
