"""A seed for each picture, whatever the order and size of batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def picture_seed(run_seed: int, stimulus_id: str) -> np.uint64:
    """Seed of one picture: the first 64 bits of SHA-256 over the seed of the run and the stimulus id."""
    digest = hashlib.sha256(f"{int(run_seed)}\n{stimulus_id}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "big"))


def picture_seeds(run_seed: int, stimulus_ids: Iterable[str]) -> NDArray[np.uint64]:
    """Seeds (n,) of several pictures."""
    return np.array([picture_seed(run_seed, name) for name in stimulus_ids], dtype=np.uint64)


def sample_seeds(seeds: NDArray[np.uint64], number: int) -> NDArray[np.uint64]:
    """Seeds (n,) of a further sample of each of some pictures; number 0 is the picture itself."""
    if number == 0:
        return seeds
    digests = [hashlib.sha256(f"{int(seed)}\nsample {number}".encode()).digest() for seed in seeds]
    return np.array([int.from_bytes(digest[:8], "big") for digest in digests], dtype=np.uint64)
