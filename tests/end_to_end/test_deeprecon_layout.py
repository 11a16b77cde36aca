"""The layout of OpenNeuro's ds001506: three kinds of seen test pictures, and imagery of some of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deeprecon_events import LayoutSize
from deeprecon_layout import Layout, write_deeprecon_layout
from group_tables import metric, read_metrics
from safetensors.numpy import load_file

from bids_recon.cli.run import main
from bids_recon.dataset import stimulus_spec
from bids_recon.outputs.names import label
from bids_recon.weights.manifest import weight_named
from bids_recon.weights.store import locate, weights_folder

# Methods that every test of both levels is run with, and their own options.
METHODS: dict[str, tuple[str, ...]] = {
    "eigenimage": ("--n-components", "40"),
    "deep-recon": (
        *("--encoder", "efficientnet-lite0", "--image-size", "32", "--layers", "DNN1-2"),
        # The floor of six letters needs more shuffles than three.
        *("--decoder", "ridge", "--alpha", "30", "--n-shuffles", "6"),
    ),
}
# How pictures are drawn, with decoders of an earlier run too.
DRAWING: dict[str, tuple[str, ...]] = {"deep-recon": ("--generator", "waves", "--iterations", "20")}
EACH_METHOD = ["eigenimage", pytest.param("deep-recon", marks=pytest.mark.slow)]
SEEN = ("natural", "shapes", "letters")
# The excerpts name natural categories only. Shen et al. had shapes imagined too, which are named in full.
SIZE = LayoutSize(imagined_shapes=3)
N_ITEMS = {"natural": 10, "shapes": 10, "letters": 6, "imagery": 11}
EXCERPT = Path("data", "openneuro-excerpts", "ds001506")
# Of two-way-a where responses are noise, over 14 simulated data sets of 8 items.
CHANCE_SD = 0.12


@dataclass(frozen=True)
class Run:
    """Outputs of a run of both levels."""

    method: str
    layout: Layout
    out: Path

    @property
    def images(self) -> pd.DataFrame:
        """`group/images.tsv`."""
        return pd.read_csv(self.out / "group" / "images.tsv", sep="\t", dtype={"subject": str})

    def value(self, test_set: str, name: str, column: str = "value", protocol: str = "pixels-1") -> float:
        """One number of `group/metrics.tsv`."""
        return metric(read_metrics(self.out), name, protocol, column, test_set=test_set)

    def latents(self, test_set: str) -> tuple[list[str], np.ndarray]:
        """Stimulus ids and decoded latents (n_items, n_values) of a test set, all spaces side by side."""
        stem = self.out / "sub-01" / "decoder" / f"sub-01_desc-{label(self.method)}_latents"
        items = pd.read_csv(stem.with_suffix(".tsv"), sep="\t", dtype=str)
        member = (items["test_set"] == test_set).to_numpy()
        tensors = load_file(stem.with_suffix(".safetensors"))
        found = [tensors[key][member] for key in sorted(tensors) if key.startswith("predicted/")]
        flat = [array.reshape(len(array), -1) for array in found]
        return items.loc[member, "stimulus_id"].tolist(), np.concatenate(flat, axis=1)


def run_both_levels(layout: Layout, folder: Path, method: str, *options: object) -> Run:
    argv = [layout.bids_dir, folder / "out", "participant", "group", "--stimuli", layout.stimuli_dir]
    if method == "deep-recon" and locate(weight_named("efficientnet-lite0"), weights_folder()) is None:
        pytest.skip("weights of EfficientNet-Lite0 are not installed (extra lite)")
    argv += ["-w", folder / "work", "--method", method, *DRAWING.get(method, ()), *options]
    argv += ["--preprocess", "none", "--nprocs", "1", "--skip-bids-validation"]
    assert main([str(word) for word in argv]) == 0
    return Run(method, layout, folder / "out")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_deeprecon_layout(tmp_path_factory.mktemp("deeprecon"), size=SIZE)


@pytest.fixture(scope="module", params=EACH_METHOD)
def run(request: pytest.FixtureRequest, layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Both levels on all runs."""
    options = ("--n-shuffles", 3, *METHODS[request.param])
    return run_both_levels(layout, tmp_path_factory.mktemp("run"), request.param, *options)


@pytest.fixture
def damaged(layout: Layout, tmp_path: Path) -> Layout:
    """A copy that a test may change."""
    bids_dir = shutil.copytree(layout.bids_dir, tmp_path / "bids")
    stimuli_dir = shutil.copytree(layout.stimuli_dir, tmp_path / "pictures")
    return Layout(bids_dir, stimuli_dir, layout.shown, layout.imagined, layout.voxels, layout.responses)


