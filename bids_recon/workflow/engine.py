"""Run one function over participants, in this process or in several."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Generic, TypeVar

from threadpoolctl import threadpool_limits

from bids_recon.errors import ExitCode, ReconError

Result = TypeVar("Result")
LOGGER = logging.getLogger("bids_recon")


@dataclass(frozen=True)
class Failure:
    """One participant that failed.

    Attributes
    ----------
    item : str
    message : str
        One line for the user.
    exit_code : ExitCode
    details : str
        Traceback of an error of the program itself; "" for an error in the input.
    """

    item: str
    message: str
    exit_code: ExitCode
    details: str = ""


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """Results and failures, in the order of the items."""

    results: dict[str, Result]
    failures: tuple[Failure, ...]


def _guarded(
    function: Callable[[str], Result], item: str, threads: int
) -> tuple[Result | None, Failure | None]:
    try:
        with threadpool_limits(limits=threads):
            return function(item), None
    except ReconError as error:
        return None, Failure(item, str(error), error.exit_code)
    except Exception as error:
        # One participant's crash must not take the others' work with it; the traceback is kept for the log.
        message = f"{type(error).__name__}: {error}"
        return None, Failure(item, message, ExitCode.FAILURE, traceback.format_exc())


def _log_like_parent(level: int) -> None:
    logging.basicConfig(format="%(levelname)s %(message)s")
    LOGGER.setLevel(level)


def run_all(
    function: Callable[[str], Result],
    items: Sequence[str],
    *,
    n_processes: int = 1,
    threads: int = 1,
    stop_on_first_crash: bool = False,
    on_done: Callable[[str], None] = lambda _: None,
) -> Outcome[Result]:
    """Apply `function`, which must be picklable when there are several processes, to every item.

    Parameters
    ----------
    function : callable
        Takes an item, gives a picklable result.
    items : sequence of str
    n_processes : int
        How many items at a time.
    threads : int
        Threads of the linear algebra in each process.
    stop_on_first_crash : bool
        Begin no further item after a failure.
    on_done : callable
        Called with each item that is through, in this process.
    """
    results: dict[str, Result] = {}
    failures: dict[str, Failure] = {}

    def keep(item: str, result: Result | None, failure: Failure | None) -> None:
        if failure is not None:
            failures[item] = failure
            LOGGER.error("%s", failure.message)
        elif result is not None:
            results[item] = result
        on_done(item)

    n_processes = min(n_processes, len(items))
    if n_processes <= 1:
        for item in items:
            keep(item, *_guarded(function, item, threads))
            if failures and stop_on_first_crash:
                break
    else:
        # "spawn" because a forked copy of a process with BLAS threads can hang.
        with ProcessPoolExecutor(
            n_processes,
            mp_context=get_context("spawn"),
            initializer=_log_like_parent,
            initargs=(LOGGER.level,),
        ) as pool:
            futures = {pool.submit(_guarded, function, item, threads): item for item in items}
            for future in as_completed(futures):
                if not future.cancelled():
                    keep(futures[future], *future.result())
                if failures and stop_on_first_crash:
                    pool.shutdown(wait=False, cancel_futures=True)
    order = list(items)
    return Outcome(
        {item: results[item] for item in order if item in results},
        tuple(failures[item] for item in order if item in failures),
    )
