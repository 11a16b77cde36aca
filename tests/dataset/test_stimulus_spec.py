import pickle
from pathlib import Path

import pytest

from bids_recon.dataset.stimulus_spec import (
    SplitRule,
    StimulusFiles,
    load_stimulus_spec,
    preset_for_doi,
    preset_names,
)
from bids_recon.errors import DataError, ExitCode, MissingInputError, UsageError

FULL = r"""
title = "A data set"
reference = "https://example.org"
na = ["on/a"]

[[trials]]
task = "view|look"
session = "main\\d+"
select = { trial_type = ["stim", "test.*"], phase = "on" }
id = ["picture", "image"]
parse = "stem"
file = "picture"
repeats = { column = "code", values = ["2"] }
catch = { trial_type = ["catch"] }

[[trials]]
kind = "imagery"
task = "imagine"
id = "category"
target = "category"

[[trials]]
parse = "bits"
bits_shape = [3, 4]
id = "pattern"
repeats = "drop-consecutive"

[stimuli]
roots = ["stimuli", "sourcedata/pictures"]
files = ["{stimulus_id}.JPEG", "{category}/{stimulus_id}.JPEG", "{stimulus_id}_*.png"]
category = "(n\\d+)_\\d+"
attributes = "figure_(?P<colour>[a-z]+)_(?P<shape>.+)"
attribute_columns = "size"
missing = "Ask the authors."

[split]
rule = "column"
column = "trial_type"
train = "stim"
[split.test]
easy = "test1"
hard = "test2"

[glm]
shift = 3
"""


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return _write


def test_every_key_of_a_full_file_arrives(write):
    spec = load_stimulus_spec(write(FULL))
    assert (spec.name, spec.title, spec.reference) == ("mine", "A data set", "https://example.org")
    assert {"", "n/a", "null", "NaN", "on/a"} <= set(spec.na)
    first, second, third = spec.trials
    assert (first.kind, first.task, first.session) == ("perception", "view|look", r"main\d+")
    assert first.select == {"trial_type": ("stim", "test.*"), "phase": ("on",)}
    assert (first.id, first.parse, first.file) == (("picture", "image"), "stem", ("picture",))
    assert (first.repeats.kind, first.repeats.column, first.repeats.values) == ("column", "code", ("2",))
    assert first.catch == {"trial_type": ("catch",)}
    assert (second.kind, second.target, second.repeats.kind) == ("imagery", "category", "keep")
    assert (third.bits_shape, third.repeats.kind, third.task) == ((3, 4), "drop-consecutive", ".*")
    assert spec.stimuli.roots == ("stimuli", "sourcedata/pictures")
    assert spec.stimuli.missing == "Ask the authors."
    assert spec.stimuli.attributes_of("figure_red_small_ring") == {"colour": "red", "shape": "small_ring"}
    assert spec.stimuli.attributes_of("a figure_red_ring") == {}
    assert spec.stimuli.attribute_columns == ("size",)
    assert spec.split == SplitRule(
        kind="column", train="stim", test={"easy": "test1", "hard": "test2"}, column="trial_type"
    )
    assert spec.glm.shift == 3.0


def test_spec_crosses_process_borders(write):
    spec = load_stimulus_spec(write(FULL))
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_no_name_and_no_trials_mean_the_bids_way(write):
    bids = load_stimulus_spec(None)
    assert bids.name == "bids"
    assert load_stimulus_spec("bids") == bids
    (rule,) = bids.trials
    assert (rule.id, rule.parse, rule.file) == (("stim_file",), "path", ("stim_file",))
    assert bids.split is None
    own = load_stimulus_spec(write('[split]\nrule = "kfold"\nk = 4\n'))
    assert own.trials == bids.trials
    assert own.split == SplitRule(kind="kfold", k=4)


