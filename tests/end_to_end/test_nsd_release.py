"""NSD's own release, in miniature, from files to pictures with both presets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from group_tables import read_metrics

from bids_recon.simulate.nsd import write_nsd

N_TEST = {"nsd37": {"shared": 10}, "nsd40": {"shared": 10, "late": 2}}
METHOD = ("--method", "eigenimage", "--n-components", "10", "--n-shuffles", "3", "--nprocs", "1")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release without a dataset_description.json, as the true one has none."""
    folder = tmp_path_factory.mktemp("nsd") / "release"
    write_nsd(folder, described=False)
    return folder


# The eight regions of the paper are decoded too where none is named.
@pytest.mark.parametrize(
    ("preset", "regions"),
    [("nsd37", ()), ("nsd40", ("--roi", "nsdgeneral"))],
)
def test_from_files_to_pictures(
    release: Path, tmp_path: Path, app: Callable[..., Any], preset: str, regions: tuple[str, ...]
) -> None:
    out, given = tmp_path / "out", ("--derivatives", f"nsd={release}", "--stimulus-spec", preset)
    called = app(release, out, "participant", "group", *given, *regions, *METHOD)
    assert called.code == 0, called.err
    metrics = read_metrics(out)
    own = metrics[(metrics["protocol"] == "pixels-1") & (metrics["metric"] == "two-way-a")]
    # Eigenimages are those of one's own training pictures, so that there is no mean over people.
    assert set(own["subject"]) == {"01", "02"}
    for test_set, n in N_TEST[preset].items():
        assert set(own.loc[own["test_set"] == test_set, "n_items"]) == {n}
    assert set(own["test_set"]) == set(N_TEST[preset])
    shared = own[own["test_set"] == "shared"]
    assert (shared["value"] > shared["floor_high"]).all()
    assert (shared["value"] > 0.75).all()
    sidecar = json.loads((out / "sub-01/decoder/sub-01_desc-eigenimage_decoder.json").read_text())
    assert sidecar["NsdRelease"] == str(release)
    assert sidecar["ResponsesFrom"] == "nsd"
    # Nobody trained on a shared picture, nor on one that nsd37 does not see.
    trained = sidecar["TrainingPictures"]["0"]
    items = pd.read_csv(out / "group" / "images.tsv", sep="\t", dtype=str)
    assert not set(trained) & set(items["stimulus_id"])
    assert len(trained) == {"nsd37": 107, "nsd40": 108}[preset]


def test_regions_and_folders(release: Path, tmp_path: Path, app: Callable[..., Any]) -> None:
    out, empty = tmp_path / "out", tmp_path / "raw"
    empty.mkdir()
    (empty / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.8.0"}))
    given = ("--derivatives", f"nsd={release}", "--participant-label", "02", "--roi", "V1", "hV4")
    called = app(empty, out, "participant", *given, *METHOD)
    assert called.code == 0, called.err
    assert "Stimulus spec nsd37 was chosen for NSD." in called.err + called.out
    sidecar = json.loads((out / "sub-02/decoder/sub-02_desc-eigenimage_decoder.json").read_text())
    assert set(sidecar["Regions"]) >= {"V1", "hV4"}
    # The group level finds the release again by what the participant level noted.
    called = app(empty, out, "group", "--method", "eigenimage", "--nprocs", "1")
    assert called.code == 0, called.err
    assert len(list((out / "group/images/02/eigenimage").rglob("*.png"))) == 10


def test_a_plan_and_what_is_missing(release: Path, tmp_path: Path, app: Callable[..., Any]) -> None:
    called = app(release, tmp_path / "out", "participant", "--dry-run", "--participant-label", "01", *METHOD)
    assert called.code == 0, called.err
    assert f"the release of NSD in {release}" in called.out
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README").write_text("Nothing else was fetched.")
    given = ("-d", f"nsd={tmp_path / 'empty'}")
    called = app(tmp_path / "empty", tmp_path / "out", "participant", *given, *METHOD)
    assert called.code == 66
    assert "nsd_expdesign.mat" in called.err and "Traceback" not in called.err
    called = app(release, tmp_path / "out", "participant", "--participant-label", "03", *METHOD)
    assert called.code != 0 and "Traceback" not in called.err
    one = ("--participant-label", "01", "--roi", "V1")
    called = app(release, tmp_path / "mean", "participant", "--average-training", *one, *METHOD)
    assert called.code == 0, called.err
    stem = tmp_path / "mean/sub-01/decoder/sub-01_desc-eigenimage"
    assert 2.5 < json.loads(Path(f"{stem}_decoder.json").read_text())["TrialsPerSample"]["0"] <= 3
    for words in (
        ("--average-training", "--zscore", "run"),
        ("--glm", "lss"),
        ("--stimuli", tmp_path),
        ("-d", f"fmriprep={tmp_path}", f"nsd={release}"),
    ):
        called = app(release, tmp_path / "out", "participant", *words, *METHOD)
        assert called.code == 2, words
        assert words[0] in called.err or "fmriprep" in called.err


def test_damaged_files_are_named(release: Path, tmp_path: Path, app: Callable[..., Any]) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(release / "nsddata", folder / "nsddata")
    design = folder / "nsddata/experiments/nsd/nsd_expdesign.mat"
    design.write_bytes(design.read_bytes()[:10])
    called = app(folder, tmp_path / "out", "participant", *METHOD)
    assert called.code == 66
    assert "has no responses of anybody" in called.err
    (folder / "nsddata_betas").symlink_to(release / "nsddata_betas")
    called = app(folder, tmp_path / "out", "participant", "--participant-label", "01", *METHOD)
    assert called.code == 65
    assert "nsd_expdesign.mat" in called.err and "Traceback" not in called.err
