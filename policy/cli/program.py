"""The program's name, its exit statuses, and its messages on standard error."""

from __future__ import annotations

import sys

PROGRAM = "xensnd-policy"
GOOD, BAD_POLICY, REFUSED, NO_AGENT = 0, 1, 2, 3
MISSING = 1  # events of the audit trail


def print_error(message: object) -> None:
    print(f"{PROGRAM}: {message}", file=sys.stderr)


def fail(exit_status: int, message: object) -> int:
    """Prints the message and returns the exit status."""
    print_error(message)
    return exit_status
