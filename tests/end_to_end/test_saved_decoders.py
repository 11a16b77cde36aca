"""Decoders are fitted once and decode new data elsewhere, by the app and by the library."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from group_tables import metric, read_metrics
from safetensors.numpy import load_file

from bids_recon.config import Settings
from bids_recon.glm.store import read_responses
from bids_recon.workflow.reuse import read_earlier_fits

SPLIT = "session:train=train,test=test"


def common(bids_dir: Path, split: str = SPLIT) -> list[str]:
    return [
        "--derivatives",
        f"rois={bids_dir / 'derivatives' / 'rois'}",
        "--split",
        split,
        "--n-shuffles",
        "4",
        "--preprocess",
        "none",
    ]


def latents(folder: Path, subject: str = "01") -> tuple[pd.DataFrame, np.ndarray]:
    stem = folder / f"sub-{subject}" / "decoder" / f"sub-{subject}_desc-eigenimage_latents"
    items = pd.read_csv(stem.with_suffix(".tsv"), sep="\t", dtype=str)
    return items, load_file(stem.with_suffix(".safetensors"))["predicted/0/eigenimage"]


@pytest.fixture(scope="module")
def fitted(tiny_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a run that fits decoders."""
    from bids_recon.cli.run import main

    folder = tmp_path_factory.mktemp("fitted")
    argv = [tiny_original, folder / "out", "participant", *common(tiny_original), "--rescale", "out-of-fold"]
    more = ["-w", folder / "work", "--nprocs", "1", "--skip-bids-validation", "--zscore", "all"]
    assert main([str(word) for word in (*argv, *more)]) == 0
    return folder / "out"


@pytest.fixture
def new_session(tiny: Path) -> Path:
    """The test session alone, as a data set of its own."""
    for folder in tiny.rglob("ses-train"):
        shutil.rmtree(folder)
    return tiny


def test_the_same_latents_elsewhere(
    app: Callable[..., Any], fitted: Path, new_session: Path, tmp_path: Path
) -> None:
    called = app(new_session, tmp_path / "out", "participant", "group", "--decoders", fitted)
    assert called.code == 0, called.err
    items, again = latents(tmp_path / "out")
    items_before, before = latents(fitted)
    assert items["stimulus_id"].tolist() == items_before["stimulus_id"].tolist()
    assert set(items["test_set"]) == {"perception"}
    np.testing.assert_allclose(again, before, rtol=1e-4, atol=1e-3 * np.abs(before).max())

    metrics = read_metrics(tmp_path / "out")
    of_one = {"name": "latent-correlation", "protocol": "latents-1", "subject": "01"}
    assert metric(metrics, **of_one) > 0.35
    assert abs(metric(metrics, **of_one, column="floor")) < 0.2
    assert metric(metrics, **of_one, column="ceiling") == 1
    sidecar = tmp_path / "out" / "sub-01" / "decoder" / "sub-01_desc-eigenimage_decoder.json"
    content = json.loads(sidecar.read_text())
    assert content["DecodersFrom"] == str(fitted)
    assert content["Floor"] == "responses to other pictures of the test set"
    assert not sidecar.with_suffix(".safetensors").exists()
    assert "Nothing was fitted in this run" in (tmp_path / "out" / "sub-01.html").read_text()


def test_group_alone_knows_that_nothing_was_fitted(
    app: Callable[..., Any], fitted: Path, new_session: Path, tmp_path: Path
) -> None:
    one = ("--participant-label", "01")
    assert app(new_session, tmp_path / "out", "participant", *one, "--decoders", fitted).code == 0
    assert app(new_session, tmp_path / "out", "group").code == 0
    page = (tmp_path / "out" / "group.html").read_text()
    assert "Nothing was fitted in this run" in page
    assert "with the responses to other pictures of the test set" in page


def test_responses_that_were_estimated_before(
    app: Callable[..., Any], fitted: Path, tiny_original: Path, tmp_path: Path
) -> None:
    """Betas come with masks of regions; decoders take their voxels as a whole."""
    called = app(
        tiny_original, tmp_path / "out", "participant", "--participant-label", "01",
        "--session-label", "test", "--decoders", fitted, "--derivatives", f"betas={fitted}",
    )  # fmt: skip
    assert called.code == 0, called.err
    before, again = latents(fitted)[1], latents(tmp_path / "out")[1]
    np.testing.assert_allclose(again, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())
    regions = tmp_path / "out" / "sub-01" / "decoder" / "sub-01_desc-eigenimage_rois.tsv"
    assert set(pd.read_csv(regions, sep="\t")["roi"]) == {"all"}


def test_test_sets_by_name(app: Callable[..., Any], fitted: Path, new_session: Path, tmp_path: Path) -> None:
    split = "column:picture_set:train=train,natural=natural,forms=shapes|letters"
    called = app(new_session, tmp_path / "out", "participant", "--decoders", fitted, "--split", split)
    assert called.code == 0, called.err
    items, _ = latents(tmp_path / "out")
    assert items["test_set"].value_counts().to_dict() == {"natural": 4, "forms": 4}


