"""How a data set says which picture was seen when: a TOML file, with presets for public data sets.

Every data set writes the stimulus into events.tsv in its own way. What differs is described here as data, so
that a further data set needs a further TOML file and no further code. `docs/usage.md` lists the keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from bids_recon.dataset.stimulus_rules import (
    BIDS_TRIALS,
    MISSING,
    GlmRule,
    RepeatRule,
    SplitRule,
    StimulusFiles,
    StimulusSpec,
    TrialRule,
)
from bids_recon.dataset.toml_table import TomlTable, parse_toml
from bids_recon.errors import DataError, MissingInputError, UsageError, from_os_error

__all__ = [
    "GlmRule",
    "RepeatRule",
    "SplitRule",
    "StimulusFiles",
    "StimulusSpec",
    "TrialRule",
    "load_stimulus_spec",
    "names_file",
    "preset_for_doi",
    "preset_names",
]

DEFAULT_PRESET = "bids"
KINDS = ("perception", "imagery")
PARSERS = ("text", "stem", "path", "bits")
TARGETS = ("stimulus", "category")
REPEATS = ("keep", "drop-consecutive")
PLACEHOLDERS = ("stimulus_id", "category")

# What each rule of [split] needs besides its name.
SPLIT_RULES = {
    "session": ("train", "test"),
    "task": ("train", "test"),
    "column": ("train", "test", "column"),
    "repeats": ("count",),
    "kfold": ("k",),
    "leave-one-stimulus-out": (),
}


def preset_names() -> tuple[str, ...]:
    """Names of the presets that come with the package."""
    return tuple(sorted(path.name[: -len(".toml")] for path in _presets() if path.name.endswith(".toml")))


def preset_for_doi(doi: str) -> str | None:
    """Preset of an OpenNeuro data set, from any text with its accession number, such as its DOI."""
    names = preset_names()
    return next((found for found in re.findall(r"ds\d{6}(?!\d)", doi.lower()) if found in names), None)


def names_file(name_or_path: str) -> bool:
    """Whether a stimulus spec is given by its file, not by the name of a preset."""
    return name_or_path.endswith(".toml") or "/" in name_or_path


def load_stimulus_spec(name_or_path: str | None = None) -> StimulusSpec:
    """Read a stimulus spec.

    Parameters
    ----------
    name_or_path : str, optional
        Name of a preset, or path of a TOML file; the BIDS way (`stim_file`, `stimuli/`) when left out.

    Raises
    ------
    UsageError
        When there is no such preset.
    MissingInputError
        When there is no such file.
    DataError
        When the file is no TOML, or a key in it is unknown, missing or of the wrong type.
    """
    name = name_or_path or DEFAULT_PRESET
    if names_file(name):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise MissingInputError(
                "there is no such stimulus spec",
                file=path,
                remedy=f"Give a TOML file or one of {', '.join(preset_names())}.",
            ) from error
        except UnicodeDecodeError as error:
            raise DataError("is not UTF-8 text", file=path, remedy="Save it as UTF-8.") from error
        except OSError as error:
            raise from_os_error(error, path) from error
        return _parse_spec(text, path.stem, str(path))
    if name not in preset_names():
        raise UsageError(
            f"there is no stimulus spec named {name!r}",
            remedy=f"Give one of {', '.join(preset_names())}, or the path of a TOML file.",
        )
    preset = next(path for path in _presets() if path.name == f"{name}.toml")
    return _parse_spec(preset.read_text(encoding="utf-8"), name, preset.name)


def _presets() -> list[Traversable]:
    return list(resources.files("bids_recon.dataset").joinpath("presets").iterdir())


def _parse_spec(text: str, name: str, file: str) -> StimulusSpec:
    root = parse_toml(text, file)
    tables = root.content.pop("trials", [])
    if not isinstance(tables, list):
        raise root.wrong("trials", "is not a list of tables ([[trials]])")
    rules = tuple(_trial_rule(TomlTable(table, file, f"trials[{row}]")) for row, table in enumerate(tables))
    spec = StimulusSpec(
        name=root.text("name", name),
        source=file,
        title=root.text("title"),
        reference=root.text("reference"),
        na=tuple(dict.fromkeys((*MISSING, *root.texts("na", ())))),
        trials=rules or (BIDS_TRIALS,),
        stimuli=_stimulus_files(root.table("stimuli")),
        split=_split_rule(root.table("split")) if "split" in root.content else None,
        glm=_glm_rule(root.table("glm")),
    )
    root.finish()
    return spec


def _trial_rule(table: TomlTable) -> TrialRule:
    parse = table.choice("parse", "text", PARSERS)
    shape = table.take("bits_shape", None, _as_shape, "two whole numbers, rows and columns")
    if (parse == "bits") != (shape is not None):
        raise table.wrong("bits_shape", 'belongs to parse = "bits", and only there')
    ids = table.texts("id", ("stim_file",))
    if not ids:
        raise table.wrong("id", "names no column")
    rule = TrialRule(
        kind=table.choice("kind", "perception", KINDS),
        task=table.pattern("task", ".*"),
        session=table.pattern("session", ".*"),
        select=table.patterns("select"),
        id=ids,
        parse=parse,
        bits_shape=shape,
        file=table.texts("file", ()),
        repeats=_repeat_rule(table),
        catch=table.patterns("catch"),
        target=table.choice("target", "stimulus", TARGETS),
    )
    table.finish()
    return rule


def _as_shape(value: object) -> tuple[int, int] | None:
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and n > 0 for n in value):
        return None
    return (value[0], value[1])


def _repeat_rule(table: TomlTable) -> RepeatRule:
    if not isinstance(table.content.get("repeats"), Mapping):
        return RepeatRule(table.choice("repeats", "keep", REPEATS))
    by_code = table.table("repeats")
    rule = RepeatRule("column", by_code.text("column"), by_code.texts("values", ()))
    if not rule.column or not rule.values:
        raise table.wrong("repeats", "needs both 'column' and 'values'")
    by_code.check_patterns("values", rule.values)
    by_code.finish()
    return rule


def _stimulus_files(table: TomlTable) -> StimulusFiles:
    files = StimulusFiles(
        roots=table.texts("roots", StimulusFiles.roots),
        files=table.texts("files", StimulusFiles.files),
        category=table.pattern("category", "", groups=1),
        attributes=table.pattern("attributes", ""),
        attribute_columns=table.texts("attribute_columns", ()),
        missing=table.text("missing"),
    )
    if files.attributes and not re.compile(files.attributes).groupindex:
        raise table.wrong("attributes", "needs named groups, such as (?P<colour>[a-z]+)")
    for key, paths in (("roots", files.roots), ("files", files.files)):
        for path in paths:
            if path.startswith("/") or "\\" in path or ".." in PurePosixPath(path).parts:
                raise table.wrong(key, f"has {path!r}, a path out of its folder")
    for template in files.files:
        unknown = [name for name in re.findall(r"\{(.*?)\}", template) if name not in PLACEHOLDERS]
        rest = re.sub(r"\{\w+\}", "", template)
        if unknown or "{" in rest or "}" in rest:
            raise table.wrong("files", f"has {template!r}: the fields are {{stimulus_id}} and {{category}}")
        if template.count("*") > 1 or "*" in str(PurePosixPath(template).parent):
            raise table.wrong("files", f"has {template!r}: one * is allowed, in the file name")
    table.finish()
    return files


def _split_rule(table: TomlTable) -> SplitRule:
    kind = table.choice("rule", "", tuple(SPLIT_RULES))
    if not kind:
        raise table.wrong("rule", f"is missing; it is one of {', '.join(SPLIT_RULES)}")
    needed = SPLIT_RULES[kind]
    for key in needed:
        if key not in table.content:
            raise table.wrong(key, f"is missing, and needed by the rule {kind!r}")
    for key in table.content:
        if key not in needed:
            raise table.wrong(key, f"has no meaning for the rule {kind!r}")
    tests = table.table("test")
    sets = {name: tests.pattern(name, "") for name in list(tests.content)}
    if "test" in needed and not sets:
        raise table.wrong("test", "names no test set")
    for name in sets:
        # Test sets become folders and entities of file names.
        if not re.fullmatch(r"[A-Za-z0-9]+", name) or name == "train":
            raise tests.wrong(name, "is no name for a test set (letters and digits, not 'train')")
    return SplitRule(
        kind=kind,
        train=table.pattern("train", ""),
        test=sets,
        column=table.text("column") or None,
        count=table.whole("count", 2),
        k=table.whole("k", 2),
    )


def _glm_rule(table: TomlTable) -> GlmRule:
    shift = table.take("shift", None, _as_seconds, "a number of seconds")
    rule = GlmRule(shift=shift)
    table.finish()
    return rule


def _as_seconds(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
