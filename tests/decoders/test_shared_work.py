"""What fits on the same responses share, and what stays with one of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bids_recon.decoders.shared_work import SharedWork

X = np.zeros((3, 2))


class Made:
    """Counts how often each thing is made."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> Callable[[], str]:
        def make() -> str:
            self.names.append(name)
            return f"{name} {len(self.names)}"

        return make


def test_each_thing_is_made_once_even_if_it_is_nothing() -> None:
    work, made = SharedWork(X), Made()
    assert [work.get("gram", made("gram")) for _ in range(3)] == ["gram 1"] * 3
    assert work.get(("gram", 2), made("other")) == "other 2"
    assert made.names == ["gram", "other"]
    assert work.get("nothing", lambda: None) is None
    assert work.get("nothing", made("again")) is None and "again" not in made.names


def test_a_branch_finds_what_the_trunk_has_and_what_it_makes_later() -> None:
    trunk, made = SharedWork(X), Made()
    trunk.get("early", made("early"))
    branch = trunk.branch()
    assert branch.get("early", made("wrong")) == "early 1"
    trunk.get("late", made("late"))
    assert branch.get("late", made("wrong")) == "late 2"
    assert branch.branch().get("late", made("wrong")) == "late 2"
    assert made.names == ["early", "late"]


def test_what_a_branch_makes_stays_with_it() -> None:
    trunk, made = SharedWork(X), Made()
    first, second = trunk.branch(), trunk.branch()
    assert first.get("own", made("first")) == "first 1"
    assert second.get("own", made("second")) == "second 2"
    assert trunk.get("own", made("trunk")) == "trunk 3"
    # Its own comes before that of the trunk.
    assert first.get("own", made("wrong")) == "first 1"
    assert first.branch().get("own", made("wrong")) == "first 1"


def test_work_belongs_to_one_array() -> None:
    work = SharedWork(X)
    assert SharedWork.of(X, work) is work
    branch = work.branch()
    assert SharedWork.of(X, branch) is branch
    fresh = SharedWork.of(X, None)
    assert fresh is not work and fresh.get("own", lambda: 1) == 1
    for given in (work, branch):
        with pytest.raises(ValueError, match="other responses"):
            SharedWork.of(X.copy(), given)
