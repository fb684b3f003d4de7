"""The errors a person can meet, and the exit code of each.

    GitsessError                 1   something failed
    ├── UsageError               2   the command line, a name, or an input is not well formed
    │   └── InvalidName          2   …a session name, with the nearest valid one
    ├── NotFound                 1   no such session, turn or repository
    ├── FormatError              1   stored or received data breaks the format
    │   ├── NewerFormat          1   …or was written by a newer gitsess
    │   └── Faulty               1   …in ways that are all told at once
    ├── StoreError               1   git or the file system refused
    │   ├── Locked               1   …because another process holds the ref
    │   └── NotASession          1   …because what stands at the ref is not a session
    ├── ProviderError            1   the model's service failed
    ├── BudgetExceeded           1   the next request would pass --budget
    ├── TestsCannotRun           1   the project's own tests cannot be started
    ├── TestsTimedOut            1   …or did not end in time
    └── Conflict                 3   two sides cannot be brought together

Every message is one line that says what to do next. One place (``gitsess.cli.entry``) prints them.
"""

from __future__ import annotations

from collections.abc import Sequence


class GitsessError(Exception):
    """Base of every error that is a person's or the world's, never a bug of ours."""

    exit_code = 1


class UsageError(GitsessError):
    """The command line, or something given on it, is not well formed."""

    exit_code = 2


class InvalidName(UsageError):
    """A session name that breaks the rule; the message offers the nearest valid one."""


class NotFound(GitsessError):
    """There is no such session, turn or repository."""


class FormatError(GitsessError):
    """Data that breaks the format: a commit, a trailer, turn.json, a record line."""


class NewerFormat(FormatError):
    """Data written by a newer gitsess."""


class Faulty(FormatError):
    """A plan, or a model's answer, that does not fit. ``problems`` has a line for every fault, so that all can be
    mended at once; the message has their number, which is ``count``, and the first."""

    MOST = 50
    """Lines of ``problems``; the last one says how many more there are."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        shown = list(problems[: self.MOST])
        if len(problems) > self.MOST:
            shown[-1] = f"and {len(problems) - self.MOST + 1} more"
        self.problems: tuple[str, ...] = tuple(shown)
        self.count = len(problems)
        many = "" if len(problems) == 1 else f" ({len(problems)} faults; the first)"
        super().__init__(f"{what}{many}: {problems[0]}")


class StoreError(GitsessError):
    """git or the file system refused."""


class Locked(StoreError):
    """Another process holds the ref's lock; trying later may work."""


class NotASession(StoreError):
    """What stands at a session's ref is not a session: nothing can be appended there."""


class ProviderError(GitsessError):
    """The model's service failed, and nothing useful came back."""


class BudgetExceeded(GitsessError):
    """The next request would pass the budget; it was not sent."""


class TestsCannotRun(GitsessError):
    """The command of the project's tests cannot be started: it says nothing of the project."""


class TestsTimedOut(GitsessError):
    """The project's tests were ended, for they did not end themselves; ``output`` is what they had printed."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


class Conflict(GitsessError):
    """Two sides cannot be brought together."""

    exit_code = 3
