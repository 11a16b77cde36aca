"""Boolean mixes of regions, as a user writes them: `V1 & V4 & ~FFA`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import UsageError

Tree = str | tuple["Tree", ...]
"""Name of a region, or an operator (`&`, `|`, `~`) with what it works on."""

_SPECIAL = r"""\s&|~()"'"""
_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>[&|~()])|"(?P<double>[^"]+)"|'(?P<single>[^']+)'"""
    rf"|(?P<bare>[^{_SPECIAL}]+))"
)
_NAMED = re.compile(rf"\s*(?P<name>[^{_SPECIAL}=]+)\s*=(?P<mix>.*)", flags=re.DOTALL)
_WRITING = (
    "Write names of regions with & (and), | (or), ~ (not) and brackets, as in 'V1 & ~V2' or"
    " 'faces=OFA | FFA'; names with other signs or spaces go in quotes."
)


@dataclass(frozen=True)
class RegionMix:
    """A mix of regions.

    Attributes
    ----------
    name : str
        As results call it: what was written before `=`, or the mix itself.
    text : str
        The mix.
    tree : Tree
        What it means.
    """

    name: str
    text: str
    tree: Tree

    def voxels(self, regions: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Voxels (n_voxels,) of the mix, from those of each region.

        Raises
        ------
        UsageError
            When there is no such region; names are found in any case.
        """
        return _voxels(self.tree, regions, self.text)


def parse_mix(text: str) -> RegionMix:
    """Read a mix of regions, `MIX` or `NAME=MIX`; `~` binds more tightly than `&`, and `&` than `|`.

    Raises
    ------
    UsageError
        When it cannot be read.
    """
    named = _NAMED.fullmatch(text)
    mix = " ".join((named["mix"] if named else text).split())
    tree = _Parser(mix).parse()
    return RegionMix(named["name"] if named else tree if isinstance(tree, str) else mix, mix, tree)


@dataclass(frozen=True)
class _Token:
    """An operator, or a name in quotes or not, and where it stands."""

    text: str
    is_name: bool
    place: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, place = text, [], 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._error(f"a quote at sign {place + 1} is not closed, or there is nothing in it")
            kind = str(found.lastgroup)
            self.tokens.append(_Token(found[kind], kind != "operator", found.start(kind)))
            place = found.end()
        self.next = 0

    def parse(self) -> Tree:
        tree = self._either()
        if self.next < len(self.tokens):
            left = self.tokens[self.next]
            raise self._error(f"'{left.text}' at sign {left.place + 1} has no & or | before it")
        return tree

    def _either(self) -> Tree:
        tree = self._both()
        while self._take("|"):
            tree = ("|", tree, self._both())
        return tree

    def _both(self) -> Tree:
        tree = self._one()
        while self._take("&"):
            tree = ("&", tree, self._one())
        return tree

    def _one(self) -> Tree:
        if self._take("~"):
            return ("~", self._one())
        if self._take("("):
            tree = self._either()
            if not self._take(")"):
                raise self._error("a bracket is not closed")
            return tree
        if self.next < len(self.tokens) and self.tokens[self.next].is_name:
            self.next += 1
            return self.tokens[self.next - 1].text
        where = self.tokens[self.next].text if self.next < len(self.tokens) else "the end"
        raise self._error(f"a region is missing before {where}")

    def _take(self, operator: str) -> bool:
        if self.next == len(self.tokens):
            return False
        token = self.tokens[self.next]
        taken = not token.is_name and token.text == operator
        self.next += taken
        return taken

    def _error(self, problem: str) -> UsageError:
        return UsageError(f"the mix of regions '{self.text}' cannot be read: {problem}", remedy=_WRITING)


def _voxels(tree: Tree, regions: Mapping[str, NDArray[np.bool_]], text: str) -> NDArray[np.bool_]:
    if isinstance(tree, str):
        return _region(tree, regions, text)
    operator, *parts = tree
    found = [_voxels(part, regions, text) for part in parts]
    if operator == "~":
        return ~found[0]
    return found[0] & found[1] if operator == "&" else found[0] | found[1]


def _region(name: str, regions: Mapping[str, NDArray[np.bool_]], text: str) -> NDArray[np.bool_]:
    if name in regions:
        return regions[name]
    alike = [known for known in regions if known.casefold() == name.casefold()]
    if len(alike) != 1:
        raise UsageError(
            f"there is no region '{name}', which the mix '{text}' names",
            remedy=f"Regions of this run are: {', '.join(regions) or 'none'}.",
        )
    return regions[alike[0]]
