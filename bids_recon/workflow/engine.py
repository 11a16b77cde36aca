"""Run one function over participants, in this process or in several."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Generic, TypeVar

from threadpoolctl import threadpool_limits

from bids_recon.errors import ExitCode, ReconError, from_os_error

Result = TypeVar("Result")
LOGGER = logging.getLogger("bids_recon")
KILLED = (
    "a process was killed from outside, most likely for want of memory. Run the same command again, with more"
    " memory or fewer --nprocs; it goes on where this one stopped."
)


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


def _guarded(function: Callable[[str], Result], item: str, threads: int) -> Result | Failure:
    try:
        with threadpool_limits(limits=threads):
            return function(item)
    except ReconError as error:
        return Failure(item, str(error), error.exit_code)
    except OSError as error:
        known = from_os_error(error, error.filename or "a file")
        return Failure(
            item, f"sub-{item}: {known}", known.exit_code, "".join(traceback.format_exception(error))
        )
    except Exception as error:
        # One participant's crash must not take the others' work with it; the traceback is kept for the log.
        return _crash(item, error)


def _crash(item: str, error: Exception) -> Failure:
    message = f"{type(error).__name__}: {error}"
    return Failure(item, message, ExitCode.FAILURE, "".join(traceback.format_exception(error)))


def _received(item: str, future: Future[Result | Failure]) -> Result | Failure:
    try:
        return future.result()
    except BrokenProcessPool:
        return Failure(item, f"{item}: {KILLED}", ExitCode.TEMPORARY)
    except Exception as error:
        # The result could not be brought from the other process.
        return _crash(item, error)


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

    def keep(item: str, result: Result | Failure) -> None:
        if isinstance(result, Failure):
            failures[item] = result
            LOGGER.error("%s", result.message)
        else:
            results[item] = result
        on_done(item)

    n_processes = min(n_processes, len(items))
    if n_processes <= 1:
        for item in items:
            keep(item, _guarded(function, item, threads))
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
            item_of = {pool.submit(_guarded, function, item, threads): item for item in items}
            waiting = set(item_of)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    keep(item_of[future], _received(item_of[future], future))
                if failures and stop_on_first_crash:
                    # Returns when those that have begun are through.
                    pool.shutdown(cancel_futures=True)
                    waiting = {future for future in waiting if not future.cancelled()}
    order = list(items)
    return Outcome(
        {item: results[item] for item in order if item in results},
        tuple(failures[item] for item in order if item in failures),
    )
