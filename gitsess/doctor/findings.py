"""What is wrong, in one line."""

from __future__ import annotations

from collections.abc import Callable

from gitsess.model import JSON
from gitsess.values import Value


class Finding(Value):
    """``check`` is a word for the kind, ``subject`` a session, ref or path (or nothing), ``message`` what is wrong
    with it, ``advice`` what to do. ``mend`` does that; None where a person has to."""

    check: str
    subject: str
    message: str
    advice: str
    mend: Callable[[], object] | None = None
    fixed: bool = False

    def json(self) -> dict[str, JSON]:
        return {
            "check": self.check,
            "subject": self.subject,
            "message": self.message,
            "advice": self.advice,
            "fixable": self.mend is not None,
            "fixed": self.fixed,
        }
