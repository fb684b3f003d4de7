"""What can be made to go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

REASONS = {
    401: "the key was refused, as a test asked for",
    429: "too many requests, as a test asked for",
    500: "an internal error, as a test asked for",
    529: "overloaded, as a test asked for",
}

Kind = Literal["status", "slow", "cut_before_first_byte", "cut", "truncated", "malformed", "error_event", "hang"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong with the next ``times`` requests to ``path`` that are valid.

    ============================ =====================================================================
    ``status``                   an HTTP error: ``status``, and a ``retry-after`` header where
                                 ``retry_after`` (seconds) is set
    ``slow``                     the first byte comes ``seconds`` late, and then all is well
    ``cut_before_first_byte``    the connection closes without a response
    ``cut``                      the connection closes after ``after_deltas`` content deltas
    ``truncated``                the same, but the HTTP response ends as if it were whole
    ``malformed``                broken JSON after ``after_deltas`` content deltas, then the end
    ``error_event``              an ``overloaded_error`` event after ``after_deltas`` content deltas
    ``hang``                     nothing more after ``after_deltas`` content deltas, until either side
                                 closes; with 0, not even a status line
    ============================ =====================================================================

    Without ``stream`` the response is one body: ``cut``, ``truncated`` and ``malformed`` send half of it,
    ``error_event`` is an error 529, ``hang`` sends nothing. ``seconds`` are real ones, whatever the clock.
    """

    kind: Kind
    status: int | None = None
    after_deltas: int = 0
    seconds: float = 0.0
    times: int = 1
    retry_after: float | None = None
    path: str = "/v1/messages"

    def __post_init__(self) -> None:
        if (self.kind == "status") != (self.status is not None):
            raise ValueError("a fault has a status exactly where its kind is 'status'")

    @property
    def before_response(self) -> bool:
        """Whether the request ends without any response of its own."""
        return self.kind in ("status", "cut_before_first_byte") or (self.kind == "hang" and self.after_deltas == 0)


def until(parts: Iterator[dict[str, Any]], deltas: int | None) -> Iterator[dict[str, Any]]:
    """``parts`` up to and with that many content deltas; all of them where ``deltas`` is None.

    With 0 the message and its first block are begun. Nothing past the last delta is let through: the fault
    comes in the middle of the answer, however short that is.
    """
    seen = 0
    for part in parts:
        if part["type"] == "content_block_delta":
            if deltas is not None and seen >= deltas:
                return
            seen += 1
        elif deltas is not None and part["type"] == "message_delta":
            return
        yield part
