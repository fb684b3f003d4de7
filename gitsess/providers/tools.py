"""Tools that a model may call while it works on a turn, and what such a turn comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gitsess.model import JSONObject
from gitsess.providers import Failure, Provider, Reply, Request
from gitsess.values import Value


class ToolResult(Value):
    text: str
    is_error: bool = False


class Tool(Value):
    name: str
    description: str
    input_schema: JSONObject
    call: Callable[[JSONObject], ToolResult]


class Worked(Value):
    """What came of a turn with tools. ``replies``: one a request; ``messages``: the new ones after the prompt."""

    replies: tuple[Reply, ...]
    messages: tuple[JSONObject, ...]
    text: str
    interrupted: bool
    failure: Failure | None
    stopped: bool


class Worker(Provider, Protocol):
    def work(
        self,
        request: Request,
        tools: Sequence[Tool],
        on_text: Callable[[str], None],
        *,
        on_call: Callable[[str, JSONObject], None],
        goes_on: Callable[[Sequence[Reply]], bool],
        on_request: Callable[[], None],
        on_reply: Callable[[], None],
    ) -> Worked: ...
