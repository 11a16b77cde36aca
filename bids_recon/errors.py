"""Exit codes and the errors that carry them.

The codes are those that the BIDS execution specification reserves, so that a
scheduler can tell a bad data set from a full disk.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit status of the command line programs."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    INVALID_BIDS = 16
    NOTHING_SELECTED = 18
    DATA_ERROR = 65
    NO_INPUT = 66
    CANNOT_CREATE = 73
    IO_ERROR = 74
    TEMPORARY = 75


class ReconError(Exception):
    """A failure whose cause lies in the input or the machine, not in the program.

    Parameters
    ----------
    problem : str
        What is wrong, as a sentence without its full stop.
    file : path, optional
        The file that is concerned; put before the problem.
    remedy : str, optional
        What the user can do, as a sentence; put after the problem.
    """

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(self, problem: str, *, file: str | Path | None = None, remedy: str | None = None) -> None:
        self.problem, self.file, self.remedy = problem, file, remedy
        where = f"{file}: " if file is not None else ""
        advice = f" {remedy}" if remedy else ""
        super().__init__(f"{where}{problem}.{advice}")

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries when participants run in parallel.
        return (_rebuild, (type(self), self.problem, self.file, self.remedy))


def _rebuild(kind: type[ReconError], problem: str, file: str | Path | None, remedy: str | None) -> ReconError:
    return kind(problem, file=file, remedy=remedy)


class UsageError(ReconError):
    """The command line cannot be carried out as it was written."""

    exit_code = ExitCode.USAGE


class InvalidBidsError(ReconError):
    """The input folder is not a BIDS data set that can be read."""

    exit_code = ExitCode.INVALID_BIDS


class NothingSelectedError(ReconError):
    """The filters leave nothing to work on."""

    exit_code = ExitCode.NOTHING_SELECTED


class DataError(ReconError):
    """A file is there but its content is wrong."""

    exit_code = ExitCode.DATA_ERROR


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Add a file to what functions on arrays and tables raise, which know none.

    Raises
    ------
    DataError
        With the file, unless it names one.
    """
    try:
        yield
    except DataError as error:
        if error.file is not None:
            raise
        raise DataError(error.problem, file=file, remedy=error.remedy) from error


class MissingInputError(ReconError):
    """A file that is needed is not there."""

    exit_code = ExitCode.NO_INPUT


class CannotCreateError(ReconError):
    """An output cannot be created."""

    exit_code = ExitCode.CANNOT_CREATE


class InputOutputError(ReconError):
    """Reading or writing failed half-way, as on a full disk."""

    exit_code = ExitCode.IO_ERROR


class TemporaryError(ReconError):
    """The run may succeed when it is tried again."""

    exit_code = ExitCode.TEMPORARY


_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
# A file where a folder should be, or the other way round; a name that no file can have.
_NO_PLACE = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}


def from_os_error(error: OSError, path: str | Path) -> ReconError:
    """Turn an operating system error met while writing `path` into a message with a remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputOutputError(
            "no space is left on the device",
            file=path,
            remedy="Free some space and run the same command again.",
        )
    if error.errno in _NO_RIGHT | _NO_PLACE:
        return CannotCreateError(
            f"cannot be written ({error.strerror})",
            file=path,
            remedy="Choose an output folder you may write to.",
        )
    return InputOutputError(f"could not be read or written ({error.strerror or error})", file=path)