def test_first_rule_that_applies_counts(write):
    spec = load_stimulus_spec(write(FULL))
    assert spec.rule_for(task="look", session="main07") is spec.trials[0]
    assert spec.rule_for(task="looking", session="main07") is spec.trials[2]
    assert spec.rule_for(task="imagine", session="x") is spec.trials[1]
    assert load_stimulus_spec("ds001499").rule_for(task="localizer", session="04") is None


def test_unknown_preset_lists_the_presets():
    with pytest.raises(UsageError) as caught:
        load_stimulus_spec("ds999999")
    assert caught.value.exit_code == ExitCode.USAGE == 2
    assert "'ds999999'" in str(caught.value)
    assert all(name in str(caught.value) for name in preset_names())


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"nowhere\.toml"):
        load_stimulus_spec(str(tmp_path / "nowhere.toml"))


def test_file_of_another_encoding_is_named(tmp_path):
    (tmp_path / "latin.toml").write_bytes('title = "Müller"'.encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.toml: is not UTF-8"):
        load_stimulus_spec(str(tmp_path / "latin.toml"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("title = 3", "'title' is not text"),
        ("colour = 'red'", "'colour' is unknown"),
        ("trials = 'all'", "'trials' is not a list of tables"),
        ("[[trials]]\nkind = 'dream'", r"'trials\[0\].kind' is not one of 'perception', 'imagery'"),
        ("[[trials]]\n[[trials]]\nwho = 'x'", r"'trials\[1\].who' is unknown"),
        ("[[trials]]\nid = 3", r"'trials\[0\].id' is not text or a list"),
        ("[[trials]]\nid = []", r"'trials\[0\].id' names no column"),
        ("[[trials]]\ntask = '('", r"'trials\[0\].task' has '\(', not a regular expression"),
        ("[[trials]]\nselect = 'stimulus'", r"'trials\[0\].select' is not a table"),
        ("[[trials]]\nselect = { event = [1] }", r"'trials\[0\].select.event' is not text or a list"),
        ("[[trials]]\nselect = { event = ['['] }", r"'trials\[0\].select.event' has '\['"),
        ("[[trials]]\nparse = 'bits'", r"'trials\[0\].bits_shape' belongs to"),
        ("[[trials]]\nbits_shape = [2, 2]", r"'trials\[0\].bits_shape' belongs to"),
        ("[[trials]]\nparse = 'bits'\nbits_shape = [2, true]", r"bits_shape' is not two whole numbers"),
        ("[[trials]]\nrepeats = 'drop'", r"'trials\[0\].repeats' is not one of"),
        ("[[trials]]\nrepeats = { column = 'code' }", r"'trials\[0\].repeats' needs both"),
        ("[[trials]]\nrepeats = { column = 'c', values = ['2'], x = 1 }", r"repeats.x' is unknown"),
        ("[stimuli]\nroots = ['../elsewhere']", "'stimuli.roots' has '../elsewhere', a path out of"),
        ("[stimuli]\nroots = ['/data']", "'stimuli.roots' has '/data', a path out of"),
        ("[stimuli]\nfiles = ['{stimulus}.png']", "'stimuli.files' has '{stimulus}.png'"),
        ("[stimuli]\nfiles = ['{stimulus_id.png']", "'stimuli.files' has '{stimulus_id.png'"),
        ("[stimuli]\nfiles = ['*/{stimulus_id}.png']", "one [*] is allowed, in the file name"),
        ("[stimuli]\nfiles = ['*{stimulus_id}.*']", "one [*] is allowed, in the file name"),
        ("[stimuli]\ncategory = 'n.+'", "'stimuli.category' needs 1 group in parentheses, not 0"),
        ("[stimuli]\nattributes = '([a-z]+)_(.+)'", "'stimuli.attributes' needs named groups"),
        ("[stimuli]\nattributes = '(?P<a'", "'stimuli.attributes' has .* not a regular expression"),
        ("[stimuli]\nattribute_columns = 1", "'stimuli.attribute_columns' is not text or a list"),
        ("[split]\nk = 3", "'split.rule' is missing"),
        ("[split]\nrule = 'random'", "'split.rule' is not one of"),
        ("[split]\nrule = 'kfold'", "'split.k' is missing"),
        ("[split]\nrule = 'kfold'\nk = 1", "'split.k' is not a whole number of at least 2"),
        ("[split]\nrule = 'kfold'\nk = true", "'split.k' is not a whole number"),
        ("[split]\nrule = 'kfold'\nk = 3\ncount = 2", "'split.count' has no meaning for the rule 'kfold'"),
        ("[split]\nrule = 'task'\ntrain = 'a'\ntest = {}", "'split.test' names no test set"),
        ("[split]\nrule = 'task'\ntrain = 'a'\ntest = { a_b = 'c' }", "'split.test.a_b' is no name"),
        ("[split]\nrule = 'task'\ntrain = 'a'\ntest = { train = 'c' }", "'split.test.train' is no name"),
        ("[split]\nrule = 'column'\ntrain = 'a'\ntest = { b = 'c' }", "'split.column' is missing"),
        ("[glm]\nshift = '3 s'", "'glm.shift' is not a number of seconds"),
        ("[glm]\nshift = true", "'glm.shift' is not a number of seconds"),
        ("[glm]\nhrf = 'spm'", "'glm.hrf' is unknown"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(write, text, key):
    with pytest.raises(DataError, match=f"mine.toml: key .*{key}") as caught:
        load_stimulus_spec(write(text))
    assert caught.value.exit_code == ExitCode.DATA_ERROR


def test_broken_toml_is_named_with_its_line(write):
    with pytest.raises(DataError, match=r"mine.toml: is not valid TOML: .*line 2"):
        load_stimulus_spec(write("title = 'x'\nna = [ oops\n"))


def test_templates_are_filled_in_order():
    files = StimulusFiles(
        files=("{stimulus_id}.JPEG", "{category}/{stimulus_id}.JPEG"), category=r"(n\d+)_\d+"
    )
    assert files.category_of("n02766534_15976") == "n02766534"
    assert files.candidates("n02766534_15976") == (
        "n02766534_15976.JPEG",
        "n02766534/n02766534_15976.JPEG",
    )
    assert files.category_of("letter_black_img011_A") is None
    assert files.candidates("letter_black_img011_A") == ("letter_black_img011_A.JPEG",)


def test_group_that_matches_nothing_is_no_attribute():
    files = StimulusFiles(attributes=r"(?P<colour>[a-z]+)(?:-(?P<size>\d+))?")
    assert files.attributes_of("red-3") == {"colour": "red", "size": "3"}
    assert files.attributes_of("red") == {"colour": "red"}
    assert StimulusFiles().attributes_of("red-3") == {}


def test_globs_find_ids_with_special_characters(tmp_path):
    for name in ("shape[1]_+.tif", "shape1_+.tif", "n01_5.JPEG"):
        (tmp_path / name).touch()
    files = StimulusFiles(files=("{stimulus_id}.*", "{stimulus_id}_*"))
    (exact, _) = files.candidates("shape[1]_+")
    assert [path.name for path in tmp_path.glob(exact)] == ["shape[1]_+.tif"]
    (_, prefix) = files.candidates("n01")
    assert [path.name for path in tmp_path.glob(prefix)] == ["n01_5.JPEG"]


@pytest.mark.parametrize(
    ("text", "preset"),
    [
        ("10.18112/openneuro.ds001246.v1.2.1", "ds001246"),
        ("doi:10.18112/OPENNEURO.DS004496.V2.1.2", "ds004496"),
        ("https://openneuro.org/datasets/ds000255", "ds000255"),
        ("10.18112/openneuro.ds000001.v1.0.0", None),
        ("ds0012460", None),
        ("", None),
    ],
)
def test_preset_is_found_by_accession_number(text, preset):
    assert preset_for_doi(text) == preset
