"""Who answers: a provider sends one request and streams one answer. Nothing here knows of git or sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gitsess.model import JSONObject, TokenUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A Messages-API request. ``system`` is a tuple of text blocks; ``tools`` the definitions that the
    context's tool calls need."""

    model: str
    max_tokens: int
    messages: tuple[JSONObject, ...]
    system: tuple[JSONObject, ...] = ()
    tools: tuple[JSONObject, ...] = ()

    def body(self) -> dict[str, Any]:
        """The request as the API takes it, without ``stream``."""
        body: dict[str, Any] = {"model": self.model, "max_tokens": self.max_tokens}
        if self.tools:
            # The context holds calls of tools that are not at hand now; the API wants them defined.
            body["tools"] = list(self.tools)
            body["tool_choice"] = {"type": "none"}
        if self.system:
            body["system"] = list(self.system)
        body["messages"] = list(self.messages)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an answer is missing or incomplete. ``text`` says what happened and what to do, on one line;
    ``sent`` is False where the service refused the request as it stands, so that nothing took place."""

    text: str
    sent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, all of it or as much as arrived.

    ``usage`` is None where the service said nothing of it; ``exact`` is False where the end, which bears
    the final count of output tokens, did not arrive. ``arrived_bytes`` of UTF-8 are all that was written, also what is
    of no use without its end, such as half a tool call. ``interrupted``: the person stopped it.
    """

    content: tuple[JSONObject, ...] = ()
    model: str = ""
    usage: TokenUsage | None = None
    exact: bool = True
    arrived_bytes: int = 0
    stop_reason: str | None = None
    message_id: str | None = None
    request_id: str | None = None
    interrupted: bool = False
    failure: Failure | None = None
    raw_usage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "".join(str(block.get("text", "")) for block in self.content if block.get("type") == "text")


class Provider(Protocol):
    agent: str
    """The value of AI-Agent for its turns."""

    def prepare(self) -> None:
        """Does what takes time before a first request, so that no turn's duration includes it."""

    def ask(self, request: Request, on_text: Callable[[str], None]) -> Reply:
        """Sends ``request``, hands text to ``on_text`` as it arrives, and returns what came.

        A failure or an interruption is in the reply, never an exception: what had arrived is paid for.
        """

    def count_tokens(self, request: Request) -> int:
        """Input tokens of ``request`` by the service's own count; raises ProviderError."""

    def close(self) -> None:
        """Ends its connections, for whoever lives on; the next request makes new ones."""
