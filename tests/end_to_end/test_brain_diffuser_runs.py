"""Brain-Diffuser by the command line, offline, with random weights in the published formats."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from group_tables import SPLIT, read_metrics
from PIL import Image
from random_checkpoints import PICTURE_SIDE, write_random_vdvae, write_random_versatile_diffusion
from safetensors.numpy import load_file

from bids_recon.cli.run import main
from bids_recon.cli.weights import main as weights_command
from bids_recon.methods import brain_diffuser

METHOD = ("--method", "brain-diffuser")
ONE = ("--participant-label", "01")
FAST = ("--steps", "4", "--batch-size", "4")
STEM = "sub-01/decoder/sub-01_desc-braindiffuser"
SPACES = {"vdvae": [91168], "clip-vision": [257, 32], "clip-text": [77, 32]}


def run(folder: Path, *argv: object) -> int:
    words = [*argv, *METHOD, "-w", folder / "work", "--nprocs", "1", "--skip-bids-validation", "--offline"]
    return main([str(word) for word in words])


def participant(bids_dir: Path, folder: Path, networks: Path, *more: object) -> int:
    rois = f"rois={bids_dir / 'derivatives' / 'rois'}"
    given = [bids_dir, folder / "out", "participant", "--weights", networks, "--preprocess", "none"]
    given += ["--split", SPLIT, "--derivatives", rois, "--roi", "V1", "V2", "--alpha", "300"]
    given += ["--n-shuffles", "1", "--analyses", "roi-weights", "roi-optimal", "--roi-mix", "V1", "V2 & ~V1"]
    return run(folder, *given, *more)


def group(bids_dir: Path, folder: Path, networks: Path, *more: object) -> int:
    return run(folder, bids_dir, folder / "out", "group", "--weights", networks, *FAST, *more)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_random_vdvae(folder)
    write_random_versatile_diffusion(folder)
    return folder


@pytest.fixture(scope="module")
def fitted(
    tiny_original: Path, networks: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """The data set, the folder of a participant level (`out` and `work`), and the weights."""
    folder = tmp_path_factory.mktemp("diffuser")
    assert participant(tiny_original, folder, networks) == 0
    return tiny_original, folder, networks


@pytest.fixture(scope="module")
def drawn(fitted: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder after the group level."""
    bids_dir, before, networks = fitted
    folder = Path(shutil.copytree(before, tmp_path_factory.mktemp("drawn") / "run"))
    assert group(bids_dir, folder, networks) == 0
    return folder


def pictures(folder: Path) -> dict[str, np.ndarray]:
    root = folder / "out" / "group"
    listed = pd.read_csv(root / "images.tsv", sep="\t", dtype=str)["file"]
    return {name: np.asarray(Image.open(root / name)).astype(int) for name in listed}


def drawing(folder: Path) -> dict[str, object]:
    return json.loads((folder / "out/group/images.json").read_text())["Drawing"]["brain-diffuser"]


