import logging
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from bids_recon.errors import DataError, ExitCode, MissingInputError
from bids_recon.workflow.engine import Failure, run_all


def twice(item: str) -> str:
    return item * 2


def nothing(item: str) -> None:
    return None


def picky(item: str) -> str:
    if item == "data":
        raise DataError("is empty", file="events.tsv", remedy="Fill it.")
    if item == "missing":
        raise MissingInputError("is missing", file="a.png")
    if item == "bug":
        raise KeyError("a fault of the program")
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "unpicklable":
        return lambda: item  # type: ignore[return-value]
    return item * 2


def process(item: str) -> tuple[int, int]:
    return os.getpid(), logging.getLogger("bids_recon").level


def threads(item: str) -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [library["num_threads"] for library in threadpool_info()]


def late(item: str) -> str:
    """The first items take longest, so that they are done last."""
    time.sleep({"a": 0.4, "b": 0.2}.get(item, 0.0))
    return item


def first_fails(item: str) -> str:
    folder, name = item.rsplit("/", 1)
    (Path(folder) / name).touch()
    if name == "0":
        raise DataError("stop here")
    time.sleep(0.05)
    return name


# in this process


def test_results_are_in_the_order_of_the_items() -> None:
    done: list[str] = []
    outcome = run_all(twice, ["b", "a", "c"], on_done=done.append)
    assert list(outcome.results.items()) == [("b", "bb"), ("a", "aa"), ("c", "cc")]
    assert outcome.failures == ()
    assert done == ["b", "a", "c"]


def test_no_items() -> None:
    outcome = run_all(twice, [], n_processes=4)
    assert (outcome.results, outcome.failures) == ({}, ())


def test_a_result_may_be_none() -> None:
    assert run_all(nothing, ["a"]).results == {"a": None}


def test_failures_are_collected(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []
    outcome = run_all(picky, ["data", "a", "bug", "missing"], on_done=done.append)
    assert outcome.results == {"a": "aa"}
    assert [(one.item, one.exit_code) for one in outcome.failures] == [
        ("data", ExitCode.DATA_ERROR),
        ("bug", ExitCode.FAILURE),
        ("missing", ExitCode.NO_INPUT),
    ]
    data, bug, _ = outcome.failures
    assert (data.message, data.details) == ("events.tsv: is empty. Fill it.", "")
    assert bug.message == "KeyError: 'a fault of the program'"
    assert bug.details.startswith("Traceback (most recent call last):")
    assert "in picky" in bug.details
    assert done == ["data", "a", "bug", "missing"]
    assert "events.tsv: is empty. Fill it." in caplog.text


def test_stop_on_first_crash() -> None:
    done: list[str] = []
    outcome = run_all(picky, ["a", "data", "b", "bug"], stop_on_first_crash=True, on_done=done.append)
    assert outcome.results == {"a": "aa"}
    assert [one.item for one in outcome.failures] == ["data"]
    assert done == ["a", "data"]


def test_interruption_is_not_a_failure_of_one_item() -> None:
    def interrupted(item: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(interrupted, ["a", "b"])


def test_threads_are_limited() -> None:
    before = [library["num_threads"] for library in threadpool_info()]
    assert set(run_all(threads, ["a"], threads=1).results["a"]) == {1}
    assert [library["num_threads"] for library in threadpool_info()] == before


# in several processes


def test_several_processes() -> None:
    logger = logging.getLogger("bids_recon")
    before = logger.level
    logger.setLevel(17)
    try:
        outcome = run_all(process, ["a", "b", "c"], n_processes=2)
    finally:
        logger.setLevel(before)
    assert list(outcome.results) == ["a", "b", "c"]
    pids, levels = zip(*outcome.results.values(), strict=True)
    assert os.getpid() not in pids
    assert set(levels) == {17}


def test_order_does_not_depend_on_who_is_done_first() -> None:
    done: list[str] = []
    outcome = run_all(late, ["a", "b", "c", "d"], n_processes=2, on_done=done.append)
    assert list(outcome.results) == ["a", "b", "c", "d"]
    assert sorted(done) == ["a", "b", "c", "d"]


def test_failures_of_several_processes_are_collected() -> None:
    outcome = run_all(picky, ["data", "a", "unpicklable", "bug"], n_processes=2)
    assert outcome.results == {"a": "aa"}
    data, unpicklable, bug = outcome.failures
    assert data == Failure("data", "events.tsv: is empty. Fill it.", ExitCode.DATA_ERROR)
    assert unpicklable.exit_code is ExitCode.FAILURE
    assert "pickle" in unpicklable.message
    assert "in picky" in bug.details


def test_process_that_is_killed() -> None:
    outcome = run_all(picky, ["killed", "a"], n_processes=2)
    failure = outcome.failures[0]
    assert (failure.item, failure.exit_code, failure.details) == ("killed", ExitCode.TEMPORARY, "")
    assert failure.message == (
        "killed: a process was killed from outside, most likely for want of memory. Run the same command"
        " again, with more memory or fewer --nprocs; it goes on where this one stopped."
    )
    assert set(outcome.results) | {one.item for one in outcome.failures} == {"killed", "a"}


def test_stop_on_first_crash_of_several_processes(tmp_path: Path) -> None:
    items = [f"{tmp_path}/{number}" for number in range(100)]
    done: list[str] = []
    outcome = run_all(first_fails, items, n_processes=2, stop_on_first_crash=True, on_done=done.append)
    assert [one.item for one in outcome.failures] == [items[0]]
    begun = sorted(path.name for path in tmp_path.iterdir())
    assert len(begun) < 100
    # What had begun is done and kept.
    assert sorted(item.rsplit("/", 1)[1] for item in done) == begun
    assert {item.rsplit("/", 1)[1] for item in outcome.results} == set(begun) - {"0"}


def test_failure_can_cross_processes() -> None:
    failure = run_all(picky, ["bug"]).failures[0]
    assert pickle.loads(pickle.dumps(failure)) == failure
