"""How a program ends: with one message and an exit code, whatever went wrong in input, options or machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from bids_recon.errors import ExitCode, ReconError, from_os_error

INTERRUPTED = 130


def run_program(name: str, work: Callable[[], ExitCode]) -> int:
    """Do the work of the program `name` and give its exit status; errors are told on standard error."""
    try:
        return int(work())
    except ReconError as error:
        failure = error
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has gone; nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.OK)
    except OSError as error:
        failure = from_os_error(error, error.filename or "a file")
    print(f"{name}: {failure}", file=sys.stderr)
    return int(failure.exit_code)
