"""Python threads for many small matrix problems, which the threads of BLAS cannot share well."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_on_threads(
    function: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> list[Result]:
    """Results of a function, in the order of its items.

    On the CPU as many threads as torch has been given work side by side, each with one thread inside of
    torch and of BLAS; both let go of the interpreter while they compute. On a GPU one item follows another.
    """
    n_threads = torch.get_num_threads() if device.type == "cpu" else 1
    if n_threads == 1:
        return [function(item) for item in items]
    try:
        with (
            threadpool_limits(1, user_api="blas"),
            ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            return list(pool.map(function, items))
    finally:
        # The number set in a thread is also what threads born later would start with.
        torch.set_num_threads(n_threads)


def shares(n_items: int, device: torch.device) -> list[slice]:
    """Split items into consecutive slices of about equal length, one for each thread."""
    n_threads = torch.get_num_threads() if device.type == "cpu" else 1
    length = max(1, -(-n_items // n_threads))
    return [slice(start, min(start + length, n_items)) for start in range(0, n_items, length)]
