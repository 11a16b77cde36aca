"""Texts as the numbers that CLIP reads, by the vocabulary and the merges that were published with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bids_recon.errors import DataError
from bids_recon.outputs.reading import read_json

START, END = "<|startoftext|>", "<|endoftext|>"

_REMEDY = "Give the tokenizer that was published with the text encoder."


class ClipTokenizer:
    """Lower-cased byte pair encoding, between a start and an end, filled up with the end.

    Parameters
    ----------
    vocabulary : Path
        JSON: number by token.
    merges : Path
        Text, two tokens a line, in the order in which they are put together.
    length : int
        Tokens of each text; longer texts are cut, before their end.

    Attributes
    ----------
    end : int
        Number of the end of text.
    highest : int
        Largest number.

    Raises
    ------
    DataError
        When a file is damaged, or they do not go together.
    """

    def __init__(self, vocabulary: Path, merges: Path, length: int) -> None:
        from transformers import CLIPTokenizer

        numbers, pairs = _read_vocabulary(vocabulary), _read_merges(merges)
        self.length, self.end, self.highest = length, numbers[END], max(numbers.values())
        # A merge of what the vocabulary has not ends in an error of the library, of no class of its own.
        if unknown := [pair for pair in pairs if {*pair, "".join(pair)} - numbers.keys()]:
            raise DataError(
                f"puts together '{' '.join(unknown[0])}', which {vocabulary} does not have",
                file=merges,
                remedy=_REMEDY,
            )
        self._tokenizer = CLIPTokenizer(vocab=numbers, merges=pairs)

    def numbers(self, texts: Sequence[str]) -> Tensor:
        """Texts as numbers, (n, length) int64."""
        encoded = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        return encoded["input_ids"]


def _read_vocabulary(file: Path) -> dict[str, int]:
    content: dict[str, Any] = read_json(file, remedy=_REMEDY)
    if any(not isinstance(number, int) or number < 0 for number in content.values()):
        raise DataError("has a token whose number is none", file=file, remedy=_REMEDY)
    if absent := [token for token in (START, END) if token not in content]:
        raise DataError(f"lacks the token {absent[0]}", file=file, remedy=_REMEDY)
    return content


def _read_merges(file: Path) -> list[tuple[str, str]]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"is no text ({error})", file=file, remedy=_REMEDY) from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts or (number == 1 and line.startswith("#version")):
            continue
        if len(parts) != 2:
            raise DataError(f"line {number} has {len(parts)} tokens in place of 2", file=file, remedy=_REMEDY)
        pairs.append((parts[0], parts[1]))
    return pairs
