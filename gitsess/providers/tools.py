"""Tools that a model may call while it works on a turn, and what such a turn comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gitsess.model import JSONObject
from gitsess.providers import Failure, Provider, Reply, Request
from gitsess.text import well_formed
from gitsess.values import Value

MAX_REQUESTS = 60
"""Requests of one turn, where nothing else is said."""
Room = Callable[[Sequence[Reply], Sequence[JSONObject]], int]
"""How many tokens the answer to a further request may have, by the replies so far and the messages after the prompt;
0 where none is to go out."""
_NO_WORDS = "it failed and did not say why"


class ToolResult(Value):
    """What a model gets to read of a call."""

    text: str
    is_error: bool = False


class Tool(Value):
    """Something that a model may call. ``call`` does not raise for what a model asks: a bad input is a result
    with ``is_error``."""

    name: str
    description: str
    input_schema: JSONObject
    call: Callable[[JSONObject], ToolResult]

    @property
    def definition(self) -> JSONObject:
        """The tool as a request lists it."""
        return {"name": self.name, "description": self.description, "input_schema": dict(self.input_schema)}

    def run(self, given: object) -> ToolResult:
        """Calls it with what a model gave. Only ^C gets through: a bug of ours is an error that the model reads."""
        if not isinstance(given, dict):
            return ToolResult(text="the input must be an object", is_error=True)
        try:
            result = self.call(given)
        except Exception as error:  # noqa: BLE001 - a turn that is paid for does not end with one bad call
            # Its words may hold what was not redacted.
            return ToolResult(text=f"the tool failed: {type(error).__name__}", is_error=True)
        text = well_formed(result.text)
        # The service refuses an error without a text.
        return ToolResult(text=text or (_NO_WORDS if result.is_error else ""), is_error=result.is_error)


class Worked(Value):
    """What came of a turn with tools, all of it or as much as arrived.

    ``replies`` has one reply for each request, in order. ``messages`` are those after the prompt, as they went
    back to the service; the last may hold calls that nothing has answered. ``text`` is that of the last reply that
    has some. ``stopped``: the caller, or the limit of requests, let no further one go out.
    """

    replies: tuple[Reply, ...]
    messages: tuple[JSONObject, ...]
    text: str
    interrupted: bool
    failure: Failure | None
    stopped: bool


class Worker(Provider, Protocol):
    """A provider that lets a model call tools."""

    def work(
        self,
        request: Request,
        tools: Sequence[Tool],
        on_text: Callable[[str], None],
        *,
        on_call: Callable[[str, JSONObject], None],
        room: Room,
        on_request: Callable[[], None],
        on_reply: Callable[[], None],
    ) -> Worked:
        """Sends ``request`` with ``tools``, runs those that the model calls, sends their results, and so on until it
        calls none.

        ``on_text`` has the text as it arrives; ``on_call`` name and input of a tool about to run; ``on_request``
        is called right before each request goes out and ``on_reply`` after its reply. ``room`` is asked before each
        further request. As with ``ask``, neither a failure nor an interruption is an exception.
        """


def with_others(tools: Sequence[Tool], others: Sequence[JSONObject]) -> tuple[Tool, ...]:
    """``tools``, and for each other tool that the context calls one that says it is gone; the order is the same
    each time, because definitions are the first part of what the service caches."""
    ours = {tool.name for tool in tools}
    at_hand = ", ".join(sorted(ours)) or "none"
    gone = ToolResult(text=f"this tool is not available now; those that are: {at_hand}", is_error=True)
    return (
        *tools,
        *(
            Tool(
                name=str(other["name"]),
                description=str(other.get("description", "")),
                input_schema=other.get("input_schema") or {"type": "object"},
                call=lambda _: gone,
            )
            for other in others
            if other.get("name") not in ours
        ),
    )
