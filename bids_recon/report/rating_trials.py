"""Which trials a rater sees, in which order: the same in the page (`static/rating_trials.js`) and here.

The page draws the trials of whoever enters an id, and the scoring draws them again, so that answers count
only for questions that were asked. Both use the same small generator, mulberry32 (T. Ettinger, public
domain), with the 32-bit FNV-1a hash of "<seed> <rater>" for its seed. A change here is a change there; a test
in a browser compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

CATCH_EVERY = 20
"""Trials to one catch trial; a shorter list has one, too."""

_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Trial:
    """One question.

    Attributes
    ----------
    unit, variant : int
        What is asked: the reconstruction and its set of foils, or the contest and its picture.
    catch : bool
        Whether the answer is obvious: it tells who pays attention, and is not scored.
    question : int
        Picture that the candidates are compared with.
    candidates : tuple of dict
        In the order of the screen, each with its `picture` and what it shows.
    target : int
        Place of the right candidate; where nothing is right or wrong, of the contest's first source.
    about : dict
        What the question is about, as the files of answers name it.
    """

    unit: int
    variant: int
    catch: bool
    question: int
    candidates: tuple[Mapping[str, Any], ...]
    target: int
    about: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """The question as a file of answers describes it."""
        shown = [{k: v for k, v in one.items() if k != "picture"} for one in self.candidates]
        return {"catch": self.catch, **self.about, "candidates": shown}


class Mulberry32:
    """A generator of 32 bits of state, which a browser can repeat exactly."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def next(self) -> int:
        """Draw a number from 0 to 2**32 - 1."""
        self._state = (self._state + 0x6D2B79F5) & _MASK
        t = self._state
        t = ((t ^ (t >> 15)) * (t | 1)) & _MASK
        t ^= (t + ((t ^ (t >> 7)) * (t | 61))) & _MASK
        return t ^ (t >> 14)

    def below(self, n: int) -> int:
        """Draw a number from 0 to n - 1."""
        return (self.next() * n) >> 32

    def shuffled(self, values: Iterable[int]) -> list[int]:
        """Shuffle (Fisher and Yates, from the end)."""
        order = list(values)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def hash32(text: str) -> int:
    """FNV-1a hash of an ASCII text, 32 bits."""
    value = 0x811C9DC5
    for byte in text.encode("ascii"):
        value = ((value ^ byte) * 0x01000193) & _MASK
    return value


def draw_trials(page: Mapping[str, Any], rater: str) -> list[Trial]:
    """All trials of a rater, catch trials among them, in their order.

    The variants of all units are asked in rounds, one of each unit in a round, until the limit is reached, so
    that units differ by at most one trial. A variant of a group of reconstructions is a shift: reconstruction
    i is shown with the original i and the originals i + shift (cyclically), so that in a full round each
    original is a foil equally often. A quarter of the trials are the same for every rater, which agreement
    between raters needs; the others are drawn for the rater.

    Parameters
    ----------
    page : mapping
        What `rating_page.page_data` gives.
    rater : str
        Id of the rater, ASCII.
    """
    own = Mulberry32(hash32(f"{page['seed']} {rater}"))
    units, groups = page["units"], page["groups"]
    variants = [_n_variants(groups[unit["group"]]) for unit in units]
    limit = min(page["max_trials"], sum(variants))
    n_shared = limit if limit == sum(variants) else limit // 4
    chosen = list(islice(_rounds(variants), n_shared))
    shared = [0] * len(units)
    for unit, _ in chosen:
        shared[unit] += 1
    orders = [own.shuffled(range(_n_variants(group))) for group in groups]
    chosen += islice(_own_rounds(own, units, variants, shared, orders), limit - n_shared)

    chosen = [chosen[place] for place in own.shuffled(range(limit))]
    targets = own.shuffled(place % page["alternatives"] for place in range(limit))
    trials = [_trial(page, own, *what, target) for what, target in zip(chosen, targets, strict=True)]
    starts = range(0, limit, CATCH_EVERY)
    catch_targets = own.shuffled(place % page["alternatives"] for place in range(len(starts)))
    with_catches: list[Trial] = []
    for start, target in zip(starts, catch_targets, strict=True):
        part = trials[start : start + CATCH_EVERY]
        place = own.below(len(part) + 1)
        unit = own.below(len(units))
        catch = _trial(page, own, unit, own.below(variants[unit]), target, catch=True)
        with_catches += [*part[:place], catch, *part[place:]]
    return with_catches


def _n_variants(group: Mapping[str, Any]) -> int:
    return len(group["blocks"] if "blocks" in group else group["comparisons"])


def _rounds(variants: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(unit, variant), round by round, in the order of the page."""
    for turn in range(max(variants)):
        for unit, n in enumerate(variants):
            if turn < n:
                yield unit, turn


def _own_rounds(
    own: Mulberry32,
    units: Sequence[Mapping[str, Any]],
    variants: Sequence[int],
    shared: Sequence[int],
    orders: Sequence[Sequence[int]],
) -> Iterator[tuple[int, int]]:
    """(unit, variant) beyond the first `shared` of each unit, round by round, in the rater's own order."""
    rest = {
        (unit["group"], n): [variant for variant in orders[unit["group"]] if variant >= n]
        for unit, n in zip(units, shared, strict=True)
    }
    for turn in range(max(variants)):
        for unit in own.shuffled(range(len(units))):
            n = shared[unit]
            if n <= turn < variants[unit]:
                yield unit, rest[units[unit]["group"], n][turn - n]


def _trial(
    page: Mapping[str, Any], own: Mulberry32, unit: int, variant: int, target: int, catch: bool = False
) -> Trial:
    of = page["units"][unit]
    group = page["groups"][of["group"]]
    if "blocks" in group:
        stimuli = group["stimuli"]
        right = stimuli[of["stimulus"]]
        foils = [stimuli[(of["stimulus"] + shift) % len(stimuli)] for shift in group["blocks"][variant]]
        # A catch trial shows the original in place of what was made of it.
        question = right["picture"] if catch else of["picture"]
        names = ("subject", "method", "test_set")
        about = {**{name: group[name] for name in names}, "stimulus_id": of["stimulus_id"]}
    else:
        comparison = group["comparisons"][variant]
        question = comparison["original"]
        sources = [{**group[key], "picture": comparison[key]} for key in ("first", "second")]
        if catch:
            right, foils = {"original": True, "picture": question}, [sources[own.below(2)]]
        else:
            right, foils = sources[0], [sources[1]]
        about = {"test_set": group["test_set"], "stimulus_id": comparison["stimulus_id"]}
    candidates = [foils[place] for place in own.shuffled(range(len(foils)))]
    candidates.insert(target, right)
    return Trial(unit, variant, catch, question, tuple(candidates), target, about)
