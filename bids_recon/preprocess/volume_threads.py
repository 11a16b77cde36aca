"""Volumes worked on side by side, each by one thread.

The alternative, several threads on one volume, makes them wait for each other thousands of times a second: on
cores that are shared with other work, that is many times slower than one thread alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> Iterator[Result]:
    """Results of a function, in the order of its items; few are worked on ahead of what has been asked for.

    On the CPU there are as many threads as torch has been given, each with one thread of torch. On a GPU
    one item follows another.
    """
    if device.type != "cpu":
        yield from map(function, items)
        return
    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # The number set in a thread is also what threads born later would start with.
        torch.set_num_threads(n_threads)
