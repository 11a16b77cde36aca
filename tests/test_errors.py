import errno
import os
import pickle

import pytest

from bids_recon.errors import (
    CannotCreateError,
    DataError,
    ExitCode,
    InputOutputError,
    InvalidBidsError,
    MissingInputError,
    NothingSelectedError,
    ReconError,
    TemporaryError,
    UsageError,
    from_os_error,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ReconError, 1),
        (UsageError, 2),
        (InvalidBidsError, 16),
        (NothingSelectedError, 18),
        (DataError, 65),
        (MissingInputError, 66),
        (CannotCreateError, 73),
        (InputOutputError, 74),
        (TemporaryError, 75),
    ],
)
def test_exit_codes_are_those_of_the_bids_execution_specification(kind: type[ReconError], code: int) -> None:
    assert kind("x").exit_code == code


def test_message_holds_file_problem_and_remedy() -> None:
    error = DataError("is empty", file="a/b.tsv", remedy="Fill it.")
    assert str(error) == "a/b.tsv: is empty. Fill it."
    assert str(DataError("is empty")) == "is empty."


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(NothingSelectedError("nothing", file="here", remedy="Look.")))
    assert type(error) is NothingSelectedError
    assert str(error) == "here: nothing. Look."
    assert (error.problem, error.file, error.remedy) == ("nothing", "here", "Look.")
    assert error.exit_code is ExitCode.NOTHING_SELECTED


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, InputOutputError, "no space is left on the device. Free some space"),
        (errno.EDQUOT, InputOutputError, "no space is left"),
        (errno.EACCES, CannotCreateError, "Permission denied). Choose an output folder you may write to."),
        (errno.EROFS, CannotCreateError, "Read-only file system"),
        (errno.ENOTDIR, CannotCreateError, "Not a directory"),
        (errno.EEXIST, CannotCreateError, "File exists"),
        (errno.EISDIR, CannotCreateError, "Is a directory"),
        (errno.ENAMETOOLONG, CannotCreateError, "File name too long"),
        (errno.EIO, InputOutputError, "could not be read or written (Input/output error)"),
    ],
)
def test_operating_system_errors(number: int, kind: type[ReconError], words: str) -> None:
    error = from_os_error(OSError(number, os.strerror(number)), "out/file")
    assert type(error) is kind
    assert str(error).startswith("out/file: ")
    assert words in str(error)


def test_operating_system_error_without_number() -> None:
    assert str(from_os_error(OSError("odd"), "f")) == "f: could not be read or written (odd)."
