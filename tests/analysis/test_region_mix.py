"""Boolean mixes of regions."""

from __future__ import annotations

import numpy as np
import pytest

from bids_recon.analysis.region_mix import parse_mix
from bids_recon.errors import UsageError

# Every combination of membership of three regions is one voxel.
A, B, C = (np.array([bool(number & 1 << bit) for number in range(8)]) for bit in range(3))
REGIONS = {"V1": A, "V4": B, "FFA 1": C, "ecc0-0.5": B, "ecc4+": C}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("V1", A),
        ("v4", B),
        ('"FFA 1"', C),
        ("ecc0-0.5 & ecc4+", B & C),
        ("V1 & V4 & ~'FFA 1'", A & B & ~C),
        ("V1 | V4 & ecc4+", A | (B & C)),
        ("(V1 | V4) & ecc4+", (A | B) & C),
        ("V1|V4&ecc4+|~V1", A | (B & C) | ~A),
        ("~~V1", A),
        ("~(V1|V4)", ~(A | B)),
        ("~V1 & V4", ~A & B),
    ],
)
def test_what_a_mix_means(text, expected):
    np.testing.assert_array_equal(parse_mix(text).voxels(REGIONS), expected)


def test_names():
    assert parse_mix("V1  &   ~V4").name == "V1 & ~V4"
    assert parse_mix('"FFA 1"').name == "FFA 1"
    named = parse_mix('early = V1 | "FFA 1"')
    assert (named.name, named.text) == ("early", 'V1 | "FFA 1"')
    np.testing.assert_array_equal(named.voxels(REGIONS), A | C)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a region is missing before the end"),
        ("V1 &", "a region is missing before the end"),
        ("& V1", "a region is missing before &"),
        ("(V1 | V4", "a bracket is not closed"),
        ("V1)", r"'\)' at sign 3 has no & or \|"),
        ("V1 V4", r"'V4' at sign 4 has no & or \| before it"),
        ('V1 & "FFA', "a quote at sign 5 is not closed"),
        ("early=", "a region is missing before the end"),
    ],
)
def test_what_cannot_be_read(text, problem):
    with pytest.raises(UsageError, match=problem) as error:
        parse_mix(text)
    assert error.value.remedy is not None and "'V1 & ~V2'" in error.value.remedy


def test_an_unknown_region_lists_those_there_are():
    with pytest.raises(UsageError, match=r"no region 'PPA'.*V1, V4, FFA 1, ecc0-0\.5, ecc4\+"):
        parse_mix("V1 & ~PPA").voxels(REGIONS)
