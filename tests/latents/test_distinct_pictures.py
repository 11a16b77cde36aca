"""Pictures in one order, whoever saw them in which."""

from __future__ import annotations

import numpy as np

from bids_recon.latents.distinct_pictures import DistinctPictures


def test_each_picture_once_and_in_one_order():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (4, 5, 3), dtype=np.uint8) for _ in range(6)]
    one = DistinctPictures(pictures)
    other = DistinctPictures([pictures[row] for row in (5, 2, 2, 0, 4, 1, 3, 0)])
    assert len(one) == len(other) == 6
    for place in range(6):
        np.testing.assert_array_equal(one[place], other[place])
    assert {picture.tobytes() for picture in one} == {picture.tobytes() for picture in pictures}
    np.testing.assert_array_equal(one[1:3], [one[1], one[2]])
