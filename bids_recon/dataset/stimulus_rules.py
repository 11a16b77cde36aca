"""The parts of a stimulus spec, as immutable records."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, field

# Cells that mean "nothing here" in public data sets; BIDS itself knows n/a only.
MISSING = ("", "n/a", "N/A", "null", "NaN", "nan")

Patterns = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class RepeatRule:
    """Which trials are one-back repeats, shown only to keep the participant attentive.

    Attributes
    ----------
    kind : {"keep", "drop-consecutive", "column"}
        Keep all trials; drop a trial with the picture of the trial before it; drop by a code in a column.
    column, values
        With kind "column": the column and the patterns, one of which its cell matches in full.
    """

    kind: str = "keep"
    column: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrialRule:
    """Which rows of which runs' events.tsv are trials, and which picture they show.

    Attributes
    ----------
    kind : {"perception", "imagery"}
    task, session : str
        Patterns that the labels of a run match in full for the rule to apply to it.
    select : dict of str to tuple of str
        Columns and patterns; a row is a stimulus row when in every column a pattern matches in full.
    id : tuple of str
        Columns that may hold the picture's id; the first that a file has is read.
    parse : {"text", "stem", "path", "bits"}
        The id is the cell as it stands; the file name without folder and extension; the path below the
        stimulus folder without extension; or the picture itself, as 0 and 1 row by row from the top left.
    bits_shape : tuple of 2 int, or None
        Rows and columns of the picture, for "bits".
    file : tuple of str
        Columns that may hold the picture's path; the first that a file has is read.
    repeats : RepeatRule
    catch : dict of str to tuple of str
        As `select`, for catch trials; they are left out.
    target : {"stimulus", "category"}
        With "category", the id is the beginning of the ids of the pictures that were meant.
    """

    kind: str = "perception"
    task: str = ".*"
    session: str = ".*"
    select: Patterns = field(default_factory=dict)
    id: tuple[str, ...] = ("stim_file",)
    parse: str = "text"
    bits_shape: tuple[int, int] | None = None
    file: tuple[str, ...] = ()
    repeats: RepeatRule = RepeatRule()
    catch: Patterns = field(default_factory=dict)
    target: str = "stimulus"

    def applies_to(self, *, task: str, session: str = "") -> bool:
        """Whether the rule is for runs of this task and session (labels without prefix)."""
        return bool(re.fullmatch(self.task, task) and re.fullmatch(self.session, session))


BIDS_TRIALS = TrialRule(id=("stim_file",), parse="path", file=("stim_file",))


@dataclass(frozen=True)
class StimulusFiles:
    """Where the pictures lie.

    Attributes
    ----------
    roots : tuple of str
        Folders, relative to the data set.
    files : tuple of str
        Templates of paths below a root, tried in order, with `{stimulus_id}`, `{category}` and at most one
        `*` in the file name.
    category : str
        Pattern that an id matches in full, whose one group is the category; "" where ids carry none.
    attributes : str
        Pattern that an id matches in full, whose named groups are attributes of the picture, such as its
        colour; "" where ids carry none.
    attribute_columns : tuple of str
        Columns of events that hold attributes of pictures, where a data set has them.
    missing : str
        What to tell a user whose data set has no pictures.
    """

    roots: tuple[str, ...] = ("stimuli",)
    files: tuple[str, ...] = ("{stimulus_id}.*",)
    category: str = ""
    attributes: str = ""
    attribute_columns: tuple[str, ...] = ()
    missing: str = ""

    def category_of(self, stimulus_id: str) -> str | None:
        """Category that the id names, if it names one."""
        match = re.fullmatch(self.category, stimulus_id) if self.category else None
        return match.group(1) if match else None

    def attributes_of(self, stimulus_id: str) -> dict[str, str]:
        """Attributes that the id names, by name."""
        match = re.fullmatch(self.attributes, stimulus_id) if self.attributes else None
        return {name: value for name, value in match.groupdict().items() if value} if match else {}

    def candidates(self, stimulus_id: str) -> tuple[str, ...]:
        """Paths below a root to try, in order; those with a `*` are glob patterns, else escaped."""
        category = self.category_of(stimulus_id)
        filled = []
        for template in self.files:
            if category is None and "{category}" in template:
                continue
            values = {"stimulus_id": stimulus_id, "category": category or ""}
            if "*" in template:
                values = {name: glob.escape(value) for name, value in values.items()}
            filled.append(template.format_map(values))
        return tuple(filled)


@dataclass(frozen=True)
class SplitRule:
    """Which pictures are for training and which for testing.

    Attributes
    ----------
    kind : str
        "session", "task", "column": by patterns that a run's label or a trial's cell matches in full.
        "repeats": pictures shown at least `count` times are the test set. "kfold": `k` folds of pictures.
        "leave-one-stimulus-out": each picture is once the test set.
    train : str
        Pattern of the training set.
    test : dict of str to str
        Patterns of the test sets, by name.
    column : str or None
        Column of events.tsv, for "column".
    count, k : int or None
    """

    kind: str
    train: str = ""
    test: dict[str, str] = field(default_factory=dict)
    column: str | None = None
    count: int | None = None
    k: int | None = None


@dataclass(frozen=True)
class GlmRule:
    """How the data set's authors estimated responses.

    Attributes
    ----------
    shift : float or None
        Seconds by which blocks are shifted before volumes are averaged; None where that was not done.
    """

    shift: float | None = None


@dataclass(frozen=True)
class StimulusSpec:
    """A data set's way of naming its stimuli.

    Attributes
    ----------
    name, source : str
        Name of the spec, and the file it was read from.
    title, reference : str
        The data set, and where it is described.
    na : tuple of str
        Cells that mean "nothing here".
    trials : tuple of TrialRule
        The first rule that applies to a run counts.
    stimuli : StimulusFiles
    split : SplitRule or None
        None when the data set suggests no split.
    glm : GlmRule
    """

    name: str
    source: str
    title: str = ""
    reference: str = ""
    na: tuple[str, ...] = MISSING
    trials: tuple[TrialRule, ...] = (BIDS_TRIALS,)
    stimuli: StimulusFiles = StimulusFiles()
    split: SplitRule | None = None
    glm: GlmRule = GlmRule()

    def rule_for(self, *, task: str, session: str = "") -> TrialRule | None:
        """First rule for runs of this task and session; None when they show no stimuli of interest."""
        return next((rule for rule in self.trials if rule.applies_to(task=task, session=session)), None)
