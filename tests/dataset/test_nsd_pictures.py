"""Pictures in HDF5."""

from __future__ import annotations

import multiprocessing

import h5py
import numpy as np
import pytest

from bids_recon.dataset.hdf5_pictures import read_brick_picture
from bids_recon.errors import DataError, MissingInputError


@pytest.fixture
def brick(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
    file = tmp_path / "pictures.hdf5"
    _write(file, imgBrick=pictures)
    return file, pictures


def _write(file, **content):
    with h5py.File(file, "w") as opened:
        for name, values in content.items():
            opened[name] = values


def test_rows_are_read(brick):
    file, pictures = brick
    for row in (3, 0, 4, 0):
        found = read_brick_picture(file, "imgBrick", row)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pictures[row])


def test_file_that_was_replaced_is_read_afresh(brick):
    file, pictures = brick
    read_brick_picture(file, "imgBrick", 1)
    other = file.with_name("other.hdf5")
    _write(other, imgBrick=255 - pictures)
    other.replace(file)
    np.testing.assert_array_equal(read_brick_picture(file, "imgBrick", 1), 255 - pictures[1])


def test_child_processes_read_too(brick):
    """A handle that was open before the fork is not used after it."""
    file, pictures = brick
    read_brick_picture(file, "imgBrick", 0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap(read_brick_picture, [(file, "imgBrick", row) for row in range(5)] * 4)
    np.testing.assert_array_equal(found, np.concatenate([pictures] * 4))


@pytest.mark.parametrize("row", [5, -1])
def test_row_that_does_not_exist(brick, row):
    with pytest.raises(DataError, match="has 5 pictures"):
        read_brick_picture(brick[0], "imgBrick", row)


def test_files_that_hold_no_pictures(tmp_path, brick):
    with pytest.raises(DataError, match="has no data set 'images'"):
        read_brick_picture(brick[0], "images", 0)
    file = tmp_path / "other.hdf5"
    _write(file, imgBrick=np.zeros((5, 6, 4, 3)))
    with pytest.raises(DataError, match=r"\(5, 6, 4, 3\) float64.*uint8"):
        read_brick_picture(file, "imgBrick", 0)
    text = tmp_path / "text.hdf5"
    text.write_text("no HDF5")
    with pytest.raises(DataError, match=r"text\.hdf5: cannot be read as HDF5"):
        read_brick_picture(text, "imgBrick", 0)
    with pytest.raises(MissingInputError, match=r"absent\.hdf5"):
        read_brick_picture(tmp_path / "absent.hdf5", "imgBrick", 0)