def test_one_picture_gives_the_same_vector(
    app: Callable[..., Any], fitted: Path, new_session: Path, tmp_path: Path
) -> None:
    kept = latents(fitted)[0]["stimulus_id"].iloc[3]
    for file in new_session.rglob("*_events.tsv"):
        events = pd.read_csv(file, sep="\t", dtype=str)
        events[events["stim_file"].str.contains(kept)].to_csv(file, sep="\t", index=False)
    arguments = ("participant", "--participant-label", "01", "--decoders", fitted)
    called = app(new_session, tmp_path / "out", *arguments)
    assert called.code == 0, called.err
    items, alone = latents(tmp_path / "out")
    assert items["stimulus_id"].tolist() == [kept]
    whole = latents(fitted)[1][3]
    np.testing.assert_allclose(alone[0], whole, rtol=1e-3, atol=1e-3 * np.abs(whole).max())


def test_the_library_reads_them(fitted: Path, tiny_original: Path) -> None:
    settings = Settings(tiny_original, Path("unused"), decoders=fitted)
    fit = read_earlier_fits(settings, "01")["eigenimage"]
    responses, _ = read_responses(fitted, "01", sessions=["test"])
    standardised = fit.decoders.standardise(responses.data)
    items, before = latents(fitted)
    for row in (0, 5):
        shown = (responses.trials["stimulus_id"] == items["stimulus_id"].iloc[row]).to_numpy()
        mean = standardised[shown].mean(axis=0, keepdims=True)
        predicted = fit.decoders.predict(mean, int(shown.sum()))["eigenimage"]
        np.testing.assert_allclose(predicted[0], before[row], rtol=1e-3, atol=1e-3 * np.abs(before).max())


def test_dry_run_says_that_nothing_is_fitted(
    app: Callable[..., Any], fitted: Path, new_session: Path, tmp_path: Path
) -> None:
    called = app(new_session, tmp_path / "out", "participant", "--decoders", fitted, "--dry-run")
    assert called.code == 0, called.err
    assert "nothing is fitted" in called.out
    assert "8 pictures, 16 trials" in called.out
    assert "train " not in called.out.replace("trained", "")


def test_pictures_of_the_earlier_training_stop_the_run(
    app: Callable[..., Any], fitted: Path, tiny_original: Path, tmp_path: Path
) -> None:
    called = app(tiny_original, tmp_path / "out", "participant", "--decoders", fitted)
    assert called.code == 65
    assert "among those that the decoders were trained on" in called.err
    allowed = app(tiny_original, tmp_path / "out", "participant", "--decoders", fitted, "--on-leak", "allow")
    assert allowed.code == 0, allowed.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--decoder", "ridge"], 2, "--decoder cannot be given with --decoders"),
        (["--alpha", "3", "--roi", "V1"], 2, "--alpha, --roi cannot be given with --decoders"),
        (["--split", "kfold:4", "--participant-label", "01"], 2, "kfold:4 makes no sense with --decoders"),
        (["--participant-label", "02"], 66, "sub-02 has no decoders of the method eigenimage"),
    ],
)
def test_what_cannot_be_done(
    app: Callable[..., Any],
    fitted: Path,
    new_session: Path,
    tmp_path: Path,
    options: list[str],
    code: int,
    words: str,
) -> None:
    earlier = Path(shutil.copytree(fitted, tmp_path / "earlier"))
    for file in (earlier / "sub-02" / "decoder").glob("*_decoder.safetensors"):
        file.unlink()
    called = app(new_session, tmp_path / "out", "participant", "--decoders", earlier, *options)
    assert called.code == code
    assert words in called.err


def test_folds_have_no_single_decoder(
    app: Callable[..., Any], tiny_original: Path, new_session: Path, tmp_path: Path
) -> None:
    given = ("participant", "--participant-label", "01", *common(tiny_original, "kfold:4"))
    assert app(tiny_original, tmp_path / "folds", *given).code == 0
    called = app(
        new_session, tmp_path / "out", "participant", "--participant-label", "01",
        "--decoders", tmp_path / "folds",
    )  # fmt: skip
    assert called.code == 2
    assert "were fitted in 4 folds" in called.err


def test_decoders_with_test_statistics_are_refused(
    app: Callable[..., Any], tiny_original: Path, new_session: Path, tmp_path: Path
) -> None:
    one = ("participant", "--participant-label", "01")
    legacy = (*common(tiny_original), "--legacy-test-statistics")
    assert app(tiny_original, tmp_path / "legacy", *one, *legacy).code == 0
    called = app(new_session, tmp_path / "out", *one, "--decoders", tmp_path / "legacy")
    assert called.code == 2
    assert "were fitted with statistics of their test set" in called.err


@pytest.mark.parametrize("damage", ["truncated", "grid", "parameters", "options"])
def test_damaged_decoders_are_named(
    app: Callable[..., Any], fitted: Path, new_session: Path, tmp_path: Path, damage: str
) -> None:
    earlier = Path(shutil.copytree(fitted, tmp_path / "earlier"))
    weights = earlier / "sub-01" / "decoder" / "sub-01_desc-eigenimage_decoder.safetensors"
    sidecar = json.loads(weights.with_suffix(".json").read_text())
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif damage == "grid":
        sidecar["VoxelGrid"]["shape"][0] += 1
    elif damage == "options":
        del sidecar["MethodOptions"]
    else:
        del sidecar["DecoderParameters"]["0"]
    weights.with_suffix(".json").write_text(json.dumps(sidecar))
    arguments = ("participant", "--participant-label", "01", "--decoders", earlier)
    called = app(new_session, tmp_path / "out", *arguments)
    assert called.code == 65
    words = {"truncated": "cannot be read", "grid": "another grid", "parameters": "does not fit its sidecar"}
    words["options"] = "lacks 'MethodOptions'"
    assert words[damage] in called.err
    assert "Traceback" not in called.err
