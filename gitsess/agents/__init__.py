"""What other programs left behind: one module for each, which reads it and knows nothing of git.

Whatever is read was written by somebody else, and is taken as such: no link is followed, nothing is executed, and
what cannot be read is passed over with a reason.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gitsess.agents.captured import Reader
    from gitsess.content import Content
    from gitsess.model import JSONObject

READERS = ("claude", "codex", "gemini", "opencode")
"""The agents whose transcripts can be read, by the command of their sessions."""


_BY_AGENT = {"claude-code": "claude", "codex": "codex", "gemini": "gemini", "opencode": "opencode"}


def with_messages(content: Content, agent: str | None) -> Content:
    """The content of a turn with the messages that its native entries stand for, where an agent is known that wrote
    them; without what was handed over to it."""
    name = command_of((agent or "").partition("/")[0])
    if name is None or not content.native or content.messages is not None:
        return content
    from gitsess.handed import messages_without

    found = tuple(messages_without(reader(name).messages(content.native)))
    return replace(content, messages=found or None)


def command_of(agent: str) -> str | None:
    """The command of an agent's sessions, by its name in AI-Agent without the version; None for one that has none."""
    return _BY_AGENT.get(agent)


def todos_after(content: Content, agent: str | None, before: Sequence[JSONObject]) -> list[JSONObject]:
    """An agent's list as a turn left it, ``{"content", "status"}`` each; ``before`` is how the turn found it."""
    name = command_of((agent or "").partition("/")[0])
    return list(before) if name is None else reader(name).todos(content.native, before)


def reader(name: str) -> Reader:
    """The reader of an agent's transcripts; ``name`` is one of READERS."""
    return cast("Reader", import_module(f"gitsess.agents.{name}"))
