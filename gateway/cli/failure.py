"""How a command ends when it cannot do what it was asked, and the exit codes of all commands.

Deliberately not here: tracebacks. What is not one of these is a bug, and shows its own.
"""

from __future__ import annotations

OK = 0
FAILED = 1  # understood, tried, and the answer is no: refused, not found, damaged records found
USAGE = 2  # a wrong option or argument
CONFIG = 3  # the configuration is wrong
UNREACHABLE = 4  # the gateway does not run or does not answer, or somebody else has the store open
STORE = 5  # the store cannot be opened, read or written
INTERRUPTED = 130

EXIT_CODES = f"""\
Exit codes: {OK} done; {FAILED} the answer is no (refused, not found, problems found); {USAGE} wrong usage;
{CONFIG} the configuration is wrong; {UNREACHABLE} no gateway answers, or the store is in use; {STORE} the
store cannot be used; {INTERRUPTED} interrupted; 70 the Python environment could not be set up."""


class Failure(Exception):
    """What happened, what to do, and the exit code."""

    def __init__(self, message: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
