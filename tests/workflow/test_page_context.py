"""What reports say of the run they belong to."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bids_recon.config import Settings
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.registry import make_method
from bids_recon.report.content import RunContext
from bids_recon.workflow.page_context import run_context

BOTH = ("eigenimage", "deep-recon")


def context(
    settings: Settings,
    shuffles: Mapping[str, Sequence[int]],
    choices: Sequence[Mapping[str, Any]] = (),
) -> RunContext:
    return run_context(
        settings,
        "command",
        "Group",
        description={},
        split="kfold:3",
        source="bold",
        shuffles=shuffles,
        choices=choices,
        warnings=[],
    )


def settings(**more: object) -> Settings:
    return Settings(Path("ds"), Path("out"), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shuffles", "shown"),
    [
        ({"eigenimage": [20, 20]}, "20"),
        ({"eigenimage": [20], "deep-recon": [2]}, "eigenimage 20, deep-recon 2"),
        ({"deep-recon": [2, 5, 3]}, "2 to 5"),
    ],
)
def test_shuffles_are_those_of_each_method(shuffles: dict[str, list[int]], shown: str) -> None:
    made = context(settings(method=tuple(shuffles)), shuffles)
    assert made.settings["shuffles"] == shown
    assert any(f"among trials ({shown} times)" in note for note in made.notes)


@pytest.mark.parametrize("method", [("eigenimage",), BOTH])
@pytest.mark.parametrize("responses_only", [False, True])
def test_no_page_says_none(method: tuple[str, ...], responses_only: bool) -> None:
    chosen = settings(method=method, responses_only=responses_only)
    made = context(chosen, {} if responses_only else {name: [2] for name in method})
    assert re.search(r"\bNone\b", json.dumps(dataclasses.asdict(made))) is None
    assert ("shuffles" in made.settings) is not responses_only
    assert any("its floor" in note for note in made.notes) is not responses_only


def test_pages_say_how_pictures_are_found() -> None:
    extra = {"encoder": "vgg19", "layers": ("fc6", "fc7"), "generator": "relu7", "iterations": 50}
    choices = [
        make_method("eigenimage").choices,
        make_method("deep-recon", MethodOptions(extra=extra)).choices,
    ]
    shown = context(settings(method=BOTH), {name: [2] for name in BOTH}, choices).settings
    names = ("encoder", "layers", "generator", "optimiser", "layer order", "iterations")
    wanted = ["vgg19", "fc6, fc7", "relu7", "gradient-descent", "together", "50"]
    assert [shown[name] for name in names] == wanted
    assert not set(names) & set(context(settings(), {"eigenimage": [20]}).settings)