def call(app: Callable[..., Any], layout: Layout, out: Path, *options: object) -> Any:
    return app(layout.bids_dir, out, "participant", "--stimuli", layout.stimuli_dir, *options)


# what is planned


def test_plan_names_every_set(app: Callable[..., Any], layout: Layout, tmp_path: Path) -> None:
    called = call(app, layout, tmp_path / "out", "--dry-run")
    assert called.code == 0, called.err
    assert "Stimulus spec ds001506 was chosen by the data set's DOI" in called.out
    wanted = {
        "train": (60, 60),
        "natural": (10, 20),
        "shapes": (10, 20),
        "letters": (6, 12),
        "imagery": (11, 22),
    }
    for name, (pictures, trials) in wanted.items():
        assert re.search(rf"^ *{name} +{pictures} pictures, {trials} trials", called.out, re.MULTILINE), name
    # One in each run of perception; the cell `on/a` is in a rest row, and costs no trial.
    assert "8 one-back repeats" in called.out
    assert "left out;" not in called.out
    assert "V1d" in called.out and "hV4" in called.out


def forms(table: pd.DataFrame, column: str) -> set[str]:
    """What the cells of a column look like: numbers as 0, words as a, and what is between them."""
    return {re.sub(r"[A-Za-z]+|[+]", "a", re.sub(r"\d+", "0", cell)) for cell in table[column]}


@pytest.mark.shared
def test_events_are_written_as_the_real_ones(layout: Layout, shared: Path) -> None:
    real = sorted((shared / EXCERPT).glob("sub-01/ses-*/func/*_events.tsv"))
    by_session = {file.parts[-3]: file for file in real}
    assert {file.parts[-3] for file in layout.bids_dir.rglob("*_events.tsv")} == set(by_session)
    for session, example in by_session.items():
        ours, theirs = (
            pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
            for file in (layout.bids_dir / example.relative_to(shared / EXCERPT), example)
        )
        assert ours.columns.tolist() == theirs.columns.tolist()
        for column in ours:
            # Shapes are imagined in the paper, not in the excerpt.
            shapes = {"a0_a_a", "0"} if column.startswith("category_") else set()
            assert forms(ours, column) - shapes <= forms(theirs, column), (session, column)


# both levels


def test_all_sets_in_one_table(run: Run) -> None:
    table = read_metrics(run.out)
    table = table[table["protocol"] == "pixels-1"]
    assert table["test_set"].drop_duplicates().tolist() == list(N_ITEMS)
    assert table.groupby("test_set")["n_items"].agg(["min", "max"]).T.to_dict("list") == {
        name: [count, count] for name, count in N_ITEMS.items()
    }
    for name in SEEN:
        assert sorted(run.latents(name)[0]) == sorted(run.layout.shown[name])
    assert sorted(run.latents("imagery")[0]) == sorted(run.layout.imagined)


def test_imagery_is_scored_against_the_pictures_seen_in_other_sessions(run: Run) -> None:
    images = run.images
    seen = images[images["test_set"].isin(SEEN)].set_index("stimulus_id")["seen_file"]
    imagined = images[images["test_set"] == "imagery"].set_index("stimulus_id")["seen_file"]
    assert len(imagined) == len(run.layout.imagined)
    for name, picture in run.layout.imagined.items():
        assert imagined[name] == seen[picture] == run.layout.picture(picture).name
    # Shapes are named in full, natural pictures by their category: their own pictures are written apart.
    files = images["file"]
    assert files.is_unique and all((run.out / "group" / file).is_file() for file in files)


def assert_identified(run: Run, test_set: str) -> None:
    values, floors = (
        [run.value(test_set, f"two-way-{kind}", column) for kind in "abc"] for column in ("value", "floor")
    )
    # Shuffled decoders know nothing of pictures.
    assert np.mean(floors) == pytest.approx(0.5, abs=2 * CHANCE_SD)
    assert np.mean(values) > np.mean(floors) + 0.2
    assert values[2] > 0.85
    assert run.value(test_set, "two-way-c", "p_permutation") < 0.01
    assert run.value(test_set, "two-way-c", "ceiling") == 1


@pytest.mark.parametrize("test_set", N_ITEMS)
def test_pictures_are_identified(run: Run, test_set: str) -> None:
    assert_identified(run, test_set)


def test_colour_and_shape_are_scored_apart(run: Run) -> None:
    """By what the names say: ten shapes of two colours were seen, three of one colour imagined."""
    table = read_metrics(run.out)
    table = table[table["protocol"] == "attributes-1"].set_index(["test_set", "metric"])
    assert table["n_items"].to_dict() == {
        ("shapes", "two-way-a/colour"): 10,
        ("shapes", "two-way-a/shape"): 10,
        ("imagery", "two-way-a/shape"): 3,
    }
    assert table.loc[("shapes", "two-way-a/colour"), "value"] > 0.8
    assert table.loc[("shapes", "two-way-a/shape"), "value"] > 0.5


