"""Upper bounds of the generator's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_recon.errors import DataError, MissingInputError
from bids_recon.weights.activation_range import read_activation_range


def test_numbers_with_any_white_space_between_them(tmp_path: Path) -> None:
    # The published file is one line with a space at its end.
    (tmp_path / "fc7.txt").write_text("3 4.5 0\n2e1\t6 ")
    bounds = read_activation_range(tmp_path / "fc7.txt", 5)
    assert bounds.dtype == np.float32
    assert bounds.tolist() == [3, 4.5, 0, 20, 6]


@pytest.mark.parametrize(("content", "problem"), [
    (b"3 3 3", "has 3 numbers, but the generator takes 4"),
    (b"", "has 0 numbers"),
    (b"3 3 three 3", "is no list of numbers.*three"),
    (b"<html>", "is no list of numbers"),
    (b"\xff\xfe\x00", "is no list of numbers"),
    (b"3 3 -1 3", "its number 3, -1.0, is no upper bound"),
    (b"3 nan 3 3", "its number 2, nan"),
    (b"inf 3 3 3", "its number 1, inf"),
])  # fmt: skip
def test_other_content_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "fc7.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"fc7\.txt: .*{problem}.*act_range/3x/fc7\.txt"):
        read_activation_range(tmp_path / "fc7.txt", 4)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"fc7\.txt: is missing"):
        read_activation_range(tmp_path / "fc7.txt", 4)