def test_published_formats_are_verified(networks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert weights_command(["verify", "--method", "brain-diffuser", "--to", str(networks)]) == 0
    assert "DAMAGED" not in capsys.readouterr().out


def test_latents_are_decoded_in_all_spaces(fitted: tuple[Path, Path, Path]) -> None:
    out = fitted[1] / "out"
    sidecar = json.loads((out / f"{STEM}_decoder.json").read_text())
    assert sidecar["LatentSpaces"]["0"] == SPACES
    assert [Path(file).name for file in sidecar["Captions"]] == ["captions.tsv"]
    assert sidecar["MethodOptions"]["vdvae_latents"] is None
    tensors = load_file(out / f"{STEM}_latents.safetensors")
    for space, shape in SPACES.items():
        decoded = tensors[f"predicted/0/{space}"]
        assert decoded.shape == (8, *shape)
        assert np.isfinite(decoded).all()
        assert decoded.std(axis=0).mean() > 0


def test_pictures_scores_and_what_is_said_of_them(drawn: Path) -> None:
    table = read_metrics(drawn / "out")
    assert set(table["subject"]) == {"01", "02", "average"}
    natural = table.loc[table["test_set"] == "natural", "protocol"].drop_duplicates().tolist()
    assert natural == [
        *(f"{kind}-1/{space}" for space in SPACES for kind in ("latents", "profiles")),
        "pixels-1",
    ]
    images = pictures(drawn)
    assert len(images) == 24
    assert {picture.shape for picture in images.values()} == {(PICTURE_SIDE, PICTURE_SIDE, 3)}
    assert drawing(drawn) == {
        "vdvae_guess": "sample",
        "ablate": [],
        "strength": 0.75,
        "guidance_scale": 7.5,
        "text_strength": 0.4,
        "steps": 4,
        "vd_start": "published",
        "precision": "float32",
    }
    page = (drawn / "out" / "group.html").read_text(encoding="utf-8")
    assert "brain-diffuser" in page and "Ozcelik" in page


def test_analyses_of_weights_and_synthetic_patterns(drawn: Path) -> None:
    group_dir = drawn / "out" / "group"
    weights = pd.read_csv(group_dir / "roi_weights.tsv", sep="\t")
    assert set(zip(weights["roi"], weights["space"], strict=True)) == {
        (roi, space) for roi in ("V1", "V2 & ~V1") for space in SPACES
    }
    assert set(weights["baseline"]) == {"vdvae"}
    assert weights["percentile"].between(0, 100).all()
    compared = weights[weights["space"] != "vdvae"]
    assert (compared["difference"].abs() > 0).all()
    table = pd.read_csv(group_dir / "roi_optimal.tsv", sep="\t", dtype={"subject": str})
    assert set(table["subject"]) == {"01", "02", "average"}
    found = [np.asarray(Image.open(group_dir / name)).astype(int) for name in table["file"]]
    assert len(found) == 6
    assert {picture.shape for picture in found} == {(PICTURE_SIDE, PICTURE_SIDE, 3)}
    assert len({picture.tobytes() for picture in found}) == 6
    page = (drawn / "out" / "group.html").read_text(encoding="utf-8")
    assert "No one saw these pictures" in page


def test_batches_change_nothing(fitted: tuple[Path, Path, Path], drawn: Path, tmp_path: Path) -> None:
    bids_dir, before, networks = fitted
    folder = Path(shutil.copytree(before, tmp_path / "run"))
    assert group(bids_dir, folder, networks, "--batch-size", "1", *ONE) == 0
    one, four = pictures(folder), pictures(drawn)
    assert len(one) == 8
    assert max(np.abs(one[name] - four[name]).max() for name in one) <= 1


def test_a_killed_group_level_goes_on(
    fitted: tuple[Path, Path, Path], drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bids_dir, before, networks = fitted
    folder = Path(shutil.copytree(before, tmp_path / "run"))
    refine, calls = brain_diffuser.refine, []

    def counted(*args: object, **kwargs: object) -> object:
        seeds = next(arg for arg in args if isinstance(arg, np.ndarray) and arg.dtype == np.uint64)
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(len(seeds))
        return refine(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(brain_diffuser, "refine", counted)
    assert group(bids_dir, folder, networks, *ONE) != 0
    kept = {file: file.stat().st_mtime_ns for file in (folder / "work/pictures").rglob("*.safetensors")}
    assert len(kept) == sum(calls) > 0
    assert not (folder / "out/group/images.tsv").exists()

    monkeypatch.setattr(brain_diffuser, "refine", refine)
    assert group(bids_dir, folder, networks, *ONE) == 0
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in kept.items())
    whole = pictures(drawn)
    assert all((whole[name] == picture).all() for name, picture in pictures(folder).items())

    # Once more: nothing is drawn.
    monkeypatch.setattr(brain_diffuser, "refine", None)
    assert group(bids_dir, folder, networks, *ONE) == 0


def test_samples_of_each_response(
    fitted: tuple[Path, Path, Path], drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bids_dir, _, networks = fitted
    folder = Path(shutil.copytree(drawn, tmp_path / "run"))
    chosen = (*ONE, "--samples", "3")
    assert group(bids_dir, folder, networks, *chosen) == 0
    table = pd.read_csv(folder / "out/group/images.tsv", sep="\t", dtype={"subject": str})
    assert set(table["n_samples"]) == {3}
    assert (table["spread"] > 0).all()
    for row in table.to_dict("records"):
        first = folder / "out/group" / row["file"]
        own = [np.asarray(Image.open(first)).astype(float)]
        own += [
            np.asarray(Image.open(first.parent / "samples" / f"{first.stem}_sample-{number:02d}.png")).astype(
                float
            )
            for number in (2, 3)
        ]
        spread = np.stack(own).std(axis=0, ddof=1).mean(axis=-1)
        shown = np.asarray(Image.open(folder / "out/group" / row["spread_file"]))
        np.testing.assert_allclose(shown, spread, atol=0.5001)
    # The picture itself is that of a call for one.
    first = pictures(drawn)
    assert all((picture == first[name]).all() for name, picture in pictures(folder).items())


@pytest.mark.parametrize("left_out", ["vdvae", "clip-text", "clip-vision", "diffusion"])
def test_ablations(
    fitted: tuple[Path, Path, Path],
    drawn: Path,
    tmp_path: Path,
    left_out: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bids_dir, before, networks = fitted
    monkeypatch.setattr(brain_diffuser, "PUBLISHED_SIZE", PICTURE_SIDE)
    folder = Path(shutil.copytree(before, tmp_path / "run"))
    chosen = (*ONE, "--ablate", left_out)
    assert group(bids_dir, folder, networks, *chosen) == 0
    assert drawing(folder)["ablate"] == [left_out]
    weight_of_text = {"clip-text": 0.0, "clip-vision": 1.0}
    assert drawing(folder)["text_strength"] == weight_of_text.get(left_out, 0.4)
    whole, part = pictures(drawn), pictures(folder)
    assert all(np.abs(whole[name] - part[name]).max() > 1 for name in part)


def test_without_captions_pictures_alone_are_used(
    tiny: Path, networks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tiny / "stimuli" / "captions.tsv").unlink()
    with caplog.at_level(logging.WARNING, logger="bids_recon"):
        assert participant(tiny, tmp_path, networks, *ONE) == 0
    assert "There are no captions: brain-diffuser decodes and draws without clip-text." in caplog.text
    sidecar = json.loads((tmp_path / "out" / f"{STEM}_decoder.json").read_text())
    assert list(sidecar["LatentSpaces"]["0"]) == ["vdvae", "clip-vision"]
    with caplog.at_level(logging.WARNING, logger="bids_recon"):
        assert group(tiny, tmp_path, networks) == 0
    assert "brain-diffuser decoded and draws without clip-text" in caplog.text
    assert len(pictures(tmp_path)) == 8
    assert drawing(tmp_path)["text_strength"] == 0.0
    assert group(tiny, tmp_path, networks, "--ablate", "clip-vision") == 2


def test_captions_that_are_missing_or_not_used(
    fitted: tuple[Path, Path, Path], tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, before, networks = fitted
    folder = Path(shutil.copytree(before, tmp_path / "run"))
    other = tmp_path / "other.tsv"
    other.write_text("stim_file\tcaption\nelsewhere.png\tA picture of something else\n")
    assert group(tiny, folder, networks, *ONE, "--captions", other) == 65
    said = capsys.readouterr().err
    assert "8 of 8 pictures have no caption" in said and "--captions" in said
    # Another method does not look at a table that it could not read.
    (tiny / "stimuli" / "captions.tsv").write_text("image\ttext\n1\t2\n")
    given = [tiny, tmp_path / "plain", "participant", "--preprocess", "none", "--split", SPLIT, *ONE]
    given += ["-w", tmp_path / "w", "--nprocs", "1", "--skip-bids-validation", "--n-shuffles", "1"]
    assert main([str(word) for word in given]) == 0


def test_options_of_drawing_do_not_fit_again(fitted: tuple[Path, Path, Path], tmp_path: Path) -> None:
    bids_dir, before, networks = fitted
    folder = Path(shutil.copytree(before, tmp_path / "run"))
    decoders = folder / "out" / f"{STEM}_decoder.safetensors"
    # The output folder is part of what a stage depends on.
    assert participant(bids_dir, folder, networks, *ONE) == 0
    stamp = decoders.stat().st_mtime_ns
    assert participant(bids_dir, folder, networks, *ONE, "--ablate", "diffusion", "--steps", "9") == 0
    assert decoders.stat().st_mtime_ns == stamp


def test_missing_weights_say_how_to_get_them(
    tiny_original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert participant(tiny_original, tmp_path, tmp_path / "empty") == 66
    said = capsys.readouterr().err
    assert "bids-recon-weights download --method brain-diffuser" in said
    assert "GB" in said and "Traceback" not in said