def test_leak_audit_passes(run: Run) -> None:
    audit = json.loads((run.out / "logs" / "leak-audit.json").read_text())["sub-01"]
    assert audit["passed"] is True
    assert {check["name"] for check in audit["checks"] if not check["passed"]} == set()


# decoders of perception, for imagery alone


def test_decoders_of_perception_decode_imagery_alone(run: Run, tmp_path: Path) -> None:
    alone = run_both_levels(
        run.layout, tmp_path, run.method, "--task-id", "imagery", "--decoders", run.out, "--n-shuffles", 3
    )
    assert alone.images["test_set"].unique().tolist() == ["imagery"]
    names, before = run.latents("imagery")
    again, latents = alone.latents("imagery")
    assert again == names
    np.testing.assert_allclose(latents, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())
    for name in ("two-way-b", "two-way-c"):
        assert alone.value("imagery", name) == pytest.approx(run.value("imagery", name), abs=0.02)


def test_decoders_of_perception_name_the_sets_of_the_preset(run: Run, tmp_path: Path) -> None:
    """Training sessions, which are there too, are left out."""
    again = run_both_levels(run.layout, tmp_path, run.method, "--decoders", run.out, "--n-shuffles", 3)
    assert set(again.images["test_set"]) == set(N_ITEMS)
    for name in N_ITEMS:
        ids, before = run.latents(name)
        ids_again, latents = again.latents(name)
        assert ids_again == ids
        np.testing.assert_allclose(latents, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())


def test_decoders_of_perception_where_the_preset_selects_nothing(
    app: Callable[..., Any], run: Run, tmp_path: Path
) -> None:
    """All that is there is decoded, by the kind of trial; training pictures stop the run then."""
    session = "perceptionNaturalImageTraining01"
    called = call(
        app, run.layout, tmp_path, "--decoders", run.out, "--method", run.method, "--session-label", session
    )
    assert called.code == 65
    assert "among those that the decoders were trained on" in called.err
    preset = Path(stimulus_spec.__file__).parent / "presets" / "ds001506.toml"
    spec = tmp_path / "by_column.toml"
    before, after = preset.read_text().split('rule = "session"')
    spec.write_text(f'{before}rule = "column"\ncolumn = "picture_set"{after}')
    options = ("--decoders", run.out, "--method", run.method, "--stimulus-spec", spec, "--dry-run")
    tests = ("--session-label", "perceptionLetterImage01", "imagery01")
    called = call(app, run.layout, tmp_path / "column", *options, *tests)
    assert called.code == 0, called.err
    assert re.search(r"^ *perception +6 pictures", called.out, re.MULTILINE)
    assert re.search(r"^ *imagery +11 pictures", called.out, re.MULTILINE)


