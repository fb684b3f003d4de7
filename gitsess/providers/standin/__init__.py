"""A stand-in for the Messages API, on loopback: the real protocol, invented answers.

    with StandIn() as service:
        client = anthropic.Anthropic(base_url=service.url, api_key="any")

It exists so that the demo, the tests and the savings benchmark can drive the real SDK where there is no key
and no network. What is faithful is what a client must get right: the wire format, the refusals, the tokens
and the rules of the prompt cache, on a clock that can be moved. What is not: the words. Every answer begins
with ``LABEL``, every response carries ``LABEL_HEADER``.

    prompt   a request as the row of blocks that the model would read, and its tokens
    cache    the prompt cache, on a Clock
    check    what the API refuses
    answer   the answer, as one message or as a stream of events
    fault    what can be made to go wrong
    server   HTTP, and the log of what was received

Sources: platform.claude.com/docs, "Messages", "Streaming messages", "Prompt caching", "Errors".
"""

from __future__ import annotations

from gitsess.providers.standin.answer import LABEL, Answer, ToolUse
from gitsess.providers.standin.cache import Clock
from gitsess.providers.standin.fault import Fault
from gitsess.providers.standin.prompt import count_tokens
from gitsess.providers.standin.server import LABEL_HEADER, Received, StandIn

__all__ = [
    "LABEL",
    "LABEL_HEADER",
    "Answer",
    "Clock",
    "Fault",
    "Received",
    "StandIn",
    "ToolUse",
    "count_tokens",
]
