"""Texts as the numbers that CLIP reads, of files in the published formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import END, MERGES, START, VOCABULARY, by_hand, tokenizer_files, write_tiny_clip

from bids_recon.errors import DataError
from bids_recon.latents.clip_tokenizer import ClipTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("weights"))


def test_texts_become_numbers_by_the_merges_between_a_start_and_an_end(folder: Path) -> None:
    tokenizer = ClipTokenizer(*tokenizer_files(folder), 77)
    texts = ["A  CAT, dogs.", "", "a catdog\n", "do ca t"]
    expected = [
        by_hand("a</w>", "cat</w>", ",</w>", "do", "g", "s</w>", ".</w>"),
        by_hand(),
        by_hand("a</w>", "ca", "t", "dog</w>"),
        by_hand("d", "o</w>", "c", "a</w>", "t</w>"),
    ]
    found = tokenizer.numbers(texts)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), expected)
    assert (tokenizer.end, tokenizer.highest) == (VOCABULARY[END], len(VOCABULARY) - 1)


def test_long_texts_are_cut_but_keep_their_end(folder: Path) -> None:
    found = ClipTokenizer(*tokenizer_files(folder), 77).numbers(["cat " * 100, "cat " * 75])
    expected = [VOCABULARY[START], *[VOCABULARY["cat</w>"]] * 75, VOCABULARY[END]]
    np.testing.assert_array_equal(found.numpy(), [expected, expected])


@pytest.mark.parametrize(
    ("vocabulary", "merges", "problem"),
    [
        ("[1, 2]", None, "vocab.json: should hold a JSON object"),
        (json.dumps({**VOCABULARY, "a": "b"}), None, "vocab.json: has a token whose number is none"),
        (json.dumps({START: 0, "a": 1}), None, r"vocab.json: lacks the token <\|endoftext\|>"),
        (None, "#version: 0.2\nc a\nca t </w>\n", "merges.txt: line 3 has 3 tokens in place of 2"),
        (None, "c a\nca n\n", "merges.txt: puts together 'ca n'"),
        (None, b"\xff\xfe", "merges.txt: is no text"),
    ],
)
def test_damaged_tokenizers_are_named(
    tmp_path: Path, vocabulary: str | None, merges: str | bytes | None, problem: str
) -> None:
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    files[0].write_text(json.dumps(VOCABULARY) if vocabulary is None else vocabulary)
    content = "\n".join(" ".join(pair) for pair in MERGES) if merges is None else merges
    files[1].write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=problem):
        ClipTokenizer(*files, 77)