def test_imagery_runs_of_noise_are_at_chance(run: Run, tmp_path: Path) -> None:
    blank = write_deeprecon_layout(tmp_path / "blank", size=SIZE, imagery=0.0)
    # The same person, pictures and perception: only what was imagined is not there.
    kinds = [file.read_bytes() for file in sorted(blank.bids_dir.rglob("*perception*_bold.nii.gz"))]
    assert kinds == [
        file.read_bytes() for file in sorted(run.layout.bids_dir.rglob("*perception*_bold.nii.gz"))
    ]
    alone = run_both_levels(
        blank, tmp_path, run.method, "--task-id", "imagery", "--decoders", run.out, "--n-shuffles", 3
    )
    for kind in "abc":
        # Of three tests on noise, up to one data set in seven has a p below 0.05.
        assert alone.value("imagery", f"two-way-{kind}", "p_permutation") > 0.05 / 3
        assert run.value("imagery", f"two-way-{kind}", "p_permutation") < 0.01
    values = [alone.value("imagery", f"two-way-{kind}") for kind in "abc"]
    assert np.mean(values) == pytest.approx(0.5, abs=2 * CHANCE_SD)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--session-label", "imagery01"), ("leaves no training stimuli", "--session-label", "--decoders")),
        (("--task-id", "imagery"), ("leaves no training stimuli", "--task-id", "--decoders")),
        (("--task-id", "imagery", "--split", "kfold:3"), ("there is imagery only", "--decoders")),
        (("--task-id", "imagery", "--split", "repeats:2"), ("there is imagery only", "--decoders")),
        (
            ("--session-label", "perceptionNaturalImageTraining01"),
            ("leaves no test stimuli", "--session-label"),
        ),
        (("--task-id", "imagination"), ("no runs with the sessions and tasks",)),
    ],
)
def test_selections_that_cannot_be_decoded(
    app: Callable[..., Any], layout: Layout, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    called = call(app, layout, tmp_path / "out", *options)
    assert called.code == 18
    for word in words:
        assert word in called.err
    assert "Traceback" not in called.err


def test_perception_alone_needs_no_imagery(app: Callable[..., Any], layout: Layout, tmp_path: Path) -> None:
    called = call(app, layout, tmp_path / "out", "--task-id", "perception", "--dry-run")
    assert called.code == 0, called.err
    assert "letters " in called.out and "imagery " not in called.out


# leaks


def plant(layout: Layout, how: str) -> None:
    """Let a training picture into a test set."""
    training, tested = layout.shown["train"][0], layout.shown["natural"][0]
    if how == "copy":
        shutil.copy(layout.picture(training), layout.picture(tested))
        return
    session, old, new = {
        "shown": ("perceptionNaturalImageTest01", tested, training),
        # Its category has one picture left, so that the category alone tells which picture is meant.
        "imagined": ("imagery01", next(iter(layout.imagined)), training.split("_")[0]),
    }[how]
    for file in layout.bids_dir.rglob(f"*_ses-{session}_*_events.tsv"):
        file.write_text(file.read_text().replace(f"\t{old}\t", f"\t{new}\t"))
    if how == "imagined":
        same = layout.shown["train"][1]
        assert same.startswith(training.split("_")[0])
        for file in layout.bids_dir.rglob("*_ses-perceptionNaturalImageTraining01_*_events.tsv"):
            file.write_text(file.read_text().replace(f"\t{same}\t", f"\t{training}\t"))
        layout.picture(same).unlink()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        # The picture is seen and, by its category, imagined.
        ("copy", "2 pictures are in training and in test under different names"),
        ("shown", "1 stimuli are in training and in test"),
        ("imagined", "1 pictures are in training and in test under different names"),
    ],
)
def test_training_picture_in_a_test_set_stops_the_run(
    app: Callable[..., Any], damaged: Layout, tmp_path: Path, how: str, words: str
) -> None:
    assert call(app, damaged, tmp_path / "out", "--dry-run").code == 0
    plant(damaged, how)
    called = call(app, damaged, tmp_path / "out")
    assert called.code == 65, called.out
    assert words in called.err
    audit = json.loads((tmp_path / "out" / "logs" / "leak-audit.json").read_text())["sub-01"]
    assert audit["passed"] is False


def test_category_of_two_pictures_is_no_target(
    app: Callable[..., Any], damaged: Layout, tmp_path: Path
) -> None:
    """A word that stands for several pictures does not say which one was imagined."""
    category = damaged.shown["train"][0].split("_")[0]
    for file in damaged.bids_dir.rglob("*_ses-imagery01_*_events.tsv"):
        file.write_text(file.read_text().replace(f"\t{next(iter(damaged.imagined))}\t", f"\t{category}\t"))
    called = call(app, damaged, tmp_path / "out")
    assert called.code == 65
    assert f"'{category}_*' matches 2 pictures" in called.err


# the real events


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_deeprecon_layout(tmp_path_factory.mktemp("real"), events_from=shared / EXCERPT)


@pytest.mark.shared
def test_every_imagined_category_of_the_excerpt_is_a_seen_picture(
    app: Callable[..., Any], real: Layout, tmp_path: Path
) -> None:
    assert len(real.imagined) == 26
    assert set(real.imagined.values()) <= set(real.shown["natural"])
    called = call(app, real, tmp_path / "out", "--dry-run")
    assert called.code == 0, called.err
    for name, count in {"train": 100, "natural": 50, "shapes": 40, "letters": 10, "imagery": 26}.items():
        assert re.search(rf"^ *{name} +{count} pictures", called.out, re.MULTILINE), name
    assert "MISSING" not in called.out


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("method", ["eigenimage"])
def test_real_events_give_four_test_sets(real: Layout, tmp_path: Path, method: str) -> None:
    run = run_both_levels(real, tmp_path, method, "--n-shuffles", 2, *METHODS[method])
    counts = {"natural": 50, "shapes": 40, "letters": 10, "imagery": 26}
    table = read_metrics(run.out)
    pixels = table[table["protocol"] == "pixels-1"]
    assert pixels.groupby("test_set")["n_items"].max().to_dict() == counts
    letters = real.bids_dir / "sub-01" / "ses-perceptionLetterImage01"
    assert sum("on/a" in file.read_text() for file in letters.rglob("*_events.tsv")) == 1
    images = run.images
    files = images.set_index(["test_set", "stimulus_id"])["seen_file"]
    for name, picture in real.imagined.items():
        assert files["imagery", name] == files["natural", picture] == f"{picture}.JPEG"
    for test_set in counts:
        assert_identified(run, test_set)
