"""Both levels on a small simulated data set."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from group_tables import SPLIT, metric, read_metrics

from bids_recon.dataset.validation import validate

MANIFEST = [
    ".bidsignore",
    "README.md",
    "dataset_description.json",
    "descriptions.tsv",
    "group.html",
    "group/images.json",
    "group/images.tsv",
    "group/items.json",
    "group/items.tsv",
    "group/metrics.json",
    "group/metrics.tsv",
    "group/rating.html",
    "logs/leak-audit.json",
    "sub-01.html",
    "sub-01/decoder/sub-01_desc-eigenimage_decoder.json",
    "sub-01/decoder/sub-01_desc-eigenimage_decoder.safetensors",
    "sub-01/decoder/sub-01_desc-eigenimage_latents.safetensors",
    "sub-01/decoder/sub-01_desc-eigenimage_latents.tsv",
    "sub-01/decoder/sub-01_desc-eigenimage_rois.tsv",
    "sub-01/func/sub-01_desc-NoiseceilingTest_statmap.json",
    "sub-01/func/sub-01_desc-NoiseceilingTest_statmap.nii.gz",
]
FUNC = [
    "desc-SingletrialBetas_trials.tsv",
    "desc-brain_mask.json",
    "desc-brain_mask.nii.gz",
    "label-HVC_mask.json",
    "label-HVC_mask.nii.gz",
    "label-V1_mask.json",
    "label-V1_mask.nii.gz",
    "label-V2_mask.json",
    "label-V2_mask.nii.gz",
    "stat-effect_desc-SingletrialBetas_statmap.json",
    "stat-effect_desc-SingletrialBetas_statmap.nii.gz",
]


def common(bids_dir: Path) -> list[str]:
    return [
        "--split",
        SPLIT,
        "--derivatives",
        f"rois={bids_dir / 'derivatives' / 'rois'}",
        "--n-shuffles",
        "4",
        "--preprocess",
        "none",
    ]


def content(root: Path) -> dict[str, bytes]:
    """Every file but logs and pages, which carry dates."""
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file() and file.suffix != ".html" and "logs" not in file.parts
    }


@pytest.fixture(scope="module")
def whole_run(tiny_original, tmp_path_factory):
    """Output of one call of both levels."""
    from bids_recon.cli.run import main

    folder = tmp_path_factory.mktemp("whole")
    argv = [str(tiny_original), str(folder / "out"), "participant", "group", *common(tiny_original)]
    assert main([*argv, "-w", str(folder / "work"), "--nprocs", "1", "--skip-bids-validation"]) == 0
    return folder / "out"


def test_outputs_are_exactly_those_documented(whole_run):
    found = {str(file.relative_to(whole_run)) for file in whole_run.rglob("*") if file.is_file()}
    wanted = {name.replace("01", person) for name in MANIFEST for person in ("01", "02")}
    for person in ("01", "02"):
        for session in ("train", "test"):
            folder = f"sub-{person}/ses-{session}/func"
            wanted |= {f"{folder}/sub-{person}_ses-{session}_task-viewing_{name}" for name in FUNC}
    pictures = {name for name in found if name.startswith("group/images/")}
    configs = {name for name in found if name.startswith("logs/config-")}
    assert found - pictures - configs == wanted
    assert len(configs) == 1
    assert len(pictures) == 3 * 8


def test_output_is_valid_bids(whole_run):
    assert validate(whole_run) == []


def test_images_table_names_the_pictures(whole_run):
    table = pd.read_csv(whole_run / "group" / "images.tsv", sep="\t", dtype={"subject": str})
    assert set(table["subject"]) == {"01", "02", "average"}
    assert table.groupby("subject").size().tolist() == [8, 8, 8]
    for row in table.itertuples():
        assert (whole_run / "group" / row.file).is_file()
        assert row.seen_file.startswith("stimuli/")
    average = table[table["subject"] == "average"]
    assert (average["n_trials"] == 4).all()


def test_metrics_have_floor_and_ceiling(whole_run):
    table = read_metrics(whole_run)
    assert list(table.columns[:12]) == (
        [
            "subject",
            "method",
            "roi",
            "test_set",
            "metric",
            "protocol",
            "value",
            "ci_low",
            "ci_high",
            "floor",
            "ceiling",
            "n_items",
        ]
    )
    assert set(table["test_set"]) == {"natural", "shapes", "letters"}
    decided = table[table["value"].notna()]
    assert decided[["floor", "ceiling"]].notna().all().all()
    described = json.loads((whole_run / "group" / "metrics.json").read_text())
    assert list(described) == list(table.columns)
    for person in ("01", "02", "average"):
        value = metric(table, "pixcorr", "pixels-1", subject=person, test_set="natural")
        floor = metric(table, "pixcorr", "pixels-1", "floor", subject=person, test_set="natural")
        ceiling = metric(table, "pixcorr", "pixels-1", "ceiling", subject=person, test_set="natural")
        assert floor < value <= ceiling + 0.02


def test_reports_say_first_that_the_brain_is_simulated(whole_run):
    for page in (whole_run / "sub-01.html", whole_run / "group.html"):
        text = page.read_text(encoding="utf-8")
        body = text[text.index("<body") :]
        assert "imulated brain" in body[:1500]
    description = json.loads((whole_run / "dataset_description.json").read_text())
    assert description["Simulated"] is True
    assert "simulated" in (whole_run / "README.md").read_text()


def test_people_one_by_one_and_group_later_give_the_same(app, tiny_original, whole_run, tmp_path):
    out = tmp_path / "out"
    for person in ("sub-02", "01"):
        called = app(tiny_original, out, "participant", "--participant_label", person, *common(tiny_original))
        assert called.code == 0, called.err
    assert app(tiny_original, out, "group").code == 0
    assert content(out) == content(whole_run)


def test_two_processes_give_the_same(app, tiny_original, whole_run, tmp_path):
    out = tmp_path / "out"
    called = app(
        tiny_original, out, "participant", "group", *common(tiny_original), "--nprocs", 2, "--omp-nthreads", 1
    )
    assert called.code == 0, called.err
    assert content(out) == content(whole_run)


def test_responses_are_read_back(app, tiny_original, whole_run, tmp_path):
    """What the app wrote as derivatives, given to it as betas, decodes to the same latents."""
    out = tmp_path / "out"
    called = app(
        tiny_original, out, "participant", "group", "--split", SPLIT, "--zscore", "run", "--n-shuffles", 4,
        "--derivatives", f"betas={whole_run}",
    )  # fmt: skip
    assert called.code == 0, called.err
    again, before = content(out), content(whole_run)
    latents = "sub-01/decoder/sub-01_desc-eigenimage_latents.safetensors"
    assert again[latents] == before[latents]
    assert again["group/metrics.tsv"] == before["group/metrics.tsv"]


def test_dry_run_writes_nothing(app, tiny_original, tmp_path):
    called = app(tiny_original, tmp_path / "out", "participant", *common(tiny_original), "--dry-run")
    assert called.code == 0, called.err
    assert "The brain in this data set is simulated" in called.out
    assert "train          12 pictures, 12 trials, each shown 1 times" in called.out
    assert "natural        4 pictures, 8 trials, each shown 2 times" in called.out
    assert "40 voxels: " in called.out and "V1 20" in called.out
    assert not (tmp_path / "out").exists() and not (tmp_path / "work").exists()


def test_second_call_computes_nothing_again(app, tiny_original, tmp_path, monkeypatch):
    argv = (tiny_original, tmp_path / "out", "participant", "--nprocs", 1, *common(tiny_original))
    assert app(*argv).code == 0
    before = content(tmp_path / "out")

    def again(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr("bids_recon.workflow.estimates.run_responses", again)
    monkeypatch.setattr("bids_recon.workflow.method_stage.decode", again)
    called = app(*argv)
    assert called.code == 0, called.err
    assert content(tmp_path / "out") == before
    # Another seed is another analysis: only the responses are still good.
    assert app(*argv, "--seed", 5).code == 1


@pytest.mark.slow
def test_killed_run_resumes(tiny_original, tmp_path, scoring_network):
    from bids_recon.cli.run import main

    # A process of its own scores pictures by a network, as this run does.
    whole = tmp_path / "whole"
    given = [str(tiny_original), str(whole), "participant", "group", *common(tiny_original)]
    assert main([*given, "-w", str(tmp_path / "w"), "--nprocs", "1", "--skip-bids-validation"]) == 0
    out, work = tmp_path / "out", tmp_path / "work"
    argv = [sys.executable, "-m", "bids_recon", str(tiny_original), str(out), "participant", "group"]
    argv += [*common(tiny_original), "-w", str(work), "--nprocs", "1", "--skip-bids-validation"]
    started = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(out.rglob("*_statmap.nii.gz")) and time.monotonic() < end:
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert not (out / "group.html").exists()
    (out / "sub-01" / "decoder").mkdir(exist_ok=True, parents=True)
    (out / "sub-01" / "decoder" / ".tmp-left.json").write_text("half")
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    assert content(out) == content(whole)


@pytest.mark.parametrize(
    "options",
    [
        ("--split", "kfold:3", "--n-shuffles", "2"),
        ("--split", "repeats:2"),
        ("--decoder", "unit-ridge", "--alpha", "50"),
        ("--decoder", "sparse"),
        ("--alpha", "10", "1000", "--alpha-selection", "gcv", "--alpha-per", "target"),
        ("--rescale", "out-of-fold"),
        ("--rescale", "out-of-fold", "--legacy-test-statistics"),
        (
            *("--decoder", "parametric-inversion", "--noise-covariance", "diagonal"),
            *("--n-components", "5", "--image-size", "16"),
        ),
        ("--decoder", "parametric-inversion"),
        ("--decoder", "parametric-inversion", "--legacy-test-statistics"),
        ("--no-average-trials",),
        ("--roi", "V1"),
        ("--roi", "brain"),
        ("--n-components", "5", "--image-size", "16"),
    ],
)
def test_options_reach_the_result(app, tiny_original, tmp_path, options):
    given = [*common(tiny_original), "--participant-label", "01", *options]
    called = app(tiny_original, tmp_path, "participant", "group", *given)
    assert called.code == 0, called.err
    sidecar = json.loads((tmp_path / "sub-01/decoder/sub-01_desc-eigenimage_decoder.json").read_text())
    items = pd.read_csv(tmp_path / "sub-01/decoder/sub-01_desc-eigenimage_latents.tsv", sep="\t")
    fold = next(iter(sidecar["Decoders"].values()))["eigenimage"]
    if "kfold:3" in options:
        assert sorted(items["fold"].unique()) == [0, 1, 2] and items["stimulus_id"].nunique() == 20
    if "repeats:2" in options:
        assert set(items["test_set"]) == {"test"} and len(items) == 8
    if "--rescale" in options:
        legacy = "--legacy-test-statistics" in options
        assert fold["decoder"] == "rescaled" and fold["statistics"] == ("test" if legacy else "out-of-fold")
    if "--decoder" in options:
        assert fold["decoder"] == options[1]
    if "--alpha-selection" in options:
        assert fold["alphas"] == [10, 1000] and sum(fold["targets_by_alpha"].values()) == 11
    if "--noise-covariance" in options:
        assert fold["noise_covariance"] == "diagonal"
    if "parametric-inversion" in options:
        assert sidecar["LegacyTestStatistics"] is ("--legacy-test-statistics" in options)
    if "--no-average-trials" in options:
        assert len(items) == 16 and sidecar["AveragedTestTrials"] is False
    if "--roi" in options:
        assert list(sidecar["Regions"]) == [options[1]]
        assert sidecar["Voxels"] == 20 if options[1] == "V1" else sidecar["Voxels"] > 40
    if "--n-components" in options:
        assert sidecar["LatentSpaces"] == {"0": {"eigenimage": [5]}}
        images = pd.read_csv(tmp_path / "group" / "images.tsv", sep="\t")
        assert set(images["height"]) == {16}


def test_extra_images_widen_the_space_and_test_pictures_are_refused(app, tiny_original, tmp_path):
    extra = tmp_path / "extra"
    extra.mkdir()
    rng = np.random.default_rng(0)
    from PIL import Image

    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(extra / f"{number}.png")
    given = [*common(tiny_original), "--participant-label", "01", "--extra-images", extra]
    assert app(tiny_original, tmp_path / "out", "participant", *given).code == 0
    sidecar = json.loads((tmp_path / "out/sub-01/decoder/sub-01_desc-eigenimage_decoder.json").read_text())
    assert sidecar["LatentSpaces"] == {"0": {"eigenimage": [17]}} and sidecar["ExtraImages"] == 6
    shown = pd.concat(
        [pd.read_csv(f, sep="\t") for f in tiny_original.glob("sub-01/ses-test/func/*_events.tsv")]
    )
    tested = shown["stim_file"].dropna().iloc[0].removeprefix("stimuli/")
    shutil.copy(tiny_original / "stimuli" / tested, extra / "smuggled.png")
    called = app(tiny_original, tmp_path / "out", "participant", *given)
    assert called.code == 65 and "smuggled.png" in called.err


def test_config_of_a_run_repeats_it(app, tiny_original, whole_run, tmp_path):
    (config,) = (whole_run / "logs").glob("config-*.toml")
    called = app(
        tiny_original, tmp_path / "out", "participant", "group", "--config-file", config, "-w", tmp_path / "w"
    )
    assert called.code == 0, called.err
    assert content(tmp_path / "out") == content(whole_run)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_disk_that_really_is_full(tiny_original, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        argv = [sys.executable, "-m", "bids_recon", str(tiny_original), str(small / "out"), "participant"]
        argv += [
            *common(tiny_original),
            "-w",
            str(tmp_path / "work"),
            "--nprocs",
            "1",
            "--skip-bids-validation",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 74, done.stderr
        assert "no space is left" in done.stderr and "Traceback" not in done.stderr
        assert not list(small.rglob(".tmp-*"))
    finally:
        subprocess.run(["umount", str(small)], check=False)


def test_group_finds_the_stimulus_spec_of_the_participants(app, tiny_original, tmp_path):
    spec = tmp_path / "own.toml"
    spec.write_text('[[trials]]\nid = ["stim_file"]\nparse = "path"\nfile = ["stim_file"]\n')
    given = [*common(tiny_original), "--participant-label", "01", "--stimulus-spec", spec]
    assert app(tiny_original, tmp_path / "out", "participant", *given).code == 0
    called = app(tiny_original, tmp_path / "out", "group")
    assert called.code == 0, called.err


def test_one_work_folder_serves_two_outputs(app, tiny_original, tmp_path):
    given = [*common(tiny_original), "--participant-label", "01"]
    for name in ("first", "second"):
        assert app(tiny_original, tmp_path / name, "participant", *given).code == 0
    assert content(tmp_path / "first") == content(tmp_path / "second")


def test_pictures_of_an_earlier_split_are_removed(app, tiny_original, tmp_path):
    options = ("--participant-label", "01", "--n-shuffles", 2)
    first = app(tiny_original, tmp_path, "participant", "group", *options, "--split", SPLIT)
    assert first.code == 0
    (tmp_path / "group" / "images" / "notes.txt").write_text("kept")
    second = app(tiny_original, tmp_path, "participant", "group", *options, "--split", "repeats:2")
    assert second.code == 0
    table = pd.read_csv(tmp_path / "group" / "images.tsv", sep="\t")
    pictures = {str(file.relative_to(tmp_path / "group")) for file in tmp_path.glob("group/images/**/*.png")}
    assert pictures == set(table["file"])
    assert (tmp_path / "group" / "images" / "notes.txt").is_file()


def test_sources_are_bids_uris(whole_run):
    mask = json.loads(
        (whole_run / "sub-01/ses-test/func/sub-01_ses-test_task-viewing_label-V1_mask.json").read_text()
    )
    assert mask["Sources"] == [
        "bids:rois:sub-01/func/sub-01_task-viewing_space-T1w_label-V1_mask.nii.gz",
    ]
